"""Every boundary of the protocols has its name in `boundaries.txt`, and a fault at each of them ends well."""

import itertools
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.faults.exempt import EXEMPT
from tests.faults.rounds import Outcome
from tests.faults.scenarios import ACTS, SCENARIOS, Boundary, commits, enact_in, listed, record
from tests.faults.sites import sites
from tests.faults.turn import turn

# What a process does not get to each time, and why; by role and point.
_QUICKER = "where a waiting client replaces the runner before a shim's starter does"
BY_TIMING = {
    "starter shim.doorbell._lock fcntl.flock": _QUICKER,
    "starter shim.doorbell._start_one os.open": _QUICKER,
    "starter shim.doorbell._launch os.open": _QUICKER,
    "starter shim.doorbell._launch fork_exec": _QUICKER,
    "runner store.views.parsed os.open": "the plan is edited before the views are written, or behind that",
}
JOBS = 2 * (os.cpu_count() or 1)  # most of a round is waiting


def test_every_place_in_the_source_that_changes_something_is_in_the_list() -> None:
    known = {boundary.point for boundary in listed()}
    missing = [site for site in sites() if site not in known and site not in EXEMPT]
    assert missing == [], "a scenario has to meet them: python -m tests.faults.scenarios writes the list anew"


def test_no_exemption_is_left_over() -> None:
    known, found = {boundary.point for boundary in listed()}, set(sites())
    assert [site for site in EXEMPT if site not in found or site in known] == []


def test_what_depends_on_timing_is_in_the_list() -> None:
    assert set(BY_TIMING) <= {f"{boundary.role} {boundary.point}" for boundary in listed()}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_meets_no_boundary_that_is_not_in_the_list(tmp_path: Path, name: str) -> None:
    outcome, met = record(tmp_path / name, name)
    assert outcome.wrong == []
    unknown = {one.point for one in met} - {one.point for one in listed()}
    assert unknown <= set(EXEMPT)


def enacted(directory: Path, chosen: list[tuple[Boundary, str]]) -> list[Outcome]:
    with ProcessPoolExecutor(JOBS) as pool:
        numbered = ((str(directory), str(number), *one) for number, one in enumerate(chosen))
        return list(pool.map(enact_in, *zip(*numbered, strict=True)))


def judged(outcomes: list[Outcome]) -> None:
    assert {outcome.name: outcome.wrong for outcome in outcomes if outcome.wrong} == {}
    missed = [outcome.name.split(" ", 1)[1].rpartition(" ")[0] for outcome in outcomes if "not met" in outcome.strikes]
    first = [name.removesuffix(" 1") for name in missed if name.endswith(" 1")]  # how many more there are depends on who is quicker
    assert set(first) <= set(BY_TIMING)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_process_may_be_killed_at_a_boundary(tmp_path: Path, name: str) -> None:
    """Every sixth one, others in each commit; `just faults --boundaries 1` does them all, with every act."""
    judged(enacted(tmp_path, [(boundary, "kill") for boundary in listed() if boundary.scenario == name][turn() % 6 :: 6]))


@pytest.mark.parametrize("act", ACTS[1:])
def test_a_call_may_be_cut_off_or_refused(tmp_path: Path, act: str) -> None:
    """One boundary in twenty-four, other ones for each act and in each commit."""
    start = (turn() + 6 * ACTS.index(act)) % 24
    judged(enacted(tmp_path, [(boundary, act) for boundary in list(listed())[start::24]]))


def test_each_commit_of_a_scenario_may_be_the_one(tmp_path: Path) -> None:
    """One in eighty-three of all commits and acts, others in each commit of ours; `--boundaries N` does all of them, whatever N is."""
    judged(enacted(tmp_path, list(itertools.product(commits(), ACTS))[turn() % 83 :: 83]))


def test_the_list_has_more_than_one_commit_of_a_scenario() -> None:
    found = Counter((one.scenario, one.role) for one in commits())
    assert min(found[name, "runner"] for name in SCENARIOS) > 4
