"""The memory root: whose orchestration is which, and what an older directory becomes."""

import errno
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from devsh_memory_mcp.errors import InvalidId, JournalDamaged, MemoryRootUnusable, NotFound, RemoteFileSystem, Unavailable
from devsh_memory_mcp.store.files import append, sync_data
from devsh_memory_mcp.store.journal import JOURNAL_FILE, FileJournal, fold_file
from devsh_memory_mcp.store.mount import is_remote, kind_of
from devsh_memory_mcp.store.root import MemoryRoot
from tests.doubles.chance import counting
from tests.doubles.clock import StoppedClock
from tests.store.test_journal import commits, spawned

MakeRoot = Callable[[], MemoryRoot]


@pytest.fixture
def root(tmp_path: Path, clock: StoppedClock) -> MemoryRoot:
    return MemoryRoot(tmp_path / "memory", clock, counting(), {})


def test_a_new_orchestration_is_named_by_the_symlink(root: MemoryRoot) -> None:
    found = root.begin(project="/p", description="First.")
    assert os.readlink(root.link) == f"orchestrations/{found.orchestration_id}"
    assert root.get(found.orchestration_id) == found
    second = root.begin(project="/p")
    assert root.link.resolve() == second.directory


def test_what_is_ours_in_a_root_that_was_open_is_private(tmp_path: Path, clock: StoppedClock) -> None:
    for name in ("orchestrations", "mirrors"):
        (tmp_path / "memory" / name).mkdir(parents=True, mode=0o755)
    root = MemoryRoot(tmp_path / "memory", clock, counting(), {})
    found = root.begin(project="/p")
    modes = {path.name: path.stat().st_mode & 0o077 for path in (*root.path.rglob("*"), found.directory) if not path.is_symlink()}
    assert set(modes.values()) == {0}


def test_orchestrations_are_listed_newest_first_and_by_project(root: MemoryRoot, clock: StoppedClock) -> None:
    names = []
    for project in ("/a", "/b", "/a"):
        names.append(root.begin(project=project, session="s").orchestration_id)
        clock.go(timedelta(seconds=1))
    assert [found.orchestration_id for found in root.all()] == names[::-1]
    assert [found.orchestration_id for found in root.of_project("/a")] == [names[2], names[0]]
    assert root.all()[0].created.session == "s"


def test_an_orchestration_that_is_not_there_is_not_found(root: MemoryRoot) -> None:
    root.begin()
    with pytest.raises(NotFound):
        root.get("orch_nowhere")
    with pytest.raises(InvalidId):
        root.get("../../etc")


async def test_a_task_is_found_in_its_orchestration_by_any_of_its_ids(root: MemoryRoot, clock: StoppedClock) -> None:
    first, second = root.begin(), root.begin()
    for found, number in ((first, 1), (second, 2)):
        journal = FileJournal(found.directory, clock)
        await journal.transact(commits(spawned(number)))
        await journal.aclose()
    for name in ("ns0000000001", "tr_000000000001", "t1"):
        assert root.find_task(name) == first
    assert root.find_task("t3") is None


def test_beginners_at_one_moment_do_not_disturb_each_other(root: MemoryRoot) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = {found.orchestration_id for found in pool.map(lambda _: root.begin(), range(16))}
    assert len(made) == len(root.all()) == 16
    assert root.link.resolve().name in made


@pytest.fixture
def older(root: MemoryRoot) -> Path:
    root.link.mkdir()
    tasks = [
        {"id": "task_1", "prompt": "Done.", "agentName": "claude/opus-4.5", "status": "completed", "result": "It is.", "x": 1},
        {"id": "task_2", "prompt": "Next.", "agentName": "claude/opus-4.5", "status": "running", "dependsOn": ["task_1"]},
    ]
    plan = {
        "version": 1,
        "status": "running",
        "headAgent": "claude/opus-4.5",
        "orchestrationId": "orch_old",
        "tasks": tasks,
        "metadata": {"a": 1},
    }
    (root.link / "PLAN.json").write_text(json.dumps(plan))
    (root.link / "AGENTS.json").write_text('{"version": 1, "agents": []}')
    (root.link / "EVENTS.jsonl").write_text('{"timestamp":"2026-01-01T00:00:00Z","event":"agent_spawned"}\n')
    return root.link


