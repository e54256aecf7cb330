"""Clients that go away without a word: nothing of theirs goes on at the server."""

import json
import logging
import os
import socket
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.contract.conftest import Place, token
from tests.engine.house import House, shell

pytestmark = pytest.mark.anyio


def sent(address: str, request: str) -> socket.socket:
    """A connection on which a request has been made, and nothing read."""
    url = urlsplit(address)
    made = socket.create_connection((url.hostname or "", url.port or 0))
    made.sendall(request.replace("\n", "\r\n").encode())
    return made


async def test_who_goes_while_he_waits_or_listens_leaves_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        task = (await orchestration.spawn(shell(f"cat {pipe.path}"))).orchestration_task_id
    shown = f"Host: localhost\nAuthorization: Bearer {token()}\n"
    body = json.dumps({"ids": [task], "timeout": 600_000})
    requests = [
        f"POST /api/orchestrate/wait HTTP/1.1\n{shown}Content-Length: {len(body)}\n\n{body}",
        f"GET /api/orchestrate/output/{task}?follow=true HTTP/1.1\n{shown}\n",
        f"GET /api/orchestrate/changes/{orchestration.orchestration_id}?after=0 HTTP/1.1\n{shown}\n",
    ]
    before = descriptors()
    async with (
        Place("tcp", house, house.directory).served() as (address, _),
        httpx2.AsyncClient(base_url=address, headers={"Authorization": f"Bearer {token()}"}) as client,
    ):
        for _ in range(20):
            for connection in [sent(address, request) for request in requests]:
                connection.close()
        assert (await client.get("/health")).status_code == 200  # behind them in the queue of connections
    cut_off = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert cut_off == [], "requests went on until the server's end"
    assert descriptors() == before
    async with house.opened() as orchestration:
        await orchestration.cancel(task)


def descriptors() -> int:
    """How many this process has open, as far as the system tells."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
