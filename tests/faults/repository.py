"""The user's repository: nothing of it may change but by new branches of completed tasks, and of our own refs only saved work stays."""

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.evidence import Evidence, Journal, git

_BRANCHES, _OURS, _SALVAGE = "refs/heads/", "refs/devsh/", "refs/devsh/salvage/"
_GIT_KEEPS = ("objects/", "refs/")  # refs are judged by their names, objects by git's own fsck
_GROWS = (".git/logs/refs/heads/", ".git/logs/refs/devsh/")  # with the branches and refs


def snapshot(repository: Path) -> dict[str, str]:
    """What must not change: refs (branches, tags, the stash), work tree, and git's own files: HEAD, index, settings, hooks, work trees."""
    directory = repository / ".git"
    return {
        "status": git(repository, "--no-optional-locks", "status", "--porcelain", "--ignored"),
        **{name: tip for name, tip in _refs(repository).items() if not name.startswith(_OURS)},
        **{f".git/{name}": _content(directory / name) for name in _files(directory) if not _is_gits(name)},
    }


def _is_gits(name: str) -> bool:
    return name == "packed-refs" or name.startswith(_GIT_KEEPS)


def _files(directory: Path) -> Iterator[str]:
    yield from (str(path.relative_to(directory)) for path in sorted(directory.rglob("*")) if path.is_file() or path.is_symlink())


def _content(path: Path) -> str:
    content = path.read_bytes()
    return content.decode(errors="replace") if len(content) < 1000 else hashlib.sha256(content).hexdigest()


def judged(evidence: Evidence, journals: list[Journal]) -> Iterator[str]:
    """What was changed, what is left, and what is not where a task says."""
    after = snapshot(evidence.repository)
    for name, value in evidence.before.items():
        if after.get(name) != value:
            yield f"{name} of the user's repository was changed from {value!r} to {after.get(name)!r}"
    new = {name: value for name, value in after.items() if name not in evidence.before}
    for name in new:
        if not name.startswith((_BRANCHES, *_GROWS)):
            yield f"{name} is new in the user's repository"
    yield from _published({name: tip for name, tip in new.items() if name.startswith(_BRANCHES)}, journals)
    yield from _left(evidence.repository, journals)
    fsck = subprocess.run(["git", "fsck", "--no-dangling"], cwd=evidence.repository, capture_output=True, text=True, check=False)
    if fsck.returncode:
        yield f"the user's repository is broken: {fsck.stderr.strip()}"


def _published(new: dict[str, str], journals: list[Journal]) -> Iterator[str]:
    told = {}
    for journal in journals:
        for task in journal.spawned:
            ends = [event for event in journal.tasks[task] if event["event"] == "attempt_ended"]
            totals = ends[-1].get("totals", {}) if ends else {}
            if journal.status(task) == "completed" and "branch" in totals:
                told[f"{_BRANCHES}{totals['branch']}"] = totals["tip"]
    for name in sorted(new.keys() | told.keys()):
        if new.get(name) != told.get(name):
            yield f"{name} is at {new.get(name)}, and its task says {told.get(name)}"


def _left(repository: Path, journals: list[Journal]) -> Iterator[str]:
    """Refs of ours that pin something for nobody, and locks of a git that was killed."""
    attempts = {
        f"{_SALVAGE}{journal.spawned[task]['taskRunId']}/{event['attempt']}"
        for journal in journals
        for task in journal.spawned
        for event in journal.tasks[task]
        if event["event"] == "attempt_started"
    }
    for name in _refs(repository):
        if name.startswith(_OURS) and name not in attempts:
            yield f"{name} is left in the user's repository"
    yield from (f".git/refs/{name} is left behind" for name in _files(repository / ".git" / "refs") if name.endswith(".lock"))


def _refs(repository: Path) -> dict[str, str]:
    lines = git(repository, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split(" ") for line in lines)


def salvaged(repository: Path) -> set[str]:
    """The refs of saved work."""
    return {name for name in _refs(repository) if name.startswith(_SALVAGE)}
