"""What a server counts, in the text format of Prometheus; and the outer rim, where every request is counted and none goes unanswered."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.faces.http_faults import unexpected

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_log = logging.getLogger(__name__)


class Counts:
    """Requests by route and status, the seconds that they took, and how many are being answered."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.in_flight = 0


class Rim:
    """ASGI around an app: counts, and answers 500 to what nobody expected."""

    def __init__(self, app: ASGIApp, counts: Counts, clock: Callable[[], float]) -> None:
        self._app = app
        self._counts = counts
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything but requests on as it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, statuses = self._clock(), [0]

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        self._counts.in_flight += 1
        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001  the top of the HTTP app: the log has the reason, and the client an answer
            if len(statuses) == 1:
                await unexpected(error)(scope, receive, watched)
            else:
                _log.error("An answer broke off with %s.", type(error).__name__, exc_info=error)
        finally:
            self._counts.in_flight -= 1
            route = getattr(scope.get("endpoint"), "__name__", "none")
            self._counts.requests[route, statuses[-1]] += 1
            self._counts.seconds[route] += self._clock() - began


def exposition(counts: Counts, rooms: int, tasks: Mapping[str, int]) -> str:
    """All of it as text. `tasks` are those of the caller, by status."""
    lines = [
        *_family("devsh_info", "gauge", "The release.", [(f'version="{VERSION}"', 1)]),
        *_family(
            "devsh_http_requests_total", "counter", "Requests answered.",
            [(f'route="{route}",status="{status}"', count) for (route, status), count in sorted(counts.requests.items())],
        ),
        *_family(
            "devsh_http_request_seconds_total", "counter", "Seconds that they took; what follows events lasts.",
            [(f'route="{route}"', round(seconds, 6)) for route, seconds in sorted(counts.seconds.items())],
        ),
        *_family("devsh_http_requests_in_flight", "gauge", "Requests being answered.", [("", counts.in_flight)]),
        *_family("devsh_rooms", "gauge", "Clients that are known at the moment.", [("", rooms)]),
        *_family(
            "devsh_tasks", "gauge", "Tasks of the newest orchestrations.",
            [(f'status="{name}"', count) for name, count in tasks.items()],
        ),
    ]  # fmt: skip
    return "\n".join((*lines, ""))


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    shown = [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in samples]
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *shown]
