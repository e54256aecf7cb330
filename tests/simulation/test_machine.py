"""Any order of requests, ends, deaths and hours: every rule holds after each step, and where the engine breaks one that shows."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation import mutants
from tests.simulation.checker import Broken
from tests.simulation.machine import Orchestrating
from tests.simulation.mutants import MUTANTS

BOUNDED = settings(
    max_examples=60, stateful_step_count=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SEEKING = settings(BOUNDED, max_examples=100, phases=[Phase.generate], verbosity=Verbosity.quiet)
SOON_FOUND = (
    mutants.places_are_ignored,
    mutants.one_place_is_left_free,
    mutants.dependencies_are_ignored,
    mutants.the_newest_goes_first,
    mutants.back_off_is_nothing,
    mutants.an_end_is_taken_back,
    mutants.a_failure_stays_alone,
    mutants.followers_are_not_told,
    mutants.a_wait_has_no_end,
)


def test_every_rule_holds_after_each_step() -> None:
    run_state_machine_as_test(Orchestrating, settings=BOUNDED)


@pytest.mark.parametrize("mutant", SOON_FOUND, ids=lambda mutant: mutant.__name__)
def test_a_broken_engine_shows(monkeypatch: pytest.MonkeyPatch, mutant: Callable[[pytest.MonkeyPatch], None]) -> None:
    mutant(monkeypatch)
    with pytest.raises(Broken) as found:
        run_state_machine_as_test(Orchestrating, settings=SEEKING)
    assert found.value.rule in MUTANTS[mutant], str(found.value)
