"""`diff` and `merge` in a checkout of the user's own; the engine's part is a double."""

import json
import os
import subprocess

import pytest


def git(where, *arguments):
    return subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True).stdout.strip()


class Stand:
    """A repository in which the user stands, and tasks that published branches there."""

    def __init__(self, devsh, orchestration, repository):
        self.devsh, self.orchestration, self.repository = devsh, orchestration, repository

    def typed(self, *words):
        return self.devsh("orchestrate", *words, environment=dict(os.environ))

    def publish(self, task_id, **files):
        """A task with a branch in which files have this content."""
        here, branch, base = self.repository, f"dev/{task_id}", git(self.repository, "rev-parse", "main")
        git(here, "checkout", "-q", "-b", branch, base)
        for name, content in files.items():
            (here / name).write_text(content)
        git(here, "add", ".")
        git(here, "commit", "-qm", task_id)
        tip = git(here, "rev-parse", "HEAD")
        git(here, "checkout", "-q", "main")
        self.add(task_id, branch=branch, base_commit=base, git_directory=f"{here}/.git", ref=f"refs/heads/{branch}", tip=tip)

    def add(self, task_id, status="completed", **work):
        self.orchestration.add(task_id, status)
        self.orchestration.works[task_id] = work


@pytest.fixture
def stand(devsh, orchestration, tmp_path):
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "f").write_text("first\n")
    git(tmp_path, "add", "f")
    git(tmp_path, "commit", "-qm", "first")
    return Stand(devsh, orchestration, tmp_path)


@pytest.mark.promise("cli.merge")
def test_branches_are_merged_one_after_the_other(stand):
    for name in ("a", "b", "c"):
        stand.publish(f"ns{name}", **{name: f"{name}\n"})
    said = stand.typed("merge", "nsa", "nsb", "nsa")
    assert said.code == 0
    assert "merged into main: dev/nsa, dev/nsb" in said.out
    assert sorted(path.name for path in stand.repository.iterdir() if path.is_file()) == ["a", "b", "f"]


@pytest.mark.promise("cli.merge")
def test_a_conflict_is_left_as_git_leaves_it_and_told(stand):
    stand.publish("ns1", g="g\n")
    stand.publish("ns2", f="two\n")
    stand.publish("ns3", f="three\n")
    stand.publish("ns4", h="h\n")
    said = stand.typed("merge", "ns1", "ns2", "ns3", "ns4", "--json")
    answer = json.loads(said.out)
    assert (said.code, [one["branch"] for one in answer["merged"]], answer["into"]) == (5, ["dev/ns1", "dev/ns2"], "main")
    assert answer["stopped"] == {"orchestrationTaskId": "ns3", "branch": "dev/ns3", "files": ["f"], "isMerging": True}
    assert [one["orchestrationTaskId"] for one in answer["left"]] == ["ns4"]
    assert [line.partition("   #")[0] for line in answer["next"]] == [
        "git add f && git merge --continue", "devsh orchestrate merge ns4", "git merge --abort",
    ]  # fmt: skip
    assert "CONFLICT (content)" in said.err
    assert "<<<<<<<" in (stand.repository / "f").read_text()
    again = stand.typed("merge", "ns4")
    assert (again.code, "git merge --abort" in again.err) == (5, True)


def test_what_git_refuses_before_it_begins_can_be_repeated(stand):
    stand.publish("ns1", g="g\n")
    (stand.repository / "g").write_text("mine, and not added\n")
    answer = json.loads(stand.typed("merge", "ns1", "--json").out)
    assert (answer["stopped"]["isMerging"], answer["next"]) == (False, ["devsh orchestrate merge ns1"])
    assert (stand.repository / "g").read_text() == "mine, and not added\n"


