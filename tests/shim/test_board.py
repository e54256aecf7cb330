"""What a head is shown of its orchestration: copies that are its own, branches in its checkout, and nothing of its making followed."""

import json
import os
import pathlib
import typing

import pytest

from devsh_memory_mcp.shim.board import Board, Branches
from tests.shim.stage import Repository

TIP = "a" * 40


class Shown:
    """A board, what it is of, and where it is."""

    def __init__(self, root: pathlib.Path) -> None:
        self.source, self.place, self.inner = root / "orchestration", root / "place", root / "checkout/.git"
        for directory in (self.source, self.place, self.inner):
            directory.mkdir(parents=True)
        self.notes: list[str] = []
        branches = Branches("/code/.git", str(self.inner), None, self.notes.append)
        self.board = Board(str(self.source), str(self.place), None, branches, self.notes.append)

    def tell(self, *events: dict[str, typing.Any]) -> None:
        with (self.source / "EVENTS.jsonl").open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)
        self.board.renew()

    def completed(self, branch: str, tip: str = TIP, code: str = "/code/.git") -> None:
        task = {"orchestrationTaskId": branch}
        self.tell(
            {"event": "agent_spawned", **task, "spec": {"repository": {"gitDirectory": code}}},
            {"event": "attempt_ended", **task, "totals": {"tip": tip}},
            {"event": "agent_completed", **task, "branch": branch},
        )

    def refs(self) -> dict[str, str]:
        found = (path for path in (self.inner / "refs").rglob("*") if path.is_file())
        return {str(path.relative_to(self.inner)): path.read_text().strip() for path in found}


@pytest.fixture
def shown(tmp_path: pathlib.Path) -> Shown:
    return Shown(tmp_path)


def test_files_are_copied_when_they_change_and_the_journal_grows(shown: Shown) -> None:
    (shown.source / "PLAN.json").write_text("1")
    shown.tell({"seq": 1})
    inode = (shown.place / "EVENTS.jsonl").stat().st_ino
    (shown.source / "PLAN.json").write_text("two")
    with (shown.source / "EVENTS.jsonl").open("a") as file:
        file.write('{"seq": 2}\n{"seq": 3')
    shown.board.renew()
    assert (shown.place / "PLAN.json").read_text() == "two"
    assert (shown.place / "EVENTS.jsonl").read_text() == '{"seq": 1}\n{"seq": 2}\n'
    assert (shown.place / "EVENTS.jsonl").stat().st_ino == inode
    assert shown.notes == []


def test_what_the_head_wrote_into_a_view_is_kept_beside_it(shown: Shown) -> None:
    (shown.source / "PLAN.json").write_text("ours")
    shown.tell({"seq": 1})
    (shown.place / "PLAN.json").write_text("its own words")
    (shown.source / "PLAN.json").write_text("ours, newer")
    shown.board.renew()
    [kept] = shown.place.glob("PLAN.json.edited-*")
    assert (kept.read_text(), (shown.place / "PLAN.json").read_text()) == ("its own words", "ours, newer")


def test_a_journal_that_the_head_has_spoilt_is_made_anew(shown: Shown) -> None:
    shown.tell({"seq": 1})
    (shown.place / "EVENTS.jsonl").write_text("spoilt")
    shown.tell({"seq": 2})
    assert (shown.place / "EVENTS.jsonl").read_text() == '{"seq": 1}\n{"seq": 2}\n'


def test_a_branch_is_put_up_under_both_of_its_names(shown: Shown) -> None:
    shown.completed("dev/work-ab12c")
    assert shown.refs() == {"refs/remotes/origin/dev/work-ab12c": TIP, "refs/heads/dev/work-ab12c": TIP}


def test_a_branch_of_the_heads_own_is_left_alone_and_one_that_was_put_up_moves_on(shown: Shown) -> None:
    shown.completed("dev/mine")
    shown.completed("dev/put-up")
    (shown.inner / "refs/heads/dev/mine").write_text("c" * 40)
    for branch in ("dev/mine", "dev/put-up"):
        shown.completed(branch, "b" * 40)
    assert shown.refs() == {
        "refs/remotes/origin/dev/mine": "b" * 40,
        "refs/heads/dev/mine": "c" * 40,
        "refs/remotes/origin/dev/put-up": "b" * 40,
        "refs/heads/dev/put-up": "b" * 40,
    }


@pytest.mark.parametrize(
    ("branch", "tip", "code"),
    [
        ("../../config", TIP, "/code/.git"),
        ("/etc/passwd", TIP, "/code/.git"),
        ("dev/x.lock", TIP, "/code/.git"),
        ("dev/..", TIP, "/code/.git"),
        ("dev/x", "ref: refs/heads/main", "/code/.git"),
        ("dev/x", TIP, "/another/.git"),
    ],
)
def test_what_is_no_branch_of_its_agents_is_not_put_up(shown: Shown, branch: str, tip: str, code: str) -> None:
    shown.completed(branch, tip, code)
    assert not (shown.inner / "refs").exists()


def test_lines_of_others_in_the_journal_mean_nothing(shown: Shown) -> None:
    with (shown.source / "EVENTS.jsonl").open("a") as file:
        file.write('"agent_completed"\n["agent_completed"]\nagent_completed "agent_completed"\n')
    shown.completed("dev/x")
    assert "refs/heads/dev/x" in shown.refs()


@pytest.mark.parametrize("where", ["place", "inner", "inner/refs", "inner/refs/heads", "inner/refs/remotes/origin/dev"])
def test_no_link_of_the_heads_is_followed(shown: Shown, tmp_path: pathlib.Path, where: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    name, _, below = where.partition("/")
    path = getattr(shown, name) / below
    if path.is_dir():
        path.rmdir()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(elsewhere)
    (shown.source / "PLAN.json").write_text("1")
    shown.completed("dev/x")
    assert list(elsewhere.iterdir()) == []
    assert shown.notes != []


def test_no_file_is_written_through_a_link_of_the_heads(shown: Shown, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "target"
    target.write_text("as it was")
    for name in ("PLAN.json", ".PLAN.json.devsh", "EVENTS.jsonl"):
        (shown.place / name).symlink_to(target)
    (shown.source / "PLAN.json").write_text("1")
    shown.tell({"seq": 1})
    assert target.read_text() == "as it was"
    assert (shown.place / "PLAN.json").read_text() == "1"


def test_a_pipe_in_the_way_holds_nobody_up(shown: Shown) -> None:
    os.mkfifo(shown.place / "EVENTS.jsonl")
    shown.tell({"seq": 1})
    assert (shown.place / "EVENTS.jsonl").read_text() == '{"seq": 1}\n'


def test_git_takes_a_branch_that_was_put_up_for_one(tmp_path: pathlib.Path) -> None:
    repository = Repository(tmp_path / "code")
    tip = repository.commit(readme="hello\n")
    branches = Branches("/code", str(repository.path / ".git"), None, pytest.fail)
    task = '"orchestrationTaskId": "ns1"'
    branches.learn(
        f'{{"event": "agent_spawned", {task}, "spec": {{"repository": {{"gitDirectory": "/code"}}}}}}\n'
        f'{{"event": "attempt_ended", {task}, "totals": {{"tip": "{tip}"}}}}\n'
        f'{{"event": "agent_completed", {task}, "branch": "dev/x"}}\n'.encode()
    )
    assert repository.git("rev-parse", "dev/x", "origin/dev/x").split() == [tip, tip]
    assert repository.git("fsck") == ""
