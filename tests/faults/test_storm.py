"""A bounded slice of the random faults; `just faults --kills N --seed S` makes as many as one likes."""

from pathlib import Path

import pytest

from tests.faults.storm import Storm


@pytest.mark.parametrize("seed", ["slice-1", "slice-2", "slice-3", "slice-4"])
def test_nothing_is_lost_doubled_orphaned_or_stuck(tmp_path: Path, seed: str) -> None:
    storm = Storm(tmp_path / seed, seed)
    outcome = storm.run()
    assert outcome.wrong == []
    assert sum(outcome.strikes.values()) >= 3
