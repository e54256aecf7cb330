"""The broker's process: it reads its plan, serves what listens, and ends with its shim.

It is imported after the fork, so that no shim pays for TLS.
"""

import json
import os
import socket
import sys
import typing
from urllib.parse import urlsplit

from devsh_memory_mcp.shim.broker import turns
from devsh_memory_mcp.shim.broker.exchange import Exchange, Upstream, World
from devsh_memory_mcp.shim.broker.facts import Facts
from devsh_memory_mcp.shim.broker.plan import Plan, Route
from devsh_memory_mcp.shim.broker.rule import parse_entry
from devsh_memory_mcp.shim.broker.stream import Stream
from devsh_memory_mcp.shim.broker.turns import Turns
from devsh_memory_mcp.shim.broker.way import Place, Way
from devsh_memory_mcp.shim.shape import from_json

_MOST_CONNECTIONS = 256
_PORTS = {"http": 80, "https": 443}


def serve(control: int, facts: int, listeners: typing.Sequence[socket.socket]) -> None:
    """Until the other end of `control`, on which the plan comes first, is closed."""
    plan = from_json(Plan, json.loads(_line(control)))
    loop = Turns()
    told = Facts(facts)
    way = Way(plan)
    world = World(loop, tuple(_upstream(route) for route in plan.routes), tuple(parse_entry(each) for each in plan.allow), way, told)
    serving = [loop.start(_accept(world, listener)) for listener in listeners]
    if any(upstream.place.secured for upstream in world.upstreams):
        way.prepare()
    loop.run(loop.start(_hold(control)))
    for task in serving:
        loop.stop(task)
    told.counts()


def _line(control: int) -> bytes:
    content = b""
    while not content.endswith(b"\n"):
        more = os.read(control, 65536)
        if not more:
            sys.exit(0)  # the shim has gone already
        content += more
    return content


async def _hold(control: int) -> None:
    while True:
        await turns.ready(control, turns.READ)
        if not os.read(control, 1):
            return


async def _accept(world: World, listener: socket.socket) -> None:
    listener.setblocking(False)
    serving: list[Exchange] = []
    while True:
        await turns.ready(listener.fileno(), turns.READ)
        try:
            connection, _ = listener.accept()
        except OSError:  # it has gone again, or there is no descriptor for it
            await turns.breathe()
            continue
        serving = [each for each in serving if not each.task.is_over]
        if len(serving) >= _MOST_CONNECTIONS:
            connection.close()
        else:
            serving.append(Exchange(world, Stream(connection)))


def _upstream(route: Route) -> Upstream:
    url = urlsplit(route.base_url)
    port = url.port or _PORTS[url.scheme]
    host = (url.hostname or "").lower()
    named = f"[{host}]" if ":" in host else host
    place = Place(host, port, secured=url.scheme == "https")
    return Upstream(route, place, url.path.rstrip("/"), named if port == _PORTS[url.scheme] else f"{named}:{port}")
