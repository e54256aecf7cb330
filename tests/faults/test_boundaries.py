"""Every boundary of the protocols has its name in `boundaries.txt`, and a fault at each of them ends well."""

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.faults.rounds import Outcome
from tests.faults.scenarios import ACTS, SCENARIOS, Boundary, enact_in, listed, record
from tests.faults.sites import sites

# What no scenario meets, and why it need not.
EXEMPT = {
    "engine.removal.": "gc: every step is repeated by the next one, and a checkout is moved aside before it is touched",
    "engine.evidence._text os.open": "reads what agents printed",
    "engine.attempts.Attempts._known_run os.rename": "for a run.json that somebody spoilt",
    "store.repair.": "a person's command, which can be given again",
    "store.leftovers.": "a person's command, which only reads",
    "store.parcel.": "a person's command: the archive has its name when it is whole",
    "store.adoption.": "imports a root of the existing implementation, once; its own tests break it off at each step",
    "store.root.MemoryRoot._move_finished os.rename": "for such a root as well",
    "store.lock.": "locks of commands of a person's, who are told when they are taken",
    "store.views.Views._not_taken_in os.unlink": "where files can have no second name",
    "store.views.Views._second_name os.rename": "where files can have no second name",
    "store.views.Views._keep_books os.rename": "where files can have no second name",
    "store.files.give_name os.rename": "where files can have no second name",
    "store.files._take_back os.ftruncate": "only after a refused call",
    "store.files.keep_aside os.unlink": "only after a refused call",
    "store.files.replace_file os.unlink": "only after a refused call",
    "shim.report.Reports.add os.ftruncate": "only after a refused call",
    "backends.local._send os.ftruncate": "only after a write that was cut off",
    "shim.rundir.sweep os.unlink": "only after a killed writer",
    "shim.history.Bundler.make os.unlink": "only after a bundle that was cut off",
    "shim.__main__.": "says on stderr why it refuses, or takes a lock that nobody handed over: a person's start",
    "shim.doorbell.main os.write": "says on stderr why there is no runner",
    "shim.doorbell._rotate os.replace": "for a log of 5 MB",
    "shim.doorbell.kill_process os.kill": "without pidfds",
    "shim.census.end os.kill": "without pidfds",
    "shim.loop.Loop.reap os.kill": "a command of git's that is stuck",
    "shim.mirror.": "repositories by URL: every step is repeated, under a lock that goes with its holder",
    "shim.saving.Saving._add open": "for files in another encoding than they promise",
    "shim.workspace._copy_all os.symlink": "ignored files that a user has included",
}
JOBS = 2 * (os.cpu_count() or 1)  # most of a round is waiting


def test_every_place_in_the_source_that_changes_something_is_in_the_list() -> None:
    known = {boundary.point for boundary in listed()}
    missing = [site for site in sites() if site not in known and not site.startswith(tuple(EXEMPT))]
    assert missing == [], "a scenario has to meet them: python -m tests.faults.scenarios writes the list anew"


def test_no_exemption_is_left_over() -> None:
    known, found = {boundary.point for boundary in listed()}, set(sites())
    assert [start for start in EXEMPT if not any(site.startswith(start) and site not in known for site in found)] == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_meets_no_boundary_that_is_not_in_the_list(tmp_path: Path, name: str) -> None:
    outcome, met = record(tmp_path / name, name)
    assert outcome.wrong == []
    unknown = {one.point for one in met} - {one.point for one in listed()}
    assert [point for point in unknown if not point.startswith(tuple(EXEMPT))] == []


def enacted(directory: Path, chosen: list[tuple[Boundary, str]]) -> list[Outcome]:
    with ProcessPoolExecutor(JOBS) as pool:
        numbered = ((str(directory), str(number), *one) for number, one in enumerate(chosen))
        return list(pool.map(enact_in, *zip(*numbered, strict=True)))


def judged(outcomes: list[Outcome]) -> None:
    assert {outcome.name: outcome.wrong for outcome in outcomes if outcome.wrong} == {}
    missed = Counter(outcome.strikes.get("not met", 0) for outcome in outcomes)[1]
    assert missed <= max(3, len(outcomes) // 10), f"{missed} of {len(outcomes)} boundaries were not met"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_process_may_be_killed_at_a_boundary(tmp_path: Path, name: str) -> None:
    """Every third one; `just faults --boundaries 1` does them all, with every act."""
    judged(enacted(tmp_path, [(boundary, "kill") for boundary in listed() if boundary.scenario == name][::3]))


@pytest.mark.parametrize("act", ACTS[1:])
def test_a_call_may_be_cut_off_or_refused(tmp_path: Path, act: str) -> None:
    """One boundary in twelve, other ones for each act."""
    start = ACTS.index(act)
    judged(enacted(tmp_path, [(boundary, act) for boundary in list(listed())[start::12]]))