@pytest.mark.parametrize(
    ("status", "work", "sentence"),
    [
        ("running", {}, "devsh orchestrate wait ns9"),
        ("failed", {"ref": "refs/devsh/salvage/tr_1/1", "tip": "1234"}, "git merge refs/devsh/salvage/tr_1/1` merges it all the same"),
        ("cancelled", {"ref": "refs/devsh/salvage/tr_1/1", "tip": "1234"}, "ns9 was cancelled, so it has no branch to merge."),
        ("failed", {}, "ns9 has failed and has changed nothing"),
        ("completed", {}, "changed nothing"),
        ("completed", {"branch": "dev/gone", "ref": "refs/devsh/salvage/tr_1/1", "tip": "1234"}, "not there any more"),
        ("completed", {"branch": "dev/x", "ref": "refs/heads/dev/x", "tip": "1", "git_directory": "/else/.git"}, "is another repository"),
        (
            "completed",
            {"branch": "dev/x", "ref": "refs/heads/dev/x", "tip": "1", "git_directory": "/m.git", "repo": "octo/tools", "url": "x"},
            "git fetch /m.git dev/x:dev/x && git merge dev/x",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused_before_anything_is(stand, status, work, sentence):
    stand.publish("ns1", g="g\n")
    stand.add("ns9", status, **work)
    said = stand.typed("merge", "ns1", "ns9")
    assert said.code in (2, 5)
    assert sentence in said.err
    assert not (stand.repository / "g").exists()


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        ("echo mine > f", "uncommitted changes"),
        ("echo mine > f; git add f", "uncommitted changes"),
        ("git checkout -q --detach", "no branch checked out"),
        ("rm -rf .git", "is in no checkout"),
    ],
)
def test_a_checkout_that_cannot_take_a_merge_is_left_alone(stand, prepare, sentence):
    stand.publish("ns1", g="g\n")
    subprocess.run(prepare, shell=True, cwd=stand.repository, check=True)
    said = stand.typed("merge", "ns1")
    assert said.code in (2, 5)
    assert sentence in said.err
    assert not (stand.repository / "g").exists()


@pytest.mark.parametrize(
    ("words", "code"), [(["merge"], 2), (["merge", ""], 2), (["merge", "nothing"], 4), (["diff"], 2), (["diff", ""], 2)]
)
def test_ids_that_name_nothing_are_refused(stand, words, code):
    assert stand.typed(*words).code == code


@pytest.mark.promise("cli.diff")
def test_a_diff_is_gits_own(stand):
    stand.publish("ns1", f="changed\n", g="g\n")
    shown = stand.typed("diff", "ns1").out
    assert "+changed" in shown
    assert "diff --git a/g b/g" in shown
    assert stand.typed("diff", "ns1", "--name-only").out == "f\ng\n"
    assert "1 file changed, 1 insertion(+)" in stand.typed("diff", "ns1", "--stat", "--", "g").out


@pytest.mark.promise("cli.diff")
def test_a_diff_for_programs_names_the_files(stand):
    stand.publish("ns1", f="changed\n", g="g\n")
    (stand.repository / "f").write_text("main goes on\n")
    git(stand.repository, "commit", "-qam", "on")
    answer = json.loads(stand.typed("diff", "ns1", "--json").out)
    assert answer["files"] == [{"path": "f", "insertions": 1, "deletions": 1}, {"path": "g", "insertions": 1, "deletions": 0}]
    assert answer["ref"] == "refs/heads/dev/ns1"


def test_a_diff_is_shown_from_anywhere(stand, tmp_path_factory):
    stand.publish("ns1", g="g\n")
    (stand.repository / ".git").rename(elsewhere := tmp_path_factory.mktemp("elsewhere") / "bare.git")
    stand.orchestration.works["ns1"]["git_directory"] = str(elsewhere)
    assert stand.typed("diff", "ns1", "--name-only").out == "g\n"


@pytest.mark.parametrize(
    ("status", "work", "sentence"),
    [
        ("running", {"workspace": "/runs/1/workspace"}, "/runs/1/workspace"),
        ("completed", {}, "worked on no repository"),
        ("completed", {"git_directory": "/nowhere/.git", "tip": "1"}, "not there any more"),
    ],
)
def test_what_has_no_diff_says_why(stand, status, work, sentence):
    stand.add("ns1", status, **work)
    said = stand.typed("diff", "ns1")
    assert (said.code in (5, 6), sentence in said.err) == (True, True)


def test_work_that_changed_nothing_has_an_empty_diff(stand):
    stand.add("ns1", "failed", git_directory=f"{stand.repository}/.git", base_commit="1")
    assert stand.typed("diff", "ns1").code == 0
    assert json.loads(stand.typed("diff", "ns1", "--json").out)["files"] == []
