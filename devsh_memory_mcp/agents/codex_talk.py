"""The conversation with a running Codex: what its app-server says in JSON-RPC, what it is told, and what it came to.

A thread has one turn at a time. What is said while one goes on is handed to it and stands in its next request; else it begins the
next. Every letter carries an id that comes back when the model is about to read it: that is its receipt. The conversation is over
when a turn is, and nothing that was said is unread.
"""

import json
import typing

from devsh_memory_mcp.agents.adapter import Assignment, Ending, Fact, Verdict
from devsh_memory_mcp.agents.codex_failure import classify, describe_denials, login_advice, no_wall, refused_login, spent_turns
from devsh_memory_mcp.agents.codex_thread import (
    client_parameters,
    is_unwalled,
    login_parameters,
    placeholder,
    probe_parameters,
    thread_parameters,
)
from devsh_memory_mcp.agents.codex_usage import Usage
from devsh_memory_mcp.agents.codex_words import activity
from devsh_memory_mcp.agents.document import Document, mapping, parsed, text
from devsh_memory_mcp.agents.plain import shortened

_DENIALS_TOLD = 20
_REASON = 100  # characters of what it says it wants something for
_UNKNOWN_MODEL = "Model metadata"
_RENEWAL = "account/chatgptAuthTokens/refresh"
_NO_METHOD = {"code": -32601, "message": "Nobody is there to answer; go on without."}
# How a request of its own is refused, so that the turn goes on.
_REFUSALS = {
    "item/commandExecution/requestApproval": {"decision": "decline"},
    "item/fileChange/requestApproval": {"decision": "decline"},
    "mcpServer/elicitation/request": {"action": "decline"},
}
_CALLS = ("commandExecution", "fileChange", "mcpToolCall", "dynamicToolCall", "webSearch", "imageView", "collabAgentToolCall")
_COMMAND = "commandExecution"

State = typing.Literal["opening", "idle", "starting", "working", "stopping", "over"]


