"""The conversation with a running Claude Code: what it says in stream-json, what it is told, and what it came to.

Every line to it carries a uuid that comes back when the model is about to read it: that is a message's receipt. A turn ends with a
`result`; the conversation is over when one has come and nothing that was said since is unread.
"""

import json
import typing

from devsh_memory_mcp.agents.adapter import Ending, Fact, Session, Verdict
from devsh_memory_mcp.agents.claude_failure import classify, describe_denials, login_advice
from devsh_memory_mcp.agents.claude_words import activity
from devsh_memory_mcp.agents.document import amount

Json = dict[str, typing.Any]

_USAGE = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_read_input_tokens": "cacheReadTokens",
    "cache_creation_input_tokens": "cacheWriteTokens",
}
_RESULT: dict[str, type] = {  # what a verdict reads; where another release gives it another shape, it is left out
    "subtype": str, "result": str, "errors": list, "api_error_status": int, "stop_reason": str, "terminal_reason": str,
}  # fmt: skip
_NO_SESSION = "00000000-0000-4000-8000-000000000000"
_UNKNOWN_MODEL = "[claude-code:unrecognized_model]"  # on stderr; such a run is priced as another model's
_DENIALS_TOLD = 20
_COMMAND = "Bash"  # the tool that runs one


def line_id(session: Session | None, message_id: int) -> str:
    """The uuid of the line that carries a message, 0 for the prompt."""
    return (session.id if session else _NO_SESSION)[:24] + f"{message_id:012x}"


def user_line(text: str, session: Session | None, message_id: int) -> bytes:
    """A line that says something to it."""
    message = {"role": "user", "content": text}
    return _line({"type": "user", "message": message, "parent_tool_use_id": None, "session_id": "", "uuid": line_id(session, message_id)})


def _line(document: Json) -> bytes:
    return json.dumps(document).encode() + b"\n"


