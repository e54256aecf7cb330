"""What becomes of an agent's work, and of the user's repository, which is left as it was."""

import os
import pathlib
import shutil
import subprocess

import pytest

from devsh_memory_mcp.shim.rundir import Checkout, Merge, Outcome
from tests.shim.stage import Repository, Stage


def test_leftovers_are_committed_and_published_on_the_branch(stage: Stage, repository: Repository) -> None:
    outcome = stage.run("echo new >made; echo three >>src/code; rm readme; echo no >ignored", checkout=repository.checkout())
    assert (outcome.succeeded, outcome.branch, outcome.commits) == (True, "dev/work-ab12c", 1)
    assert repository.files("dev/work-ab12c") == {".gitignore": "ignored\n.env", "made": "new", "src/code": "one\ntwo\nthree"}
    assert (outcome.files_changed, outcome.insertions, outcome.deletions) == (3, 2, 1)
    assert outcome.changed_files == ("made", "readme", "src/code")
    assert outcome.changed_file_sizes == {"made": 4, "src/code": 14}
    message = repository.git("log", "-1", "--format=%an <%ae>%n%B", "dev/work-ab12c")
    assert message == "Una User <una@example.org>\nWork of shell/sh (ns1234567890)\n\nAgent: shell/sh"
    assert repository.git("rev-parse", outcome.salvage_ref or "") == repository.git("rev-parse", "dev/work-ab12c") == outcome.tip
    assert repository.git("rev-parse", f"refs/devsh/base/{outcome.task_run_id}") == repository.git("rev-parse", "main")
    repository.git("fsck", "--strict")


def test_files_are_told_with_their_sizes_whatever_they_are_called_and_no_more_of_them_than_are_named(
    stage: Stage, repository: Repository
) -> None:
    odd = "printf 12345 >':(top)x'; printf 1 >'*'; printf 123 >\"$(printf 'a\\377\\tb')\"; mkdir d; printf 12 >'d/ e'; ln -s target link"
    outcome = stage.run(odd, checkout=repository.checkout())
    assert outcome.changed_file_sizes == {":(top)x": 5, "*": 1, "a\ufffd\tb": 3, "d/ e": 2, "link": 6}
    many = stage.run("mkdir many; for i in $(seq 300); do echo >many/$i; done", checkout=repository.checkout())
    assert (many.changed_file_count, len(many.changed_files), set(many.changed_file_sizes or {})) == (300, 200, set(many.changed_files))


def test_the_agents_own_commits_and_its_leftovers_are_both_there(stage: Stage, repository: Repository) -> None:
    script = """echo 1 >one; git add one; git commit -qm mine
    git checkout -qb elsewhere; echo 2 >two; git add two; git commit -qm other; echo 3 >left"""
    outcome = stage.run(script, checkout=repository.checkout())
    subjects = repository.git("log", "--format=%s", f"main..{outcome.branch}").splitlines()
    assert subjects == ["Work of shell/sh (ns1234567890)", "other", "mine"]
    assert (outcome.commits, outcome.files_changed) == (3, 3)
    assert repository.git("log", "-1", "--format=%an", f"{outcome.branch}~1") == "Una User"


def test_commits_without_leftovers_are_published_as_they_are(stage: Stage, repository: Repository) -> None:
    outcome = stage.run("echo 1 >one; git add one; git commit -qm mine; git rev-parse HEAD", checkout=repository.checkout())
    assert (outcome.tip, outcome.commits) == ((outcome.result or "").strip(), 1)


def test_without_a_change_there_is_no_branch(stage: Stage, repository: Repository) -> None:
    outcome = stage.run("cat readme", checkout=repository.checkout())
    assert (outcome.succeeded, outcome.branch, outcome.salvage_ref, outcome.commits) == (True, None, None, 0)
    assert outcome.tip == repository.git("rev-parse", "main")
    assert repository.git("branch", "--format=%(refname:short)") == "main"


def test_the_work_of_a_failed_agent_is_salvaged_and_not_published(stage: Stage, repository: Repository) -> None:
    outcome = stage.run("echo half >made; exit 1", checkout=repository.checkout())
    assert (outcome.branch, outcome.commits) == (None, 1)
    assert repository.files(outcome.salvage_ref or "")["made"] == "half"
    assert repository.git("branch", "--format=%(refname:short)") == "main"


