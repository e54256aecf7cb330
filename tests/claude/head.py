"""A claude that leads: it has our server as `devsh setup claude` enters it, and stands in the house's repository.

Its works are letters: the worker of `a` commits a.txt, and ends when its gate is opened. A worker is claude, where it is asked for
WORK-A, or a script, where what is looked at is the head.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import devsh_memory_mcp
from devsh_memory_mcp.clients.claude import users_files
from devsh_memory_mcp.clients.server import SERVER_NAME
from devsh_memory_mcp.domain.events import MessageDelivered, MessageSent
from devsh_memory_mcp.store.line import Entry, scan
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.doubles.processes import Gate
from tests.doubles.terminal import Terminal
from tests.engine.house import House, git

HOUR = 3_600_000  # ms
ALL = r'{{each:"orchestrationTaskId":"(ns\w+)"}}'  # whom it spawned
REST = r'{{these:"id":"(ns\w+)"[^{}]*?"status":"(?:running|pending)"}}'  # who goes on, as its wait answered


def ours(tool: str, **given: Any) -> Tool:
    """A call of one of our tools."""
    return Tool(f"mcp__{SERVER_NAME}__{tool}", given)


def bash(command: str) -> Tool:
    return Tool("Bash", {"command": command})


def spawn(prompt: str, **given: Any) -> Tool:
    return ours("spawn_agent", prompt=prompt, agentName="claude/haiku-4.5", **given)


def wait(ids: str, mode: str = "any") -> Tool:
    return ours("wait_for_agent", ids=ids, mode=mode, timeout=HOUR)


def work(letter: str) -> tuple[Turn, ...]:
    """A worker's turns."""
    path = f"{{{{result:(/\\S+workspace)}}}}/{letter}.txt"
    return (
        Turn("", [bash("pwd")]),
        Turn("", [Tool("Write", {"file_path": path, "content": f"{letter}\n"})]),
        Turn("", [bash(f"git add {letter}.txt && git commit -qm 'Add {letter}'")]),
        Turn(f"Added {letter}.", hold=letter),
    )


def hand_out(api: ModelApi, letters: str) -> list[Tool]:
    """Calls that spawn a claude for each letter; their scripts are put up, whose gates are the letters."""
    for letter in letters:
        api.route(f"WORK-{letter.upper()}", *work(letter))
    return [spawn(f"WORK-{letter.upper()}: add {letter}.txt") for letter in letters]


def hand_out_scripts(gates: dict[str, Gate]) -> list[Tool]:
    """Calls that spawn a shell for each letter, which repeated spawn nothing new."""
    calls = []
    for letter, gate in gates.items():
        commit = f"echo {letter} > {letter}.txt; git add {letter}.txt; git commit -qm 'Add {letter}'"
        script = f"# work {letter}\n{commit}; {gate.pass_through}; echo Added {letter}."
        calls.append(ours("spawn_agent", prompt=script, agentName="shell/bash", idempotencyKey=letter))
    return calls


def merge(letters: str) -> list[Tool]:
    """By the names of the branches that stand in the conversation."""
    return [bash(f"git merge --no-ff --no-edit {{{{all:dev/work-{letter}[\\w-]*}}}}") for letter in letters]


class Head:
    """Starts the program in the repository, in the environment that its server inherits."""

    def __init__(self, program: Path, house: House, environment: dict[str, str]) -> None:
        self.program, self.house, self.environment = str(program), house, environment
        entry = users_files(environment, (sys.executable, "-m", "devsh_memory_mcp"), Path()).entry
        checkout = {"PYTHONPATH": str(Path(devsh_memory_mcp.__file__).parents[1])}
        self._options = ("--mcp-config", json.dumps({"mcpServers": {SERVER_NAME: {**entry, "env": checkout}}}))

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """`claude -p`, whose answer is one JSON object. It does not outlive its block."""
        command = [self.program, "-p", *words, "--output-format", "json", *self._options]
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        with subprocess.Popen(
            command, cwd=self.house.directory, env=self.environment, stdin=null, stdout=pipe, stderr=pipe, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def at_terminal(self, *words: str, **variables: str) -> Terminal:
        """`claude` as a person has it."""
        command = [self.program, *words, "--permission-mode", "default", *self._options]
        return Terminal(command, self.house.directory, {**self.environment, "TERM": "xterm-256color", **variables})

    def journal(self) -> list[Entry]:
        """Of the one orchestration that there is."""
        [path] = self.house.root.glob("orchestrations/*/EVENTS.jsonl")
        return list(scan(path.read_bytes(), 0).entries)

    def receipts(self) -> list[tuple[str, str]]:
        """Which message was delivered, and how, in the order in which that became known."""
        texts = {entry.seq: entry.event.message for entry in self.journal() if isinstance(entry.event, MessageSent)}
        had = [entry.event for entry in self.journal() if isinstance(entry.event, MessageDelivered)]
        return [(texts[number], event.via) for event in had for number in event.message_ids]

    def assert_merged(self, letters: str) -> None:
        """Each work was spawned once and has completed, and its file is on main by a merge of its own."""
        repository = self.house.directory
        names = Counter(entry.event.name for entry in self.journal())
        assert (names["agent_spawned"], names["attempt_started"], names["agent_completed"]) == (len(letters),) * 3
        assert len(git(repository, "for-each-ref", "refs/heads/dev").splitlines()) == len(letters)
        assert len(git(repository, "log", "--merges", "--format=%s", "main").splitlines()) == len(letters)
        assert [git(repository, "show", f"main:{letter}.txt") for letter in letters] == list(letters)
