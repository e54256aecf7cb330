"""A model API on loopback whose model is scripted: it answers, fails, hangs and breaks off as a test says, and keeps what was asked.

with ModelApi() as api:
    api.route("TASK-A", Turn(tools=[Tool("Write", {"file_path": "/somewhere/a", "content": "x"})]), Turn("Done: {{result}}"))
"""

import re
import threading
from collections import Counter, defaultdict
from typing import Self

from tests.doubles.model_book import Book
from tests.doubles.model_dialect import MESSAGES, Dialect
from tests.doubles.model_line import Line
from tests.doubles.model_request import Request
from tests.doubles.model_script import Error, Route, Turn, Unscripted


class ModelApi(Book):
    """Serves from its making to the end of its block. `refused` are the kinds of credentials that are answered 401 from now on."""

    def __init__(self, dialect: Dialect = MESSAGES) -> None:
        super().__init__()
        self.dialect = dialect
        self.refused: set[str] = set()  # of "api key", "bearer"
        self._routes: list[Route] = []
        self._served: Counter[tuple[str, int]] = Counter()
        self._gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)
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

    def answer(self, request: Request) -> Turn:
        """The turn for a request, once its gate is open: with its mishap as long as that is due."""
        kind, _ = request.credential
        if kind in self.refused or kind == "none":
            return Turn(error=self.dialect.refusal(kind))
        try:
            route = self._get_route(request)
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

    def _get_route(self, request: Request) -> Route:
        for route in self._routes:
            if re.search(route.pattern, request.opening):
                return route
        raise Unscripted(f"No route is for {request.opening[:400]!r}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.end()
        for gate in list(self._gates.values()):
            gate.set()
