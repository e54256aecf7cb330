"""Heads in sandboxes: they reach the API through a socket, with a token, and nothing else of the machine."""

from pathlib import Path

import pytest

from tests.doubles.processes import kill, processes_of
from tests.doubles.walls import needs_sandbox
from tests.engine.house import House, ended, git, shell
from tests.engine.test_heads import LEADER

pytestmark = needs_sandbox
HEAD = {"cloud_workspace": True, "sandbox": "required"}


@pytest.mark.promise("env.CMUX_TASK_RUN_JWT")
@pytest.mark.parametrize("network", ["on", "off"])
async def test_a_head_spawns_waits_and_merges_through_a_socket(house: House, repository: Path, network: str) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(LEADER, repo=None, network=network, **HEAD))
        assert (spawned.isolation, spawned.warnings) == ("bubblewrap", ())
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        assert (record.status, record.result) == ("completed", "README\nw.txt\n"), record.error_message
        assert git(repository, "show", f"{record.branch}:w.txt") == "w"
    async with house.opened(spawned.orchestration_id) as led:
        [task] = (await led.results()).results
        worker = await led.status(task.orchestration_task_id)
        assert (worker.isolation, worker.allowed_network) == ("bubblewrap", network)


@pytest.mark.promise("file.root")
@pytest.mark.promise("head.instructions")
async def test_it_finds_its_orchestration_where_the_documentation_says_and_kept_current(house: House) -> None:
    script = """cd /root/lifecycle/memory/orchestration && ls
    until [ "$(jq -r .orchestrationId PLAN.json)" = $CMUX_ORCHESTRATION_ID ]; do :; done
    id=$(devsh orchestrate spawn --json --agent shell/bash 'echo worked' | jq -r .orchestrationTaskId); devsh orchestrate wait $id >&2
    until [ "$(jq -r '.tasks[0].status' PLAN.json)" = completed ] && [ "$(jq -r '.agents[0].status' AGENTS.json)" = completed ]; do :; done
    until grep -q '"event":"agent_completed"' EVENTS.jsonl; do :; done; grep -c $CMUX_ORCHESTRATION_ID HEAD_AGENT_INSTRUCTIONS.md"""
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(script, **HEAD))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        names = ["AGENTS.json", "EVENTS.jsonl", "HEAD_AGENT_INSTRUCTIONS.md", "MAILBOX.json", "PLAN.json", "2"]
        assert (record.status, (record.result or "").split()) == ("completed", names), record.error_message


async def test_a_runner_that_dies_and_its_api_that_dies_are_replaced_under_a_head(house: House) -> None:
    first, second = house.pipe("first"), house.pipe("second")
    gate, other = house.gate("one"), house.gate("two")
    script = f"""devsh orchestrate list >&2 && echo there > {first.path}; {gate.pass_through}
    devsh orchestrate list >&2 && echo again > {second.path}; {other.pass_through}; devsh orchestrate list --json | jq -c ."""
    mounts = (f"{house.directory}:rw",)
    house.directory.chmod(0o777)
    for path in house.directory.iterdir():
        path.chmod(0o666)
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(script, mounts=mounts, **HEAD))
        assert await first.lines(1) == ["there"]
        house.end_runner()
        gate.open()
        assert await second.lines(1) == ["again"]
        for pid in processes_of_api(house):
            kill(pid)
        other.open()
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        assert (record.status, record.result) == ("completed", "[]\n"), record.error_message


def processes_of_api(house: House) -> list[int]:
    found = [pid for pid, words in processes_of(house.root).items() if "devsh_memory_mcp.api" in words]
    assert found, "nobody answers heads"
    return found


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("spawn --agent shell/bash --sandbox none true", "Leave `sandbox` out"),
        ("spawn --agent shell/bash --mount /etc true", "Name what you see yourself"),
        ("spawn --agent shell/bash --repo /etc true", "Leave `repo` out"),
        ("spawn --agent shell/bash --head true", "max_depth"),
        ("list --orchestration-id orch_other", "alone"),
        ("new", "not for a head"),
    ],
)
async def test_what_would_lead_out_of_it_is_refused_there_in_words(house: House, words: str, told: str) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"devsh orchestrate {words} 2>&1; echo $?", **HEAD))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        assert told in (record.result or "")
        assert (record.result or "").split()[-1] != "0"


async def test_its_token_stands_in_no_file(house: House) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("echo $CMUX_TASK_RUN_JWT | rev", **HEAD))
        await ended(orchestration, spawned.orchestration_task_id)
        token = ((await orchestration.status(spawned.orchestration_task_id)).result or "").strip()[::-1]
    assert token.startswith("eyJ")
    assert token.count(".") == 2
    assert [path for path in house.root.rglob("*") if path.is_file() and token.encode() in path.read_bytes()] == []


@pytest.mark.promise("cli.spawn.use-env-jwt")
async def test_an_agent_that_is_no_head_has_a_token_that_spawns_nothing(house: House) -> None:
    script = "echo $CMUX_TASK_RUN_JWT | cut -d. -f2 | tr _- /+ | base64 -d 2>/dev/null"
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(script, sandbox="required"))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        assert '"role":"worker"' in (record.result or "")
        assert spawned.task_run_id in (record.result or "")
