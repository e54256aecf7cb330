"""Refs in the user's own repository, asked and taken away; never those of an agent's checkout.

Nothing that a repository configures is executed, and nothing here raises: git may be missing, slow or refuse.
"""

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

BASES = "refs/devsh/base"
_PATIENCE = 30.0  # seconds
_LEAVES_WITHIN = 1.0  # seconds, when it was asked to end
_OVERRIDES = (("core.hooksPath", os.devnull), ("core.fsmonitor", "false"), ("safe.directory", "*"))


@dataclass(frozen=True, slots=True)
class Refs:
    """Refs with their commits by name; of the commits asked for those that are `there`, of the refs' commits those that are `gone`."""

    names: Mapping[str, str]
    there: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Repository:
    """A git directory and the environment of who works on it, of which PATH is used to find git."""

    git_directory: str
    environment: Mapping[str, str]

    def find_commit(self, ref: str) -> str | None:
        """The commit that a ref leads to, None where it leads to none or that cannot be said."""
        answer = self._ask("rev-parse", "-q", "--verify", f"{ref}^{{commit}}")
        return answer.stdout.strip() or None if answer.returncode == 0 else None

    def refs(self, below: Sequence[str], commits: Sequence[str]) -> Refs | None:
        """The refs below these names; which of the commits are there, and which refs name one that is not. None where git fails."""
        answer = self._ask("for-each-ref", "--format=%(refname) %(objectname)", *(f"{name}/" for name in below))
        if answer.returncode != 0:
            return None
        names = dict(line.split(" ", 1) for line in answer.stdout.splitlines())
        asked = sorted({*names.values(), *commits})
        there = self._ask("cat-file", "--batch-check=%(objectname)", said="".join(f"{commit}\n" for commit in asked))
        if there.returncode != 0:
            return None
        found = frozenset(line for line in there.stdout.splitlines() if " " not in line)  # else `<name> missing`
        return Refs(names, found & set(asked), frozenset(names.values()) - found)

    def restore(self, ref: str, commit: str) -> bool:
        """Makes a ref that is not there, and overwrites none; whether it could be done."""
        return self._ask("update-ref", "--no-deref", "-m", "devsh fsck", ref, commit, "0" * len(commit)).returncode == 0

    def holds(self, commits: Iterable[str]) -> bool:
        """Whether each of the commits is reachable from a ref that stays; those that pin the base of an attempt do not."""
        named = "".join(f"{commit}\n" for commit in commits)
        if not named:
            return True
        answer = self._ask("rev-list", "--stdin", "--max-count=1", "--not", f"--exclude={BASES}/*", "--all", said=named)
        return answer.returncode == 0 and not answer.stdout.strip()

    def bases(self) -> frozenset[str]:
        """The task runs whose base is pinned."""
        answer = self._ask("for-each-ref", "--format=%(refname)", f"{BASES}/")
        return frozenset(line.removeprefix(f"{BASES}/") for line in answer.stdout.splitlines())

    def forget_base(self, task_run_id: str) -> str | None:
        """Takes away the ref that pinned the base of a task that is over, if it is there; why it could not be done, else None.

        With it goes the lock of a git that was killed over it.
        """
        ref = f"{BASES}/{task_run_id}"
        answer = self._ask("update-ref", "--no-deref", "-d", ref)
        if answer.returncode != 0 and self._unlock(ref):
            answer = self._ask("update-ref", "--no-deref", "-d", ref)
        if answer.returncode == 0:
            return None
        return f"{ref} stays in {self.git_directory}: {answer.stderr.strip()[:300] or 'git failed'}"

    def _unlock(self, ref: str) -> bool:
        try:
            os.unlink(f"{self.git_directory}/{ref}.lock")
        except OSError:
            return False
        return True

    def _ask(self, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        command = ["git", f"--git-dir={self.git_directory}", *arguments]
        pipe = subprocess.PIPE
        try:
            with subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8", errors="surrogateescape",
                env=_environment(self.environment),
            ) as process:  # fmt: skip
                try:
                    out, errors = process.communicate(said, timeout=_PATIENCE)
                except subprocess.TimeoutExpired:
                    _end(process)
                    raise
            return subprocess.CompletedProcess(command, process.returncode, out, errors)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            return subprocess.CompletedProcess(command, -1, "", str(error))


def _end(process: "subprocess.Popen[str]") -> None:
    """It takes its locks away when it is asked to end."""
    process.terminate()
    try:
        process.wait(_LEAVES_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()


def _environment(callers: Mapping[str, str]) -> dict[str, str]:
    own = {
        "PATH": callers.get("PATH") or os.defpath,
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(_OVERRIDES)),
    }
    for number, (key, value) in enumerate(_OVERRIDES):
        own |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return own
