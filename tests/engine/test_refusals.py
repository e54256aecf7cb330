"""A login that the provider refuses holds what else uses it, until it is another one or somebody has tried it once more."""

import json
import os
import time
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.answers import SpawnAnswer
from devsh_memory_mcp.domain.requests import SpawnRequest
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.shim.broker.credential import find_expiry
from devsh_memory_mcp.shim.broker.plan import Source
from tests.doubles.walls import needs_sandbox
from tests.engine.house import House, ended, events_of, shell, until_event

RESULT = (
    '{"type":"result","subtype":"success","is_error":%s,"result":"%s","api_error_status":%s,"num_turns":1,'
    '"terminal_reason":"completed","stop_reason":"end_turn","total_cost_usd":0,"permission_denials":[]}'
)
REFUSED, DONE = RESULT % ("true", "Invalid API key", "401"), RESULT % ("false", "done", "null")
# A claude whose provider takes what is `good`: a login in its file, a key in its variable, or whatever where that file says so.
CLAUDE = f"""#!/bin/sh
read -r prompt
case "$ANTHROPIC_API_KEY $(cat "$HOME/.claude/.credentials.json" "$HOME/provider")" in
*good*) echo '{DONE}' ;;
*) echo '{REFUSED}'; exit 1 ;;
esac
"""


class Scene:
    """`first`, which was refused, and `second`, which comes behind a gate."""

    def __init__(self, house: House, home: Path, environment: dict[str, str]) -> None:
        self.house, self.home, self.environment = house, home, environment

    def claude(self, **fields: object) -> SpawnRequest:
        return SpawnRequest.model_validate({"prompt": "Do it.", "agent_name": "claude/haiku-4.5", "repo": "none"} | fields)

    async def refused(self, orchestration: Orchestration) -> SpawnAnswer:
        """The second, held."""
        gate = self.house.gate("../gate")
        before = await orchestration.spawn(shell(gate.pass_through))
        second = await orchestration.spawn(self.claude(depends_on=[before.orchestration_task_id]))
        first = await orchestration.spawn(self.claude())
        await ended(orchestration, first.orchestration_task_id)
        record = await orchestration.status(first.orchestration_task_id)
        assert (record.status, record.failure, record.attempt) == ("failed", "auth", 1)
        gate.open()
        await until_event(orchestration, "task_held")
        return second


