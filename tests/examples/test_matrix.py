"""`examples/test_matrix`: a project's tests under every version of an interpreter."""

import shlex
from pathlib import Path

import pytest

MATRIX = shlex.quote(str(Path(__file__).parents[2] / "examples" / "test_matrix"))
TOLD = {"talk": "echo talk 1.2 [x86-64]", "talk1.2": "echo talk 1.2", "talk2.0": "echo v2.0.1", "talk2.0-config": "echo 2.0"}
STAND_IN = {"talk3": "exit 127"}


@pytest.fixture
def versions(terminal, tmp_path):
    """Interpreters of a language, one of them twice, what only stands in for others, and what is none."""
    for name, answer in (TOLD | STAND_IN).items():
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then {answer}; else VERSION={name} exec sh "$@"; fi\n')
        path.chmod(0o755)


def test_each_version_has_a_task_of_its_own_and_one_that_fails_is_told(terminal, versions):
    (terminal.repository / "check.sh").write_text('echo "$1 under $VERSION" | tee left-behind\n[ "$VERSION" != talk2.0 ]\n')
    assert terminal.run("git add . && git commit -qm check").code == 0
    ran = terminal.run(f'{MATRIX} talk check.sh "it\'s me"')
    assert ran.code == 1, ran.err
    assert {task["id"]: task["status"] for task in terminal.tasks()} == {"talk-1-2": "completed", "talk-2-0-1": "failed"}
    assert "it's me under talk2.0" in ran.out
    assert terminal.run("git branch && git status --porcelain").out == "* main\n"


def test_without_any_version_it_says_so(terminal):
    ran = terminal.run(f"{MATRIX} talk check.sh")
    assert (ran.code, ran.err) == (1, "There is no talk here.\n")
