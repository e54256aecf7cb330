"""What a collection takes, and what it never does."""

import json
import os
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.events import CheckoutRemoved
from devsh_memory_mcp.engine.garbage import Collected, forget_base
from devsh_memory_mcp.engine.removal import open_run, remove
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.shim.rundir import OPEN_FILE
from devsh_memory_mcp.store.journal import fold_file
from devsh_memory_mcp.store.lock import alone
from devsh_memory_mcp.wiring import collect_garbage
from tests.doubles.processes import await_end, kill
from tests.engine.house import House, ended, events_of, git, run_directory, shell

NOW = timedelta(0)


def taken(collected: Collected) -> set[str]:
    """The tasks whose checkouts went."""
    return {found.orchestration_task_id for found in collected.removed if found.path.name == "workspace"}


async def run(orchestration: Orchestration, script: str, **fields: object) -> tuple[str, Path]:
    """A task that has ended, and its run directory."""
    spawned = await orchestration.spawn(shell(script, **({"repo": None} | fields)))
    await ended(orchestration, spawned.orchestration_task_id)
    return spawned.orchestration_task_id, await run_directory(orchestration, spawned.orchestration_task_id)


KEPT = {
    "a stash": "echo mine > stashed; git add .; git stash -q; echo new > new",
    "a second stash": "for n in 1 2; do echo $n > s; git add .; git stash -q; done; git update-ref refs/stash HEAD; echo x > x",
    "another branch": "git checkout -qb other; echo mine > other; git add .; git commit -qm other; git checkout -q -; echo new > new",
    "a packed branch": "git checkout -qb o; echo m > o; git add .; git commit -qm o; git checkout -q -; git pack-refs --all; echo n > n",
    "a tag": "echo m > m; git add .; git commit -qm m; git tag mine; git reset -q --hard HEAD~1",
    "a work tree": 'git worktree add -q --detach "$PWD/../elsewhere"; echo new > new',
    "no repository": "rm -rf .git; echo new > new",
    "a repository inside": "git init -q inner; cd inner; echo m > m; git add .; git commit -qm m",
    "a link for refs": "mv .git/refs ../refs; ln -s ../../refs .git/refs; echo new > new",
    "a pipe for refs": "mkfifo .git/refs/heads/pipe; echo new > new",
}


@pytest.mark.parametrize("script", KEPT.values(), ids=KEPT)
async def test_a_checkout_with_more_than_what_was_saved_is_kept(house: House, repository: Path, script: str) -> None:
    async with house.opened() as orchestration:
        task, directory = await run(orchestration, script)
        record = await orchestration.status(task)
        before = sorted(path.name for path in directory.rglob("*"))
        for ref in git(repository, "for-each-ref", "--format=%(refname)", "refs/devsh/salvage").splitlines():
            if ref not in record.salvage_refs:
                git(repository, "update-ref", "-d", ref)
        collected = await collect_garbage(house.root, None, older_than=NOW)
    assert taken(collected) == set()
    assert [kept.path for kept in collected.kept] == [directory / "workspace"]
    assert set(before) - {path.name for path in directory.rglob("*")} <= {"prompt", "reserve", "bundle.log"}


async def test_branches_that_the_user_has_hold_no_checkout_back(house: House, repository: Path) -> None:
    git(repository, "branch", "side")
    git(repository, "tag", "-a", "v1", "-m", "one")
    async with house.opened() as orchestration:
        saved, directory = await run(orchestration, "git checkout -q -b more; echo new > new; git add .; git commit -qm new; git tag x")
        unchanged, _ = await run(orchestration, "true")
        git(repository, "branch", "-D", "side")
        collected = await collect_garbage(house.root, None, older_than=NOW)
        told = {event.orchestration_task_id: event.kept_in for event in events_of(orchestration) if isinstance(event, CheckoutRemoved)}
        (ref,) = (await orchestration.status(saved)).salvage_refs
    assert (taken(collected), collected.kept) == ({saved, unchanged}, [])
    assert told == {saved: ref, unchanged: None}
    assert {path.name for path in directory.iterdir()} <= {"run.json", "report.jsonl", "outcome.json", "lock", "inbox.jsonl"} | {
        f"{name}.log" for name in ("stdout", "stderr", "shim")
    }


