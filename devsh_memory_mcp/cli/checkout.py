"""The checkout that the user stands in, as his git describes it, and programs that are given his terminal."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.engine.repository import without_repository
from devsh_memory_mcp.errors import Unavailable

_PATIENCE = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class Checkout:
    """`top` is its first directory, `git_directory` the one that all work trees of the repository share."""

    top: Path
    git_directory: Path
    environment: Mapping[str, str]

    @property
    def branch(self) -> str | None:
        """What is checked out, None where that is a commit alone."""
        code, said = ask(self.top, self.environment, "symbolic-ref", "-q", "--short", "HEAD")
        return said.strip() if code == 0 else None

    @property
    def changes(self) -> int:
        """How many files that git knows have changes which are not committed."""
        return len(ask(self.top, self.environment, "status", "--porcelain", "-z", "--untracked-files=no")[1].split("\0")) - 1

    @property
    def is_merging(self) -> bool:
        """Whether a merge was begun and not concluded."""
        return ask(self.top, self.environment, "rev-parse", "-q", "--verify", "MERGE_HEAD")[0] == 0

    def conflicts(self) -> list[str]:
        """The files that wait for his hand."""
        said = ask(self.top, self.environment, "diff", "--name-only", "--diff-filter=U", "-z")[1]
        return [name for name in said.split("\0") if name]


def find_checkout(directory: Path, environment: Mapping[str, str]) -> Checkout | None:
    """The one that `directory` is in, None where it is in none."""
    code, said = ask(directory, environment, "rev-parse", "--path-format=absolute", "--git-common-dir", "--show-toplevel")
    lines = said.splitlines()
    return Checkout(Path(lines[1]), Path(lines[0]).resolve(), environment) if code == 0 and len(lines) == 2 else None


def ask(directory: Path, environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """The exit code of a git command and what it printed. Unavailable where there is no git, or no end of it."""
    try:
        ran = subprocess.run(
            ["git", *arguments], cwd=directory, env=without_repository(environment) | {"LC_ALL": "C"}, stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", errors="surrogateescape", timeout=_PATIENCE, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise Unavailable("git was not found on PATH.", next_step="Install git.") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"`git {arguments[0]}` did not end within {_PATIENCE:.0f} s in {directory}.") from error
    return ran.returncode, ran.stdout


def hand_over(command: Sequence[str], directory: Path, environment: Mapping[str, str], *, to_stderr: bool = False) -> int:
    """Runs a program at the user's terminal for as long as he likes, and answers its exit code. Ctrl-C is for it alone.

    `to_stderr`: what it prints is for people, and stdout is not.
    """
    sys.stdout.flush()
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)  # not SIG_IGN, which the program would inherit
    try:
        with subprocess.Popen(command, cwd=directory, env=dict(environment), stdout=2 if to_stderr else None) as running:
            code = running.wait()
    except OSError as error:
        raise Unavailable(f"{command[0]} cannot be started: {error.strerror}.") from error
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code