def test_locks_that_a_killed_git_has_left_on_our_own_refs_are_taken_away(stage: Stage, repository: Repository) -> None:
    checkout = repository.checkout()
    names = ("devsh/base/tr_9", "devsh/salvage/tr_9/1", f"heads/{checkout.branch}")
    locks = [pathlib.Path(checkout.repository, f"refs/{name}.lock") for name in names]
    for lock in locks:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    outcome = stage.run("echo new >made", checkout=checkout, task_run_id="tr_9")
    assert (outcome.succeeded, outcome.salvage_ref, outcome.branch) == (True, "refs/devsh/salvage/tr_9/1", checkout.branch)
    assert not any(lock.exists() for lock in locks)


def test_a_lock_on_a_branch_that_is_there_is_somebody_elses(stage: Stage, repository: Repository) -> None:
    checkout = repository.checkout()
    repository.git("branch", checkout.branch)
    lock = pathlib.Path(checkout.repository, f"refs/heads/{checkout.branch}.lock")
    lock.touch()
    assert stage.run("echo new >made", checkout=checkout).branch == f"{checkout.branch}-2"
    assert lock.exists()


def test_a_taken_branch_is_never_moved(stage: Stage, repository: Repository) -> None:
    repository.git("branch", "dev/work-ab12c")
    outcome = stage.run("echo new >made", checkout=repository.checkout())
    assert outcome.branch == "dev/work-ab12c-2"
    assert repository.git("rev-parse", "dev/work-ab12c") == repository.git("rev-parse", "main")


@pytest.fixture
def continued(stage: Stage, repository: Repository) -> Checkout:
    """What a task gets that goes on where another one has published."""
    outcome = stage.run("echo one >made", checkout=repository.checkout())
    return repository.checkout(base_commit=outcome.tip, branch=outcome.branch, continues=True)


def test_a_continued_branch_is_moved_on(stage: Stage, repository: Repository, continued: Checkout) -> None:
    outcome = stage.run("cat made; git symbolic-ref --short HEAD; echo two >>made", checkout=continued)
    assert (outcome.result, outcome.branch, outcome.warnings) == ("one\ndev/work-ab12c\n", "dev/work-ab12c", ())
    assert (outcome.commits, outcome.files_changed) == (1, 1)
    assert repository.git("rev-parse", "dev/work-ab12c") == outcome.tip
    assert repository.git("rev-parse", "dev/work-ab12c~1") == continued.base_commit


MOVED = {
    "has been moved since": "git update-ref refs/heads/dev/work-ab12c main",
    "is not there any more": "git update-ref -d refs/heads/dev/work-ab12c",
    "is checked out in ": "git worktree add -q ../elsewhere dev/work-ab12c",
}


@pytest.mark.parametrize(("why", "command"), MOVED.items(), ids=MOVED)
def test_a_branch_that_somebody_touched_is_left_to_him(
    stage: Stage, repository: Repository, continued: Checkout, why: str, command: str
) -> None:
    subprocess.run(command, shell=True, cwd=repository.path, check=True)
    before = repository.git("for-each-ref", "refs/heads")
    outcome = stage.run("echo two >>made", checkout=continued)
    assert outcome.succeeded
    assert why in outcome.warnings[0]
    made = f"{outcome.tip} commit\trefs/heads/{outcome.branch}"
    assert set(repository.git("for-each-ref", "refs/heads").splitlines()) == {*before.splitlines(), made}
    if "checked out" in why:
        assert repository.git("-C", "../elsewhere", "status", "--porcelain") == ""


def test_commits_that_an_agent_rewrote_do_not_vanish_from_a_branch(stage: Stage, repository: Repository, continued: Checkout) -> None:
    outcome = stage.run("echo two >>made; git commit -qa --amend -m other", checkout=continued)
    assert (outcome.branch, len(outcome.warnings)) == ("dev/work-ab12c-2", 1)
    assert repository.git("rev-parse", "dev/work-ab12c") == continued.base_commit


def with_a_quick_user(stage: Stage, when: str, *, before: str = ":", after: str = ":") -> dict[str, str]:
    """The environment of a run in which the user types something just `before` or `after` the git call with `when` in it."""
    git = shutil.which("git")
    place = stage.root / "bin"
    place.mkdir()
    (place / "git").write_text(
        f"""#!/bin/sh
case "$*" in *"{when}"*) ;; *) exec {git} "$@" ;; esac
({before}) >&2; {git} "$@"; code=$?; ({after}) >&2; exit $code
"""
    )
    (place / "git").chmod(0o755)
    return {"PATH": f"{place}:{os.environ['PATH']}", "HOME": str(stage.root)}


