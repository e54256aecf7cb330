"""Limits of memory, processors and disk, from what was asked for to what its caller is told came of it."""

import json
import os
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.records import LimitsInForce, TaskSpec
from devsh_memory_mcp.domain.requests import BatchRequest
from devsh_memory_mcp.engine.bounds import limit_warnings, limits_of, look
from devsh_memory_mcp.errors import NoLimits
from devsh_memory_mcp.shim.bounds import Limits
from devsh_memory_mcp.shim.limits import Cage
from tests.doubles.cgroups import Cgroups
from tests.engine.house import House, ended, run_directory, shell, until_event

M = 1 << 20
FAT = "exec python3 -c 'x = b\"x\" * (500 << 20)'"


def _missing() -> str | None:
    with Cage.on_trial(Limits(memory=64 * M, cpus=1.0)) as (_, missing):
        return None if missing is None else missing.why


_WHY = _missing()
needs_groups = pytest.mark.skipif(_WHY is not None, reason=str(_WHY))


def spec(**fields: object) -> TaskSpec:
    return TaskSpec.model_validate({"prompt": "p", "agent_name": "shell/sh", "memory": 64 * M} | fields)


@needs_groups
@pytest.mark.promise("cli.spawn.memory")
async def test_an_end_for_want_of_memory_is_told_as_such_and_tried_again_like_other_failures(house: House) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"echo $$; {FAT}", memory="200M", retries=1))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        assert (record.status, record.reason, record.attempt, record.signal) == ("failed", "oom", 2, 9)
        assert record.error_message == "It used more than its 200 MB of memory and was ended; give it more with --memory."
        assert record.limits is not None
        assert (record.limits.memory, record.limits.processes) == (200 * M, 4096)
        explained = await orchestration.explain(spawned.orchestration_task_id)
        assert explained.because[0].startswith("It ran out of memory in attempt 2, the last: It used more than")
        await orchestration.pull()
        assert orchestration.directory is not None
        (agent,) = json.loads((orchestration.directory / "AGENTS.json").read_text())["agents"]
        assert (agent["limits"]["memory"], agent["limits"]["by"]) == (200 * M, record.limits.by)


@pytest.mark.promise("cli.spawn.disk")
async def test_an_end_for_what_it_holds_of_the_disk_is_told_as_such_and_what_was_in_force(house: House) -> None:
    write = "for name in $(seq 40); do head -c 500000 /dev/zero >$name; done; sleep 1000"
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(write, disk="16M"))
        assert spawned.warnings == ()
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        assert (record.status, record.reason) == ("failed", "disk")
        assert "more than when it began, of which it has 16 MB; give it more with --disk." in (record.error_message or "")
        assert record.limits == LimitsInForce(by="counting", disk=16 * M)
        explained = await orchestration.explain(spawned.orchestration_task_id)
        assert explained.because[0].startswith("It held more of the disk than it may: It was ended: its checkout held ")
        await orchestration.pull()
        assert orchestration.directory is not None
        (agent,) = json.loads((orchestration.directory / "AGENTS.json").read_text())["agents"]
        assert agent["limits"]["disk"] == 16 * M


@needs_groups
@pytest.mark.promise("cli.spawn.cpus")
async def test_a_batch_says_limits_for_all_or_for_one_and_they_are_told_while_it_runs(house: House) -> None:
    gate = house.gate()
    tasks = [{"id": "a", "prompt": gate.pass_through}, {"id": "b", "prompt": "true", "cpus": 0.5, "memory": "1G"}]
    defaults = {"agentName": "shell/bash", "repo": "none", "memory": "512M", "disk": "1G", "sandbox": "none"}
    async with house.opened() as orchestration:
        answer = await orchestration.spawn_batch(BatchRequest.model_validate({"tasks": tasks, "defaults": defaults}))
        first, second = (task.orchestration_task_id for task in answer.tasks)
        await ended(orchestration, second)
        await until_event(orchestration, "agent_started", 2)
        record = await orchestration.status(first)
        assert (record.status, record.limits and record.limits.memory) == ("running", 512 * M)
        gate.open()
        await ended(orchestration, first)
        record = await orchestration.status(second)
        assert record.limits is not None
        assert (record.limits.memory, record.limits.cpus) == (1024 * M, 0.5)
        run = await run_directory(orchestration, second)
        assert json.loads((run / "run.json").read_text())["limits"] == {
            "memory": 1024 * M, "cpus": 0.5, "processes": 4096, "required": False, "disk": 1024 * M
        }  # fmt: skip


def test_what_cannot_be_kept_is_warned_of_and_refused_where_it_has_to_be(tmp_path: Path) -> None:
    machine = Cgroups(tmp_path)
    (told,) = limit_warnings(spec(), machine)
    nothing = "Nothing here keeps it to 64 MB of memory (only each process alone): no cgroups of memory are in sight. What gets it: "
    assert told.startswith(nothing)
    with pytest.raises(NoLimits, match="no cgroups of memory are in sight") as refused:
        limit_warnings(spec(sandbox="required"), machine)
    assert refused.value.code == "no_limits"
    assert "What gets it: " in refused.value.next_step
    assert limit_warnings(spec(memory=None), machine) == ()
    machine.mount("/", 2, "memory", "pids")
    assert limit_warnings(spec(sandbox="required"), machine) == ()


def test_only_a_sandbox_that_is_required_makes_its_limits_so() -> None:
    assert limits_of(spec(memory=None)) is None
    assert limits_of(spec()) == Limits(64 * M)
    assert limits_of(spec(sandbox="required", cpus=2.0)) == Limits(64 * M, 2.0, required=True)
    assert limits_of(spec(memory=None, disk=64 * M)) == Limits(disk=64 * M)
    assert limit_warnings(spec(memory=None, disk=64 * M, sandbox="required")) == ()


@pytest.mark.promise("doctor.limits")
def test_doctor_says_what_a_machine_keeps_and_how_to_get_the_rest(tmp_path: Path) -> None:
    machine = Cgroups(tmp_path)
    is_well, told, remedy = look(machine)
    assert (is_well, told) == (False, "--memory holds each process alone, --cpus is not kept: no cgroups of memory are in sight")
    assert remedy == (
        "in a container: start it with --privileged, or with /sys/fs/cgroup writable"
        if os.geteuid() == 0
        else "run it as root, or on a machine with cgroup v2 and systemd"
    )
    own = machine.mount("/a", 2, "memory", "pids")
    is_well, told, _ = look(machine)
    held = "--memory holds for a whole agent, with 4096 processes at most (cgroup v2)"
    assert (is_well, told) == (False, f"{held}; --cpus is not kept: no cgroups of cpu are in sight")
    machine.mount("/", 1, "cpu")
    assert look(machine) == (
        True,
        "--memory and --cpus hold for a whole agent, with 4096 processes at most (cgroup v1 and cgroup v2)",
        None,
    )
    machine.closed |= {str(own), str(own.parent), f"{tmp_path}/cpu"}
    is_well, told, remedy = look(machine)
    assert (is_well, told) == (
        False, f"--memory holds each process alone, --cpus is not kept: the cgroups in {tmp_path}/unified cannot be written"
    )  # fmt: skip
    assert remedy is not None
    assert not list(tmp_path.glob("**/devsh-*"))
