"""`open`: into a task's checkout, with the agent's own session or a shell; the engine's part is a double."""

import fcntl
import json
import os

import pytest

from devsh_memory_mcp.shim.rundir import OPEN_FILE


@pytest.fixture
def checkout(orchestration, tmp_path):
    place = tmp_path / "runs" / "1" / "workspace"
    place.mkdir(parents=True)
    orchestration.add("ns1", "completed")
    orchestration.works["ns1"] = {"workspace": str(place), "git_directory": "/r/.git", "branch": "dev/x", "ref": "refs/heads/dev/x"}
    return place


@pytest.fixture
def at_a_terminal():
    """The tests' own stdin is one meanwhile."""
    mine, (ours, theirs) = os.dup(0), os.openpty()
    os.dup2(theirs, 0)
    yield
    os.dup2(mine, 0)
    for descriptor in (mine, ours, theirs):
        os.close(descriptor)


@pytest.fixture
def typed(devsh, tmp_path, at_a_terminal):
    shell = tmp_path / "own-shell"
    shell.write_text('#!/bin/sh\npwd; ls ..; echo "$HELD"; exit 3\n')
    shell.chmod(0o755)
    return lambda *words: devsh("orchestrate", "open", *words, environment={**os.environ, "SHELL": str(shell), "HELD": "still mine"})


@pytest.mark.promise("cli.open")
def test_a_shell_opens_in_the_checkout_which_is_held_meanwhile(typed, checkout):
    said = typed("ns1")
    assert (said.code, said.out.splitlines()) == (3, [str(checkout), OPEN_FILE, "workspace", "still mine"])
    assert f"git -C {checkout} push origin HEAD:refs/heads/NAME" in said.err
    assert sorted(path.name for path in checkout.parent.iterdir()) == ["workspace"]


@pytest.mark.promise("cli.open")
def test_an_agent_with_a_session_is_opened_as_itself_unless_a_shell_is_wanted(typed, checkout, orchestration):
    orchestration.works["ns1"]["session"] = ("sh", "-c", "echo the session")
    assert typed("ns1").out == "the session\n"
    assert "still mine" in typed("ns1", "--shell").out
    assert json.loads(typed("ns1", "--json").out) == {
        "orchestrationTaskId": "ns1", "command": ["sh", "-c", "echo the session"], "directory": str(checkout),
    }  # fmt: skip


def test_what_is_open_elsewhere_is_not_opened_twice(typed, checkout):
    with (checkout.parent / OPEN_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = typed("ns1")
    assert (said.code, said.out, "open already" in said.err) == (5, "", True)
    assert typed("ns1").code == 3  # and a holder that was killed leaves a file, and no lock


def test_a_running_agent_is_disturbed_only_by_who_says_so(typed, checkout, orchestration):
    orchestration.add("ns1", "running")
    said = typed("ns1")
    assert (said.code, "--while-running" in said.err) == (5, True)
    assert typed("ns1", "--while-running").code == 3


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        ({"workspace": None}, "git --git-dir=/r/.git worktree add ../ns1 dev/x"),
        ({"workspace": "/nowhere"}, "was removed"),
        ({"workspace": None, "session": ("claude",)}, 'spawn --resume ns1 "…"'),
        ({"workspace": None, "ref": "refs/devsh/salvage/tr_1/1"}, "worktree add ../ns1 refs/devsh/salvage/tr_1/1"),
        ({"workspace": None, "ref": None}, "no work either"),
    ],
)
def test_a_checkout_that_is_gone_says_where_its_work_is(typed, checkout, orchestration, work, sentence):
    orchestration.works["ns1"] |= work
    said = typed("ns1")
    assert (said.code, sentence in said.err) == (5, True)


def test_what_cannot_be_started_is_told(devsh, checkout, at_a_terminal):
    said = devsh("orchestrate", "open", "ns1", environment={**os.environ, "SHELL": "/no/shell"})
    assert (said.code, "/no/shell cannot be started" in said.err) == (6, True)


def test_a_task_that_has_not_begun_has_nothing_to_open(typed, orchestration):
    orchestration.add("ns1", "pending")
    assert "devsh orchestrate explain ns1" in typed("ns1").err
    assert [typed(*words).code for words in ([""], ["nothing"], [])] == [2, 4, 2]


@pytest.mark.promise("cli.open")
def test_without_a_terminal_nothing_is_opened_and_the_line_to_type_is_told(devsh, checkout, orchestration):
    orchestration.works["ns1"]["session"] = ("sh", "-c", "echo the session")
    said = devsh("orchestrate", "open", "ns1", environment={"PATH": os.environ["PATH"]})
    assert (said.code, said.out, f"At a terminal: cd {checkout} && sh -c 'echo the session'" in said.err) == (6, "", True)
    said = devsh("orchestrate", "open", "ns1", "--shell", environment={"SHELL": "/bin/sh"})
    assert (said.code, f"At a terminal: cd {checkout} && /bin/sh" in said.err) == (6, True)
    assert json.loads(devsh("orchestrate", "open", "ns1", "--json").out)["command"] == ["sh", "-c", "echo the session"]


@pytest.mark.promise("cli.open")
def test_an_agent_that_is_not_installed_is_told_before_anything_is_done(typed, checkout, orchestration):
    orchestration.add("ns1", "completed", agent_name="claude/opus")
    orchestration.works["ns1"]["session"] = ("no-claude-here", "--resume", "s")
    said = typed("ns1")
    assert (said.code, said.out) == (2, "")
    assert "'no-claude-here', which is not on your PATH" in said.err
    assert "look at its checkout: devsh orchestrate open ns1 --shell" in said.err
    assert typed("ns1", "--shell").code == 3