THEN = {
    "has been moved since": "git branch -q -f dev/work-ab12c main",
    "has been deleted since": "git branch -q -D dev/work-ab12c",
}


@pytest.mark.parametrize(("said", "command"), THEN.items(), ids=THEN)
@pytest.mark.parametrize("continues", [False, True], ids=["made", "moved on"])
def test_what_the_user_does_to_a_branch_once_it_is_published_is_his_and_is_told(
    stage: Stage, repository: Repository, said: str, command: str, request: pytest.FixtureRequest, *, continues: bool
) -> None:
    checkout = request.getfixturevalue("continued") if continues else repository.checkout()
    when = "continued refs/heads/" if continues else "update-ref refs/heads/dev/work-ab12c"
    environment = with_a_quick_user(stage, when, after=f"cd {repository.path}; {command}")
    outcome = stage.run("echo two >>made", checkout=checkout, environment=environment)
    assert (outcome.succeeded, outcome.branch, outcome.error_message) == (True, "dev/work-ab12c", None)
    assert (len(outcome.warnings), said in outcome.warnings[0], outcome.unsaved) == (1, True, False)
    assert repository.git("rev-parse", outcome.salvage_ref or "") == outcome.tip
    there = repository.git("for-each-ref", "--format=%(objectname)", "refs/heads/dev")
    assert there == (repository.git("rev-parse", "main") if "moved" in said else "")


def saved_beside_a_checkout(stage: Stage, repository: Repository, continued: Checkout, when: str) -> Outcome:
    """Saves while somebody checks the branch out elsewhere, `before` or `after` it is moved."""
    elsewhere = f"git -C {repository.path} worktree add -q {stage.root}/elsewhere dev/work-ab12c"
    outcome = stage.run(
        "echo two >>made", checkout=continued, environment=with_a_quick_user(stage, "continued refs/heads/", **{when: elsewhere})
    )
    assert repository.git("-C", "../elsewhere", "status", "--porcelain") == ""
    return outcome


def test_a_branch_that_is_checked_out_in_the_instant_of_its_move_goes_back(
    stage: Stage, repository: Repository, continued: Checkout
) -> None:
    outcome = saved_beside_a_checkout(stage, repository, continued, "before")
    assert (outcome.succeeded, outcome.branch, len(outcome.warnings)) == (True, "dev/work-ab12c-2", 1)
    assert f"is checked out in {stage.root}/elsewhere" in outcome.warnings[0]
    assert repository.git("rev-parse", "dev/work-ab12c", "dev/work-ab12c-2").split() == [continued.base_commit, outcome.tip]


def test_a_branch_that_is_checked_out_right_after_its_move_stays_where_it_is(
    stage: Stage, repository: Repository, continued: Checkout
) -> None:
    outcome = saved_beside_a_checkout(stage, repository, continued, "after")
    assert (outcome.branch, outcome.warnings) == ("dev/work-ab12c", ())
    assert repository.git("rev-parse", "dev/work-ab12c") == outcome.tip


def test_whoever_goes_on_from_a_branch_and_changes_nothing_still_has_it(stage: Stage, repository: Repository, continued: Checkout) -> None:
    outcome = stage.run("cat made", checkout=continued)
    assert (outcome.branch, outcome.tip, outcome.commits, outcome.salvage_ref) == (continued.branch, continued.base_commit, 0, None)
    assert stage.run("exit 1", checkout=continued).branch is None
    repository.git("branch", "-D", continued.branch)
    assert stage.run("cat made", checkout=continued).branch is None


def test_a_branch_called_like_the_prefix_sends_the_work_elsewhere(stage: Stage, repository: Repository) -> None:
    repository.git("branch", "dev")
    assert stage.run("echo new >made", checkout=repository.checkout()).branch == "devsh/work-ab12c"
    repository.git("branch", "-D", "devsh/work-ab12c")
    repository.git("branch", "devsh")
    assert stage.run("echo new >made", checkout=repository.checkout()).branch == "dev-work-ab12c"


def test_a_dirty_repository_is_left_exactly_as_it_was(stage: Stage, repository: Repository) -> None:
    (repository.path / "readme").write_text("being edited\n")
    (repository.path / "staged").write_text("staged\n")
    repository.git("add", "staged")
    (repository.path / "untracked").write_text("untracked\n")
    before, status = repository.state(), repository.git("status", "--porcelain")
    outcome = stage.run("cat readme; ls; echo new >made; git add -A; git commit -qm mine; echo more >left", checkout=repository.checkout())
    assert (outcome.result or "").split() == ["hello", "readme", "src"]
    assert repository.state() == before
    assert repository.git("status", "--porcelain") == status
    assert not (repository.path / ".git/FETCH_HEAD").exists()


