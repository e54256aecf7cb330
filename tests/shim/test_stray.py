"""Commits that the agent's HEAD does not lead to: they are saved beside it, and what cannot be saved is told."""

import pathlib

import pytest

from devsh_memory_mcp.shim.rundir import Outcome
from tests.shim.stage import Repository, Stage

ASIDE = "git checkout -q -b feature/x; echo 1 >one; git add one; git commit -qm aside; git checkout -q -;"


def _refs(repository: Repository, outcome: Outcome) -> dict[str, str]:
    """The refs of the attempt's work, by what follows its number, and what their commits are called."""
    start = f"refs/devsh/salvage/{outcome.task_run_id}/"
    lines = repository.git("for-each-ref", "--format=%(refname:lstrip=4) %(subject)", start).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def test_a_branch_that_was_left_is_saved_and_told(stage: Stage, repository: Repository) -> None:
    before = repository.state()
    outcome = stage.run(ASIDE, checkout=repository.checkout())
    assert (outcome.succeeded, outcome.branch, outcome.salvage_ref, outcome.commits, outcome.unsaved) == (True, None, None, 0, False)
    assert _refs(repository, outcome) == {"1.feature-x": "aside"}
    assert outcome.warnings == (
        f"Commits that the agent's HEAD does not lead to were saved as well: refs/devsh/salvage/{outcome.task_run_id}/1.feature-x",
    )
    assert repository.state() == before
    repository.git("fsck", "--strict")


def test_branches_tags_stashes_and_a_detached_head_are_all_saved(stage: Stage, repository: Repository) -> None:
    script = f"""{ASIDE} git commit -q --allow-empty -m tagged; git tag -a v1 -m noted; git reset -q --hard HEAD~1
    echo 2 >>readme; git stash -q; echo 3 >>readme; echo 4 >untracked; git stash -q -u
    git checkout -q --detach; echo 5 >five; git add five; git commit -qm detached; git pack-refs --all; echo left >left"""
    outcome = stage.run(script, checkout=repository.checkout())
    refs = _refs(repository, outcome)
    assert set(refs) == {"1", "1.feature-x", "1.tag-v1", "1.stash", "1.stash-1"}
    assert repository.files(f"{outcome.salvage_ref}.stash-1")["readme"] == "hello\n2"
    assert repository.git("show", f"{outcome.salvage_ref}.stash^3:untracked") == "4"
    assert repository.git("tag") == ""
    assert (outcome.commits, outcome.unsaved) == (2, False)
    repository.git("fsck", "--strict")


def test_what_is_in_the_work_or_with_the_user_needs_no_ref_of_its_own(stage: Stage, repository: Repository) -> None:
    repository.commit("second", second="2\n")
    repository.git("branch", "other", "HEAD~1")
    repository.git("tag", "v1")
    script = """git branch back HEAD~1; git branch same; git checkout -q -b follow origin/other; git checkout -q -
    echo 1 >one; git add one; git commit -qm mine; git tag mine; echo 2 >two; git add two; git commit -qm more; git fetch -q origin"""
    outcome = stage.run(script, checkout=repository.checkout())
    assert _refs(repository, outcome) == {"1": "more"}
    assert outcome.warnings == ()


def test_what_another_remote_has_is_not_taken_for_the_agents(stage: Stage, repository: Repository, tmp_path: pathlib.Path) -> None:
    upstream = Repository(tmp_path / "upstream")
    upstream.commit("theirs", file="theirs\n")
    upstream.git("tag", "v9")
    script = f"git remote add upstream {upstream.path}; git fetch -q --tags upstream; git branch --no-track theirs upstream/main"
    outcome = stage.run(script, checkout=repository.checkout())
    assert (_refs(repository, outcome), outcome.warnings, outcome.unsaved) == ({}, (), False)
    outcome = stage.run(
        f"{script}; git checkout -q theirs; git commit -q --allow-empty -m on; git checkout -q -", checkout=repository.checkout()
    )
    assert _refs(repository, outcome) == {"1.theirs": "on"}


def test_a_recovery_saves_them_and_may_be_repeated(stage: Stage, repository: Repository) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; {ASIDE} echo left >left; echo a >&9; sleep 1000", checkout=repository.checkout())
    tether.await_words(1)
    run.kill()
    run.await_lock()
    first = stage.start(run.directory, "--recover").end()
    refs = _refs(repository, first)
    assert set(refs) == {"1", "1.feature-x"}
    (run.directory / "outcome.json").unlink()
    again = stage.start(run.directory, "--recover").end()
    assert (again.tip, again.warnings, again.unsaved, _refs(repository, again)) == (first.tip, first.warnings, False, refs)


def test_two_refs_whose_names_come_to_the_same_are_both_there(stage: Stage, repository: Repository) -> None:
    script = "for name in a/b a-b; do git checkout -q --detach origin/main; git commit -q --allow-empty -m $name; git branch $name; done"
    outcome = stage.run(f"{script}; git checkout -q dev/work-ab12c", checkout=repository.checkout())
    assert sorted(_refs(repository, outcome).values()) == ["a-b", "a/b"]


@pytest.mark.parametrize(
    "ruin",
    [
        "rm -rf .git/objects/*",
        "rm .git/HEAD; mkfifo .git/HEAD",
        "rm -rf .git/refs; mkfifo .git/refs",
        "mv .git/refs ../refs; ln -s ../../refs .git/refs",
        "rm -f .git/packed-refs; mkfifo .git/packed-refs",
        "echo 1111111111111111111111111111111111111111 >.git/refs/heads/gone",
        "for n in $(seq 101); do cp .git/refs/heads/feature/x .git/refs/heads/$n; done",
    ],
)
def test_refs_that_cannot_be_read_keep_the_checkout(stage: Stage, repository: Repository, ruin: str) -> None:
    outcome = stage.run(f"{ASIDE} {ruin}; echo left >left", checkout=repository.checkout())
    assert (outcome.succeeded, outcome.unsaved) == (True, True)
    assert repository.files(outcome.branch or "")["left"] == "left"
    assert any("could not be" in warning for warning in outcome.warnings)


def test_links_in_place_of_refs_are_not_followed(stage: Stage, repository: Repository, tmp_path: pathlib.Path) -> None:
    (tmp_path / "secret").write_text("2" * 40 + "\n")
    outcome = stage.run(
        f"ln -s {tmp_path} .git/refs/heads/away; ln -s {tmp_path}/secret .git/refs/heads/file", checkout=repository.checkout()
    )
    assert (outcome.unsaved, _refs(repository, outcome)) == (False, {})


def test_files_and_histories_that_are_only_in_the_checkout_are_told_to_machines(stage: Stage, repository: Repository) -> None:
    script = "git init -q nested; echo 1 >nested/one; git -C nested add one; git -C nested commit -qm inner"
    assert stage.run(script, checkout=repository.checkout()).unsaved
    assert stage.run("rm -rf .git", checkout=repository.checkout()).unsaved
    repository.git("update-ref", "-d", "refs/heads/dev/work-ab12c")
    outcome = stage.run("echo new >made", checkout=repository.checkout())
    assert not outcome.unsaved


def test_work_that_cannot_be_saved_in_the_repository_is_told_to_machines(stage: Stage, repository: Repository) -> None:
    outcome = stage.run(f"{ASIDE} rm -rf ../git; echo new >made", checkout=repository.checkout())
    assert (outcome.succeeded, outcome.unsaved) == (False, True)
