"""The API over HTTP: routes made of the table of operations, for callers who show a token. Parse, call, render.

Others add routes and mounts of their own to the app; `Front` is what those need of it: who calls, and his room.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime

import anyio
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.errors import DevshError, InvalidRequest, JournalDamaged, NotFound, Unavailable
from devsh_memory_mcp.faces.http_catalogue import catalogue
from devsh_memory_mcp.faces.http_compat import COMPATIBLE, Documents
from devsh_memory_mcp.faces.http_cors import Cors
from devsh_memory_mcp.faces.http_events import live_events
from devsh_memory_mcp.faces.http_faults import fault_of, response_of
from devsh_memory_mcp.faces.http_front import Addition, Front
from devsh_memory_mcp.faces.http_guard import Guard
from devsh_memory_mcp.faces.http_lines import lines
from devsh_memory_mcp.faces.http_metrics import CONTENT_TYPE, Rim, exposition
from devsh_memory_mcp.faces.http_openapi import openapi, page
from devsh_memory_mcp.faces.http_parameters import parsed
from devsh_memory_mcp.faces.http_rooms import Hosting, Room
from devsh_memory_mcp.faces.http_shapes import Health
from devsh_memory_mcp.faces.http_words import REPEAT
from devsh_memory_mcp.faces.operations import OPERATIONS, STREAMS, USERS, Call, Operation

MOST_COUNTED = 100  # orchestrations, of which the metrics count the tasks


def build_app(
    key: bytes,
    hosting: Hosting,
    now: Callable[[], datetime],
    plugs: Sequence[Callable[[Front], Addition]] = (),
    hosts: Sequence[str] = (),
) -> Starlette:
    """The app. `plugs` are what others add: routes and mounts, which come first, and what has to run while the app does.

    `hosts` are the names under which it may be asked, beside this machine's own.
    """
    front = Front(key, now)
    additions = [plug(front) for plug in (live_events, catalogue, *plugs)]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with front.lifespan(hosting), AsyncExitStack() as stack:
            for addition in additions:
                await stack.enter_async_context(addition.lifespan())
            yield

    routes: list[BaseRoute] = [
        *(route for addition in additions for route in addition.routes),
        Route("/", _page),
        Route("/health", _health),
        Route("/openapi.json", _openapi),
        Route("/metrics", _metrics(front)),
        *(Route(each.path, _operation(front, each), methods=[each.method], name=each.name) for each in (*OPERATIONS, *COMPATIBLE)),
        *(Route(each.path, lines(front, each), methods=[each.method], name=each.name) for each in STREAMS),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Rim, front.counts, front.clock), Middleware(Guard, hosts), Middleware(Cors)],
        exception_handlers={DevshError: _refused, HTTPException: _unknown},
    )
    app.state.leave = front.leave  # for who serves it, when it is told to end
    return app


async def _health(_request: Request) -> Response:
    return _json(Health(version=VERSION))


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DevshError)
    return response_of(error)


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code != 404:
        told = InvalidRequest(f"{request.method} is not how {request.url.path[:200]} is asked.")
        return JSONResponse(fault_of(told).model_dump(mode="json", by_alias=True), error.status_code, error.headers)
    return response_of(NotFound(f"There is nothing at {request.url.path[:200]}.", next_step="/openapi.json shows what there is."))


async def _page(_request: Request) -> Response:
    return HTMLResponse(page(), headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"})


async def _openapi(_request: Request) -> Response:
    return JSONResponse(openapi())


def _metrics(front: Front) -> Callable[[Request], Awaitable[Response]]:
    async def metrics(request: Request) -> Response:
        claims = front.claims(request, USERS)
        async with front.enter(request, claims) as room:
            tasks: Counter[str] = Counter()
            for orchestration in (await room.orchestrations.active(everything=True))[:MOST_COUNTED]:
                with suppress(JournalDamaged):
                    tasks.update((await orchestration.summary()).status.model_dump(exclude={"total"}))
        return PlainTextResponse(exposition(front.counts, len(front.rooms), tasks), media_type=CONTENT_TYPE)

    return metrics


def _json(answer: BaseModel, status: int = 200, beside: Mapping[str, object] | None = None) -> Response:
    if isinstance(answer, Documents):  # an array, beside which nothing can stand
        return JSONResponse(answer.root, status)
    return JSONResponse({**(beside or {}), **answer.model_dump(mode="json", by_alias=True)}, status)


def _operation(front: Front, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        claims = front.claims(request, operation.roles)
        asked = await parsed(request, operation.takes, operation.renames, operation.tolerates)
        any_id = request.path_params.get("id", "")
        async with front.enter(request, claims) as room:
            call = Call(room.orchestrations, any_id, asked.orchestration_id, asked.given, claims.role)
            key = request.headers.get(REPEAT) if operation.repeats == "memory" else None
            try:
                answer = await _while_connected(request, operation, room, key, call)
            except NotFound as error:
                raise await front.rooms.missing(claims, any_id or asked.orchestration_id or "") or error from None
        return _json(_warned(answer, asked.ignored), operation.status, operation.beside(answer))

    endpoint.__name__ = operation.name  # by which it is counted
    return endpoint


async def _while_connected(request: Request, operation: Operation, room: Room, key: str | None, call: Call) -> BaseModel:
    """The answer; what lasts is given up when nobody is there any more to hear it."""
    if not operation.lasts:
        return await room.once(key, lambda: operation.run(call))
    found: list[BaseModel] = []
    failure: list[DevshError] = []

    async def run() -> None:
        try:
            found.append(await room.once(key, lambda: operation.run(call)))
        except DevshError as error:
            failure.append(error)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while (await request.receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()
    if failure:
        raise failure[0]
    if not found:
        raise Unavailable("The client has gone.")
    return found[0]


def _warned(answer: BaseModel, ignored: tuple[str, ...]) -> BaseModel:
    if not ignored or "warnings" not in type(answer).model_fields:
        return answer
    told = f"{', '.join(ignored)}: taken, and of no meaning here."
    return answer.model_copy(update={"warnings": (*answer.warnings, told)})  # type: ignore[attr-defined]
