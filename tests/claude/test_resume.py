"""A task that goes on from an ended one: its session with real claude, its work, and its branch where nobody touched it."""

import json
from pathlib import Path

import pytest

from devsh_memory_mcp.domain import names
from devsh_memory_mcp.domain.answers import SpawnAnswer, TaskRecord
from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest
from devsh_memory_mcp.errors import Conflict, InvalidRequest, NotFound
from devsh_memory_mcp.ports import Orchestration
from tests.claude.test_worker import Team, heard, task, team, write
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.doubles.walls import needs_sandbox
from tests.engine.house import ended, git, shell

__all__ = ["team"]

HERE = "{{result:(/\\S+workspace)}}"
WHERE = Tool("Bash", {"command": "pwd"})


@pytest.fixture
def story(model_api: ModelApi) -> None:
    """What the agent does in two tasks, one conversation."""
    model_api.route(
        "TASK-A",
        Turn("", [WHERE], usage={"input_tokens": 1000, "output_tokens": 20}),
        Turn("", [write(f"{HERE}/one.txt", "one\n")]),
        Turn("The word is plover."),
        Turn("", [WHERE], usage={"input_tokens": 2000, "output_tokens": 20}, expect="The word is plover"),
        Turn("", [write(f"{HERE}/two.txt", "two\n")], expect="GO-ON"),
        Turn("Went on."),
    )


async def done(orchestration: Orchestration, request: SpawnRequest) -> tuple[SpawnAnswer, TaskRecord]:
    spawned = await orchestration.spawn(request)
    await ended(orchestration, spawned.orchestration_task_id)
    return spawned, await orchestration.status(spawned.orchestration_task_id)


@pytest.mark.promise("cli.spawn.resume", "mcp.spawn_agent.resume")
async def test_it_remembers_what_was_said_and_its_branch_moves_on(team: Team, story: None, model_api: ModelApi, repository: Path) -> None:
    async with team.opened() as orchestration:
        _, first = await done(orchestration, task("TASK-A: begin"))
        assert (await orchestration.work(first.id)).session == ("claude", "--resume", first.session_id)
        spawned, second = await done(orchestration, task("GO-ON", resume=first.id))
        _, follower = await done(orchestration, shell("cat two.txt; echo new > new", repo=None, depends_on=(second.id,)))
    assert (follower.result, follower.branch == second.branch, follower.warnings) == ("two\n", False, ())
    assert (first.status, second.status, second.result) == ("completed", "completed", "Went on."), second.error_message
    assert (spawned.warnings, spawned.branch, second.branch) == ((), first.branch, first.branch)
    assert git(repository, "ls-tree", "--name-only", str(first.branch)).split() == ["README", "one.txt", "two.txt"]
    assert (second.commits, second.changed_files) == (1, ("two.txt",))
    ids = [names.session_id(record.task_run_id, 1) for record in (first, second)]
    assert [first.session_id, second.session_id] == ids
    assert 0 < (second.cost_usd or 0) < 2 * (first.cost_usd or 0) + 0.01
    asked = json.dumps(model_api.turns()[3].body)
    assert f"You go on from your earlier task {first.orchestration_task_id}" in asked
    assert str(second.workspace) in json.dumps(model_api.turns()[4].body)


@needs_sandbox
@pytest.mark.parametrize("modes", [("required", "required"), ("required", "none"), ("none", "required")])
async def test_a_session_goes_into_a_sandbox_and_comes_out_of_it(
    team: Team, story: None, model_api: ModelApi, claude_home: Path, modes: tuple[str, str]
) -> None:
    before, after = modes
    (claude_home / ".claude").mkdir(exist_ok=True)
    (claude_home / ".claude/CLAUDE.md").write_text("sentinel: be brief")
    async with team.opened() as orchestration:
        _, first = await done(orchestration, task("TASK-A: begin", sandbox=before))
        _, second = await done(orchestration, task("GO-ON", resume=first.id, sandbox=after))
    assert (first.status, second.status, second.result) == ("completed", "completed", "Went on."), second.error_message
    assert [record.isolation == "bubblewrap" for record in (first, second)] == [mode == "required" for mode in modes]
    assert second.warnings == ()
    kept = {path.stem for path in (claude_home / ".claude/projects").glob("*/*.jsonl")}
    assert kept == {str(first.session_id), str(second.session_id)}
    assert all("sentinel: be brief" in json.dumps(turn.body) for turn in model_api.turns())


