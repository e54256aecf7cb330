"""The one place where the shim waits: descriptors, children, signals and deadlines in a single `poll`.

Everything that takes time runs inside `wait`, so the agent is supervised while git works. Idle it sleeps without a tick.
"""

import os
import select
import signal
import time
import typing

Callback = typing.Callable[[], object]
_PASS = signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP


class Timer:
    """Something to be done at `when` (monotonic seconds), unless it is cancelled before."""

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback = callback


class Loop:
    """Callbacks by descriptor, child and deadline; there is one in a process, since it owns the process's signals."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._callbacks: dict[int, Callback] = {}
        self._children: dict[int, typing.Callable[[int], None]] = {}
        self._tireless: set[int] = set()
        self._timers: list[Timer] = []
        self.on_end: Callback = lambda: None  # asked to leave, by SIGTERM or SIGINT
        self._signals, self._wakeup = os.pipe()
        for descriptor in (self._signals, self._wakeup):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        for number in _PASS:
            signal.signal(number, _noted)
        self.read(self._signals, self._take_signals)

    def read(self, descriptor: int, callback: Callback) -> None:
        """Calls back whenever the descriptor can be read or has come to its end."""
        self._callbacks[descriptor] = callback
        self._poll.register(descriptor, select.POLLIN)

    def write(self, descriptor: int, callback: Callback) -> None:
        """Calls back whenever the descriptor can be written or nobody reads it any more."""
        self._callbacks[descriptor] = callback
        self._poll.register(descriptor, select.POLLOUT)

    def forget(self, descriptor: int) -> None:
        """Calls back no more for the descriptor, which stays open."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def close(self, descriptor: int) -> None:
        """Forgets the descriptor and closes it."""
        self.forget(descriptor)
        os.close(descriptor)

    def child(self, pid: int, callback: typing.Callable[[int], None]) -> None:
        """Calls back with the wait status once this child has ended. To be called before the next wait."""
        self._children[pid] = callback

    def keep_going(self, pid: int) -> None:
        """Continues this child whenever it is stopped."""
        self._tireless.add(pid)

    def at(self, when: float, callback: Callback) -> Timer:
        """Calls back once at `when`."""
        timer = Timer(when, callback)
        self._timers.append(timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """The timer's callback will not be called; one that was is fine."""
        if timer in self._timers:
            self._timers.remove(timer)

    def wait(self, done: typing.Callable[[], bool], until: float | None = None) -> bool:
        """Lets things happen until `done`, at most until the instant `until`; whether it is done."""
        while not done():
            if until is not None and time.monotonic() >= until:
                return False
            self._turn(until)
        return True

    def _turn(self, until: float | None) -> None:
        instants = [timer.when for timer in self._timers] + ([] if until is None else [until])
        # One millisecond more, since poll counts in whole ones and would spin through the last.
        milliseconds = max(0, int((min(instants) - time.monotonic()) * 1000) + 1) if instants else None
        for descriptor, _ in self._poll.poll(milliseconds):
            callback = self._callbacks.get(descriptor)
            if callback is not None:  # an earlier callback of this round may have closed it
                callback()
        now = time.monotonic()
        for timer in [timer for timer in self._timers if timer.when <= now]:
            self._timers.remove(timer)
            timer.callback()

    def _take_signals(self) -> None:
        numbers = os.read(self._signals, 4096)
        if signal.SIGCHLD in numbers:
            self.reap()
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self.on_end()

    def reap(self) -> None:
        """Takes note of every child that has ended; adopted ones are only buried."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if not pid:
                return
            if os.WIFSTOPPED(status):
                if pid in self._tireless:
                    os.kill(pid, signal.SIGCONT)  # still ours to be buried, so it is no other process
                continue
            self._tireless.discard(pid)
            callback = self._children.pop(pid, None)
            if callback is not None:
                callback(status)


def _noted(number: int, frame: object) -> None:
    """A signal comes through the wake-up descriptor; without a handler it would not come at all."""
