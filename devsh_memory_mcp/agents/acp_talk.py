"""The conversation with a running agent that speaks the Agent Client Protocol: what it says, what it is told, and what it came to.

A session has one turn at a time, which is what a `session/prompt` is answered by. What is said while one goes on is prompted at once where
the agent takes that for a part of the turn, else when the turn is over. The conversation is over when no prompt is unanswered and
nothing that was said waits. The protocol has no receipts: a message is read when its prompt is answered, or something is said after it
that can only be about it.
"""

import typing

from devsh_memory_mcp.agents.acp_answers import Answers
from devsh_memory_mcp.agents.acp_failure import Course, classify, describe_denials, login_advice
from devsh_memory_mcp.agents.acp_manner import Manner
from devsh_memory_mcp.agents.acp_session import CLIENT, VERSION, answer, decision, may, notification, prompt, request, session_parameters
from devsh_memory_mcp.agents.acp_usage import Usage
from devsh_memory_mcp.agents.acp_words import activity, spoken
from devsh_memory_mcp.agents.adapter import Assignment, Ending, Fact, Verdict
from devsh_memory_mcp.agents.document import Document, listing, mapping, parsed, text

_DENIALS_TOLD = 20
_OVER = ("completed", "failed")

State = typing.Literal["opening", "idle", "working", "stopping", "over"]
Facts = typing.Sequence[Fact]