@pytest.mark.parametrize("touched", ["moved", "checked out", "gone"])
async def test_a_branch_that_the_user_touched_is_left_to_him(team: Team, story: None, repository: Path, touched: str) -> None:
    async with team.opened() as orchestration:
        _, first = await done(orchestration, task("TASK-A: begin"))
        branch = str(first.branch)
        if touched == "gone":
            git(repository, "branch", "-D", branch)
        else:
            git(repository, "checkout", "-q", branch)
        if touched == "moved":
            git(repository, "commit", "-q", "--allow-empty", "-m", "mine")
            git(repository, "checkout", "-q", "main")
        before = git(repository, "for-each-ref", "refs/heads")
        spawned, second = await done(orchestration, task("GO-ON", resume=first.orchestration_task_id))
    assert (second.status, len(spawned.warnings), spawned.branch == branch) == ("completed", 1, False)
    assert branch in spawned.warnings[0]
    assert set(before.splitlines()) < set(git(repository, "for-each-ref", "refs/heads").splitlines())
    assert git(repository, "ls-tree", "--name-only", str(second.branch)).split() == ["README", "one.txt", "two.txt"]
    assert ("mine" in git(repository, "log", "--format=%s", str(second.branch))) == (touched == "moved")


async def test_a_cancelled_task_goes_on_from_what_was_saved(team: Team, model_api: ModelApi, repository: Path) -> None:
    model_api.route(
        "TASK-A",
        Turn("", [WHERE]),
        Turn("", [write(f"{HERE}/one.txt", "one\n")]),
        Turn("", [Tool("Bash", {"command": "pwd"})], hang=True, times=1, expect="one.txt"),
        Turn("Went on."),
    )
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: begin"))
        await heard(model_api, "one.txt")
        await orchestration.cancel(spawned.orchestration_task_id)
        again, second = await done(orchestration, task("GO-ON", resume=spawned.orchestration_task_id))
    assert (second.status, again.warnings) == ("completed", ()), second.error_message
    assert (second.commits, again.base_commit) == (0, git(repository, "rev-parse", f"refs/devsh/salvage/{spawned.task_run_id}/1"))


async def test_an_ended_agent_is_not_written_to_but_resumed(team: Team, story: None) -> None:
    async with team.opened() as orchestration:
        _, first = await done(orchestration, task("TASK-A: begin"))
        with pytest.raises(Conflict) as caught:
            await orchestration.message(MessageRequest(to=first.id, message="one more thing"))
        answer = await orchestration.results()
    assert f'devsh orchestrate spawn --resume {first.orchestration_task_id} "…"' in caught.value.next_step
    assert f'devsh orchestrate spawn --resume {first.orchestration_task_id} "…"' in str(answer.next)


async def test_what_cannot_be_resumed_says_what_to_do(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("", [WHERE], hang=True))
    async with team.opened() as orchestration:
        script, _ = await done(orchestration, shell("true"))
        broken, _ = await done(orchestration, task("TASK-B", setup="false"))
        running = await orchestration.spawn(task("TASK-A: begin"))
        for any_id, said in (
            (script.orchestration_task_id, "keeps no session"),
            (broken.orchestration_task_id, "ended before its agent had a session"),
            (running.orchestration_task_id, "has not ended"),
        ):
            with pytest.raises(Conflict, match=said) as caught:
                await orchestration.spawn(task("GO-ON", agent_name=None, resume=any_id))
            assert caught.value.next_step
        with pytest.raises(NotFound):
            await orchestration.spawn(task("GO-ON", resume="nothing"))
        await orchestration.cancel(running.orchestration_task_id)


async def test_code_and_provider_are_those_of_the_task(team: Team, story: None) -> None:
    async with team.opened() as orchestration:
        _, first = await done(orchestration, task("TASK-A: begin"))
        for wrong in ({"repo": "none"}, {"branch": "main"}, {"include_dirty": True}, {"agent_name": "shell/bash"}):
            with pytest.raises(InvalidRequest) as caught:
                await orchestration.spawn(task("GO-ON", **{"agent_name": None, "resume": first.id} | wrong))
            assert caught.value.next_step.startswith("Leave")
        assert (await orchestration.results()).total_tasks == 1
