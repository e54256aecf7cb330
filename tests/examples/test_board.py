"""The live board at a real terminal, with real agents."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.doubles.processes import Gate
from tests.doubles.teletype import Teletype

WATCH = ("devsh", "orchestrate", "status", "--watch")


@pytest.fixture
def gate(tmp_path: Path):
    made = Gate(tmp_path / "gate")
    yield made
    made.open()


def spawn(terminal, gate: Gate) -> None:
    """One that waits at the gate, and one that comes after it."""
    ran = terminal.run(f"""
        devsh orchestrate spawn --agent shell/bash --name first "# Wait for a sign\n{gate.pass_through}; echo it came"
        devsh orchestrate spawn --agent shell/bash --name second --depends-on first "echo over"
    """)
    assert ran.code == 0, ran.err


def at(terminal, command: Sequence[str], **size: int) -> Teletype:
    return Teletype(command, terminal.repository, terminal.environment, **size)


def sees(*words: str):
    return lambda glass: all(any(word in line for line in glass.shown) for word in words)


@pytest.mark.promise("cli.status.watch", "cli.status.board")
def test_the_board_is_redrawn_in_place_follows_the_terminal_and_ends_with_the_tasks(terminal, gate):
    spawn(terminal, gate)
    with at(terminal, WATCH) as seen:
        seen.until(sees("● running", "Wait for a sign", "○ pending", "└─ second", "waits for first", "1 running, 1 pending"))
        assert seen.glass.shown[-1].endswith("Ctrl-C leaves the agents at work")
        assert not seen.glass.has_cursor
        frames = seen.glass.frames
        seen.until(lambda glass: glass.frames > frames)  # the clock ticks
        seen.resize(62, 12)
        seen.until(lambda glass: "?" not in "".join(glass.shown) and sees("running", "first")(glass))
        assert max(map(len, seen.glass.shown)) < 62
        gate.open()
        assert seen.end() == 0
        assert seen.glass.has_cursor
        assert sees("2 completed", "✓ completed", "it came")(seen.glass)
        assert not sees("● running")(seen.glass)


def test_ctrl_c_leaves_the_board_the_cursor_and_the_agents(terminal, gate):
    spawn(terminal, gate)
    with at(terminal, WATCH) as seen:
        seen.until(sees("● running"))
        seen.type("\x03")
        assert seen.end() == 130
        assert seen.glass.has_cursor
        assert sees("● running", "still running; cancel with")(seen.glass)
    gate.open()
    assert terminal.run("devsh orchestrate wait").code == 0


def test_one_task_is_watched_in_full(terminal, gate):
    spawn(terminal, gate)
    with at(terminal, ("devsh", "orchestrate", "status", "first", "--watch")) as seen:
        seen.until(sees("● running for 0:0", "Wait for a sign", "checkout"))
        gate.open()
        assert seen.end() == 0
        assert sees("✓ completed", "it came")(seen.glass)


def test_no_color_is_respected_at_a_terminal(terminal, gate):
    gate.open()
    spawn(terminal, gate)
    with Teletype(WATCH, terminal.repository, {**terminal.environment, "NO_COLOR": "1"}) as seen:
        assert seen.end() == 0
        assert (seen.glass.colours, sees("2 completed")(seen.glass)) == (0, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_cursor_is_given_back_when_the_board_is_ended_from_outside(terminal, gate, number):
    spawn(terminal, gate)
    with at(terminal, WATCH) as seen:
        seen.until(sees("● running"))
        seen.signal(number)
        assert seen.end() == -number
        assert seen.glass.has_cursor


def test_what_agents_print_neither_colours_nor_moves_anything(terminal):
    hostile = r"printf 'one\r\ntwo \033[2J\033[31mred\033]0;title\007\n'"
    assert terminal.run(f"devsh orchestrate spawn --agent shell/bash --name it {hostile!r} && devsh orchestrate wait").code == 0
    for command in (("logs", "it"), ("status",), ("status", "it"), ("results",), ("list",)):
        with at(terminal, ("devsh", "orchestrate", *command)) as seen:
            assert seen.end() == 0
            assert sees("two red")(seen.glass)
    raw = terminal.run("devsh orchestrate logs it --raw")  # Python reads its \\r\\n as one line's end
    assert raw.out == "one\ntwo \x1b[2J\x1b[31mred\x1b]0;title\x07\n"
