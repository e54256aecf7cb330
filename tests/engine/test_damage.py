"""An orchestration whose journal is damaged is told of as damaged by every face, and never as if all were known."""

import json
import os
from pathlib import Path

import pytest
from anyio import to_thread

from devsh_memory_mcp.cli.main import run
from devsh_memory_mcp.cli.session import Surroundings
from devsh_memory_mcp.domain.requests import ListRequest, WaitRequest
from devsh_memory_mcp.errors import JournalDamaged
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.store.bookkeeping import is_exact
from tests.engine.house import House, ended, shell

COMMANDS = (
    "status", "status --watch", "status first", "status first --json", "results", "results first", "explain first", "diff first",
    "merge first", "wait", "wait first", "status second", "logs -f second",
)  # fmt: skip


def damage(directory: Path, *, keeps_size: bool) -> None:
    """An event in the middle is gone: with its line, or with the line still there and no event of ours any more."""
    path = directory / "EVENTS.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if keeps_size:
        with path.open("r+b") as file:
            file.seek(sum(map(len, lines[:3])))
            file.write(b"[")
    else:
        path.write_bytes(b"".join(lines[:3] + lines[4:]))


async def made(house: House, *, keeps_size: bool) -> Path:
    """Two tasks, of which the damaged journal knows the first alone; the views were exact before."""
    async with house.opened() as orchestration:
        first = await orchestration.spawn(shell("true", name="first"))
        await ended(orchestration, first.orchestration_task_id)
        second = await orchestration.spawn(shell("true", name="second"))
        await ended(orchestration, second.orchestration_task_id)
        await orchestration.pull()
        directory = orchestration.directory or Path()
    house.end_runner()
    assert is_exact(directory)
    damage(directory, keeps_size=keeps_size)
    house.expected = {"journal_damaged", "unknown_run_directory", *(["foreign_lines"] if keeps_size else [])}
    return directory


class Shell:
    """Types command lines in the house; what was printed is in `out` and `err`."""

    def __init__(self, house: House, capsys: pytest.CaptureFixture[str]) -> None:
        environment = dict(os.environ) | {"DEVSH_MEMORY_DIR": str(house.root)}
        self._surroundings, self._capsys = Surroundings(environment=environment, directory=house.directory), capsys
        self.out = self.err = ""

    async def type(self, line: str) -> int:
        code = await to_thread.run_sync(run, ["orchestrate", *line.split()], self._surroundings)
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.mark.parametrize("keeps_size", [False, True], ids=["a line is gone", "a byte is another"])
async def test_commands_that_answer_for_tasks_say_that_the_journal_is_damaged_and_what_to_run(
    house: House, capsys: pytest.CaptureFixture[str], *, keeps_size: bool
) -> None:
    directory = await made(house, keeps_size=keeps_size)
    user = Shell(house, capsys)
    for line in COMMANDS:
        assert await user.type(line) == 6, (line, user.out)
        assert f"The journal {directory / 'EVENTS.jsonl'} is damaged: only its first 3 events can be read" in user.err
        assert "If you have a backup of it, put that back first. Else run `devsh fsck --repair`; it keeps the original." in user.err
        assert "completed" not in user.out


@pytest.mark.parametrize("keeps_size", [False, True], ids=["a line is gone", "a byte is another"])
async def test_a_list_has_all_orchestrations_and_the_damaged_one_as_damaged(
    house: House, capsys: pytest.CaptureFixture[str], *, keeps_size: bool
) -> None:
    directory = await made(house, keeps_size=keeps_size)
    async with house.opened(session="s2", is_shell=False) as sound:
        third = await sound.spawn(shell("true", name="third"))
        await ended(sound, third.orchestration_task_id)
        await sound.pull()
    user = Shell(house, capsys)
    assert await user.type("list --json") == 0
    assert {task["id"]: task["status"] for task in json.loads(user.out)} == {"first": "damaged", "third": "completed"}
    assert f"{directory / 'EVENTS.jsonl'} is damaged" in user.err
    assert "devsh fsck --repair" in user.err
    assert await user.type("list") == 0
    assert "! damaged" in user.out
    assert str(directory) in user.out
    assert await user.type("status --all --json") == 0
    boards = {board["orchestrationId"]: board for board in json.loads(user.out)["orchestrations"]}
    assert boards[directory.name]["error"]["code"] == "journal_damaged"
    assert boards[sound.orchestration_id]["allTasksComplete"]
    assert await user.type("status --all") == 0
    assert f"{directory.name}  ! damaged" in user.out


async def test_an_orchestration_whose_beginning_cannot_be_read_is_not_passed_over_without_a_word(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = await made(house, keeps_size=False)
    path = directory / "EVENTS.jsonl"
    path.write_bytes(b"[" + path.read_bytes())
    user = Shell(house, capsys)
    for line, code in (("list", 0), ("list --all --json", 0), ("status", 6), ("status --all", 0)):
        assert await user.type(line) == code
        assert f"{directory} cannot be shown: the beginning of its journal cannot be read. `devsh fsck` tells more." in user.err
        assert "If you have a backup of it, put that back first. Else run `devsh fsck --repair`" in user.err
    house.expected = {"journal_damaged", "foreign_lines", "unknown_run_directory"}


async def test_tools_answer_an_error_instead_of_what_was_before_the_damage(house: House) -> None:
    directory = await made(house, keeps_size=False)
    async with house.opened(directory.name) as damaged:
        for call in (
            damaged.summary, damaged.results, damaged.brief, damaged.plan, damaged.pull, damaged.messages,
            lambda: damaged.list_tasks(ListRequest()), lambda: damaged.status("first"), lambda: damaged.work("first"),
            lambda: damaged.explain("first"), lambda: damaged.wait(WaitRequest(ids=("first",))), lambda: _changes(damaged),
        ):  # fmt: skip
            with pytest.raises(JournalDamaged):
                await call()


async def _changes(orchestration: Orchestration) -> None:
    async for _ in orchestration.changes(0):
        pass
