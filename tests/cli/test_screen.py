"""A part of a terminal that is redrawn in place, as it looks there."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devsh_memory_mcp.cli.screen import Screen
from tests.doubles.glass import Glass
from tests.doubles.teletype import Teletype

PROJECT = Path(__file__).parents[2]
SHOWING = """
import signal, sys
from devsh_memory_mcp.cli.screen import Screen
with Screen() as screen:
    screen.show(["first", "second"])
    screen.show(["third"])
    {then}
"""


class Line:
    """A terminal of 80 times 24 whose other end is read here."""

    def __init__(self) -> None:
        self._controller, terminal = pty.openpty()
        os.set_blocking(self._controller, False)
        self.stream = os.fdopen(terminal, "w", encoding="utf-8")
        self.glass = Glass(80, 24)
        self.resize(80, 24)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def look(self) -> Glass:
        with suppress(BlockingIOError):
            while content := os.read(self._controller, 65536):
                self.glass.feed(content.decode())
        return self.glass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        os.close(self._controller)


def at_terminal(then: str) -> Teletype:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TERM": "xterm"}
    return Teletype([sys.executable, "-c", SHOWING.format(then=then)], PROJECT, environment, columns=40, lines=10)


@given(st.lists(st.lists(st.text("ab 漢\u0301…─", max_size=100), max_size=30), min_size=1, max_size=4))
def test_the_last_picture_stands_where_the_ones_before_stood(pictures):
    with Line() as line:
        line.stream.write("above\n")
        with Screen(line.stream) as screen:
            for picture in pictures:
                screen.show(picture)
                glass = line.look()
                drawn = picture[: 24 - 1]
                assert [row_of(cells) for cells in glass.cells[glass.row - len(drawn) : glass.row]] == [cut(each) for each in drawn]
                assert not glass.has_cursor
        glass = line.look()
        assert glass.shown in ([], ["above"])
        assert (glass.has_cursor, glass.frames) == (True, len(pictures))


def row_of(cells: list[str]) -> str:
    return "".join(cells).rstrip()


def cut(text: str) -> str:
    """What of it fits into 79 cells."""
    plain = text.replace("\u0301", "")
    while len(plain) + plain.count("漢") > 79:
        plain = plain[:-1]
    return plain.rstrip()


def test_a_picture_of_another_size_begins_on_an_empty_screen():
    with Line() as line, Screen(line.stream) as screen:
        screen.show(["x" * 79, "y" * 79])
        line.look()
        line.resize(40, 10)
        line.glass.resize(40, 10)
        screen.show(["x" * 79, "y"])
        assert line.look().shown == ["x" * 39, "y"]


@pytest.mark.parametrize(("then", "code"), [("raise SystemExit(3)", 3), ("raise KeyboardInterrupt", -signal.SIGINT), ("1 / 0", 1)])
def test_the_cursor_comes_back_and_the_picture_stays_when_it_is_interrupted(then, code):
    with at_terminal(then) as terminal:
        assert terminal.end() == code
        assert terminal.glass.has_cursor
        assert terminal.glass.shown[0] == "third"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_cursor_comes_back_when_it_is_ended_by_a_signal(number):
    with at_terminal("signal.pause()") as terminal:
        terminal.until(lambda glass: glass.shown == ["third"])
        assert not terminal.glass.has_cursor
        terminal.signal(number)
        assert terminal.end() == -number
        assert terminal.glass.has_cursor


def test_a_stopped_job_gives_the_cursor_to_the_shell_and_takes_it_back():
    then = "signal.signal(signal.SIGUSR1, lambda *_: screen.show(['fourth'])); screen.show(['ready'])\n    while True: signal.pause()"
    with at_terminal(then) as terminal:
        terminal.until(lambda glass: glass.shown == ["ready"])
        terminal.signal(signal.SIGTSTP)
        os.waitpid(terminal.pid, os.WUNTRACED)
        terminal.until(lambda glass: glass.has_cursor)
        terminal.signal(signal.SIGCONT)
        terminal.until(lambda glass: not glass.has_cursor)
        terminal.signal(signal.SIGUSR1)
        terminal.until(lambda glass: glass.shown == ["ready", "fourth"])
        terminal.signal(signal.SIGTERM)
        assert terminal.end() == -signal.SIGTERM
        assert terminal.glass.has_cursor


def test_a_program_at_the_tests_own_terminal_is_its_foreground_job(tmp_path: Path) -> None:
    script = "stty size; ps -o tpgid=,pgid=,sess= -p $$; read answer </dev/tty; echo got $answer; exit 3"
    with Teletype(["sh", "-c", script], tmp_path, os.environ, columns=60, lines=10) as terminal:
        terminal.type("it\n")
        assert terminal.end() == 3
    size, group, *said = terminal.written.replace("it\r\n", "", 1).splitlines()
    assert (size, set(group.split()), said) == ("10 60", {str(terminal.pid)}, ["got it"])


def test_a_terminal_that_has_gone_fails_nobody():
    program = SHOWING.format(then="")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(PROJECT)}) as ran:
        assert ran.stdout is not None
        ran.stdout.close()
    assert ran.returncode in (0, 120)  # 120: Python could not flush what nobody reads