class ClaudeTalk:
    """See `adapter.Talk`."""

    lingers = False

    def __init__(self, session: Session | None, cost_basis: str) -> None:
        self._session = session
        self._cost_basis = cost_basis
        self._unread = {line_id(session, 0): 0}  # by uuid, the messages that the model has not had
        self._result: Json | None = None  # the last turn's, None while one goes on
        self._last: Json = {}
        self._usage = dict.fromkeys(_USAGE.values(), 0) | {"turns": 0}
        self._calls: dict[str, Json] = {}  # of tools, by id, until their results come
        self._worked = 0
        self._tools = self._commands = 0
        self._denied: list[str] = []
        self._resets_at: float | None = None
        self._session_id = session.id if session else None
        self._hearing: dict[str, typing.Callable[[Json], typing.Sequence[Fact]]] = {
            "system": self._system,
            "assistant": self._assistant,
            "user": self._user,
            "result": self._turn_over,
            "rate_limit_event": self._rate_limit,
        }

    @property
    def is_over(self) -> bool:
        """Whether a turn is over and nothing was said since."""
        return self._result is not None and not self._unread

    def hear(self, line: bytes) -> typing.Sequence[Fact]:
        """What a line says; nothing where it is of no known kind."""
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return ()
        try:
            hearing = self._hearing.get(said["type"])
            return hearing(said) if hearing else ()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # a shape that another release gave it
            return ()

    def owed(self) -> bytes:
        """Nothing: it asks for no answers."""
        return b""

    def say(self, message_id: int, text: str, *, interrupt: bool = False) -> bytes:
        """The lines that bring a message; with `interrupt` what it does is ended first."""
        self._unread[line_id(self._session, message_id)] = message_id
        stop = {"type": "control_request", "request_id": f"interrupt-{message_id}", "request": {"subtype": "interrupt"}}
        return (_line(stop) if interrupt else b"") + user_line(text, self._session, message_id)

    # --- hearing

    def _system(self, said: Json) -> typing.Sequence[Fact]:
        if said["subtype"] == "init":
            self._session_id = str(said["session_id"])
            return (Fact("session", {"sessionId": self._session_id, "model": said.get("model")}),)
        if said["subtype"] == "api_retry":
            words = f"waits for the API ({said.get('error')}), try {said['attempt']} of {said['max_retries']}"
            return (Fact("activity", {"words": words}),)
        if said["subtype"] == "permission_denied":
            call = self._calls.get(said.get("tool_use_id", ""), {})
            return self._deny(activity(said["tool_name"], call.get("input", {})))
        return ()

    def _deny(self, what: str) -> typing.Sequence[Fact]:
        if what in self._denied or len(self._denied) >= _DENIALS_TOLD:
            return ()
        self._denied.append(what)
        return (Fact("needs_input", {"kind": "permission", "message": describe_denials([what])}),)

    def _assistant(self, said: Json) -> typing.Sequence[Fact]:
        self._result = None
        facts = []
        for block in said["message"]["content"]:
            if block["type"] == "tool_use":
                self._calls[block["id"]] = block
                self._tools += 1
                self._commands += block["name"] == _COMMAND
                facts.append(Fact("activity", {"words": activity(block["name"], block["input"])}))
            elif block["type"] == "text" and block["text"].strip() and not said.get("is_api_error_message"):
                first = block["text"].strip().partition("\n")[0]
                facts.append(Fact("activity", {"words": f"says: {first[:120]}"}))
        return facts

    def _user(self, said: Json) -> typing.Sequence[Fact]:
        if said.get("isReplay"):
            message_id = self._unread.pop(said.get("uuid", ""), None)
            self._result = None
            return (Fact("delivered", {"messageId": message_id}),) if message_id else ()
        content = said["message"]["content"]
        for block in content if isinstance(content, list) else ():
            if block.get("type") == "tool_result":
                self._calls.pop(block.get("tool_use_id", ""), None)
                self._worked += not block.get("is_error")
        return ()

    def _rate_limit(self, said: Json) -> typing.Sequence[Fact]:
        limit = said["rate_limit_info"]
        self._resets_at = amount(limit.get("resetsAt")) if limit["status"] == "rejected" else None
        return ()

    def _turn_over(self, said: Json) -> typing.Sequence[Fact]:
        self._result = self._last = {name: value for name, value in said.items() if isinstance(value, _RESULT.get(name, object))}
        for theirs, ours in _USAGE.items():
            self._usage[ours] += int(amount(said["usage"].get(theirs)) or 0)
        self._usage["turns"] += int(amount(said.get("num_turns")) or 0)
        for denial in said.get("permission_denials") or ():
            self._deny(activity(denial["tool_name"], denial.get("tool_input") or {}))
        return (Fact("usage", {**self._usage, "costUsd": self._cost()}),)

    def _cost(self) -> float | None:
        """The session's cost is told as a sum over its resumptions; ours is what came on top."""
        total = amount(self._last.get("total_cost_usd"))
        return None if total is None else round(total - (self._session.cost_usd if self._session else 0.0), 6)

    # --- judging

    def verdict(self, ending: Ending) -> Verdict:
        """Success needs an exit with 0, a result that is none of an error, and at least one tool that was not refused."""
        last = self._last
        failure, why = classify(last, ending, denied=self._denied, worked=self._worked, turns=self._usage["turns"])
        is_priced = _UNKNOWN_MODEL not in ending.stderr_tail
        return Verdict(
            succeeded=failure is None,
            result=last.get("result") if not last.get("is_error") else None,
            error_message=why,
            failure=failure,
            retry_at=self._resets_at if failure == "rate_limit" else None,
            usage=self._usage if last else None,
            cost_usd=self._cost() if is_priced else None,
            session_cost_usd=amount(last.get("total_cost_usd")) if is_priced else None,
            cost_basis=self._cost_basis if is_priced else "unknown",
            session_id=self._session_id,
            tool_calls=self._tools,
            commands=self._commands,
            stop_reason=last.get("stop_reason") or last.get("terminal_reason"),
            needs_input=login_advice() if failure == "auth" else describe_denials(self._denied) if self._denied else None,
            warnings=() if is_priced else ("This claude does not know the model, so what it cost is not known.",),
        )
