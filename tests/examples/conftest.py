import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from tests.doubles.line import start

PROJECT = Path(__file__).parents[2]
PATIENCE = 120


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str = ""


class Terminal:
    """A shell in a repository, with `devsh` on its PATH."""

    def __init__(self, repository: Path, programs: Path) -> None:
        self.repository = repository
        path = f"{programs}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}

    def run(self, script: str, **variables: str) -> Ran:
        """What a script does with pipes for its output."""
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=self.repository,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def typed(self, script: str) -> Ran:
        """What it does at a terminal with job control (`&` starts background jobs), each command shown behind a `+`."""
        command = ["bash", "--norc", "--noprofile", "-m", "-x", "-c", script]
        process, controller = start(command, self.repository, self.environment)
        shown = b"".join(iter(lambda: _read(controller), b""))
        os.close(controller)
        return Ran(process.wait(PATIENCE), shown.decode(errors="replace").replace("\r\n", "\n"))

    def json(self, command: str):
        ran = self.run(f"{command} --json")
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    def tasks(self) -> list[dict[str, object]]:
        return self.json("devsh orchestrate list")


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 65536)
    except OSError:  # Linux says so when the last process has closed the terminal
        return b""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    programs = tmp_path / "bin"
    programs.mkdir()
    start = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); from devsh_memory_mcp.cli import main; main()"
    (programs / "devsh").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(start)} "$@"\n')
    (programs / "devsh").chmod(0o755)
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "README.txt").write_text("A repository\n")
    begin = "git init --quiet --initial-branch=main && git add --all && git commit --quiet --message=Begin"
    subprocess.run(begin, shell=True, cwd=repository, check=True, capture_output=True)
    here = Terminal(repository, programs)
    yield here
    checked = here.run("devsh fsck")
    assert checked.code == 0, checked.out + checked.err
    assert_valid(Path(os.environ["DEVSH_MEMORY_DIR"]))


def assert_valid(root: Path) -> None:
    """Every file that an orchestration left is what its schema says."""
    for directory in (root / "orchestrations").iterdir():
        for name in ("PLAN", "AGENTS", "MAILBOX"):
            validate(directory / f"{name}.json", name)
        validate(directory / "EVENTS.jsonl", "EVENTS")
        for run in directory.glob("runs/*/*"):
            for name in ("run.json", "report.jsonl", "inbox.jsonl", "outcome.json"):
                validate(run / name, name.partition(".")[0])


def validate(path: Path, schema: str) -> None:
    if path.exists():
        validator = jsonschema.Draft202012Validator(json.loads((PROJECT / "schemas" / f"{schema}.schema.json").read_text()))
        text = path.read_text()
        for document in text.splitlines() if path.suffix == ".jsonl" else [text]:
            validator.validate(json.loads(document))
