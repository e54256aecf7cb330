"""Roots that cannot be used, journals that were spoilt, plans that were edited, disks that are full, clocks that go back."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.config import memory_root
from devsh_memory_mcp.domain.requests import ListRequest
from devsh_memory_mcp.errors import DiskFull, JournalDamaged, MemoryRootUnusable
from devsh_memory_mcp.store.mount import is_remote, kind_of
from devsh_memory_mcp.wiring import SystemClock
from tests.doubles.processes import await_end
from tests.engine.house import House, ended, reported_pid, shell, until_event, view

NOBODY = 65534


def journal_of(house: House) -> Path:
    return next(house.root.glob("orchestrations/*/EVENTS.jsonl"))


def test_a_root_that_cannot_be_made_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(MemoryRootUnusable, match="cannot be made") as caught:
        memory_root(str(tmp_path / "file/below"), os.environ)
    assert (caught.value.code, caught.value.next_step) == ("memory_root_unusable", "Name another with --dir or DEVSH_MEMORY_DIR.")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_root_that_cannot_be_written_is_refused() -> None:
    program = (
        "import os, sys; from devsh_memory_mcp.config import memory_root; from devsh_memory_mcp.errors import MemoryRootUnusable\n"
        f"os.setregid({NOBODY}, {NOBODY}); os.setreuid({NOBODY}, {NOBODY})\n"
        "try: memory_root(sys.argv[1], {})\n"
        "except MemoryRootUnusable as error: print(error)"
    )
    with tempfile.TemporaryDirectory(prefix="devsh-test-") as root:
        os.chmod(root, 0o755)
        done = subprocess.run([sys.executable, "-c", program, root], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"The memory root {root} cannot be written.")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_root_on_a_network_file_system_is_refused_unless_one_machine_uses_it(kind: str) -> None:
    mounts = f"1 0 0:1 / / rw - ext4 /dev/root rw\n2 1 0:2 / /net\\040home rw - {kind} server:/ rw\n"
    assert is_remote(kind_of("/net home/me/memory", mounts))
    assert not is_remote(kind_of("/home/me", mounts))


async def test_what_somebody_wrote_into_the_journal_means_nothing_and_stops_nobody(house: House) -> None:
    async with house.opened() as orchestration:
        with journal_of(house).open("a", encoding="utf-8") as file:
            file.write('{"event": "agent_spawned", "note": "by hand"}\n')
        spawned = await orchestration.spawn(shell("echo done"))
        assert (await ended(orchestration, spawned.orchestration_task_id)).result == "done\n"
        await until_event(orchestration, "foreign_lines")


async def test_the_end_of_a_commit_that_was_cut_off_is_kept_aside(house: House) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("echo done"))
        await ended(orchestration, spawned.orchestration_task_id)
        seq = json.loads(journal_of(house).read_bytes().splitlines()[-1])["seq"]
    torn = b'{"seq":%d,"timestamp":"2026-01-01T00:00:00.000Z","event":"message_sent","end":%d,' % (seq + 1, seq + 2)
    with journal_of(house).open("ab") as file:
        file.write(torn)
    async with house.opened() as orchestration:
        again = await orchestration.spawn(shell("echo again"))
        assert (await ended(orchestration, again.orchestration_task_id)).result == "again\n"
        (kept,) = journal_of(house).parent.glob("EVENTS.jsonl.torn-*")
        assert kept.read_bytes() == torn


async def test_a_damaged_journal_stops_its_own_orchestration_alone(house: House) -> None:
    async with house.opened(session="s1", is_shell=False) as damaged, house.opened(session="s2", is_shell=False) as whole:
        first = await damaged.spawn(shell("true"))
        await ended(damaged, first.orchestration_task_id)
        await damaged.pull()
        path = (damaged.directory or Path()) / "EVENTS.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:2] + lines[3:]))
        house.end_runner()
        other = await whole.spawn(shell("echo done"))
        assert (await ended(whole, other.orchestration_task_id)).result == "done\n"
        with pytest.raises(JournalDamaged) as caught:
            await damaged.spawn(shell("true"))
        assert caught.value.next_step == JournalDamaged.next_step
        third = await whole.spawn(shell("echo still"))
        assert (await ended(whole, third.orchestration_task_id)).result == "still\n"
    house.expected = {"journal_damaged", "unknown_run_directory"}


async def test_tasks_that_were_written_into_the_plan_are_held_until_they_are_spawned_by_name(house: House) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)
        await orchestration.pull()
        path = (orchestration.directory or Path()) / "PLAN.json"
        plan = json.loads(path.read_bytes())
        plan |= {
            "color": "green",
            "tasks": [*plan["tasks"], {"id": "mine", "prompt": "echo from the plan", "agentName": "shell/sh", "x": 1}],
        }
        path.write_text(json.dumps(plan), encoding="utf-8")
        assert (await orchestration.pull()).synced
        held = await orchestration.status("mine")
        shown = view(orchestration, "PLAN.json")
        assert (held.status, held.waiting_for) == ("pending", "held: written into PLAN.json by hand; spawn it to start it")
        assert shown["color"] == "green"
        spawned = await orchestration.spawn(shell(held.prompt, name="mine"))
        assert spawned.orchestration_task_id == held.orchestration_task_id
        assert (await ended(orchestration, "mine")).result == "from the plan\n"
        await orchestration.pull()
        tasks = view(orchestration, "PLAN.json")["tasks"]
        assert isinstance(tasks, list)
        assert [task.get("x") for task in tasks] == [None, 1]
        assert len(list(path.parent.glob("PLAN.json.edited-*"))) == 1


async def test_a_plan_that_does_not_parse_is_kept_aside_and_written_anew(house: House) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)
        await orchestration.pull()
        path = (orchestration.directory or Path()) / "PLAN.json"
        path.write_text("{ not json", encoding="utf-8")
        assert (await orchestration.pull()).synced
        assert view(orchestration, "PLAN.json")["status"] == "completed"
        (kept,) = path.parent.glob("PLAN.json.edited-*")
        assert kept.read_text(encoding="utf-8") == "{ not json"


async def test_a_clock_that_goes_back_changes_no_order_and_holds_nothing_up(house: House) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true", name="first"))).orchestration_task_id)
        second = await orchestration.spawn(shell("exit 1", retries=1, name="second"))
        await until_event(orchestration, "retry_scheduled")
        house.end_runner()
        async with house.runner(clock=BackThen()):
            third = await orchestration.spawn(shell("true", name="third", depends_on=("first",)))
            assert (await ended(orchestration, third.orchestration_task_id)).status == "completed"
            assert (await ended(orchestration, second.orchestration_task_id)).status == "failed"
            rows = (await orchestration.list_tasks(ListRequest())).result
    assert [row.id for row in rows] == ["third", "second", "first"]


class BackThen(SystemClock):
    """A clock that was set back by more than a year."""

    def now(self) -> datetime:
        return super().now() - timedelta(days=400)


@pytest.fixture
def small(house: House) -> Iterator[House]:
    """The house with its memory root on a disk of two megabytes."""
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", house.root], check=False).returncode:
        pytest.skip("a small disk cannot be had here")
    house.root.chmod(0o700)
    yield house
    (house.root / "filler").unlink(missing_ok=True)
    house.close()
    subprocess.run(["umount", "-l", house.root], check=True)


def fill(root: Path) -> None:
    with (root / "filler").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            while True:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    break


async def test_on_a_full_disk_a_commit_is_refused_whole_and_the_next_one_after_it_succeeds(small: House) -> None:
    async with small.runner(free=lambda _path: 2**40), small.opened() as orchestration:
        first = await orchestration.spawn(shell("echo one"))
        await ended(orchestration, first.orchestration_task_id)
        await orchestration.pull()
        before = journal_of(small).read_bytes()
        fill(small.root)
        with pytest.raises(DiskFull) as caught:
            await orchestration.spawn(shell("echo " + "x" * 8000))
        assert "devsh gc" in caught.value.next_step
        assert journal_of(small).read_bytes() == before
        (small.root / "filler").unlink()
        second = await orchestration.spawn(shell("echo two"))
        assert (await ended(orchestration, second.orchestration_task_id)).result == "two\n"


async def test_a_disk_that_is_full_at_an_attempts_end_delays_the_end_and_loses_nothing(small: House) -> None:
    gate, pipe = small.gate(), small.pipe()
    async with small.runner(free=lambda _path: 2**40, again=0.05), small.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"exec 9>{pipe.path}; echo here >&9; {gate.pass_through}; echo done"))
        await pipe.lines(1)
        await until_event(orchestration, "agent_started")
        await orchestration.pull()
        fill(small.root)
        gate.open()
        await pipe.end()
        shim = await reported_pid(orchestration, spawned.orchestration_task_id, "started")
        assert await anyio.to_thread.run_sync(await_end, shim, 10.0)
        (small.root / "filler").unlink()
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        assert (record.status, record.result) == ("completed", "done\n")
