"""The protocols, one scenario each, in which every boundary is met by name: one fault at one of them, and all must end well."""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.faults import victims
from tests.faults.evidence import Asked, Fault
from tests.faults.rounds import Outcome, Round

LIST = Path(__file__).parent / "boundaries.txt"
COMMITS = ("store.files.append os.write", "store.files.sync_data os.fdatasync")  # each is another event that is lost or kept
ACTS = ("kill", "half", "ENOSPC", "EACCES", "EIO")


class Scenario(NamedTuple):
    """What is asked for, and who is killed `at` which mark, that there is something to be done for the dead.

    Where that are the `files`, a commit is cut off and the plan is edited.
    """

    asked: tuple[Asked, ...]
    at: str = ""
    role: str = ""


def _spawn(work: str, name: str, *depends_on: str, repository: bool = True) -> Asked:
    return Asked("spawn", f"{work}-{name}", name, depends_on=depends_on, has_repository=repository)


SCENARIOS = {
    "work": Scenario((_spawn("quick", "t0"), _spawn("tree", "t1", "t0"), Asked("message", "message-0", "head"))),
    "cancel": Scenario((
        _spawn("long", "t0"), _spawn("quick", "t1", "t0", repository=False),
        Asked("cancel", "cancel-0", "t0", cascade=True, after="begin t0"),
    )),
    "adopt": Scenario((_spawn("second", "t0"), _spawn("quick", "t1", "t0", repository=False)), at="begin t0", role="runner"),
    "mend": Scenario((_spawn("second", "t0"), _spawn("quick", "t1", "t0", repository=False)), at="begin t0", role="files"),
    "recover": Scenario((_spawn("dies", "t0"), _spawn("quick", "t1", "t0")), at="wrote t0", role="shim"),
    "talk": Scenario((
        _spawn("talks", "t0"), Asked("message", "message-0", "t0"), Asked("message", "message-1", "t0", after="begin t0"),
    )),
    "verify": Scenario((_spawn("verified", "t0"), _spawn("quick", "t1", "t0"))),
}  # fmt: skip


class Boundary(NamedTuple):
    """A place where a fault can happen: the `nth` time that a process of the role gets to the point in the scenario."""

    scenario: str
    role: str
    point: str
    nth: int = 1


class Enacted(Round):
    """A scenario, with one fault or none; `was_met` says whether the boundary was."""

    def __init__(self, directory: Path, name: str, script: dict[str, object]) -> None:
        self._scenario = SCENARIOS[name]
        self._is_done = not self._scenario.at
        asked = [Asked(**vars(one)) for one in self._scenario.asked]
        super().__init__(directory, name, script, asked)

    @property
    def was_met(self) -> bool:
        return (self.world.plan / "done").exists()

    def disturb(self) -> None:
        scenario = self._scenario
        if self._is_done or scenario.at not in self.marked():
            return
        self._is_done = True
        if scenario.role == "files":
            self._spoil()
        for victim in victims.find(self.world.root):
            if victim.role == scenario.role:
                victims.strike(victim.pid)
                self.struck(Fault(victim.role, victim.run))

    def _spoil(self) -> None:
        """What a writer leaves that was killed in the middle of a write, and what a person does to a plan."""
        journal = next(self.world.root.glob("orchestrations/*/EVENTS.jsonl"))
        with journal.with_name("journal.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with journal.open("ab") as file:
                file.write(b'{"seq":99,"timestamp":"2026-')
        plan = journal.with_name("PLAN.json")
        if plan.exists():  # a runner that met a fault may not have come to write it
            document = json.loads(plan.read_text(encoding="utf-8"))
            plan.write_text(json.dumps(document | {"note": "mine"}), encoding="utf-8")


def enact(directory: Path, boundary: Boundary, act: str) -> Outcome:
    """The scenario with that act at that boundary."""
    script: dict[str, object] = {"role": boundary.role, "point": boundary.point, "nth": boundary.nth, "act": act}
    enacted = Enacted(directory, boundary.scenario, script)
    outcome = enacted.run()
    outcome.name = f"{' '.join(map(str, boundary))} {act}"
    if not enacted.was_met:
        outcome.strikes["not met"] = 1
    return outcome


def enact_in(directory: str, number: str, boundary: Boundary, act: str) -> Outcome:
    """The same in a directory of its own below another."""
    return enact(Path(directory) / number, boundary, act)


def record(directory: Path, name: str) -> tuple[Outcome, set[Boundary]]:
    """The scenario with no fault, and every boundary that it meets."""
    enacted = Enacted(directory, name, {"trace": True})
    outcome = enacted.run()
    met = set()
    for line in (enacted.world.plan / "trace").read_text(encoding="utf-8").splitlines():
        role, _, rest = line.partition(" ")
        point, _, nth = rest.rpartition(" ")
        met.add(Boundary(name, role, point, int(nth)))
    return outcome, met


def listed(*, most: int = 1) -> Iterator[Boundary]:
    """The boundaries of the list, each in the first scenario that meets it, up to the `most`-th time."""
    known: set[tuple[str, str]] = set()
    for one in _lines():
        if (one.role, one.point) not in known:
            known.add((one.role, one.point))
            for nth in range(1, min(one.nth, most) + 1):
                yield one._replace(nth=nth)


def commits() -> Iterator[Boundary]:
    """Every commit of every scenario, each time that one is made."""
    for one in _lines():
        if one.point in COMMITS:
            for nth in range(1, one.nth + 1):
                yield one._replace(nth=nth)


def _lines() -> list[Boundary]:
    """Of the list, in the order of the scenarios; `nth` is how often."""
    words = [line.split(" ", 3) for line in LIST.read_text(encoding="utf-8").splitlines()]
    order = list(SCENARIOS)
    found = [Boundary(scenario, role, point, int(count)) for count, scenario, role, point in words]
    return sorted(found, key=lambda one: order.index(one.scenario))


def write_list(met: set[Boundary]) -> None:
    """Writes the list anew: how often, where, who, what; each in the first scenario that meets it, and commits in all."""
    order = list(SCENARIOS)
    first: dict[tuple[str, ...], Boundary] = {}
    for boundary in sorted(met, key=lambda one: (-order.index(one.scenario), one.nth)):
        scenario = (boundary.scenario,) if boundary.point in COMMITS else ()
        first[boundary.role, boundary.point, *scenario] = boundary  # the last one stays: of the first scenario, the highest count
    lines = [f"{one.nth} {one.scenario} {one.role} {one.point}" for one in first.values()]
    LIST.write_text("\n".join(sorted(lines, key=lambda line: line.split(" ", 1)[1])) + "\n", encoding="utf-8")


def main() -> None:
    """Records all scenarios and writes the list."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        met: set[Boundary] = set()
        for name in SCENARIOS:
            turns = []
            for turn in range(3):  # some are not met each time
                outcome, found = record(Path(directory) / f"{name}-{turn}", name)
                assert not outcome.wrong, json.dumps(outcome.wrong, indent=1)
                turns.append(found)
            always = set.intersection(*turns)
            met |= {one for one in set.union(*turns) if one.point not in COMMITS or one in always}
        write_list(met)


if __name__ == "__main__":
    main()
