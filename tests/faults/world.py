"""A memory root and a repository under faults: clients that ask until they are answered, and who is there to be killed."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.store.server_key import server_key
from devsh_memory_mcp.wiring import open_orchestrations
from tests.faults.hooks import Hooks

_ROOT = Path(__file__).parents[2]
Ask = Callable[[Orchestration], Awaitable[object]]


class World:
    """One root. `script` says what is done to the processes of ours, see `script.py`."""

    def __init__(self, directory: Path, script: dict[str, object]) -> None:
        self.root, self.repository, self.plan = directory / "memory", directory / "project", directory / "plan"
        self.marks = directory / "marks"
        self.root.mkdir(mode=0o700, parents=True)
        self.repository.mkdir()
        self._make_repository()
        server_key(os.environ)  # of a user's whole life: no process of this root's is the one that makes it
        (self.plan / "processes").mkdir(parents=True)
        (self.plan / "bin").mkdir()
        shutil.copy(Path(__file__).parent / "claude.sh", self.plan / "bin" / "claude")
        (self.plan / "bin" / "claude").chmod(stat.S_IRWXU)
        self.write_script(script)
        self.launcher = self._make_launcher()

    def _make_repository(self) -> None:
        """A user's: with a commit, a tag, a stash, and a hook."""
        (self.repository / "file").write_text("one\n", encoding="utf-8")
        for words in (["init", "-q", "-b", "main", "--template="], ["add", "file"], ["commit", "-q", "-m", "first"], ["tag", "v1"]):
            subprocess.run(["git", *words], cwd=self.repository, check=True)
        (self.repository / "file").write_text("two\n", encoding="utf-8")
        subprocess.run(["git", "stash", "-q"], cwd=self.repository, check=True)
        hooks = self.repository / ".git" / "hooks"
        hooks.mkdir(exist_ok=True)
        (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (hooks / "pre-commit").chmod(stat.S_IRWXU)

    def write_script(self, script: dict[str, object]) -> None:
        """For the processes that start from now on."""
        (self.plan / "script.json").write_text(json.dumps(script | {"root": str(self.root)}), encoding="utf-8")

    def _make_launcher(self) -> Path:
        """A Python with hooks: our programs start one another by `sys.executable`."""
        launcher = self.plan / "python"
        boot = f"from tests.faults.launcher import launch\nlaunch({str(self.plan)!r}, {str(launcher)!r})\n"
        launcher.write_text(f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(_ROOT)!r})\n{boot}", encoding="utf-8")
        launcher.chmod(stat.S_IRWXU)
        return launcher

    def face(self, ask: Ask, orchestration_id: str | None, *, is_hooked: bool = True, patience: float = 1.0) -> tuple[int, int]:
        """A client in a process of its own: its pid, and a pipe with its answer as JSON; nothing in it where it died before.

        Without an id it works on the project's current orchestration, which it makes where there is none.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child:
            os.close(writing)
            return child, reading
        try:
            os.setsid()
            sys.executable = str(self.launcher)
            if is_hooked:
                Hooks(str(self.plan), "face").install()
            answer = anyio.run(self._ask, ask, orchestration_id, patience)
            os.write(writing, json.dumps(answer).encode())
        finally:
            os._exit(0)

    async def _ask(self, ask: Ask, orchestration_id: str | None, patience: float) -> object:
        caller = Caller(directory=self.repository, environment=self._environment())
        try:
            async with open_orchestrations(self.root, caller, orchestration_id, patience=patience) as orchestrations:
                orchestration = await orchestrations.current(create=True)
                return {"answer": await ask(orchestration), "orchestration": orchestration.orchestration_id}
        except Exception as error:  # noqa: BLE001  whatever it was, the campaign decides whether to ask again
            return {"error": _name(error), "said": str(error)}

    def _environment(self) -> dict[str, str]:
        """Whoever asks has the agent of this world, and no login of a real one's."""
        known = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "CLAUDE"))}
        return known | {"PATH": f"{self.plan / 'bin'}:{known['PATH']}", "CLAUDE_CONFIG_DIR": str(self.plan / "claude")}

    def step_clock(self, seconds: int) -> None:
        """Everybody's wall clock is that much ahead of this machine's from now on, or behind it."""
        (self.plan / "clock").write_text(str(seconds), encoding="ascii")

    def spoil(self, how: str) -> None:
        """Below the root nothing can be opened or changed (`unreadable`), or there is no room for anything more (`full`)."""
        (self.plan / how).touch()

    def restore(self) -> None:
        """The root is as it should be again."""
        for how in ("unreadable", "full"):
            (self.plan / how).unlink(missing_ok=True)


def _name(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return _name(error.exceptions[0])
    return "OSError" if isinstance(error, OSError) else type(error).__name__
