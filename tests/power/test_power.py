"""Power loss: real runs are recorded, and at every point of them the disk keeps what was synced and any part of the rest."""

import json
import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from devsh_memory_mcp.domain.events import MessageSent, OrchestrationCreated
from devsh_memory_mcp.store.line import encode
from tests.doubles.clock import START
from tests.power import judge
from tests.power.disk import Disk, File, Found, Line, torn
from tests.power.runs import RUNS, Recorded, begin, log_of

DRAWS = 4  # states that are drawn at every point, beside the worst ones; the first is used by programs as well
# Syncs that nothing here needs, each with what makes up for it.
SPARED = {
    "store.writer.Writer._flush": "it is for what another process wrote, who syncs it himself unless he is killed in between",
    "store.files.sync_file": "views wait for a commit of another process, which syncs it itself unless it is killed in between",
    "backends.local._send": "an inbox is read by a shim that lives; that a task is to be cancelled is in the journal",
    "shim.attempt.Attempt._prepare": "a briefing is for an agent that is about to run",
}


class Run(NamedTuple):
    name: str
    above: str
    log: list[Line]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    directory = tmp_path_factory.mktemp("power")
    found = []
    for name in RUNS:
        recorded = Recorded(directory / name, name)
        assert recorded.run().wrong == []
        found.append(Run(name, str(directory / name), log_of(recorded.world)))
    return [*found, Run("new", str(directory / "new"), log_of(begin(directory / "new")))]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """In memory where there is such a place: the states are many, and their syncs are not what is tested."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


def losses(run: Run, draws: int = DRAWS) -> Iterator[tuple[str, Found, judge.Owed]]:
    """Every state that a power loss may leave, after each operation, with what is owed then."""
    disk, owed = Disk(run.above), judge.Owed()
    for number, line in enumerate(run.log, 1):
        disk.do(line)
        owed.take(line, run.above)
        for what, found in disk.survivors(f"{run.name} {number}", draws):
            yield f"{run.name} after {number} ({line['op']}), {what}", found, owed


def test_what_was_promised_outlives_a_power_loss_at_every_point(runs: list[Run], scratch: Path) -> None:
    wrong: dict[str, list[str]] = defaultdict(list)
    seen: set[object] = set()
    for run in runs:
        for state, found, owed in losses(run):
            for finding in judge.missing(found, owed):
                wrong[finding].append(state)
            is_used = state.endswith(" draw 0") or " draw " not in state
            for finding in _anew(found, seen, scratch, is_used=is_used):
                wrong[finding].append(state)
    assert {finding: states[:5] for finding, states in wrong.items()} == {}


def _anew(found: Found, seen: set[object], scratch: Path, *, is_used: bool) -> Iterator[str]:
    """What programs find that go on: a writer with each journal once, and with each state once, where it is used, all of them."""
    for path, content in found.items():
        if path.endswith(judge.JOURNAL) and content not in seen:
            seen.add(content)
            assert isinstance(content, bytes)
            yield from judge.written_on(content, scratch / "journal")
    essence = judge.essence(found)
    if is_used and essence not in seen:
        seen.add(essence)
        yield from judge.restarted(found, scratch / "state")


def test_a_write_of_several_commits_and_of_long_ones_may_be_torn_anywhere(scratch: Path) -> None:
    wrong: dict[str, list[str]] = defaultdict(list)
    for sizes in ((1, 1), (3,), (1, 4, 1), (8,), (1, 1, 1, 1)):
        for seed in range(60):
            chance = random.Random(f"{sizes} {seed}")
            durable = encode([CREATED], 1, START)
            file, at = File(durable), len(durable)
            content, seq = b"", 2
            for size in sizes:
                content += encode([_message("m" * chance.choice((10, 400, 1500))) for _ in range(size)], seq, START)
                seq += size
            file.writes.append((at, content))
            for finding in judge.written_on(torn(file, chance), scratch / "journal"):
                wrong[finding].append(f"{sizes} {seed}")
    assert wrong == {}


CREATED = OrchestrationCreated(orchestration_id="orch_torn")


def _message(text: str) -> MessageSent:
    return MessageSent.model_validate({"from": "head", "to": "head", "type": "status", "message": text})


def test_the_journal_itself_says_what_the_outcome_says(runs: list[Run]) -> None:
    """So an attempt whose end was committed does not need its outcome any more."""
    for run in runs[:-1]:
        (journal,) = Path(run.above).glob("memory/orchestrations/*/EVENTS.jsonl")
        ends = [event for event in judge.whole_commits(journal.read_bytes()) if event["event"] == "attempt_ended"]
        assert ends
        for event in ends:
            outcome = json.loads((journal.parent / "runs" / event["taskRunId"] / str(event["attempt"]) / "outcome.json").read_bytes())
            totals = event["totals"]
            for name in ("branch", "salvageRef", "tip", "commits"):
                assert (totals.get(name) or None) == (outcome[name] or None)


def without(run: Run, caller: str, depth: int = 0) -> Run:
    """The same run where the syncs of one function did nothing, or with depth 1 those that it has others do."""
    return run._replace(log=[line | {"op": "skipped"} if _sync_of(line, depth) == caller else line for line in run.log])


def _sync_of(line: Line, depth: int) -> str | None:
    return line["by"][depth] if line["op"] in ("fsync", "fdatasync") and line["by"] else None


def test_a_kind_of_sync_that_is_left_out_is_found(runs: list[Run]) -> None:
    """Data that is not synced, names that are not, files that are renamed into place before they are."""
    kinds = {"store.files.sync_data", "shim.rundir.append_line", "shim.rundir.sync_directory", "shim.rundir.write_file"}
    assert kinds <= {_sync_of(line, 0) for run in runs for line in run.log}
    assert {kind for kind in kinds if not any(_is_caught(without(run, kind)) for run in runs)} == set()


def test_every_sync_is_there_for_something(runs: list[Run]) -> None:
    callers = {caller for run in runs for line in run.log if (caller := _sync_of(line, 1))}
    spared = {caller for caller in callers if not any(_is_caught(without(run, caller, 1)) for run in runs)}
    assert spared <= SPARED.keys()


def _is_caught(run: Run) -> bool:
    return any(finding for _, found, owed in losses(run) for finding in judge.missing(found, owed))
