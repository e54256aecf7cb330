"""A log in which the same trouble is told over and over tells nothing else."""

from devsh_memory_mcp.engine.repeats import Repeats


def test_what_lasts_is_told_at_once_and_then_less_and_less_often_with_how_often_it_was_meant() -> None:
    repeats = Repeats()
    told = [(now, said) for now in range(7200) if (said := repeats.words("no room", float(now))) is not None]
    assert [now for now, _ in told] == [0, 60, 180, 420, 900, 1860, 3780]
    assert told[0][1] == "no room"
    assert told[1][1] == "no room (and 59 times since it was told last)"


def test_another_line_and_one_that_comes_back_after_a_while_are_told_at_once() -> None:
    repeats = Repeats()
    assert [repeats.words(text, 1.0) for text in ("one", "two", "one")] == ["one", "two", None]
    assert repeats.words("one", 1000.0) == "one"


def test_it_remembers_no_more_than_it_can_hold() -> None:
    repeats = Repeats()
    assert all(repeats.words(f"line {number}", 0.0) for number in range(1000))
    assert repeats.words("line 0", 0.0) == "line 0"
    assert repeats.words("line 999", 0.0) is None
