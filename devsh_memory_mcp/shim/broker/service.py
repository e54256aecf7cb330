"""The shim's end of a broker: start it, hear what it tells, end it."""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
import typing

from devsh_memory_mcp.shim import kernel
from devsh_memory_mcp.shim.broker.plan import Plan
from devsh_memory_mcp.shim.feed import Feed
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.shape import to_json

PROCESS = "devsh_memory_mcp.shim.broker.process"
_LEAVES_WITHIN = 1.0  # seconds, to tell what it has counted
Told = dict[str, typing.Any]


class Broker:
    """One broker's process, which dies with this one. `hear` gets what it tells, see `facts`, and `gone` where it ends before its time.

    The listeners are closed here. Who asks before the process has begun to serve is served then: they listen already.
    """

    def __init__(self, loop: Loop, plan: Plan, listeners: typing.Sequence[socket.socket], hear: typing.Callable[[Told], object]) -> None:
        self._loop = loop
        self._hear = hear
        self._spoken = b""
        self.counts: Told = {}
        control, self._control = os.pipe()
        self._facts, facts = os.pipe()
        self._is_over = self._has_said_all = self._is_ending = False
        gc.freeze()
        self.pid = os.fork()
        if self.pid == 0:
            _become(control, facts, listeners)
        for descriptor in (control, facts):
            os.close(descriptor)
        for listener in listeners:
            listener.close()
        loop.child(self.pid, self._note_end)
        loop.read(self._facts, self._listen)
        content = json.dumps(to_json(plan)).encode() + b"\n"
        self._feed = Feed(loop, self._control, content, stays_open=True)

    def end(self) -> Told:
        """Ends it; what it has counted, empty where it had died before."""
        self._is_ending = True
        self._feed.close()
        self._loop.wait(lambda: self._is_over and self._has_said_all, time.monotonic() + _LEAVES_WITHIN)
        if not self._is_over:
            os.kill(self.pid, signal.SIGKILL)
            self._feed.abandon()
            self._loop.wait(lambda: self._is_over and self._has_said_all, time.monotonic() + _LEAVES_WITHIN)
        return self.counts

    def _note_end(self, _status: int) -> None:
        self._is_over = True
        if not self._is_ending:
            self._hear({"kind": "gone"})

    def _listen(self) -> None:
        content = os.read(self._facts, 65536)
        if not content:
            self._has_said_all = True
            self._loop.close(self._facts)
            return
        *lines, self._spoken = (self._spoken + content).split(b"\n")
        for line in lines:
            told = _told(line)
            if told.get("kind") == "counts":
                self.counts = told
            elif told:
                self._hear(told)


def _told(line: bytes) -> Told:
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict):
            return found
    return {}


def _become(control: int, facts: int, listeners: typing.Sequence[socket.socket]) -> typing.NoReturn:
    """Turns the process just forked into the broker: nothing of the shim's is open, and nobody of the same user may look into it."""
    try:
        kernel.die_with_parent()
        os.setsid()
        kernel.hide()
        kernel.call_oneself("devsh-broker")
        kernel.reset_signals(signal.SIGINT)
        kernel.close_all_but({1, 2, control, facts, *(listener.fileno() for listener in listeners)})
        os.open(os.devnull, os.O_RDONLY)  # which is 0, the lowest that is free
        os.set_blocking(facts, False)
        importlib.import_module(PROCESS).serve(control, facts, listeners)
        os._exit(0)
    except BaseException:  # noqa: BLE001  the top of a process: nothing may return into the shim's own code
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(1)