def test_included_files_are_there_and_never_committed(stage: Stage, repository: Repository) -> None:
    (repository.path / ".env").write_text("SECRET=1\n")
    (repository.path / "cache").mkdir()
    (repository.path / "cache/a b*").write_text("kept\n")
    checkout = repository.checkout(include=(".env", "cache", "absent", "../outside"), source_tree=str(repository.path))
    # Even where the agent lifts every exclusion.
    outcome = stage.run("cat .env cache/*; git status --short; printf '!.env\\n!cache\\n' >.gitignore; echo new >made", checkout=checkout)
    assert outcome.result == "SECRET=1\nkept\n"
    assert set(repository.files(outcome.branch or "")) == {".gitignore", "made", "readme", "src/code"}
    assert len(outcome.warnings) == 2
    assert not (stage.root / "outside").exists()


def test_dependencies_are_merged_and_their_branches_can_be_seen(stage: Stage, repository: Repository) -> None:
    base = repository.git("rev-parse", "HEAD")
    merges = []
    for name in ("a", "b"):
        repository.git("checkout", "-q", "-b", f"dev/{name}", base)
        merges.append(Merge(f"ns{name}", f"dev/{name}", repository.commit(f"by {name}", **{name: f"{name}\n"})))
    repository.git("checkout", "-q", "main")
    script = "cat a b; git branch -r --format='%(refname:short)'; git rev-parse --abbrev-ref HEAD; echo new >made"
    outcome = stage.run(script, checkout=repository.checkout(merges=tuple(merges)))
    assert (outcome.result or "").split() == ["a", "b", "origin/dev/a", "origin/dev/b", "origin/main", "dev/work-ab12c"]
    assert set(repository.files(outcome.branch or "")) == {".gitignore", "a", "b", "made", "readme", "src/code"}
    assert repository.git("merge-base", "--is-ancestor", "dev/b", outcome.branch or "") == ""
    assert (outcome.commits, outcome.files_changed, outcome.insertions, outcome.changed_files) == (1, 1, 1, ("made",))
    assert repository.git("diff", "--name-only", f"{outcome.head}...{outcome.branch}") == "made"
    repository.git("fsck", "--strict")


def test_an_agent_that_adds_nothing_to_what_was_merged_for_it_is_counted_nothing(stage: Stage, repository: Repository) -> None:
    base = repository.git("rev-parse", "HEAD")
    repository.git("checkout", "-q", "-b", "dev/a", base)
    merge = Merge("nsa", "dev/a", repository.commit("by a", a="a\n"))
    repository.git("checkout", "-q", "main")
    outcome = stage.run("cat a", checkout=repository.checkout(merges=(merge,)))
    assert (outcome.commits, outcome.files_changed, outcome.changed_files) == (0, 0, ())
    assert repository.files(outcome.branch or "")["a"] == "a"


def test_a_conflict_is_told_and_the_agent_starts_all_the_same(stage: Stage, repository: Repository) -> None:
    base = repository.git("rev-parse", "HEAD")
    merges = []
    for name in ("a", "b", "c"):
        repository.git("checkout", "-q", "-b", f"dev/{name}", base)
        merges.append(Merge(f"ns{name}", f"dev/{name}", repository.commit(name, **({"readme": name} if name != "c" else {"c": "c"}))))
    repository.git("checkout", "-q", "main")
    outcome = stage.run(
        "git status --short; cat readme c; git merge -q origin/dev/b || true", checkout=repository.checkout(merges=tuple(merges))
    )
    assert outcome.result is not None
    assert outcome.result.startswith("ac")
    assert [(conflict.branch, conflict.files) for conflict in outcome.merge_conflicts] == [("dev/b", ("readme",))]
    files = repository.files(outcome.branch or "")
    assert files["c"] == "c"
    assert "<<<<<<<" in files["readme"]


