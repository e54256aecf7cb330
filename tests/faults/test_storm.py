"""A bounded slice of the random faults; `just faults --kills N --seed S` makes as many as one likes."""

from pathlib import Path

from tests.faults.rounds import Outcome
from tests.faults.storm import play
from tests.faults.turn import turn

_STORMS, _MOST, _FAULTS = 3, 6, 15


def test_nothing_is_lost_doubled_orphaned_or_stuck(tmp_path: Path) -> None:
    """Three storms, others in each commit, and some more where those came to few faults."""
    outcomes: list[Outcome] = []
    while len(outcomes) < _STORMS or (dealt(outcomes) < _FAULTS and len(outcomes) < _MOST):
        outcomes.append(play(str(tmp_path), f"{turn()}-{len(outcomes)}"))
        assert {outcomes[-1].name: outcomes[-1].wrong} == {outcomes[-1].name: []}
    assert dealt(outcomes) >= _FAULTS


def dealt(outcomes: list[Outcome]) -> int:
    return sum(sum(outcome.strikes.values()) for outcome in outcomes)
