"""The views: exact, whole, and never at the cost of what somebody else wrote."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.events import AgentCompleted, AttemptEnded, AttemptStarted, Event
from devsh_memory_mcp.errors import InvalidRequest
from devsh_memory_mcp.store.bookkeeping import VIEW_FILES, is_exact, read_exact
from devsh_memory_mcp.store.journal import FileJournal
from devsh_memory_mcp.store.plan import Edit
from devsh_memory_mcp.store.views import Views
from tests.doubles.chance import counting
from tests.doubles.clock import StoppedClock
from tests.store.test_journal import commits, message, spawned


class Desk:
    """A journal and its views, as the runner has them."""

    def __init__(self, journal: FileJournal, clock: StoppedClock) -> None:
        self.journal, self.directory = journal, journal.directory
        self.views = Views(journal.directory, clock, counting())

    async def commit(self, *events: Event) -> None:
        await self.journal.transact(commits(*events))

    async def write(self) -> Edit | None:
        state = await self.journal.read()
        return self.views.write(state, self.journal.offset, {})

    def plan(self) -> dict[str, object]:
        document = json.loads((self.directory / "PLAN.json").read_text())
        assert isinstance(document, dict)
        return document

    def edit(self, **changes: object) -> None:
        path = self.directory / "PLAN.json"
        path.write_text(json.dumps(self.plan() | changes))


@pytest.fixture
async def desk(journal: FileJournal, clock: StoppedClock) -> Desk:
    desk = Desk(journal, clock)
    await desk.commit(spawned(1), message())
    assert await desk.write() is None
    return desk


async def test_views_are_indented_private_and_end_with_their_bookkeeping(desk: Desk) -> None:
    for name in VIEW_FILES:
        path = desk.directory / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text().startswith("{\n  ")
        assert list(json.loads(path.read_text()))[-1] == "_view"
    assert desk.plan()["_view"] == {"seq": 3, "offset": desk.journal.offset}


async def test_a_view_that_did_not_change_is_not_written_again(desk: Desk) -> None:
    before = (desk.directory / "AGENTS.json").stat()
    await desk.commit(message("more"))
    await desk.write()
    after = (desk.directory / "AGENTS.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


async def test_views_are_exact_until_the_journal_grows(desk: Desk) -> None:
    exact = read_exact(desk.directory)
    assert exact is not None
    assert exact["PLAN.json"] == desk.plan()
    await desk.commit(message())
    assert read_exact(desk.directory) is None
    await desk.write()
    assert read_exact(desk.directory) is not None


@pytest.mark.parametrize("name", [*VIEW_FILES, "views.json"])
async def test_views_are_not_exact_where_a_file_is_not_the_one_that_was_written(desk: Desk, name: str) -> None:
    (desk.directory / name).write_text("{}")
    assert read_exact(desk.directory) is None


async def test_exact_views_are_read_without_the_heavy_libraries(desk: Desk) -> None:
    code = "import sys; from pathlib import Path; from devsh_memory_mcp.store.bookkeeping import read_exact\n"
    code += "assert read_exact(Path(sys.argv[1]))\n"
    code += "print([name for name in ('pydantic', 'anyio', 'asyncio', 'filelock') if name in sys.modules])"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(desk.directory)], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_unknown_keys_survive_in_the_file_and_in_the_journal(desk: Desk) -> None:
    tasks = desk.plan()["tasks"]
    assert isinstance(tasks, list)
    desk.edit(owner={"name": "me", "none": None}, nothing=None, tasks=[tasks[0] | {"estimate": 3}])
    await desk.commit(message())
    edit = await desk.write()
    assert edit is not None
    assert "owner" not in desk.plan()
    await desk.commit(*edit.events(await desk.journal.read()))
    assert await desk.write() is None
    assert (desk.plan()["owner"], desk.plan()["nothing"]) == ({"name": "me", "none": None}, None)
    assert desk.plan()["tasks"][0]["estimate"] == 3  # type: ignore[index]
    assert json.loads((desk.directory / edit.kept[0]).read_text())["owner"] == {"name": "me", "none": None}


async def test_tasks_written_into_the_plan_are_found_with_their_dependencies(desk: Desk) -> None:
    known = desk.plan()["tasks"]
    assert isinstance(known, list)
    new = [
        {"id": "design", "prompt": "Design it.", "agentName": "claude/opus-4.5", "status": "pending", "dependsOn": ["t1"]},
        {"id": "build", "prompt": "Build it.", "agentName": "codex/gpt-5.1", "dependsOn": ["design", "nobody"], "priority": 1},
        {"id": "broken"},
    ]
    desk.edit(tasks=known + new)
    await desk.commit(message())
    edit = await desk.write()
    assert edit is not None
    assert [task.id for task in edit.tasks] == ["design", "build"]
    assert edit.tasks[0].depends_on == ("ns0000000001",)
    assert edit.tasks[1].depends_on == (edit.tasks[0].orchestration_task_id, "nobody")
    await desk.commit(*edit.events(await desk.journal.read()))
    state = await desk.journal.read()
    assert state.get_task("build").held
    assert not [event for event in edit.events(state) if event.name == "plan_task_found"]


async def test_a_plan_set_to_paused_pauses_and_set_back_goes_on(desk: Desk) -> None:
    for status, paused in (("paused", True), ("running", False)):
        desk.edit(status=status)
        await desk.commit(message())
        edit = await desk.write()
        assert edit is not None
        assert edit.edited.paused is paused
        await desk.commit(*edit.events(await desk.journal.read()))
        await desk.write()
        assert (desk.plan()["status"] == "paused") is paused


async def test_an_edit_of_our_own_fields_is_answered_with_the_command_for_it(desk: Desk) -> None:
    tasks = desk.plan()["tasks"]
    assert isinstance(tasks, list)
    desk.edit(tasks=[tasks[0] | {"status": "cancelled"}])
    await desk.commit(message())
    edit = await desk.write()
    assert edit is not None
    assert "devsh orchestrate cancel t1" in edit.edited.advice
    await desk.commit(*edit.events(await desk.journal.read()))
    tasks[0]["prompt"] = "Do something else."
    desk.edit(tasks=tasks)
    await desk.commit(message())
    edit = await desk.write()
    assert edit is not None
    assert "prompt of t1" in edit.edited.advice


async def test_a_plan_that_is_no_json_is_kept_and_told(desk: Desk) -> None:
    (desk.directory / "PLAN.json").write_text('{"tasks": [')
    await desk.commit(message())
    edit = await desk.write()
    assert edit is not None
    assert "not valid JSON" in edit.edited.advice
    assert (desk.directory / edit.kept[0]).read_text() == '{"tasks": ['
    assert desk.plan()["orchestrationId"]


async def test_a_view_that_a_crash_left_unrecorded_is_no_edit(desk: Desk, clock: StoppedClock) -> None:
    (desk.directory / "views.json").unlink()
    await desk.commit(message())
    fresh = Views(desk.directory, clock, counting())
    assert fresh.write(await desk.journal.read(), desk.journal.offset, {}) is None
    assert not list(desk.directory.glob("*.edited-*"))


@pytest.mark.parametrize("name", [*VIEW_FILES, "views.json"])
async def test_a_removed_view_is_made_again(desk: Desk, name: str) -> None:
    content = json.loads((desk.directory / name).read_text())
    (desk.directory / name).unlink()
    assert await desk.write() is None
    assert json.loads((desk.directory / name).read_text()).keys() == content.keys()
    assert is_exact(desk.directory)


async def test_the_books_say_when_nothing_is_left_to_do(desk: Desk) -> None:
    assert json.loads((desk.directory / "views.json").read_text())["idle"] is False
    names = {"orchestration_task_id": "ns0000000001", "task_run_id": "tr_000000000001", "attempt": 1}
    await desk.commit(AttemptStarted(**names), AttemptEnded(**names, reason="exit"), AgentCompleted(orchestration_task_id="ns0000000001"))  # type: ignore[arg-type]
    await desk.write()
    assert json.loads((desk.directory / "views.json").read_text())["idle"] is True
    assert desk.plan()["status"] == "completed"


async def test_no_temporary_file_is_left(desk: Desk) -> None:
    assert {path.name for path in Path(desk.directory).iterdir()} == {*VIEW_FILES, "views.json", "EVENTS.jsonl", "journal.lock"}


async def test_an_edit_that_could_not_be_committed_is_given_again_and_stays_in_the_file(desk: Desk, clock: StoppedClock) -> None:
    desk.edit(owner="me")
    await desk.write()
    assert (await desk.write()) is not None
    assert desk.plan()["owner"] == "me"
    fresh = Views(desk.directory, clock, counting())  # as after a crash
    edit = fresh.write(await desk.journal.read(), desk.journal.offset, {})
    assert edit is not None
    assert edit.edited.unknown == {"owner": "me"}
    assert read_exact(desk.directory) is None
    await desk.commit(*edit.events(await desk.journal.read()))
    desk.views = fresh
    while (edit := await desk.write()) is not None:
        await desk.commit(*edit.events(await desk.journal.read()))
    assert (desk.plan()["owner"], read_exact(desk.directory) is None) == ("me", False)


async def test_of_two_edits_that_wait_each_is_taken_in_and_none_of_their_keys_is_lost(desk: Desk, clock: StoppedClock) -> None:
    desk.edit(owner="me")
    await desk.write()
    clock.go(timedelta(seconds=1))
    await desk.write()
    desk.edit(color="green")
    advice = []
    while (edit := await desk.write()) is not None:
        clock.go(timedelta(seconds=1))
        advice.append(edit.kept)
        await desk.commit(*edit.events(await desk.journal.read()))
    assert len(advice) == 2
    assert (desk.plan()["owner"], desk.plan()["color"]) == ("me", "green")


async def test_a_kill_between_the_second_name_and_the_replacing_loses_no_edit(desk: Desk) -> None:
    desk.edit(owner="me")
    os.link(desk.directory / "PLAN.json", desk.directory / "PLAN.json.edited-1")
    edit = await desk.write()
    assert edit is not None
    assert (edit.edited.unknown, len(edit.kept)) == ({"owner": "me"}, 1)
    assert [path.name for path in desk.directory.glob("*.edited-*")] == list(edit.kept)


@pytest.mark.parametrize("name", ["PLAN.json", "MAILBOX.json"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
async def test_what_is_no_file_is_put_aside(desk: Desk, name: str, make: Callable[[Path], None]) -> None:
    (desk.directory / name).unlink()
    make(desk.directory / name)
    edit = await desk.write()
    assert edit is not None
    assert f"{name} was no file" in edit.edited.advice
    await desk.commit(*edit.events(await desk.journal.read()))
    assert await desk.write() is None
    assert read_exact(desk.directory) is not None


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
async def test_books_that_are_no_file_are_replaced(desk: Desk, make: Callable[[Path], None]) -> None:
    (desk.directory / "views.json").unlink()
    make(desk.directory / "views.json")
    desk.views = Views(desk.directory, StoppedClock(), counting())
    await desk.commit(message())
    assert await desk.write() is None
    assert read_exact(desk.directory) is not None


async def test_an_edit_that_no_commit_holds_is_refused_and_kept(desk: Desk) -> None:
    desk.edit(owner="x" * (9 << 20))
    edit = await desk.write()
    assert edit is not None
    with pytest.raises(InvalidRequest):
        await desk.commit(*edit.events(await desk.journal.read()))
    await desk.commit(*edit.refusal(await desk.journal.read(), "It is too large."))
    assert await desk.write() is None
    assert (desk.directory / edit.kept[0]).stat().st_size > 9 << 20
