"""A user with a home and a repository of his own, who types commands."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devsh_memory_mcp.cli.main import run
from devsh_memory_mcp.cli.session import Surroundings


@dataclass
class Said:
    code: int
    out: str
    err: str


class User:
    def __init__(self, scratch: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.home, self.project = scratch / "a home", scratch / "project"
        self.home.mkdir()
        subprocess.run(["git", "init", "-q", self.project], check=True)
        self.environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin"}
        self._captured = captured

    def types(self, *words: object, **environment: str) -> Said:
        surroundings = Surroundings(environment=self.environment | environment, directory=self.project)
        code = run([str(word) for word in words], surroundings)
        captured = self._captured.readouterr()
        return Said(code, captured.out, captured.err)

    def writes(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def files(self) -> dict[str, tuple[str, int]]:
        """What is there beside our own configuration: content and mode by name; a link's target in place of its content."""
        found = {}
        for root in (self.home, self.project):
            for path in sorted(root.rglob("*")):
                name = str(path.relative_to(root.parent))
                if ".config/devsh" in name or "/.git/" in name or (path.is_dir() and not path.is_symlink() and name.endswith(".config")):
                    continue
                content = str(path.readlink()) if path.is_symlink() else "" if path.is_dir() else path.read_text(encoding="utf-8")
                found[name] = (content, path.lstat().st_mode & 0o7777)
        return found


def document(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