def test_an_older_directory_is_adopted_with_its_tasks_and_loses_nothing(root: MemoryRoot, older: Path) -> None:
    before = {path.name: path.read_text() for path in older.iterdir()}
    found = root.adopt()
    assert found is not None
    assert (found.orchestration_id, found.created.head_agent) == ("orch_old", "claude/opus-4.5")
    state = fold_file(older / JOURNAL_FILE)
    done, held = state.get_task("task_1"), state.get_task("task_2")
    assert (done.status, done.result) == ("completed", "It is.")
    assert (held.status, held.held, held.spec.depends_on) == ("pending", True, (done.orchestration_task_id,))
    assert {name: (older / f"{name}.imported").read_text() for name in before} == before
    plan = json.loads((older / "PLAN.json").read_text())
    assert (plan["metadata"], plan["tasks"][0]["x"], plan["_view"]["seq"]) == ({"a": 1}, 1, 4)
    assert root.adopt() == found
    assert root.all() == [found]
    assert root.get("orch_old") == found


def test_an_adoption_cut_off_in_the_middle_is_finished_later(root: MemoryRoot, older: Path) -> None:
    os.link(older / "PLAN.json", older / "PLAN.json.imported")
    os.rename(older / "EVENTS.jsonl", older / "EVENTS.jsonl.imported")
    assert root.adopt() is not None
    assert len(fold_file(older / JOURNAL_FILE).tasks) == 2
    assert len(list(older.glob("PLAN.json.imported*"))) == 1


def test_a_directory_with_unfinished_tasks_stays_where_it_is(root: MemoryRoot, older: Path) -> None:
    root.adopt()
    new = root.begin()
    assert not root.link.is_symlink()
    assert len(root.all()) == 2
    assert root.get(new.orchestration_id) == new


def test_a_directory_whose_tasks_have_ended_makes_place(root: MemoryRoot, older: Path) -> None:
    plan = json.loads((older / "PLAN.json").read_text())
    plan["tasks"].pop()
    (older / "PLAN.json").write_text(json.dumps(plan))
    root.adopt()
    root.begin()
    assert root.link.is_symlink()
    assert {found.directory.parent.name for found in root.all()} == {"orchestrations"}
    assert root.get("orch_old")


def test_a_directory_with_a_damaged_journal_of_ours_is_not_taken_for_an_older_one(root: MemoryRoot) -> None:
    root.link.mkdir()
    line = b'{"seq":2,"timestamp":"2026-01-02T03:04:05.678Z","event":"settings_changed","maxConcurrent":2}\n'
    (root.link / JOURNAL_FILE).write_bytes(line)
    with pytest.raises(JournalDamaged):
        root.adopt()
    assert (root.link / JOURNAL_FILE).read_bytes() == line


def test_a_root_that_cannot_be_made_is_told(tmp_path: Path, clock: StoppedClock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MemoryRootUnusable):
        MemoryRoot(tmp_path / "file", clock, counting(), {})


MOUNTS = """\
22 1 0:20 / / rw - ext4 /dev/vda rw
23 22 0:21 / /srv rw shared:1 - nfs4 server:/srv rw
24 23 0:22 / /srv/disks/my\\040disk rw - ext4 /dev/vdb rw
25 22 0:23 / /mnt rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "remote"),
    [
        ("/var/x", "ext4", False),
        ("/srv/disks", "nfs4", True),
        ("/srv/disks/my disk/x", "ext4", False),
        ("/srvs", "ext4", False),
        ("/mnt", "fuse.sshfs", True),
    ],
)
def test_the_file_system_below_a_path_is_known(path: str, kind: str, remote: bool) -> None:
    assert kind_of(path, MOUNTS) == kind
    assert is_remote(kind) is remote


def test_the_error_on_a_network_file_system_says_what_to_do() -> None:
    assert "DEVSH_ALLOW_REMOTE_FS=1" in str(RemoteFileSystem())


def test_an_append_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "x", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    append(descriptor, b"abc", 0, tmp_path / "x", sync_data)
    assert (tmp_path / "x").read_bytes() == b"abc"
    os.close(descriptor)


def test_one_that_cannot_be_read_is_not_forgotten_where_it_might_be_the_one(root: MemoryRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    found = root.begin(project="/srv/project")

    def failing(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(Unavailable, match="Input/output error"):
        root.of_project("/srv/project", demand=True)
    assert root.all() == root.of_project("/srv/project") == []
    monkeypatch.undo()
    assert [one.orchestration_id for one in root.of_project("/srv/project")] == [found.orchestration_id]