class AcpTalk:
    """See `adapter.Talk`. `credentials` are the variables that may hold some."""

    lingers = True

    def __init__(self, manner: Manner, assignment: Assignment, credentials: typing.Sequence[str]) -> None:
        self._manner = manner
        self._assignment = assignment
        self._credentials = credentials
        self._state: State = "opening"
        self._session: str | None = None
        self._waiting = {0: assignment.prompt}  # letters that it was not handed yet, in their order
        self._handed: list[int] = []  # those whose prompts it has not answered
        self._unread: set[int] = set()  # those of them that nothing was said after
        self._receipted = {0}
        self._owed = b""
        self._error: Document | None = None
        self._stop_reason: str | None = None
        self._words: list[str] = []  # of what it says now, in pieces
        self._block = ""  # the id of that, where it has one
        self._answer: str | None = None
        self._calls: dict[str, Document] = {}  # of tools, by id
        self._commands: set[str] = set()
        self._worked: set[str] = set()
        self._refused: set[str] = set()
        self._denied: list[str] = []
        self._warnings: list[str] = []
        self._answers = Answers(manner.belongs)
        self._is_spent = False  # its model has answered as often as it may
        self._usage = Usage(assignment.session.cost_usd if assignment.session else 0.0)
        self._hearing: dict[str, typing.Callable[[Document], Facts]] = {
            "agent_message_chunk": self._spoke,
            "tool_call": self._called,
            "tool_call_update": self._called,
            "usage_update": self._used,
        }

    @property
    def is_over(self) -> bool:
        """Whether every prompt is answered and nothing that was said waits, or nothing more can come."""
        return self._state == "over" or (self._state == "idle" and not self._waiting)

    def opening(self) -> bytes:
        """What it reads first: who we are."""
        return request("initialize", "initialize", CLIENT)

    def hear(self, line: bytes) -> Facts:
        """What a line says; nothing where it is of no known kind."""
        try:
            facts = self._heard(mapping(parsed(line)))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # a shape that another agent gave it
            facts = ()
        self._proceed()
        return facts

    def _heard(self, said: Document) -> Facts:
        if "method" not in said:
            return self._answered(said) if "id" in said else ()
        params = mapping(said.get("params"))
        if "id" in said:
            return self._asked(said, params)
        if said["method"] != "session/update" or self._state == "opening":  # what a session held before is told once more
            return ()
        update = mapping(params.get("update"))
        hearing = self._hearing.get(text(update, "sessionUpdate"))
        return (*self._read_now(), *hearing(update)) if hearing else ()

    def owed(self) -> bytes:
        """What has come due since: answers to it, the session, and prompts."""
        owed, self._owed = self._owed, b""
        return owed

    def say(self, message_id: int, text: str, *, interrupt: bool = False) -> bytes:
        """The prompt that brings a message, where it can be taken; with `interrupt` the turn is ended first."""
        self._waiting[message_id] = text
        if interrupt and self._state == "working":
            self._stop()
        self._proceed()
        return self.owed()

    def _stop(self) -> None:
        self._state = "stopping"
        self._owed += notification("session/cancel", {"sessionId": self._session})

    def _keep_turns(self, *, goes_on: bool) -> None:
        """Ends it where its model has answered as often as it may, and would be asked once more."""
        most, count = self._assignment.max_turns, self._answers.count
        if most is not None and self._state == "working" and (count > most or (goes_on and count == most)):
            self._is_spent = True
            self._stop()

    def _proceed(self) -> None:
        """Prompts with what waits, as far as it can be taken now."""
        while self._waiting and (self._state == "idle" or (self._state == "working" and self._manner.is_steerable)):
            number = next(iter(self._waiting))
            said = self._waiting.pop(number)
            self._handed.append(number)
            if self._state == "idle":
                self._state, self._stop_reason, self._error, self._answer = "working", None, None, None
                self._unread.add(number)
            self._owed += request(f"prompt-{number}", "session/prompt", prompt(self._session, said))

    def _read_now(self) -> Facts:
        """Receipts for what began a turn that something is said in."""
        read, self._unread = sorted(self._unread), set()
        return [fact for number in read for fact in self._receipt(number)]

    def _receipt(self, number: int) -> list[Fact]:
        if number in self._receipted:
            return []
        self._receipted.add(number)
        return [Fact("delivered", {"messageId": number})]

    # --- answers

    def _answered(self, said: Document) -> Facts:
        what, _, number = str(said["id"]).partition("-")
        result, error = mapping(said.get("result")), said.get("error")
        if what == "prompt":
            return self._prompted(int(number), result, None if error is None else mapping(error))
        if error is not None:
            self._error, self._state = mapping(error), "over"
        elif what == "initialize":
            self._begin(result)
        elif what == "session":
            return self._begun(result)
        elif what == "model":
            self._state = "idle"
        return ()

    def _begin(self, agent: Document) -> None:
        """Asks for a session, or for one that goes on from another."""
        if agent.get("protocolVersion") != VERSION:
            self._fail(f"it speaks version {str(agent.get('protocolVersion'))[:20]} of the protocol, and not {VERSION}")
            return
        method, parameters = "session/new", session_parameters(self._assignment, self._credentials)
        resumed = self._assignment.session.resumes if self._assignment.session else None
        if resumed is not None:
            method, parameters = "session/load", parameters | {"sessionId": resumed}
            if not mapping(agent.get("agentCapabilities")).get("loadSession"):
                self._fail("it cannot go on with a session that has ended; spawn a new task, without resume")
                return
            self._session = resumed
        self._owed += request("session", method, parameters)

    def _fail(self, why: str) -> None:
        self._error, self._state = {"message": why}, "over"

    def _begun(self, result: Document) -> Facts:
        """The session is there; its model is set where it has another."""
        self._session = text(result, "sessionId") or self._session
        wanted, option = self._manner.model, _model_option(result)
        current = text(option, "currentValue") or text(mapping(result.get("models")), "currentModelId")
        if wanted is not None and option and current != wanted:
            told = {"sessionId": self._session, "configId": text(option, "id"), "value": wanted}
            self._owed += request("model", "session/set_config_option", told)
        else:
            self._state = "idle"
        return (Fact("session", {"sessionId": self._session, "model": wanted or current or None}),)

    def _prompted(self, number: int, result: Document, error: Document | None) -> Facts:
        """A prompt is answered; the turn is over with the last."""
        self._handed.remove(number)
        self._unread.discard(number)
        facts = [*(self._receipt(number) if error is None else ()), *self._finish_block()]
        self._usage.add(self._manner.usage(result))
        self._note_models(result)
        if self._state == "stopping":
            self._state = "stopping" if self._handed else "over" if self._is_spent else "idle"
            self._answers.turn()
            return facts
        self._stop_reason, self._error = text(result, "stopReason") or self._stop_reason, error or self._error
        if not self._handed:
            self._state = "over" if self._error is not None else "idle"
            self._answers.turn()
        return (*facts, *self._figures())

    def _note_models(self, result: Document) -> None:
        wanted = self._manner.model
        for model in self._manner.named(result) if wanted is not None else ():
            told = f"{self._manner.program} had it done by {model}, not by {wanted}."
            if model != wanted and told not in self._warnings:
                self._warnings.append(told)

    # --- questions

    def _asked(self, said: Document, params: Document) -> Facts:
        """It wants to know something: whether it may, which its permissions say, or what nobody is there to tell."""
        if said["method"] != "session/request_permission":
            self._owed += answer(said["id"], None)
            return ()
        facts = list(self._called(mapping(params.get("toolCall"))))
        call_id = text(mapping(params.get("toolCall")), "toolCallId")
        call = self._calls.get(call_id, {})
        allowed = self._state != "stopping" and may(call, self._assignment)
        self._owed += answer(said["id"], decision(params.get("options"), allowed=allowed))
        if not allowed and self._state != "stopping":
            self._refused.add(call_id)
            facts += self._deny(activity(call))
        return (*self._read_now(), *facts)

    def _deny(self, what: str) -> Facts:
        if what in self._denied or len(self._denied) >= _DENIALS_TOLD:
            return ()
        self._denied.append(what)
        return (Fact("needs_input", {"kind": "permission", "message": describe_denials([what])}),)

    # --- hearing

    def _spoke(self, update: Document) -> Facts:
        block = text(update, "messageId")
        facts = self._finish_block() if block != self._block else []
        self._block = block
        self._words.append(spoken(update))
        self._answers.speak()
        self._keep_turns(goes_on=False)
        return facts

    def _finish_block(self) -> list[Fact]:
        """What it said is whole: the last of it is its answer."""
        said, self._words = "".join(self._words).strip(), []
        if not said:
            return []
        self._answer = said
        return [Fact("activity", {"words": f"says: {said.partition(chr(10))[0][:120]}"})]

    def _called(self, update: Document) -> Facts:
        """A tool call, or more about one; each is told with what is known of it by then."""
        call_id = update["toolCallId"]
        facts = self._finish_block()
        known = self._calls.get(call_id, {})
        before = activity(known) if known else None
        call = self._calls[call_id] = known | {name: value for name, value in update.items() if value not in (None, "", [], {})}
        if text(call, "kind") == "execute":
            self._commands.add(call_id)
        if not known:
            self._answers.call(call_id)
            self._keep_turns(goes_on=True)
        if text(call, "status") in _OVER:
            self._answers.settle(call_id)
            self._worked |= {call_id} - self._refused
        if text(update, "status") not in _OVER and activity(call) != before:
            facts.append(Fact("activity", {"words": activity(call)}))
        return facts

    def _used(self, update: Document) -> Facts:
        self._usage.hear(update)
        return self._figures()

    def _figures(self) -> Facts:
        tokens, cost = self._usage.tokens(), self._usage.cost_usd
        return () if tokens is None and cost is None else (Fact("usage", {**(tokens or {}), "costUsd": cost}),)

    # --- judging

    def verdict(self, ending: Ending) -> Verdict:
        """Success needs a last turn that came to its end, in which something was said or done, and not every tool call refused."""
        course = Course(self._manner.program, self._error, self._stop_reason, bool(self._answer), self._denied, len(self._worked))
        course = course._replace(spent=self._assignment.max_turns if self._is_spent else None)
        failure, why = classify(course, ending)
        cost = self._usage.cost_usd
        needs = describe_denials(self._denied) if self._denied else None
        return Verdict(
            succeeded=failure is None,
            result=self._answer if self._stop_reason == "end_turn" and self._error is None and not self._is_spent else None,
            error_message=why,
            failure=failure,
            usage=self._usage.tokens(),
            cost_usd=cost,
            session_cost_usd=self._usage.session_cost_usd,
            cost_basis=self._assignment.cost_basis if cost is not None else "unknown",
            session_id=self._session,
            needs_input=login_advice(self._manner.program, self._manner.login) if failure == "auth" else needs,
            tool_calls=len(self._calls),
            commands=len(self._commands),
            stop_reason=self._stop_reason,
            warnings=tuple(self._warnings),
        )


def _model_option(result: Document) -> Document:
    options = map(mapping, listing(result.get("configOptions")))
    return next((option for option in options if "model" in (text(option, "category"), text(option, "id"))), {})
