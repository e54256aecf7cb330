"""Heads that are tasks: what one is given, what it may, and what becomes of its agents when it ends."""

import os
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.events import AgentSpawned, SettingsChanged
from devsh_memory_mcp.domain.records import Leadership, Mount
from devsh_memory_mcp.domain.requests import ListRequest, SpawnRequest
from devsh_memory_mcp.engine.credentials import lendable
from devsh_memory_mcp.engine.leading import bounded
from devsh_memory_mcp.errors import DevshError, NotAllowed
from devsh_memory_mcp.store.guests import environment_in, guest_root
from tests.engine.house import House, ended, events_of, git, shell, until_event

HEAD = {"cloud_workspace": True, "sandbox": "none"}


@pytest.mark.promise("cli.spawn.cloud-workspace")
@pytest.mark.promise("head.environment")
@pytest.mark.promise("head.instructions")
@pytest.mark.promise("env.CMUX_IS_ORCHESTRATION_HEAD")
async def test_a_head_leads_an_orchestration_of_its_own_and_is_a_task_of_its_spawners(house: House, repository: Path) -> None:
    script = 'echo "$CMUX_IS_ORCHESTRATION_HEAD $CMUX_ORCHESTRATION_ID $CMUX_TASK_RUN_ID $CMUX_HEAD_AGENT"'
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(script, repo=None, **HEAD))
        assert spawned.orchestration_id != orchestration.orchestration_id
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        assert (record.status, record.error_message, record.leads) == ("completed", None, spawned.orchestration_id)
        assert record.result == f"1 {spawned.orchestration_id} {spawned.task_run_id} shell/bash\n"
    async with house.opened(spawned.orchestration_id) as led:
        assert (await led.plan())["headAgent"] == "shell/bash"
        assert led.directory is not None
        assert spawned.orchestration_id in (led.directory / "HEAD_AGENT_INSTRUCTIONS.md").read_text()


WORKER = "echo parent $CMUX_PARENT_TASK_RUN_ID; echo w > w.txt; git add w.txt; git commit -qm w"
LEADER = f"""
id=$(devsh orchestrate spawn --json --agent shell/bash '{WORKER}' | jq -r .orchestrationTaskId)
devsh orchestrate wait $id >&2 || exit 9
branch=$(devsh orchestrate status $id --json | jq -r .branch)
until git rev-parse -q --verify origin/$branch >/dev/null && git rev-parse -q --verify $branch >/dev/null; do :; done
git merge -q $branch && ls"""


async def test_its_agents_work_on_its_code_and_their_branches_come_into_its_checkout(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(LEADER, repo=None, **HEAD))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        assert (record.status, record.result) == ("completed", "README\nw.txt\n"), record.error_message
        assert git(repository, "show", f"{record.branch}:w.txt") == "w"
    async with house.opened(spawned.orchestration_id) as led:
        [task] = (await led.results()).results
        assert task.result == f"parent {spawned.task_run_id}\n"
        assert (await led.status(task.orchestration_task_id)).base_commit == git(repository, "rev-parse", "main")


async def leaving(house: House, how: str, *, goes_on: bool, **fields: object) -> tuple[str, str]:
    """How a head and its only agent ended, after the head had left it at work; what is to go on is let end."""
    pipe, gate = house.pipe(), house.gate()
    worker = f"echo there > {pipe.path}; {gate.pass_through}"
    script = f"devsh orchestrate spawn --agent shell/bash '{worker}' >&2; {how}"
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(script, **HEAD, **fields))
        assert await pipe.lines(1) == ["there"]
        if "exec" in how:
            await orchestration.cancel(spawned.orchestration_task_id)
        await ended(orchestration, spawned.orchestration_task_id)
        head = await orchestration.status(spawned.orchestration_task_id)
    async with house.opened(spawned.orchestration_id) as led:
        await until_event(led, "head_left")
        if goes_on:
            gate.open()
        [task] = (await led.list_tasks(ListRequest())).result
        await ended(led, task.orchestration_task_id)
        return head.status, (await led.status(task.orchestration_task_id)).status


@pytest.mark.parametrize(
    ("how", "policy", "expected"),
    [
        ("true", None, ("completed", "completed")),
        ("exit 3", None, ("failed", "completed")),
        ("true", "cancel", ("completed", "cancelled")),
        ("exec sleep 1000", None, ("cancelled", "cancelled")),
        ("exec sleep 1000", "keep", ("cancelled", "completed")),
    ],
)
async def test_its_end_leaves_nobody_without_a_master(house: House, how: str, policy: str | None, expected: tuple[str, str]) -> None:
    assert await leaving(house, how, goes_on=expected[1] == "completed", on_head_exit=policy) == expected


async def test_a_head_that_ended_while_no_runner_lived_is_settled_by_the_next(house: House) -> None:
    gate, pipe = house.gate(), house.pipe()
    script = f"devsh orchestrate spawn --agent shell/bash 'exec sleep 1000' >&2; echo there > {pipe.path}; {gate.pass_through}"
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(script, **HEAD, on_head_exit="cancel"))
        assert await pipe.lines(1) == ["there"]
        house.end_runner()
        gate.open()
    async with house.opened(spawned.orchestration_id) as led:
        await until_event(led, "agent_cancelled")


