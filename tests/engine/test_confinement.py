"""Which sandbox a task is given, and what is told of it."""

import json
import os
from pathlib import Path

import pytest

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.domain.records import Credential, Mount, Repository
from devsh_memory_mcp.domain.requests import BatchRequest, SpawnRequest
from devsh_memory_mcp.engine.confinement import Confined, Look, confine, login_warnings, usual
from devsh_memory_mcp.errors import InvalidRequest, NoSandbox
from devsh_memory_mcp.settings import Settings
from devsh_memory_mcp.shim.confinement import isolation_on
from devsh_memory_mcp.shim.probe import Missing
from devsh_memory_mcp.shim.sandbox import Bubblewrap
from tests.doubles.walls import needs_sandbox, with_one, with_seatbelt, without_one
from tests.engine.house import House, ended, run_directory, shell


def decided(
    tmp_path: Path,
    agent: str = "shell/sh",
    look: Look = with_one,
    settings: Settings | None = None,
    repository: Repository | None = None,
    **fields: object,
) -> Confined:
    request = SpawnRequest.model_validate({"prompt": "true", "agent_name": agent} | fields)
    by_itself = usual(agent, find_adapter(agent), None)
    return confine(request, by_itself, settings or Settings(), {"PATH": "/bin"}, tmp_path / "memory", repository=repository, look=look)


@pytest.mark.parametrize(
    ("agent", "setting", "asked", "sandbox"),
    [
        ("shell/sh", None, None, "auto"),
        ("claude/haiku-4.5", None, None, "auto"),
        ("codex/default", None, None, "none"),
        ("shell/sh", "required", None, "required"),
        ("codex/default", "auto", None, "auto"),
        ("shell/sh", "required", "none", "none"),
        ("codex/default", None, "required", "required"),
    ],
)
def test_what_is_asked_for_beats_the_setting_which_beats_the_kind_of_agent(
    tmp_path: Path, agent: str, setting: str | None, asked: str | None, sandbox: str
) -> None:
    settings = Settings().model_copy(update={"sandbox": setting})
    assert decided(tmp_path, agent, settings=settings, sandbox=asked).sandbox == sandbox


def test_without_any_auto_warns_with_what_gets_one_and_required_is_refused(tmp_path: Path) -> None:
    told = decided(tmp_path, look=without_one)
    assert (told.sandbox, told.stands) == ("none", False), "as it is told now, also where there is one later"
    assert "bubblewrap is not installed. What gets one: apt-get install bubblewrap" in told.warnings[0]
    with pytest.raises(NoSandbox, match="bubblewrap is not installed") as refused:
        decided(tmp_path, look=without_one, sandbox="required")
    assert "apt-get install bubblewrap" in refused.value.next_step
    assert decided(tmp_path, look=without_one, sandbox="none").warnings == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="the agent is who spawns")
def test_code_that_only_root_can_read_is_decided_on_when_it_is_spawned(tmp_path: Path, repository: Path) -> None:
    def as_root(_search: str) -> Bubblewrap | Missing:
        return Bubblewrap("/usr/bin/bwrap", "/usr/bin/setpriv")

    code = Repository(name="here", git_directory=f"{repository}/.git", base_commit="", branch="b", author_name="", author_email="")
    assert decided(tmp_path, look=as_root, repository=code).stands
    (repository / ".git/objects").chmod(0o700)
    told = decided(tmp_path, look=as_root, repository=code)
    assert (told.sandbox, told.stands) == ("none", False)
    assert f"{repository}/.git/objects can be read by root alone" in told.warnings[0]
    with pytest.raises(NoSandbox, match="can be read by root alone") as refused:
        decided(tmp_path, look=as_root, repository=code, sandbox="required")
    assert "chmod -R o+rX" in refused.value.next_step


@needs_sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="the agent is who spawns")
async def test_the_answer_of_a_spawn_is_what_happens_where_only_root_can_read_the_code(house: House, repository: Path) -> None:
    (repository / ".git/objects").chmod(0o700)
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("echo $DEVSH_ISOLATION", repo=None, sandbox="auto"))
        assert (spawned.isolation, ["root alone" in each for each in spawned.warnings]) == ("guard", [True])
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "completed"
        with pytest.raises(NoSandbox, match="root alone"):
            await orchestration.spawn(shell("true", repo=None, sandbox="required"))


