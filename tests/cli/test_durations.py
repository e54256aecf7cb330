from datetime import timedelta

import pytest

from devsh_memory_mcp.cli.durations import clock, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("300", 300), ("0", 0), ("500ms", 0.5), ("1.5h", 5400), ("1h 5m", 3900)],
)
def test_durations_are_read_as_people_write_them(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "-5", "-1m", "5x", "m", "5m!", "40d", "five", "nan", "inf"])
def test_what_is_no_duration_is_refused_with_a_sentence(text):
    with pytest.raises(ValueError, match=r"negative|not a duration|longer than"):
        parse_duration(text)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7, "0:07"), (750, "12:30"), (3723, "1:02:03"), (-4, "0:00")])
def test_spans_are_shown_as_on_a_clock(seconds, text):
    assert clock(timedelta(seconds=seconds)) == text