@pytest.mark.parametrize(
    ("variables", "fields", "told"),
    [
        ({"CMUX_AUTO_SPAWN_ENABLED": "false"}, {}, "CMUX_AUTO_SPAWN_ENABLED"),
        ({}, {"cloud_workspace": True}, "max_depth"),
    ],
)
async def test_what_a_head_may_not_is_refused_in_words(
    house: House, variables: dict[str, str], fields: dict[str, object], told: str
) -> None:
    async with house.opened(environment={**os.environ, **variables}) as orchestration:
        spawned = await orchestration.spawn(shell("true", **HEAD))
        await ended(orchestration, spawned.orchestration_task_id)
    async with house.opened(spawned.orchestration_id) as led:
        with pytest.raises(DevshError, match=told):
            await led.spawn(shell("true", **fields))


async def test_the_limits_of_its_spawner_hold_for_its_agents_whatever_they_ask(house: House) -> None:
    variables = {"CMUX_MAX_CONCURRENT_SUBAGENTS": "2", "CMUX_MAX_TASK_DURATION_MINUTES": "3", "CMUX_DEFAULT_CODING_AGENT": "shell/sh"}
    async with house.opened(environment={**os.environ, **variables}) as orchestration:
        spawned = await orchestration.spawn(shell("true", **HEAD))
        await ended(orchestration, spawned.orchestration_task_id)
    async with house.opened(spawned.orchestration_id) as led:
        for timeout in (None, 1000, 10**9):
            request = {"prompt": "true", "repo": "none", "max_concurrent": 9, "timeout_ms": timeout}
            answer = await led.spawn(SpawnRequest.model_validate(request))
            assert answer.agent_name == "shell/sh"
            await ended(led, answer.orchestration_task_id)
        specs = [event.spec.timeout_ms for event in events_of(led) if isinstance(event, AgentSpawned)]
        places = [event.max_concurrent for event in events_of(led) if isinstance(event, SettingsChanged)]
    assert (specs, places) == ([180_000, 1000, 180_000], [2])


def walled(**fields: object) -> Leadership:
    mounts = (Mount(path="/data"), Mount(path="/scratch", writable=True))
    return Leadership(orchestration_id="orch_x", project="/p", is_walled=True, mounts=mounts).model_copy(update=fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"sandbox": "none"},
        {"repo": "/etc"},
        {"repo": "~/other"},
        {"repo": "file:///etc"},
        {"repo": "ext::sh -c true"},
        {"mounts": ("/home",)},
        {"mounts": ("/data:rw",)},
        {"mounts": ("/data/../home",)},
        {"mounts": ("/database",)},
    ],
)
def test_nothing_leads_an_agent_out_of_its_heads_sandbox(fields: dict[str, object]) -> None:
    with pytest.raises(NotAllowed):
        bounded(shell("true", **fields), walled())


@pytest.mark.parametrize(
    ("most", "asked", "given"),
    [
        ("on", None, "on"),
        ("on", "off", "off"),
        ("on", "allow:a.example", "allow:a.example"),
        ("off", None, "off"),
        ("off", "on", None),
        ("off", "allow:a.example", None),
        ("allow:a.example,b.example", None, "allow:a.example,b.example"),
        ("allow:a.example,b.example", "allow:b.example", "allow:b.example"),
        ("allow:a.example,b.example", "allow:c.example", None),
        ("allow:a.example", "on", None),
    ],
)
def test_its_agents_have_no_more_network_than_itself(most: str, asked: str | None, given: str | None) -> None:
    request = shell("true", network=asked)
    if given is None:
        with pytest.raises(NotAllowed):
            bounded(request, walled(network=most))
    else:
        found = bounded(request, walled(network=most))
        assert (found.network, found.sandbox) == (given, "required")


@pytest.mark.parametrize(
    "fields", [{"repo": "owner/name"}, {"repo": "https://github.com/owner/name"}, {"mounts": ("/scratch/a:rw", "/data")}]
)
def test_what_a_head_in_a_sandbox_sees_itself_it_may_hand_on(fields: dict[str, object]) -> None:
    assert bounded(shell("true", **fields), walled()).sandbox == "required"


async def test_a_request_that_is_repeated_leads_to_one_head(house: House) -> None:
    async with house.opened() as orchestration:
        first, again = [await orchestration.spawn(shell("true", idempotency_key="k", **HEAD)) for _ in range(2)]
        assert first.orchestration_id == again.orchestration_id
        await ended(orchestration, first.orchestration_task_id)
    assert len(list((house.root / "orchestrations").iterdir())) == 2


def test_who_answers_a_guests_heads_has_no_login_of_the_servers_user(house: House) -> None:
    environment = {**os.environ, "ANTHROPIC_API_KEY": "hush"}
    assert environment_in(house.root, environment) is environment
    given = environment_in(guest_root(house.root, "anna"), environment)
    assert lendable(given) == {}
    assert given["HOME"] != environment["HOME"]


async def test_an_agent_that_is_no_head_cancels_what_it_spawned_and_nothing_else(house: House) -> None:
    gate = house.gate()
    async with house.opened() as orchestration:
        worker, other = [(await orchestration.spawn(shell(gate.pass_through))).task_run_id for _ in range(2)]
        async with house.opened(orchestration.orchestration_id, identity=worker) as own:
            child = await own.spawn(shell("exec sleep 1000"))
            with pytest.raises(NotAllowed):
                await own.cancel(other)
            assert (await own.cancel(child.orchestration_task_id)).cancelled
        gate.open()
        await ended(orchestration, worker, other)