@pytest.fixture
def scene(house: House, own_surroundings: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    programs = house.directory.parent / "programs"
    programs.mkdir()
    (programs / "claude").write_text(CLAUDE)
    (programs / "claude").chmod(0o755)
    (own_surroundings / "provider").write_text("")
    (own_surroundings / ".claude").mkdir()
    (own_surroundings / ".claude/.credentials.json").write_text('{"claudeAiOauth": {"accessToken": "bad"}}')
    environment = dict(house.caller().environment)
    return Scene(house, own_surroundings, environment | {"PATH": f"{programs}:{environment['PATH']}"})


async def test_a_login_that_was_refused_holds_the_others_until_it_is_another_one(scene: Scene) -> None:
    async with scene.house.opened(environment=scene.environment) as orchestration:
        second = (await scene.refused(orchestration)).orchestration_task_id
        held = await orchestration.status(second)
        assert (held.status, held.attempt, held.needs_input) == ("pending", 0, held.waiting_for)
        assert "login: that of claude was refused" in (held.waiting_for or "")
        assert "run `claude` and type /login" in (held.waiting_for or "")
        (scene.home / ".claude/.credentials.json").write_text('{"claudeAiOauth": {"accessToken": "a good one"}}')
        await orchestration.spawn(shell("true"))  # who rings has it looked at before its time
        await until_event(orchestration, "agent_completed", 3)
        assert (await orchestration.status(second)).result == "done"


async def test_another_runner_holds_them_too(scene: Scene) -> None:
    async with scene.house.opened(environment=scene.environment) as orchestration:
        second = (await scene.refused(orchestration)).orchestration_task_id
        scene.house.end_runner()
        await orchestration.spawn(shell("true"))
        await until_event(orchestration, "agent_completed", 2)
        assert (await orchestration.status(second)).attempt == 0
        await orchestration.cancel(second)


async def test_a_key_that_was_refused_is_stood_in_for_by_the_next_one_that_is_lent(scene: Scene) -> None:
    keys = [scene.environment | {"ANTHROPIC_API_KEY": value} for value in ("bad", "good")]
    async with scene.house.opened(environment=keys[0]) as orchestration:
        second = (await scene.refused(orchestration)).orchestration_task_id
        assert "claude's ANTHROPIC_API_KEY was refused" in ((await orchestration.status(second)).waiting_for or "")
        async with scene.house.opened(environment=keys[1]) as other:
            await ended(other, second)
            assert (await other.status(second)).result == "done"


def keep_login(home: Path, *, seconds: float) -> None:
    """One that is over in so many seconds."""
    login = {"accessToken": "the-real-one", "refreshToken": "r", "expiresAt": round((time.time() + seconds) * 1000)}
    (home / ".claude/.credentials.json").write_text(json.dumps({"claudeAiOauth": login}))


@needs_sandbox
@pytest.mark.parametrize("seconds", [-3600.0, 20.0])
async def test_a_login_that_is_over_or_about_to_be_holds_a_task_before_it_costs_an_attempt(scene: Scene, seconds: float) -> None:
    """Its agent in a sandbox cannot renew it; without one it does so itself."""
    (Path(scene.environment["PATH"].partition(":")[0]) / "claude").write_text(f"#!/bin/sh\nread -r prompt; echo '{DONE}'\n")
    keep_login(scene.home, seconds=seconds)
    async with scene.house.opened(environment=scene.environment) as orchestration:
        task = (await orchestration.spawn(scene.claude(sandbox="required"))).orchestration_task_id
        free = (await orchestration.spawn(scene.claude())).orchestration_task_id
        await until_event(orchestration, "task_held")
        await ended(orchestration, free)
        held, done = await orchestration.status(task), await orchestration.status(free)
        keep_login(scene.home, seconds=3600)
        await orchestration.spawn(shell("true"))  # who rings has it looked at before its time
        await ended(orchestration, task)
        went_on = await orchestration.status(task)
        written = [event.model_dump_json() for event in events_of(orchestration)]
    assert (held.status, held.attempt, held.needs_input) == ("pending", 0, held.waiting_for)
    assert "login: that of claude has expired" in str(held.waiting_for)
    assert "used `claude` once yourself" in str(held.waiting_for)
    assert "run `claude` and type /login" in str(held.waiting_for)
    assert (done.status, done.result) == ("completed", "done")
    assert (went_on.status, went_on.attempt, went_on.result, went_on.needs_input) == ("completed", 1, "done", None), went_on.error_message
    assert not any("the-real-one" in line for line in written)


def test_a_login_that_cannot_be_read_quickly_or_says_nothing_of_its_end_is_tried(tmp_path: Path) -> None:
    def expires_at(text: str | None) -> float | None:
        path = tmp_path / "login"
        path.unlink(missing_ok=True)
        os.mkfifo(path) if text is None else path.write_text(text)
        return find_expiry(Source("bearer", login_file=str(path), login="claude"))

    one = '{"claudeAiOauth": {"accessToken": "x", "expiresAt": 5000}}'
    assert expires_at(one) == 5.0
    assert expires_at(None) is None, "a pipe is not waited for"
    assert expires_at(" " * (1 << 20) + one) is None, "no more than that is read"
    assert [expires_at(text) for text in ("", "[]", "{}", '{"claudeAiOauth": {"accessToken": "x"}}')] == [None] * 4
    assert find_expiry(Source("bearer", login_file=str(tmp_path / "none"), login="claude")) is None


async def test_who_spawns_again_tries_again_and_lets_the_others_go_on(scene: Scene) -> None:
    async with scene.house.opened(environment=scene.environment) as orchestration:
        second = (await scene.refused(orchestration)).orchestration_task_id
        (scene.home / "provider").write_text("all is good again")
        third = (await orchestration.spawn(scene.claude())).orchestration_task_id
        await until_event(orchestration, "agent_completed", 3)
        assert [(await orchestration.status(each)).status for each in (second, third)] == ["completed"] * 2