TOLD = {
    "a branch that was moved": ("echo new > new", '"warnings": ["dev/a has been moved since it was published; the work is in b as well."]'),
    "a cost that is not known": ("true", '"warnings": ["This claude does not know the model, so what it cost is not known."]'),
    "commits beside its HEAD": (KEPT["another branch"], ""),
}


@pytest.mark.parametrize(("script", "said"), TOLD.values(), ids=TOLD)
async def test_a_warning_about_something_else_than_unsaved_work_holds_nothing_back(
    house: House, repository: Path, script: str, said: str
) -> None:
    async with house.opened() as orchestration:
        task, directory = await run(orchestration, script)
        path = directory / "outcome.json"
        outcome = json.loads(path.read_bytes())
        path.write_text(json.dumps(outcome | json.loads(f"{{{said}}}")), encoding="utf-8")
        assert json.loads(path.read_bytes())["warnings"]
        collected = await collect_garbage(house.root, None, older_than=NOW)
    assert (taken(collected), collected.kept) == ({task}, [])


DOUBTS = ['"unsaved": true', '"tip": "no"', "no"]


@pytest.mark.parametrize("doubt", DOUBTS)
async def test_a_checkout_whose_outcome_leaves_a_doubt_is_kept(house: House, repository: Path, doubt: str) -> None:
    async with house.opened() as orchestration:
        _, directory = await run(orchestration, "echo new > new")
        path = directory / "outcome.json"
        path.write_text(f"{path.read_text(encoding='utf-8').rstrip()[:-1]}, {doubt}}}", encoding="utf-8")
        collected = await collect_garbage(house.root, None, older_than=NOW)
    assert (taken(collected), len(collected.kept)) == (set(), 1)
    assert (directory / "workspace/new").exists()
    house.expected = {"run_file_damaged"} if doubt == "no" else set()


