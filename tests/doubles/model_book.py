"""What was asked of the scripted model: kept in its order, and waited for without looking twice."""

import re
import threading
from collections.abc import Callable

from tests.doubles.model_request import Request

PATIENCE = 30.0  # seconds; far above what anything here takes


class Book:
    """`complaints` are what the script did not foresee; a test that has some has failed."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self._news = threading.Condition()

    def turns(self, pattern: str = "") -> list[Request]:
        """The requests for a turn by whoever's first words match, in the order in which they came."""
        return [request for request in self.requests if request.is_turn and re.search(pattern, request.opening)]

    def await_turn(self, pattern: str = "", number: int = 1) -> Request:
        """Blocks until such a request has come for the `number`th time."""
        return self._await(lambda: self.turns(pattern)[number - 1 :], f"Request {number} of {pattern!r}")

    def await_words(self, pattern: str, number: int = 1) -> Request:
        """Blocks until the pattern stood in a request for a turn for the `number`th time."""
        return self._await(lambda: [each for each in self.turns() if each.has(pattern)][number - 1 :], f"{pattern!r}, time {number},")

    def _await(self, found: Callable[[], list[Request]], what: str) -> Request:
        with self._news:
            came = self._news.wait_for(found, PATIENCE)
            assert came, f"{what} has not come in {PATIENCE:.0f} s; {len(self.requests)} others have; complaints: {self.complaints}"
            return found()[0]

    def heard(self, request: Request) -> None:
        """Enters it. A client that takes the model for its proxy wants to go elsewhere, which is no part of any script."""
        with self._news:
            self.requests.append(request)
            self._news.notify_all()
        if request.method == "CONNECT" or not request.path.startswith("/"):
            self.complain(f"Somebody wanted to go out: {request.method} {request.path}")

    def complain(self, of: str) -> None:
        self.complaints.append(of)
