"""Git as the shim uses it, so that nothing an agent or a repository configures is ever executed.

After the agent has run, its `.git` is not read by any git of ours: work is saved with a git directory of the shim's own, which
borrows the user's objects. Hooks, monitors, filters and signing are off, user and system configuration is not read.
"""

import contextlib
import os
import sys
import typing

from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.process import CommandFailed, Door, Finished
from devsh_memory_mcp.shim.rundir import Checkout, Run

_OVERRIDES = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.fsync", "committed,loose-object"),
    ("core.fsyncMethod", "batch"),
    ("core.checkStat", "default"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("diff.ignoreSubmodules", "all"),
    ("submodule.recurse", "false"),
    ("advice.addEmbeddedRepo", "false"),
    ("protocol.ext.allow", "never"),
    ("transfer.fsckObjects", "true"),
    ("safe.directory", "*"),  # the user named the repository; it may belong to another user, in a container for example
)

_OUTLIVED = 1.0  # seconds in which a git that outlived its shim has made its ref


class Git:
    """The git commands of one attempt. All of them are `check`ed: they succeed or raise CommandFailed."""

    def __init__(self, door: Door, run: Run, checkout: Checkout, directory: str) -> None:
        self._door = door
        self.checkout = checkout
        self.own_directory = f"{directory}/{rundir.GIT_DIRECTORY}"
        self.workspace = f"{directory}/{rundir.WORKSPACE_DIRECTORY}"
        self._environment = _environment(run, checkout)

    def own(self, *arguments: str, index: str | None = None, date: str | None = None) -> Finished:
        """With the shim's own git directory, over the workspace."""
        extra = {} if index is None else {"GIT_INDEX_FILE": index}
        if date is not None:
            extra |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        command = ["git", f"--git-dir={self.own_directory}", f"--work-tree={self.workspace}", *arguments]
        return self._door.check(command, {**self._environment, **extra})

    def add_all(self, *arguments: str, work_tree: str | None = None, index: str | None = None) -> Finished:
        """`git add -A` of what can be read: what cannot is told by its exit code 1 and its words, and is no failure."""
        extra = {} if index is None else {"GIT_INDEX_FILE": index}
        place = work_tree or self.workspace
        command = [
            "git",
            "-C",
            place,
            f"--git-dir={self.own_directory}",
            f"--work-tree={place}",
            "add",
            "-A",
            "--ignore-errors",
            *arguments,
        ]
        return self._door.run(command, {**self._environment, **extra}, seconds=600)

    def user(self, *arguments: str) -> Finished:
        """In the user's repository: objects and refs of ours, nothing else."""
        return self._door.check(["git", f"--git-dir={self.checkout.repository}", *arguments], self._environment, seconds=600)

    def find_user(self, *arguments: str) -> str | None:
        """What a question to the user's repository prints, None where it fails."""
        finished = self._door.run(["git", f"--git-dir={self.checkout.repository}", *arguments], self._environment)
        return finished.text if finished.code == 0 else None

    def has_in_index(self, work_tree: str, tip: str) -> bool:
        """Whether a work tree of the user's has exactly `tip` in its index."""
        command = ["git", "-C", work_tree, "diff-index", "--cached", "--quiet", tip, "--"]
        return self._door.run(command, self._environment).code == 0

    def fresh(self, *arguments: str) -> Finished:
        """In the checkout, while the agent has not run yet. New objects go to the shim's own store, where no agent can spoil them."""
        store = {"GIT_OBJECT_DIRECTORY": f"{self.own_directory}/objects"}
        return self._door.run(["git", "-C", self.workspace, *arguments], {**self._environment, **store}, seconds=600)

    def set_ref(self, ref: str, *arguments: str) -> Finished:
        """A command of `user` that makes this ref, which is ours and not there yet, or finds it made.

        A lock that is still on it after a second is one that a killed git of ours has left, and is taken away.
        """
        try:
            return self.user(*arguments)
        except CommandFailed:
            if not self._unlock(ref):
                raise
            return self.user(*arguments)

    def _unlock(self, ref: str) -> bool:
        lock = f"{self.checkout.repository}/{ref}.lock"
        if not os.path.exists(lock) or self.find_user("rev-parse", "--verify", "-q", ref) is not None:
            return False
        self._door.pause(_OUTLIVED)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock)
        return True

    def note(self, text: str) -> None:
        """A line in the shim's log."""
        self._door.note(text)


def _environment(run: Run, checkout: Checkout) -> dict[str, str]:
    environment = {
        "PATH": run.environment.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "true",
        "GIT_CONFIG_COUNT": str(len(_OVERRIDES)),
        rundir.RUN_MARKER: marker(run),
        **identity(checkout),
    }
    for number, (key, value) in enumerate(_OVERRIDES):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def marker(run: Run) -> str:
    """What marks every process of the attempt in its environment."""
    return f"{run.task_run_id}.{run.attempt}"


def identity(checkout: Checkout) -> dict[str, str]:
    """The user's name for every commit, the agent's as well: its HOME may have no configuration."""
    name, email = checkout.identity
    return {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email, "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email}


def make_directory(path: str, checkout: Checkout, *, head: str, objects: typing.Sequence[str], remote: bool) -> None:
    """A new git directory that borrows from the `objects` directories. Written by hand: `git clone` takes ten times as long.

    A shallow repository's boundary goes along, since its objects do.
    """
    for part in ("objects/info", "objects/pack", "refs/heads", "info"):
        os.makedirs(f"{path}/{part}", exist_ok=True)
    _write(f"{path}/objects/info/alternates", "".join(f"{_quoted(one)}\n" for one in objects))
    _write(f"{path}/config", _configuration(checkout, remote=remote))
    _write(f"{path}/HEAD", f"{head}\n")
    if os.path.exists(f"{checkout.repository}/shallow"):
        with open(f"{checkout.repository}/shallow", encoding="ascii") as file:
            _write(f"{path}/shallow", file.read())


def _configuration(checkout: Checkout, *, remote: bool) -> str:
    sha256 = len(checkout.base_commit) == 64
    lines = ["[core]", f"\trepositoryformatversion = {int(sha256)}", "\tfilemode = true", "\tbare = false", "\tlogallrefupdates = true"]
    if sys.platform == "darwin":
        lines += ["\tignorecase = true", "\tprecomposeunicode = true"]
    if sha256:
        lines += ["[extensions]", "\tobjectformat = sha256"]
    lines += ["[gc]", "\tauto = 0", "[commit]", "\tgpgsign = false", "[uploadpack]", "\tallowAnySHA1InWant = true"]
    if remote:
        quoted = checkout.repository.replace("\\", "\\\\").replace('"', '\\"')
        lines += ['[remote "origin"]', f'\turl = "{quoted}"', "\tfetch = +refs/heads/*:refs/remotes/origin/*"]
    return "\n".join(lines) + "\n"


def _quoted(path: str) -> str:
    """A line of `alternates` that begins with a quote or a hash would mean something else."""
    return path if path[:1] == "/" and "\n" not in path else '"' + path.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') + '"'


def _write(path: str, content: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