async def test_what_somebody_worked_on_after_the_end_is_kept(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        _, directory = await run(orchestration, "echo new > new")
        (directory / "workspace/new").write_text("mine\n", encoding="utf-8")
        collected = await collect_garbage(house.root, None, older_than=NOW)
    assert (taken(collected), [kept.reason for kept in collected.kept]) == (set(), ["new has changed since its end"])


async def test_what_somebody_has_open_is_kept_until_he_leaves(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        task, directory = await run(orchestration, "echo new > new")
        descriptor = os.open(directory, os.O_RDONLY)
        with alone(descriptor, OPEN_FILE) as is_ours:
            during = await collect_garbage(house.root, None, older_than=NOW)
        os.close(descriptor)
        after = await collect_garbage(house.root, None, older_than=NOW)
    assert is_ours
    assert (taken(during), [kept.reason for kept in during.kept]) == (set(), ["somebody has it open"])
    assert (taken(after), (directory / OPEN_FILE).exists()) == ({task}, False)


async def test_files_of_no_repository_are_kept_and_an_empty_directory_goes(house: House) -> None:
    async with house.opened() as orchestration:
        full, directory = await run(orchestration, "echo mine > mine", repo="none")
        empty, _ = await run(orchestration, "true", repo="none")
        linked, place = await run(orchestration, "true", repo="none")
        (place / "workspace").rmdir()
        (place / "workspace").symlink_to(directory / "workspace")
        collected = await collect_garbage(house.root, None, older_than=NOW)
    assert taken(collected) == {empty}
    assert {kept.orchestration_task_id for kept in collected.kept} == {full, linked}
    assert (directory / "workspace/mine").exists()


async def test_keep_age_and_dry_run_hold_everything_back(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        _, kept = await run(orchestration, "echo new > new", keep=True)
        task, directory = await run(orchestration, "echo new > new")
        before = {*kept.rglob("*"), *directory.rglob("*")}
        assert (await collect_garbage(house.root, None)).removed == []
        named = await collect_garbage(house.root, None, older_than=NOW, dry_run=True)
        assert {*kept.rglob("*"), *directory.rglob("*")} == before
        assert {found.orchestration_task_id for found in named.removed} == {task}
        done = await collect_garbage(house.root, None, older_than=NOW)
    assert [found.path for found in done.removed] == [found.path for found in named.removed]
    assert all(found.bytes > 0 for found in named.removed if found.path.name in ("workspace", "git"))
    assert (kept / "workspace/new").exists()


async def test_read_only_and_deep_trees_go_and_only_what_went_is_counted(house: House, repository: Path) -> None:
    script = """mkdir -p cache/a; head -c 100000 /dev/zero > cache/a/b; echo cache > .gitignore; ln cache/a/b ../elsewhere
    ln -s /etc cache/link; chmod -R a-w cache/a; chmod 000 cache/a
    cd cache; for n in $(seq 300); do mkdir deep; cd deep; done; echo x > x"""
    async with house.opened() as orchestration:
        task, directory = await run(orchestration, script)
        collected = await collect_garbage(house.root, None, older_than=NOW)
    assert taken(collected) == {task}
    assert [found.failure for found in collected.removed if found.failure] == []
    assert not list(directory.glob("*.going*"))
    assert (directory / "elsewhere").stat().st_size == 100000
    assert Path("/etc/passwd").exists()


async def test_what_an_earlier_removal_left_is_taken_up_again(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        _, directory = await run(orchestration, "echo new > new")
        for name in ("workspace.going", "workspace.going-2"):
            (directory / name / "a").mkdir(parents=True)
        collected = await collect_garbage(house.root, None)  # however young
    assert {found.path.name for found in collected.removed} == {"workspace.going", "workspace.going-2"}
    assert not list(directory.glob("*.going*"))
    assert (directory / "workspace").is_dir()


def test_a_run_directory_behind_a_link_is_not_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "elsewhere/1/workspace").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/tr_1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"[Nn]ot a directory|Too many levels"):
        open_run(tmp_path, "tr_1", 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file immutable")
def test_what_cannot_go_is_told_and_not_counted(tmp_path: Path) -> None:
    stuck = tmp_path / "runs/tr_1/1/workspace/stuck"
    stuck.parent.mkdir(parents=True)
    stuck.write_bytes(b"x" * 8192)
    if subprocess.run(["chattr", "+i", stuck], check=False, capture_output=True).returncode:
        pytest.skip("this file system has no immutable files")
    place = open_run(tmp_path, "tr_1", 1)
    try:
        freed = remove(place, "workspace")
        assert (freed.bytes, list(freed.failures)) == (0, ["workspace.going/stuck"])
        subprocess.run(["chattr", "-i", tmp_path / "runs/tr_1/1/workspace.going/stuck"], check=True)
        assert remove(place, "workspace.going").bytes >= 8192
    finally:
        os.close(place)


async def test_bases_of_ended_tasks_are_forgotten_and_others_are_not(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        task, directory = await run(orchestration, "true")
        journal = (orchestration.directory or Path()) / "EVENTS.jsonl"
    runner = house.runner_pid()
    kill(runner, signal.SIGTERM)  # it forgets a base as well
    assert await_end(runner, 5.0)
    for name in (directory.parent.name, "tr_somebodyelse"):
        git(repository, "update-ref", f"refs/devsh/base/{name}", "HEAD")
    left = repository / ".git/refs/devsh/base" / f"{directory.parent.name}.lock"  # of a git that was killed
    left.touch()
    collected = await collect_garbage(house.root, None)
    there = fold_file(journal).tasks[task]
    assert (collected.failures, left.exists()) == ([], False)
    assert git(repository, "for-each-ref", "--format=%(refname)", "refs/devsh/base") == "refs/devsh/base/tr_somebodyelse"
    without_git = there.spec.model_copy(update={"environment": {"PATH": str(house.root)}})
    there.spec = without_git
    assert "git" in (forget_base(there) or "")
