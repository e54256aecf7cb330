"""A Messages API on loopback whose model is scripted: it answers, fails, hangs and breaks off as a test says, and keeps what was asked.

with ModelApi() as api:
    api.route("TASK-A", Turn(tools=[Tool("Write", {"file_path": "/somewhere/a", "content": "x"})]), Turn("Done: {{result}}"))
"""

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Self

from tests.doubles.model_answer import refusal
from tests.doubles.model_line import Line
from tests.doubles.model_request import Request
from tests.doubles.model_script import Error, Route, Turn, Unscripted

PATIENCE = 30.0  # seconds; far above what anything here takes


class ModelApi:
    """`complaints` are what the script did not foresee; a test that has some has failed."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self.refused: set[str] = set()  # kinds of credentials that are answered 401 from now on: "api key", "bearer"
        self._routes: list[Route] = []
        self._served: Counter[tuple[str, int]] = Counter()
        self._gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self._news = threading.Condition()
        self._line = Line(self)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._line.server_port}"

    def route(self, pattern: str, *turns: Turn) -> None:
        """Gives these turns to whoever's first words or system prompt match; earlier routes go first."""
        self._routes.append(Route(pattern, turns))

    def open(self, gate: str) -> None:
        """Lets the turns that hold at this gate be answered, those to come as well."""
        self._gates[gate].set()

    def turns(self, pattern: str = "") -> list[Request]:
        """The requests for a turn by whoever's first words match, in the order in which they came."""
        return [request for request in self.requests if request.is_turn and re.search(pattern, request.opening)]

    def await_turn(self, pattern: str = "", number: int = 1) -> Request:
        """Blocks until such a request has come for the `number`th time."""
        return self._await(lambda: self.turns(pattern)[number - 1 :], f"request {number} of {pattern!r}")

    def await_words(self, pattern: str, number: int = 1) -> Request:
        """Blocks until the pattern stood in a request for a turn for the `number`th time."""
        return self._await(lambda: [each for each in self.turns() if each.has(pattern)][number - 1 :], f"{pattern!r}, time {number}")

    def _await(self, found: Callable[[], list[Request]], what: str) -> Request:
        with self._news:
            came = self._news.wait_for(found, PATIENCE)
            assert came, f"{what} has not come in {PATIENCE:.0f} s; {len(self.requests)} others have; complaints: {self.complaints}"
            return found()[0]

    def heard(self, request: Request) -> None:
        with self._news:
            self.requests.append(request)
            self._news.notify_all()
        if request.method == "CONNECT" or not request.path.startswith("/"):
            self.complain(f"Somebody wanted to go out: {request.method} {request.path}")

    def complain(self, of: str) -> None:
        self.complaints.append(of)

    def answer(self, request: Request) -> Turn:
        """The turn for a request, once its gate is open: a mishap while it is due, else the answer itself."""
        kind, _ = request.credential
        if kind in self.refused or kind == "none":
            return Turn(error=refusal(kind))
        try:
            route = self._find(request)
            turn = route.turn(request)
        except Unscripted as error:
            self.complain(str(error))
            return Turn(error=Error(400, "invalid_request_error", str(error)))
        with self._news:
            self._served[route.pattern, request.turn] += 1
            spent = turn.times is not None and self._served[route.pattern, request.turn] > turn.times
        if turn.hold:
            self._gates[turn.hold].wait()
        return turn._replace(error=None, hang=False, drop=False) if spent else turn

    def _find(self, request: Request) -> Route:
        for route in self._routes:
            if re.search(route.pattern, request.opening):
                return route
        raise Unscripted(f"No route is for {request.opening[:400]!r}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.end()
        for gate in self._gates.values():
            gate.set()