@needs_sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="the agent is who spawns")
async def test_who_was_told_of_a_sandbox_has_one_or_does_not_run(house: House, repository: Path) -> None:
    gate = house.gate("../gate")
    async with house.opened() as orchestration:
        first = await orchestration.spawn(shell(gate.pass_through, sandbox="none"))
        then = await orchestration.spawn(shell("echo ran", repo=".", sandbox="auto", depends_on=[first.orchestration_task_id]))
        assert (then.isolation, then.warnings) == ("bubblewrap", ())
        (repository / ".git/objects").chmod(0o700)
        gate.open()
        await ended(orchestration, then.orchestration_task_id)
        record = await orchestration.status(then.orchestration_task_id)
    assert (record.status, record.reason, record.result) == ("failed", "spawn", None)
    assert "chmod -R o+rX" in (record.error_message or "")


def test_without_network_means_a_sandbox_for_certain(tmp_path: Path) -> None:
    assert decided(tmp_path, network="off")[:2] == ("required", "off")
    with pytest.raises(NoSandbox):
        decided(tmp_path, look=without_one, network="off")
    with pytest.raises(InvalidRequest, match="network off means nothing"):
        decided(tmp_path, network="off", sandbox="none")


def test_hosts_are_told_apart_and_what_is_none_is_refused(tmp_path: Path) -> None:
    assert decided(tmp_path, network="allow:example.org, *.example.com:8443,example.org")[:2] == (
        "required",
        "allow:example.org,*.example.com:8443",
    )
    for wrong in ("allow:http://example.org", "allow:a b", "allow:example.org,", "allow:*.127.0.0.1"):
        with pytest.raises(InvalidRequest, match="is no host"):
            decided(tmp_path, network=wrong)


@pytest.mark.parametrize(
    ("agent", "login", "sandbox"),
    [
        ("shell/bash", None, "auto"),
        ("claude/haiku-4.5", None, "auto"),
        ("claude/haiku-4.5", "ANTHROPIC_API_KEY", "auto"),
        ("codex/default", None, "none"),
        ("codex/default", "OPENAI_API_KEY", "auto"),
        ("codex/default", Credential(cost_basis="subscription"), "auto"),
        ("codex/default", Credential(cost_basis="api"), "none"),
        ("opencode/openai/gpt-5.5", Credential(cost_basis="subscription"), "none"),
        ("gemini/default", None, "none"),
        ("gemini/default", "GEMINI_API_KEY", "auto"),
        ("opencode/anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY", "auto"),
        ("opencode/openrouter/x", "OPENROUTER_API_KEY", "none"),
        ("opencode/default", "ANTHROPIC_API_KEY", "none"),
        ("acp/goose", None, "none"),
    ],
)
def test_an_agent_has_a_sandbox_by_itself_where_a_broker_can_show_its_login(
    agent: str, login: str | Credential | None, sandbox: str
) -> None:
    credential = Credential(variable=login) if isinstance(login, str) else login
    assert usual(agent, find_adapter(agent), credential) == sandbox


@pytest.mark.parametrize(
    ("agent", "credential", "sandbox"),
    [
        ("shell/sh", None, "auto"),
        ("claude/haiku-4.5", None, "none"),
        ("claude/haiku-4.5", Credential(cost_basis="subscription"), "none"),
        ("claude/haiku-4.5", Credential(variable="CLAUDE_CODE_OAUTH_TOKEN"), "auto"),
        ("codex/default", Credential(cost_basis="subscription"), "auto"),
    ],
)
def test_a_login_in_the_keychain_of_macos_stays_outside(agent: str, credential: Credential | None, sandbox: str, tmp_path: Path) -> None:
    adapter = find_adapter(agent)
    assert usual(agent, adapter, credential, "darwin") == sandbox
    walled = decided(tmp_path, agent, look=with_seatbelt, sandbox="required")
    assert walled.stands
    assert bool(login_warnings(walled, agent, adapter, credential, "darwin")) is (sandbox == "none")


def test_what_it_will_be_is_told_by_the_system() -> None:
    assert [isolation_on(platform) for platform in ("linux", "darwin")] == ["bubblewrap", "seatbelt"]


