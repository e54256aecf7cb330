"""After the work: from results to a merged branch, with what a person types, at a terminal and in a pipe."""

import json
import os
from pathlib import Path

import pytest

SPAWN = "devsh orchestrate spawn --agent shell/bash"


@pytest.mark.promise("cli.diff", "cli.merge", "cli.results.conflicts")
def test_results_lead_to_merged_branches(terminal):
    for name, script in {"one": "echo one > README.txt", "two": "echo two > README.txt", "new": "echo new > new.txt"}.items():
        assert terminal.run(f"{SPAWN} --name {name} '{script}'").code == 0
    assert terminal.run("devsh orchestrate wait").code == 0
    answer = terminal.json("devsh orchestrate results")
    ids = {result["id"]: result["orchestrationTaskId"] for result in answer["results"]}
    shown = terminal.run("devsh orchestrate results").out
    assert "devsh orchestrate merge one two new" in shown
    assert "in README.txt: the second of them to be merged needs your hand" in shown
    (conflict,) = answer["conflicts"]
    assert set(conflict["orchestrationTaskIds"]) == {ids["one"], ids["two"]}
    assert "+one" in terminal.run("devsh orchestrate diff one").out
    assert "\x1b[32mone" in terminal.typed("GIT_PAGER=cat devsh orchestrate diff one").out
    merged = terminal.typed("devsh orchestrate merge one new")
    assert (merged.code, terminal.run("cat README.txt new.txt").out) == (0, "one\nnew\n")
    stopped = terminal.typed("devsh orchestrate merge two")
    assert stopped.code == 5
    assert "git add README.txt && git merge --continue" in stopped.out
    resolved = "echo both > README.txt && git add README.txt && GIT_EDITOR=true git merge --continue"
    assert terminal.run(f"{resolved} && git status --porcelain").out.splitlines()[1:] == []


def test_the_work_of_a_remote_repository_is_fetched_from_where_it_is(terminal, tmp_path, own_surroundings):
    (tmp_path / "host" / "octo").mkdir(parents=True)
    assert terminal.run(f"git clone -q --bare . {tmp_path}/host/octo/tools.git").code == 0
    with (own_surroundings / ".gitconfig").open("a") as file:
        file.write(f'[url "file://{tmp_path}/host/"]\n\tinsteadOf = https://github.com/\n')
    task = terminal.json(f"{SPAWN} --repo octo/tools 'echo new > new.txt'")["orchestrationTaskId"]
    assert terminal.run(f"devsh orchestrate wait {task}").code == 0
    assert terminal.json(f"devsh orchestrate diff {task}")["files"] == [{"path": "new.txt", "insertions": 1, "deletions": 0}]
    refused = json.loads(terminal.run(f"devsh orchestrate merge {task} --json").out)["error"]
    line = refused["next"].partition(": ")[2]
    assert (line.startswith("git fetch "), terminal.run(f"{line} && cat new.txt").out.endswith("new\n")) == (True, True)


@pytest.mark.promise("cli.open")
def test_a_person_goes_on_in_the_checkout_of_an_ended_task(terminal):
    task = terminal.json(f"{SPAWN} 'echo new > new.txt'")["orchestrationTaskId"]
    assert terminal.run(f"devsh orchestrate wait {task}").code == 0
    change = "cat new.txt; echo more > new.txt; git add .; git commit -qm mine"
    script = f"{change}; git push -q origin HEAD:refs/heads/mine; devsh gc --older-than 0"
    opened = terminal.run(f"devsh orchestrate open {task} <<< '{script}'", SHELL="/bin/sh")
    assert (opened.code, opened.out.splitlines()[0], "somebody has it open" in opened.out) == (0, "new", True)
    assert terminal.run("git show mine:new.txt").out == "more\n"


@pytest.mark.promise("cli.status.line")
def test_a_status_line_shows_the_tasks_of_the_clients_project_and_session(terminal, tmp_path):
    line = "devsh orchestrate status --line"
    assert terminal.run(line).out == ""
    assert terminal.run(f"{SPAWN} true && {SPAWN} false; devsh orchestrate wait").code == 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    said = {"session_id": "s", "cwd": str(elsewhere), "workspace": {"current_dir": str(elsewhere), "project_dir": str(terminal.repository)}}
    for place, given in ((".", ""), (".", "no JSON"), (".", "[1]"), (".", '{"workspace": 1, "cwd": 2}'), (elsewhere, json.dumps(said))):
        told = terminal.run(f'cd {place}; printf %s "$SAID" | {line}', SAID=given)
        assert (told.code, told.out, told.err) == (0, "devsh 1 done · 1 failed\n", ""), given
    assert terminal.run(f"cd {elsewhere}; {line}").out == ""
    assert terminal.run(f"mkfifo ../pipe; {line} <> ../pipe").out == "devsh 1 done · 1 failed\n"
    plan = next(Path(os.environ["DEVSH_MEMORY_DIR"]).glob("orchestrations/*/PLAN.json"))
    kept = plan.read_bytes()
    plan.write_text("somebody's own")
    assert terminal.run(line).out == ""
    plan.write_bytes(kept)


def test_the_terminal_rings_where_there_is_one(terminal):
    assert terminal.run(f"{SPAWN} true").code == 0
    assert terminal.typed("devsh orchestrate wait").out.endswith("\a")
    assert "\a" not in terminal.typed("devsh orchestrate wait --json").out
    assert "\a" in terminal.typed("devsh orchestrate status --watch").out
    assert "\a" not in terminal.run("devsh orchestrate wait; devsh orchestrate status --watch").out
