"""What the settings do to tasks that are spawned."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.events import SettingsChanged
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.requests import BatchRequest, SpawnRequest
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.garbage import collect
from devsh_memory_mcp.engine.preparation import Preparation
from devsh_memory_mcp.errors import SettingsInvalid, TooDeep, TooManyTasks
from devsh_memory_mcp.settings import user_file
from devsh_memory_mcp.store.journal import FileJournal
from devsh_memory_mcp.trust import trust
from devsh_memory_mcp.wiring import SystemClock
from tests.doubles.clock import StoppedClock
from tests.engine.house import House, ended, events_of, git, run_directory, shell


def says(*lines: str) -> None:
    """The user's settings."""
    path = user_file(os.environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


async def prepared(house: House, *, depth: int = 0, **fields: object) -> tuple[TaskSpec, tuple[str, ...]]:
    """The task as it would be admitted, and the warnings."""
    request = SpawnRequest.model_validate({"prompt": "Some words", **fields})
    (task,), warnings = await Preparation(house.caller(depth=depth), house.root / "mirrors").one(State(), request)
    return task.spec, warnings


@pytest.mark.promise("settings.keys")
async def test_the_agent_is_the_one_named_else_the_variables_else_the_settings(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    says('default_agent = "shell/sh"')
    assert (await prepared(house))[0].agent_name == "shell/sh"
    monkeypatch.setenv("CMUX_DEFAULT_CODING_AGENT", "shell/bash")
    assert (await prepared(house))[0].agent_name == "shell/bash"
    assert (await prepared(house, agent_name="shell/sh"))[0].agent_name == "shell/sh"


@pytest.mark.promise("settings.keys")
async def test_a_verification_of_the_settings_holds_where_the_request_names_none(house: House, repository: Path) -> None:
    says('default_agent = "shell/sh"', 'verify = "make test"')
    assert (await prepared(house))[0].verify == "make test"
    assert (await prepared(house, verify="make lint"))[0].verify == "make lint"
    assert (await prepared(house, verify=""))[0].verify is None
    assert (await prepared(house, repo="none"))[0].verify is None


@pytest.mark.promise("settings.keys")
async def test_timeout_keep_days_setup_and_prefix_hold_where_the_request_is_silent(house: House, repository: Path) -> None:
    says('default_agent = "shell/sh"', 'timeout = "90s"', "keep_days = 3", 'setup = "make deps"', 'branch_prefix = "agents/of-me-"')
    spec, _ = await prepared(house)
    assert (spec.timeout_ms, spec.keep_days, spec.setup) == (90_000, 3, "make deps")
    assert spec.repository is not None
    assert spec.repository.branch.startswith("agents/of-me-some-words-")
    spec, _ = await prepared(house, timeout_ms=5, setup="true")
    assert (spec.timeout_ms, spec.setup) == (5, "true")
    spec, _ = await prepared(house, repo="none")
    assert (spec.timeout_ms, spec.setup) == (90_000, None)
    git(repository, "branch", "agents")
    spec, warnings = await prepared(house)
    assert spec.repository is not None
    assert spec.repository.branch.startswith("devsh/some-words-")
    assert "a branch named 'agents'" in warnings[0]


@pytest.mark.promise("settings.keys", "settings.trust")
async def test_what_include_names_is_copied_and_never_committed(house: House, repository: Path) -> None:
    (repository / ".gitignore").write_text(".env*\nbuilt/\n.devsh.toml\n", encoding="utf-8")
    file = repository / ".devsh.toml"
    file.write_text('include = [".env", "built/*.o"]\n', encoding="utf-8")
    (repository / "built").mkdir()
    for name in (".env", ".env.other", "built/a.o", "built/a.c"):
        (repository / name).write_text(name, encoding="utf-8")
    git(repository, "add", ".gitignore")
    git(repository, "commit", "-qm", "ignores")
    async with house.opened() as orchestration:
        not_yet = await orchestration.spawn(shell("ls -A", repo=None))
        assert "(include); that is ignored until you allow it" in not_yet.warnings[0]
        assert ".env" not in ((await ended(orchestration, not_yet.orchestration_task_id)).result or "").split()
        trust(file, file.read_bytes(), os.environ)
        spawned = await orchestration.spawn(shell("ls -A . built; echo x > new", repo=None))
        answer = await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert answer.result is not None
    assert {".env", "a.o"} <= set(answer.result.split())
    assert not {".env.other", "a.c"} & set(answer.result.split())
    assert record.changed_files == ("new",)


@pytest.mark.promise("settings.trust")
async def test_a_repositorys_setup_is_run_once_it_was_allowed_and_told_before(house: House, repository: Path) -> None:
    file = repository / ".devsh.toml"
    file.write_text('setup = "echo prepared > made"\n', encoding="utf-8")
    async with house.opened() as orchestration:
        first = await orchestration.spawn(shell("ls", repo=None, branch="main"))
        assert [text for text in first.warnings if f"(setup); that is ignored until you allow it: devsh trust {repository}" in text]
        trust(file, file.read_bytes(), os.environ)
        second = await orchestration.spawn(shell("cat made", repo=None, branch="main"))
        elsewhere = await orchestration.spawn(shell("ls", repo="none"))
        await ended(orchestration, first.orchestration_task_id, second.orchestration_task_id, elsewhere.orchestration_task_id)
        results = [(await orchestration.status(one.orchestration_task_id)).result for one in (first, second, elsewhere)]
    assert (second.warnings, results) == ((), ["README\n", "prepared\n", ""])


async def test_a_task_on_another_repository_has_that_ones_settings(house: House, repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(repository), str(other))
    (repository / ".devsh.toml").write_text('default_agent = "claude/opus"\nbranch_prefix = "here/"\ntimeout = "1m"\n', encoding="utf-8")
    (other / ".devsh.toml").write_text('default_agent = "codex/gpt"\nbranch_prefix = "there/"\ntimeout = "2m"\n', encoding="utf-8")
    spec, _ = await prepared(house, repo=str(other), agent_name="shell/sh", branch="main")
    assert spec.repository is not None
    assert (spec.repository.branch.partition("/")[0], spec.timeout_ms) == ("there", 60_000)


@pytest.mark.promise("settings.wrong")
async def test_wrong_settings_stop_a_spawn_before_anything_is_started(house: House, repository: Path) -> None:
    (repository / ".devsh.toml").write_text("max_task = 3\n", encoding="utf-8")
    async with house.opened() as orchestration:
        with pytest.raises(SettingsInvalid, match=r"\.devsh\.toml, line 1: there is no setting 'max_task', did you mean 'max_tasks'"):
            await orchestration.spawn(shell("true"))
        assert (await orchestration.results()).total_tasks == 0
        assert house.runner_pid() == 0


@pytest.mark.promise("settings.keys")
async def test_places_are_what_was_asked_for_else_what_the_settings_say(house: House) -> None:
    says("max_concurrent = 3")
    async with house.opened() as orchestration:
        for asked in (None, None, 5, None):
            await orchestration.spawn(shell("true", max_concurrent=asked))
        says("max_concurrent = 4")
        await orchestration.spawn(shell("true"))
        await ended(orchestration, *[row.id for row in (await orchestration.results()).results])
        changes = [event for event in events_of(orchestration) if isinstance(event, SettingsChanged)]
    assert changes == [SettingsChanged(max_concurrent=3, source="settings"), SettingsChanged(max_concurrent=5)]


@pytest.mark.promise("settings.limits")
async def test_an_orchestration_has_so_many_unfinished_tasks_and_no_more(house: House) -> None:
    says("max_tasks = 2")
    gate = house.gate()
    two = {"tasks": [{"id": name, "prompt": gate.pass_through} for name in "ab"], "defaults": {"agentName": "shell/sh", "repo": "none"}}
    three = {**two, "tasks": [*two["tasks"], {"id": "c", "prompt": "true"}]}
    async with house.opened() as orchestration:
        with pytest.raises(TooManyTasks, match="0 unfinished tasks; with 3 more it would have over 2") as refused:
            await orchestration.spawn_batch(BatchRequest.model_validate(three))
        assert refused.value.code == "too_many_tasks"
        await orchestration.spawn_batch(BatchRequest.model_validate(two))
        with pytest.raises(TooManyTasks, match="2 unfinished tasks; with one more"):
            await orchestration.spawn(shell("true"))
        gate.open()
        await ended(orchestration, "a", "b")
        spawned = await orchestration.spawn(shell("true"))
        await ended(orchestration, spawned.orchestration_task_id)


@pytest.mark.promise("settings.limits")
async def test_agents_spawn_agents_so_deep_and_no_deeper(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    says("max_depth = 2")
    async with house.opened() as head:
        first = await head.spawn(shell("true"))
        await ended(head, first.orchestration_task_id)
        async with house.opened(head.orchestration_id, identity=first.task_run_id) as child:
            second = await child.spawn(shell("true"))
            await ended(child, second.orchestration_task_id)
        async with house.opened(head.orchestration_id, identity=second.task_run_id) as grandchild:
            with pytest.raises(TooDeep, match=r"agents are spawned 2 deep at most \(max_depth\)") as refused:
                await grandchild.spawn(shell("true"))
        async with house.opened(identity=second.task_run_id, directory=Path("/")) as elsewhere:
            assert elsewhere.orchestration_id != head.orchestration_id
            with pytest.raises(TooDeep):
                await elsewhere.spawn(shell("true"))
    assert refused.value.code == "too_deep"


@pytest.mark.promise("settings.keys")
async def test_output_is_kept_for_as_many_days_as_were_said_when_it_was_spawned(house: House) -> None:
    says("keep_days = 1")
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("echo words"))
        await ended(orchestration, spawned.orchestration_task_id)
        directory = await run_directory(orchestration, spawned.orchestration_task_id)
        journal = FileJournal(directory.parents[2], SystemClock())
        gone = []
        for days in (0.9, 1.1):
            clock = StoppedClock(datetime.now(UTC) + timedelta(days=days))
            gone.append({found.path.name for found in (await collect(journal, clock, older_than=timedelta(0))).removed})
        await journal.aclose()
    assert ["stdout.log" in names for names in gone] == [False, True]