def test_everything_that_was_allowed_without_walls_is_never_done_behind_some_that_came_later(tmp_path: Path) -> None:
    asked = decided(tmp_path, "claude/haiku-4.5", look=without_one, permissions="bypass")
    assert (asked.sandbox, asked.stands) == ("none", False)
    assert decided(tmp_path, "claude/haiku-4.5", permissions="bypass")[0] == "auto"


def test_a_login_that_stays_outside_is_told(tmp_path: Path) -> None:
    codex, claude = find_adapter("codex/default"), find_adapter("claude/haiku-4.5")
    walled, plain = decided(tmp_path, "codex/default", sandbox="required"), decided(tmp_path, "codex/default")
    key = Credential(variable="OPENAI_API_KEY")
    assert "CODEX_API_KEY" in login_warnings(walled, "codex/default", codex, Credential())[0]
    assert login_warnings(walled, "codex/default", codex, key) == login_warnings(plain, "codex/default", codex, None) == ()
    assert login_warnings(walled, "claude/haiku-4.5", claude, Credential()) == (), "which a broker shows"
    other = "opencode/openrouter/x"
    assert (
        "OPENROUTER_API_KEY cannot be shown"
        in login_warnings(walled, other, find_adapter(other), Credential(variable="OPENROUTER_API_KEY"))[0]
    )


def test_mounts_are_paths_that_are_there_and_never_the_memory_root(tmp_path: Path) -> None:
    (tmp_path / "memory/runs").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "memory")
    found = decided(tmp_path, mounts=[f"{tmp_path}/data", f"{tmp_path}/data/../data:rw"]).mounts
    assert found == (Mount(path=f"{tmp_path}/data"), Mount(path=f"{tmp_path}/data", writable=True))
    (tmp_path / "other").symlink_to(tmp_path / "data")
    through = decided(tmp_path, mounts=[f"{tmp_path}/other"])
    assert through.mounts == (Mount(path=f"{tmp_path}/data"),), "as it is now, wherever the link leads later"
    assert through.warnings == (f"{tmp_path}/other is a link: the agent finds it at {tmp_path}/data.",)
    for path in ("data", f"{tmp_path}/missing", f"{tmp_path}/memory", f"{tmp_path}/memory/runs", f"{tmp_path}/link", str(tmp_path), "/"):
        with pytest.raises(InvalidRequest):
            decided(tmp_path, mounts=[path])
    with pytest.raises(InvalidRequest, match="a mount means nothing"):
        decided(tmp_path, sandbox="none", mounts=["/usr"])


@needs_sandbox
async def test_the_isolation_is_told_by_the_spawn_while_it_runs_and_at_the_end(house: House) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("echo $DEVSH_ISOLATION; ls -A ~", sandbox="required"))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        assert (spawned.isolation, record.isolation, record.result) == ("bubblewrap", "bubblewrap", "bubblewrap\n")
        assert (record.allowed_network, record.mounts) == ("on", ())
        run = await run_directory(orchestration, spawned.orchestration_task_id)
        assert json.loads((run / "run.json").read_text())["sandbox"] == {"network": "on", "mounts": []}
        plain = await orchestration.spawn(shell("echo $DEVSH_ISOLATION", sandbox="none"))
        await ended(orchestration, plain.orchestration_task_id)
        record = await orchestration.status(plain.orchestration_task_id)
        assert (plain.isolation, record.isolation, record.result) == ("guard", "guard", "\n")
        assert record.allowed_network is None
        await orchestration.pull()
        assert orchestration.directory is not None
        agents = json.loads((orchestration.directory / "AGENTS.json").read_text())["agents"]
        assert [agent["isolation"] for agent in agents] == ["bubblewrap", "guard"]


@needs_sandbox
async def test_a_batch_says_it_for_all_or_for_one(house: House) -> None:
    tasks = [{"id": "a", "prompt": "true"}, {"id": "b", "prompt": "true", "sandbox": "none"}]
    defaults = {"agentName": "shell/sh", "repo": "none", "sandbox": "required"}
    async with house.opened() as orchestration:
        answer = await orchestration.spawn_batch(BatchRequest.model_validate({"tasks": tasks, "defaults": defaults}))
        assert [task.isolation for task in answer.tasks] == ["bubblewrap", "guard"]
        for task in answer.tasks:
            assert (await ended(orchestration, task.orchestration_task_id)).status == "completed"
