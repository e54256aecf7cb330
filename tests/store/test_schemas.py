"""schemas/ is what the records say, and what is written is valid by it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from devsh_memory_mcp.domain.answers import WaitAnswer
from devsh_memory_mcp.domain.events import AgentCompleted, AgentFailed, AttemptEnded, AttemptStarted, PlanEdited
from devsh_memory_mcp.domain.records import DiffStat, Totals
from devsh_memory_mcp.shim.rundir import Outcome
from devsh_memory_mcp.shim.shape import to_json
from devsh_memory_mcp.store.journal import JOURNAL_FILE, FileJournal
from devsh_memory_mcp.store.schemas import schemas, text_of
from devsh_memory_mcp.store.views import VIEW_FILES, Views
from tests.doubles.chance import counting
from tests.doubles.clock import StoppedClock
from tests.store.test_journal import commits, message, spawned

DIRECTORY = Path(__file__).parents[2] / "schemas"
ALL = schemas()


def test_the_schemas_on_disk_are_those_of_the_records() -> None:
    """Where this fails: `python -m devsh_memory_mcp.store.schemas`."""
    assert {str(path.relative_to(DIRECTORY)) for path in DIRECTORY.rglob("*.json")} == set(ALL)
    for name, schema in ALL.items():
        assert (DIRECTORY / name).read_text() == text_of(schema), name


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(ALL[name])


def validate(document: object, name: str) -> None:
    jsonschema.Draft202012Validator(ALL[name]).validate(document)


async def test_the_files_of_an_orchestration_are_valid(journal: FileJournal, clock: StoppedClock) -> None:
    names = {"task_run_id": "tr_000000000001", "orchestration_task_id": "ns0000000001", "attempt": 1}
    await journal.transact(commits(spawned(1), spawned(2), message(), PlanEdited(kept="x", unknown={"mine": [1]})))
    await journal.transact(commits(AttemptStarted.model_validate(names)))
    totals = Totals(commits=1, diff_stat=DiffStat(files=1), exit_code=0)
    await journal.transact(commits(AttemptEnded.model_validate(names | {"reason": "exit", "totals": totals})))
    await journal.transact(commits(AgentCompleted(orchestration_task_id="ns0000000001", result="r", branch="dev/x")))
    await journal.transact(commits(AgentFailed(orchestration_task_id="ns0000000002", reason="dependency", error_message="no")))
    Views(journal.directory, clock, counting()).write(await journal.read(), journal.offset, {"ns0000000002": "a place"})
    for name in VIEW_FILES:
        validate(json.loads((journal.directory / name).read_bytes()), name.replace(".json", ".schema.json"))
    for line in (journal.directory / JOURNAL_FILE).read_bytes().splitlines():
        validate(json.loads(line), "EVENTS.schema.json")


def test_an_outcome_is_valid() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    outcome = Outcome(
        format=1, task_run_id="tr", attempt=1, cause="exit", succeeded=True, started_at=now, ended_at=now, duration_ms=1, last_report=3
    )
    validate(to_json(outcome), "outcome.schema.json")


def test_an_answer_is_valid() -> None:
    answer = WaitAnswer(orchestration_task_id="ns1", status="running", timed_out=True)
    validate(answer.model_dump(mode="json", by_alias=True), "answers/WaitAnswer.schema.json")


def test_a_line_with_a_wrong_field_is_refused_by_the_schema() -> None:
    line = {"seq": 1, "timestamp": "2026-01-01T00:00:00.000Z", "event": "settings_changed", "maxConcurrent": "many"}
    with pytest.raises(jsonschema.ValidationError):
        validate(line, "EVENTS.schema.json")