def test_a_rebase_and_a_prune_of_the_users_do_not_break_the_checkout(stage: Stage, repository: Repository) -> None:
    tether = stage.tether()
    repository.commit("second", second="2\n")
    run = stage.launch(
        f"exec 9>{tether.path}; echo a >&9; cat ../go; cat second; echo new >made; git add made; git commit -qm mine; echo 3 >left",
        setup="mkfifo ../go",
        checkout=repository.checkout(),
    )
    tether.await_words(1)
    repository.git("reset", "-q", "--hard", "HEAD~1")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "-q", "--prune=now")
    (run.directory / "go").write_text("go\n")
    outcome = run.end()
    assert (outcome.result, outcome.commits) == ("go\n2\n", 2)
    assert repository.files(outcome.branch or "")["second"] == "2"


def test_shallow_bare_and_linked_repositories_work_as_well(stage: Stage, repository: Repository, tmp_path: pathlib.Path) -> None:
    repository.commit("second", second="2\n")
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{repository.path}", str(tmp_path / "shallow")], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(repository.path), str(tmp_path / "bare")], check=True)
    repository.git("worktree", "add", "-q", "-b", "linked", str(tmp_path / "linked"))
    for name in ("shallow", "bare", "linked"):
        other = object.__new__(Repository)
        other.path = tmp_path / name
        script = "cat second; git log --oneline | wc -l; echo new >made; git add made; git commit -qm mine; echo 3 >left"
        outcome = stage.run(script, checkout=other.checkout(branch=f"dev/{name}"))
        assert (outcome.result or "").split() == ["2", "1" if name == "shallow" else "2"]
        assert (outcome.branch, outcome.commits, outcome.warnings) == (f"dev/{name}", 2, ())
        assert set(other.files(f"dev/{name}")) == {".gitignore", "left", "made", "readme", "second", "src/code"}


def test_a_repository_with_sha256_works_as_well(stage: Stage, tmp_path: pathlib.Path) -> None:
    repository = Repository(tmp_path / "sha256", "--object-format=sha256")
    repository.commit("first", readme="hello\n")
    outcome = stage.run("echo 1 >one; git add one; git commit -qm mine; echo 2 >two", checkout=repository.checkout())
    assert (outcome.branch, outcome.commits, len(outcome.tip or "")) == ("dev/work-ab12c", 2, 64)


def test_a_remote_repository_is_worked_on_through_one_mirror(
    stage: Stage, repository: Repository, tmp_path: pathlib.Path, home: pathlib.Path
) -> None:
    with (home / ".gitconfig").open("a") as file:
        file.write(f'[url "{tmp_path}/"]\n\tinsteadOf = https://example.org/\n')
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    mirror = str(tmp_path / "mirrors/one.git")
    url = "https://example.org/repository"
    for count in (1, 2):
        checkout = repository.checkout(repository=mirror, url=url, branch=f"dev/{count}")
        outcome = stage.run("cat readme; echo new >made", checkout=checkout, environment=environment)
        assert (outcome.branch, outcome.result) == (f"dev/{count}", "hello\n")
        repository.commit(f"later {count}", later=str(count))
    branches = subprocess.check_output(["git", f"--git-dir={mirror}", "branch", "--format=%(refname:short)"], text=True).split()
    assert branches == ["dev/1", "dev/2", "main"]


def test_a_base_that_is_not_there_ends_as_spawn_and_says_so(stage: Stage, repository: Repository) -> None:
    outcome = stage.run("echo ran", checkout=repository.checkout(base_commit="1" * 40))
    assert (outcome.cause, outcome.result) == ("spawn", None)
    assert "1111111" in (outcome.error_message or "")


def test_what_is_missing_from_the_checkout_is_told(stage: Stage, repository: Repository) -> None:
    repository.commit("lfs", **{".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", ".gitmodules": ""})
    outcome = stage.run("true", checkout=repository.checkout())
    assert [warning.split()[0] for warning in outcome.warnings] == ["Submodules", "Files"]


def test_a_partial_repository_works_from_what_it_has(stage: Stage, repository: Repository, tmp_path: pathlib.Path) -> None:
    repository.git("config", "uploadpack.allowFilter", "true")
    repository.commit("second", second="2\n")
    subprocess.run(["git", "clone", "-q", "--filter=blob:none", f"file://{repository.path}", str(tmp_path / "partial")], check=True)
    partial = object.__new__(Repository)
    partial.path = tmp_path / "partial"
    script = "cat second; echo new >made; git add made; git commit -qm mine; echo 3 >left"
    outcome = stage.run(script, checkout=partial.checkout())
    assert (outcome.result, outcome.branch, outcome.commits) == ("2\n", "dev/work-ab12c", 2)
    assert partial.files("dev/work-ab12c")["left"] == "3"
