"""Shims whose agents are in a sandbox, as root and as an ordinary user, with things around them that nobody inside may reach."""

import os
import pathlib
import shutil
import subprocess
import sys
import typing

from devsh_memory_mcp.shim.confinement import Confinement
from devsh_memory_mcp.shim.rundir import Letter, Outcome
from tests.doubles.bell import Bell
from tests.shim.stage import BOOT, PACKAGES, Launched, Repository, Stage

ORDINARY = 60501
_PARTS = ("__init__.py", "errors.py", "agents", "shim")
_INTERPRETER = "/usr/bin/python3"


class Warden:
    """A stage in a directory of its own, which belongs to the user who the shims are."""

    def __init__(self, root: pathlib.Path, bell: Bell, *, ordinary: bool) -> None:
        self.root = root
        self.is_ordinary = ordinary
        self._user = ORDINARY if ordinary and os.geteuid() == 0 else None
        self.home = root / "people/una"
        self.home.mkdir(parents=True)
        (self.home / ".gitconfig").write_text("[user]\n\tname = Una User\n\temail = una@example.org\n")
        (root / "memory").mkdir()
        self.repository = Repository(self.home / "project")
        self.repository.commit("first", readme="hello\n")
        os.chmod(os.path.dirname(bell.path), 0o755)
        os.chmod(bell.path, 0o777)
        self.stage = Stage(root / "memory", bell, () if self._user is None else self._boot(self._user))

    def _boot(self, user: int) -> tuple[str, ...]:
        """Another user may read neither our interpreter nor our checkout."""
        packages = self.root / "packages"
        for part in _PARTS:
            source, target = pathlib.Path(PACKAGES) / "devsh_memory_mcp" / part, packages / "devsh_memory_mcp" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        drop = ("setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "--")
        return (*drop, _INTERPRETER, "-I", "-S", "-c", BOOT, str(packages))

    def join(self, group: int) -> None:
        """Makes the ordinary user one of that group."""
        self.stage.boot = tuple(f"--groups={group}" if word == "--clear-groups" else word for word in self.stage.boot)

    @property
    def interpreter(self) -> str:
        return os.path.realpath(sys.executable) if self._user is None else _INTERPRETER

    def launch(self, prompt: str, *, confinement: Confinement | None = None, has_code: bool = False, **fields: typing.Any) -> Launched:
        """A sandboxed agent; `has_code` gives it a checkout of the repository."""
        fields.setdefault("environment", {"PATH": os.environ["PATH"], "HOME": str(self.home)})
        fields.setdefault("sandbox", confinement or Confinement())
        if has_code:
            fields["checkout"] = self.repository.checkout()
        directory = self.stage.directory(prompt, **fields)
        self.give()
        return self.stage.start(directory)

    def run(self, prompt: str, **fields: typing.Any) -> Outcome:
        launched = self.launch(prompt, **fields)
        outcome = launched.end()
        self.take()
        assert fields.get("sandbox", True) is None or outcome.isolation == "bubblewrap", outcome
        return outcome

    def cancel(self, launched: Launched) -> None:
        launched.post(Letter(1, "cancel"))
        self.give()
        self.stage.bell.ring()

    def give(self) -> None:
        if self._user is not None:
            subprocess.run(["chown", "-R", f"{self._user}:{self._user}", str(self.root)], check=True)

    def take(self) -> None:
        """So that a git of ours trusts the repository again."""
        if self._user is not None:
            subprocess.run(["chown", "-R", "0:0", str(self.repository.path)], check=True)
