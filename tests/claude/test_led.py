"""Real claude as a head in a sandbox: it spawns workers through our server, waits, pulls, and collects what they made."""

from pathlib import Path

import pytest

from tests.claude.head import ALL, bash, hand_out, ours, wait
from tests.claude.test_worker import Team, task, team
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Turn
from tests.doubles.walls import needs_sandbox
from tests.engine.house import ended, git

__all__ = ["team"]


def collect(letter: str) -> str:
    """Merges a worker's branch, which comes into the checkout a moment after its end."""
    branch = f"{{{{all:dev/work-{letter}[\\w-]*}}}}"
    return f"until git rev-parse -q --verify {branch} >/dev/null; do :; done; git merge -q --no-ff --no-edit {branch}"


@needs_sandbox
@pytest.mark.promise("cli.spawn.cloud-workspace")
@pytest.mark.promise("pattern.leader-worker")
async def test_it_spawns_two_workers_waits_pulls_and_collects(team: Team, model_api: ModelApi, repository: Path) -> None:
    model_api.route(
        "TASK-LEAD",
        Turn("", hand_out(model_api, "ab"), expect="You are the head of orchestration"),
        Turn("", [wait(ALL, "all")]),
        Turn("", [ours("pull_orchestration_updates")]),
        Turn(
            "",
            [bash(f"{collect('a')} && {collect('b')} && echo merges: $(git log --merges --format=%s | wc -l)")],
            expect='"aggregatedStatus"',
        ),
        Turn("Merged {{result:merges: (\\d+)}}."),
    )
    async with team.opened(seconds=120) as orchestration:
        spawned = await orchestration.spawn(task("TASK-LEAD", cloud_workspace=True, sandbox="required"))
        assert (spawned.isolation, spawned.warnings) == ("bubblewrap", ())
        for letter in "ab":
            model_api.open(letter)
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.result) == ("completed", "Merged 2."), record.error_message
    assert [git(repository, "show", f"{record.branch}:{letter}.txt") for letter in "ab"] == ["a", "b"]
    async with team.opened() as _, team.house.opened(spawned.orchestration_id) as led:
        found = [await led.status(one.orchestration_task_id) for one in (await led.results()).results]
    assert [(one.status, one.isolation, one.agent_name) for one in found] == [("completed", "bubblewrap", "claude/haiku-4.5")] * 2
