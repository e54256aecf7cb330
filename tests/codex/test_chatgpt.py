"""Real Codex with a ChatGPT login in a sandbox: a broker outside shows the login, and nothing of it is inside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.requests import SpawnRequest
from devsh_memory_mcp.ports import Orchestration
from tests.claude.test_worker import Team, heard
from tests.codex.login import ACCOUNT, UNCOMPRESSED, write_login
from tests.codex.test_worker import patch, run, task
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Turn
from tests.doubles.walls import needs_sandbox
from tests.engine.house import House, ended, git, shell, until_event

pytestmark = needs_sandbox
# The brackets keep the search from finding itself.
LOOK = "echo BEGIN; grep -rlaE 'the-real-on[e]|account-on[e]' ~ /tmp . /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; echo END"


@asynccontextmanager
async def opened(team: Team, model_api: ModelApi) -> AsyncIterator[Orchestration]:
    """By somebody who has neither a key nor a wish about sandboxes."""
    here = {"CHATGPT_BASE_URL": f"{model_api.address}/v1", "CODEX_API_KEY": None, "OPENAI_BASE_URL": None, "DEVSH_SANDBOX": None}
    async with team.opened(**here) as orchestration:
        yield orchestration


def walled(prompt: str, **fields: object) -> SpawnRequest:
    """Its settings are in its own home alone."""
    return task(prompt, setup=f"mkdir -p ~/.codex && echo '{UNCOMPRESSED}' >~/.codex/config.toml", **fields)


@pytest.mark.parametrize("network", ["on", "off"])
async def test_it_works_with_a_login_that_is_nowhere_inside(
    team: Team, model_api: ModelApi, codex_home: Path, repository: Path, network: str
) -> None:
    token = write_login(codex_home, "the-real-one")
    login = (codex_home / "auth.json").read_bytes(), (codex_home / "auth.json").stat()
    write = patch("*** Add File: made.txt", "+made")
    model_api.route("TASK-A", Turn("", [write]), Turn("", [run("cat ~/.codex/config.toml; env")]), Turn("", [run(LOOK)]), Turn("All done."))
    async with opened(team, model_api) as orchestration:
        spawned = await orchestration.spawn(walled("TASK-A", network=network))
        assert (spawned.isolation, spawned.permissions, spawned.cost_basis, spawned.warnings) == (
            "bubblewrap",
            "bypass",
            "subscription",
            (),
        )
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.result, record.warnings) == ("completed", "All done.", ()), record.error_message
    assert git(repository, "show", f"{record.branch}:made.txt") == "made"
    turns = model_api.turns()
    assert {(turn.credential, turn.headers["chatgpt-account-id"]) for turn in turns} == {(("bearer", token), ACCOUNT)}
    assert {request.path.partition("?")[0] for request in model_api.requests} == {"/v1/responses", "/v1/models"}
    assert f"CHATGPT_LOGIN={PLACEHOLDER}" in turns[2].conversation
    assert turns[3].results[0].split("BEGIN")[1].split() == ["END"]
    assert not any(word in turn.conversation for turn in turns for word in (token, "the-real-one", ACCOUNT))
    now = codex_home / "auth.json"
    assert (now.read_bytes(), now.stat().st_mtime_ns, now.stat().st_ino) == (login[0], login[1].st_mtime_ns, login[1].st_ino)
    assert record.network is not None
    assert record.network.refused == {}


PLACEHOLDER = "eyJhbGciOiAibm9uZSJ9."  # how a token begins that nobody has signed


async def test_a_login_that_its_user_renews_meanwhile_is_taken(team: Team, model_api: ModelApi, codex_home: Path) -> None:
    tokens = [write_login(codex_home, "first")]
    model_api.route("TASK-A", Turn("", [run("true")], hold="renewed"), Turn("All done."))
    async with opened(team, model_api) as orchestration:
        spawned = await orchestration.spawn(walled("TASK-A"))
        await heard(model_api, "TASK-A")
        tokens.append(write_login(codex_home, "second"))
        model_api.open("renewed")
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "All done.")
    assert [turn.credential[1] for turn in model_api.turns()] == tokens


async def test_a_login_that_is_refused_holds_what_else_needs_it(team: Team, model_api: ModelApi, codex_home: Path, house: House) -> None:
    write_login(codex_home, "the-real-one")
    model_api.refused.add("bearer")
    model_api.route("TASK", Turn("never"))
    gate = house.gate("../gate")
    async with opened(team, model_api) as orchestration:
        before = await orchestration.spawn(shell(gate.pass_through, sandbox="none"))
        second = await orchestration.spawn(walled("TASK-B", depends_on=[before.orchestration_task_id]))
        first = await orchestration.spawn(walled("TASK-A", retries=2))
        await ended(orchestration, first.orchestration_task_id)
        record = await orchestration.status(first.orchestration_task_id)
        gate.open()
        await until_event(orchestration, "task_held")
        held = await orchestration.status(second.orchestration_task_id)
        model_api.refused.clear()
        write_login(codex_home, "another one")
        await orchestration.spawn(shell("true"))  # who rings has it looked at before its time
        await ended(orchestration, second.orchestration_task_id)
        went_on = await orchestration.status(second.orchestration_task_id)
    assert (record.status, record.failure, record.attempt) == ("failed", "auth", 1), record.error_message
    assert "run `codex login`" in str(record.needs_input)
    assert (held.status, held.attempt, held.needs_input) == ("pending", 0, held.waiting_for)
    assert "login: that of codex was refused" in str(held.waiting_for)
    assert "codex login" in str(held.waiting_for)
    assert (went_on.status, went_on.result) == ("completed", "never")


async def test_a_login_that_has_expired_holds_whoever_needs_it_before_an_attempt(team: Team, model_api: ModelApi, codex_home: Path) -> None:
    write_login(codex_home, "the-real-one", expires=1)
    model_api.route("TASK-A", Turn("done"))
    async with opened(team, model_api) as orchestration:
        spawned = await orchestration.spawn(walled("TASK-A"))
        await until_event(orchestration, "task_held")
        held = await orchestration.status(spawned.orchestration_task_id)
        assert model_api.requests == []
        write_login(codex_home, "another one")
        await orchestration.spawn(shell("true", sandbox="none"))  # who rings has it looked at before its time
        await ended(orchestration, spawned.orchestration_task_id)
        went_on = await orchestration.status(spawned.orchestration_task_id)
    assert (held.status, held.attempt, held.needs_input) == ("pending", 0, held.waiting_for)
    assert "login: that of codex has expired" in str(held.waiting_for)
    assert "codex login" in str(held.waiting_for)
    assert (went_on.status, went_on.attempt, went_on.result) == ("completed", 1, "done")