class CodexTalk:
    """See `adapter.Talk`."""

    lingers = False

    def __init__(self, model: str, assignment: Assignment) -> None:
        self._model = model
        self._assignment = assignment
        self._state: State = "opening"
        self._thread: str | None = None
        self._turn: str | None = None
        self._is_steerable = True
        self._has_asked = False  # for another login, since it last had an answer
        self._stops_next = False  # an interrupt came before the turn had a name
        self._waiting = {0: assignment.prompt}  # letters that it was not handed yet, in their order
        self._handed: dict[int, str] = {}  # those that it was, and that its model has not had
        self._begun = 0  # turns
        self._owed = b""
        self._error: Document | None = None
        self._has_answered = False
        self._answer: str | None = None
        self._items: dict[str, Document] = {}  # that have begun, until they are completed
        self._calls: set[str] = set()  # of tools, all by id; those of them that ran a command
        self._commands: set[str] = set()
        self._has_called = False  # a tool, since its model last had an answer
        self._is_spent = False  # it was ended for the turns that it took
        self._worked = 0
        self._denied: list[str] = []
        self._warnings: list[str] = []
        self._usage = Usage()
        self._hearing: dict[str, typing.Callable[[Document], typing.Sequence[Fact]]] = {
            "turn/started": self._turn_started,
            "turn/completed": self._turn_over,
            "item/started": self._item_started,
            "item/completed": self._item_completed,
            "thread/tokenUsage/updated": self._used,
            "account/rateLimits/updated": self._limits,
            "error": self._trouble,
            "warning": self._warning,
        }

    @property
    def is_over(self) -> bool:
        """Whether a turn is over and nothing that was said is unread, or nothing more can come."""
        return self._state == "over" or (self._state == "idle" and not self._waiting)

    def opening(self) -> bytes:
        """What it reads first: who we are, and what comes before the thread: a login, a try of its sandbox; else what begins it."""
        greeting = _request("initialize", "initialize", client_parameters(self._assignment)) + _line({"method": "initialized"})
        if placeholder(self._assignment) is not None:  # a thread that begins beside it fails at times
            login = {"type": "chatgptAuthTokens", **login_parameters(self._assignment)}
            return greeting + _request("login", "account/login/start", login)
        if is_unwalled(self._assignment):
            return greeting + self._thread_request()
        return greeting + _request("wall", "command/exec", probe_parameters(self._assignment))

    def hear(self, line: bytes) -> typing.Sequence[Fact]:
        """What a line says; nothing where it is of no known kind."""
        try:
            facts = self._heard(mapping(parsed(line)))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # a shape that another release gave it
            facts = ()
        self._proceed()
        return facts

    def _heard(self, said: Document) -> typing.Sequence[Fact]:
        if "method" not in said:
            return self._answered(said) if "id" in said else ()
        if "id" in said:
            return self._asked(said)
        params = mapping(said.get("params"))
        hearing = self._hearing.get(said["method"])
        is_ours = params.get("threadId", self._thread) in (self._thread, None)  # it has threads for sub-agents of its own
        return hearing(params) if hearing and is_ours else ()

    def owed(self) -> bytes:
        """What has come due since: answers to it, the thread, turns, and letters that waited for one."""
        owed, self._owed = self._owed, b""
        return owed

    def say(self, message_id: int, text: str, *, interrupt: bool = False) -> bytes:
        """The request that brings a message; with `interrupt` the turn is ended first, and the message begins the next."""
        self._waiting[message_id] = text
        if interrupt and self._state == "working":
            self._stop()
        elif interrupt and self._state == "starting":
            self._stops_next = True
        self._proceed()
        return self.owed()

    def _stop(self) -> None:
        self._state = "stopping"
        self._owed += _request(f"interrupt-{self._begun}", "turn/interrupt", {"threadId": self._thread, "turnId": self._turn})

    def _keep_turns(self, *, goes_on: bool) -> None:
        """Ends it where its model has answered as often as it may, and would be asked once more."""
        most = self._assignment.max_turns
        if most is None or self._state != "working":
            return
        if self._usage.turns > most or (goes_on and self._usage.turns == most):
            self._is_spent = True
            self._stop()

    def _proceed(self) -> None:
        """Hands over what waits, as far as it can be taken now."""
        if self._state == "idle" and self._waiting:
            self._state, self._is_steerable, self._has_answered = "starting", True, False
            self._begun += 1
            self._owed += _request(f"turn-{self._begun}", "turn/start", self._letter(next(iter(self._waiting))))
        while self._state == "working" and self._is_steerable and self._waiting:
            number = next(iter(self._waiting))
            letter = self._letter(number) | {"expectedTurnId": self._turn}
            self._owed += _request(f"steer-{number}", "turn/steer", letter)

    def _letter(self, number: int) -> Document:
        said = self._handed[number] = self._waiting.pop(number)
        return {"threadId": self._thread, "clientUserMessageId": str(number), "input": [{"type": "text", "text": said}]}

    # --- answers and questions

    def _answered(self, said: Document) -> typing.Sequence[Fact]:
        what, _, number = str(said["id"]).partition("-")
        result = mapping(said.get("result"))
        if "error" in said:
            return self._failed(what, number, mapping(said["error"]))
        if what == "wall" and result.get("exitCode") != 0:
            self._error, self._state = no_wall(text(result, "stderr")), "over"
        elif what in ("wall", "login"):
            self._owed += self._thread_request()
        elif what == "thread":
            self._thread, self._state = str(result["thread"]["id"]), "idle"
            return (Fact("session", {"sessionId": self._thread, "model": result.get("model")}),)
        elif what == "turn":
            return self._turn_started(result)
        return ()

    def _thread_request(self) -> bytes:
        """Begins the thread, or one that goes on from another."""
        parameters = thread_parameters(self._model, self._assignment)
        resumes = self._assignment.session.resumes if self._assignment.session else None
        told = parameters | {"threadId": resumes, "excludeTurns": True} if resumes else parameters
        return _request("thread", "thread/fork" if resumes else "thread/start", told)

    def _failed(self, what: str, number: str, error: Document) -> typing.Sequence[Fact]:
        if what == "steer":  # the turn is about to be over, or of a kind that takes nothing: the next one will
            if int(number) in self._handed:
                self._waiting = {int(number): self._handed.pop(int(number)), **self._waiting}
            self._is_steerable = False
        elif what != "interrupt":
            self._error, self._state = error, "over"
        return ()

    def _asked(self, said: Document) -> typing.Sequence[Fact]:
        """It wants to know something: nobody is there, so it is refused."""
        if said["method"] == _RENEWAL:
            return self._renew(said["id"])
        refusal = _REFUSALS.get(said["method"])
        self._owed += _line({"id": said["id"]} | ({"result": refusal} if refusal else {"error": _NO_METHOD}))
        params = mapping(said.get("params"))
        item = self._items.pop(text(params, "itemId"), {})
        why = shortened(text(params, "reason"), _REASON)
        return self._deny(f"{activity(item)}{f' ({why})' if why else ''}") if item else ()

    def _renew(self, request_id: object) -> typing.Sequence[Fact]:
        """The provider has refused the login: once more with it, since its user may have renewed it meanwhile, and then no more."""
        if self._has_asked:
            self._error, self._state = refused_login(), "over"
        else:
            self._has_asked = True
            self._owed += _line({"id": request_id, "result": login_parameters(self._assignment)})
        return ()

    def _deny(self, what: str) -> typing.Sequence[Fact]:
        if what in self._denied or len(self._denied) >= _DENIALS_TOLD:
            return ()
        self._denied.append(what)
        return (Fact("needs_input", {"kind": "permission", "message": describe_denials([what])}),)

    # --- hearing

    def _turn_started(self, params: Document) -> typing.Sequence[Fact]:
        if self._state in ("starting", "idle"):  # idle where what was written to it is not known: its output is read once more
            self._state, self._turn, self._error, self._answer = "working", str(params["turn"]["id"]), None, None
            if self._stops_next:
                self._stops_next = False
                self._stop()
        return ()

    def _turn_over(self, params: Document) -> typing.Sequence[Fact]:
        turn = mapping(params["turn"])
        if turn["id"] != self._turn or self._state not in ("working", "stopping"):
            return ()
        self._waiting, self._handed = {**self._handed, **self._waiting}, {}
        self._has_answered = turn["status"] == "completed" and not self._is_spent
        if not self._has_answered:
            self._error = mapping(turn.get("error")) or {"message": "its turn was interrupted"}
        if self._is_spent:
            self._error = spent_turns(self._assignment.max_turns)
        self._state = "over" if turn["status"] == "failed" or self._is_spent else "idle"
        return ()

    def _item_started(self, params: Document) -> typing.Sequence[Fact]:
        item = mapping(params["item"])
        if item["type"] == "userMessage":
            number = int(item.get("clientId") or 0)
            self._handed.pop(number, None)
            return (Fact("delivered", {"messageId": number}),) if number else ()
        if item["type"] not in _CALLS:
            return ()
        self._items[item["id"]] = item
        self._calls.add(item["id"])
        if item["type"] == _COMMAND:
            self._commands.add(item["id"])
        self._has_called = True
        self._keep_turns(goes_on=True)
        return (Fact("activity", {"words": activity(item)}),)

    def _item_completed(self, params: Document) -> typing.Sequence[Fact]:
        item = mapping(params["item"])
        begun = self._items.pop(text(item, "id"), None)
        if item["type"] == "agentMessage" and text(item, "text").strip():
            self._answer = text(item, "text")
            return (Fact("activity", {"words": f"says: {self._answer.strip().partition(chr(10))[0][:120]}"}),)
        if item["type"] not in _CALLS:
            return ()
        if item.get("status") == "declined":
            return self._deny(activity(item)) if begun else ()  # else it was we who declined it
        self._worked += 1
        return ()

    def _used(self, params: Document) -> typing.Sequence[Fact]:
        self._has_asked = False
        self._usage.hear(mapping(params["tokenUsage"]))
        self._keep_turns(goes_on=self._has_called or bool(self._handed))  # it tells this when the answer's tools are done
        self._has_called = False
        return (Fact("usage", {**self._usage.figures(), "costUsd": None}),)

    def _limits(self, params: Document) -> typing.Sequence[Fact]:
        self._usage.hear_limits(mapping(params["rateLimits"]))
        return ()

    def _trouble(self, params: Document) -> typing.Sequence[Fact]:
        if not params.get("willRetry"):
            return ()
        return (Fact("activity", {"words": f"waits for the API ({text(mapping(params['error']), 'message')})"}),)

    def _warning(self, params: Document) -> typing.Sequence[Fact]:
        if text(params, "message").startswith(_UNKNOWN_MODEL):
            self._warnings = [f"This codex does not know the model {self._model}."]
        return ()

    # --- judging

    def verdict(self, ending: Ending) -> Verdict:
        """Success needs an exit with 0, a completed turn as the last one, and at least one tool that was not refused, if any was."""
        is_failed = self._error is not None and not self._has_answered
        failure, why = classify(
            self._error if is_failed else None, ending, has_answered=self._has_answered, denied=self._denied, worked=self._worked
        )
        return Verdict(
            succeeded=failure is None,
            result=self._answer if self._has_answered else None,
            error_message=why,
            failure=failure,
            retry_at=self._usage.resets_at if failure == "rate_limit" else None,
            usage=self._usage.figures() if self._usage.turns else None,
            cost_basis="unknown",
            session_id=self._thread,
            tool_calls=len(self._calls),
            commands=len(self._commands),
            needs_input=login_advice() if failure == "auth" else self._needs() or (why if failure == "permission" else None),
            warnings=tuple(self._warnings),
        )

    def _needs(self) -> str | None:
        return describe_denials(self._denied) if self._denied else None


def _request(request_id: str, method: str, params: Document) -> bytes:
    return _line({"id": request_id, "method": method, "params": params})


def _line(document: Document) -> bytes:
    return json.dumps(document).encode() + b"\n"
