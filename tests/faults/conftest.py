"""Says at the end which slice of the faults it was, and how long it took."""

from pathlib import Path

import pytest

from tests.faults.turn import SLICE, VARIABLE, turn


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line above the last one; the bound of six minutes is for people to hold against it, since machines differ."""
    here = f"tests/{Path(__file__).parent.name}/"
    reports = [report for found in terminalreporter.stats.values() for report in found if isinstance(report, pytest.TestReport)]
    seconds = sum(report.duration for report in reports if report.nodeid.startswith(here))
    if SLICE:
        terminalreporter.write_line(f"{here} faults: {', '.join(f'{count} at {what}' for what, count in SLICE.items())}")
    terminalreporter.write_line(f"{here}: {seconds:.0f} s of at most 360, {VARIABLE}={turn()} makes the same slice again")
