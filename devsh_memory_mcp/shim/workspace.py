"""The agent's checkout: made beside the user's repository, whose objects it borrows and whose own state it never touches."""

import contextlib
import os
import stat
import typing

from devsh_memory_mcp.shim import git, rundir
from devsh_memory_mcp.shim.git import Git
from devsh_memory_mcp.shim.process import CommandFailed, Finished
from devsh_memory_mcp.shim.rundir import Conflict, Merge

_PIECE = 1 << 20


class Prepared(typing.NamedTuple):
    """What stands in the workspace when the agent starts. `head` is the base, or the merge of the dependencies into it."""

    head: str
    conflicts: tuple[Conflict, ...] = ()
    warnings: tuple[str, ...] = ()

    def facts(self) -> dict[str, typing.Any]:
        """As the report tells it."""
        conflicts = [{"branch": conflict.branch, "files": list(conflict.files)} for conflict in self.conflicts]
        return {"head": self.head, "mergeConflicts": conflicts, "warnings": list(self.warnings)}


def from_facts(facts: dict[str, typing.Any]) -> Prepared:
    """What the report told."""
    conflicts = tuple(Conflict(one["branch"], tuple(one["files"])) for one in facts.get("mergeConflicts", ()))
    return Prepared(facts.get("head", ""), conflicts, tuple(facts.get("warnings", ())))


def prepare(tool: Git, task_run_id: str) -> Prepared:
    """Makes the checkout and the shim's own git directory. CommandFailed or OSError where it cannot be made."""
    checkout = tool.checkout
    # Pinned first: the user may rebase and prune while the agent works on what is then reachable from nowhere.
    pin = f"refs/devsh/base/{task_run_id}"
    tool.set_ref(pin, "update-ref", pin, checkout.base_commit)
    objects = f"{checkout.repository}/objects"
    own = tool.own_directory
    os.makedirs(own, mode=0o700, exist_ok=True)
    git.make_directory(own, checkout, head=checkout.base_commit, objects=[objects], remote=False)
    stores = [objects, f"{own}/objects"] if checkout.merges else [objects]
    inner = f"{tool.workspace}/.git"
    git.make_directory(inner, checkout, head=f"ref: refs/heads/{checkout.branch}", objects=stores, remote=True)
    _copy_refs(tool, inner)
    _require(tool.fresh("read-tree", "--reset", "-u", checkout.base_commit), "the base commit cannot be checked out")
    included, warnings = _include(tool)
    _exclude(own, included)
    _exclude(inner, included)
    conflicts = tuple(conflict for merge in checkout.merges if (conflict := _merge(tool, merge)) is not None)
    head = tool.fresh("rev-parse", "HEAD").text if checkout.merges else checkout.base_commit
    _copy(f"{inner}/index", f"{own}/index")  # before the agent runs, so that no change of its can look like ours
    return Prepared(head, conflicts, (*warnings, *_absences(tool.workspace)))


def _copy_refs(tool: Git, inner: str) -> None:
    """The user's branches as origin/…, so that the agent finds those of its siblings; tags as they are."""
    listed = tool.user("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags").text
    lines = [f"{tool.checkout.base_commit} refs/heads/{tool.checkout.branch}"]
    for line in listed.splitlines():
        commit, _, name = line.partition(" ")
        lines.append(f"{commit} {name.replace('refs/heads/', 'refs/remotes/origin/', 1)}")
    for path in (f"{inner}/packed-refs", f"{tool.own_directory}/{rundir.BEGAN_FILE}"):
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write("\n".join(lines) + "\n")


def _require(finished: Finished, what: str) -> None:
    if finished.code:
        raise CommandFailed(f"{what}: {finished.stderr.strip()[-2000:]}")


def _merge(tool: Git, merge: Merge) -> Conflict | None:
    """Merges a dependency's branch. A conflict is undone and told: the agent is the one who can settle it."""
    message = f"Merge {merge.branch} ({merge.orchestration_task_id})"
    done = tool.fresh("merge", "-q", "--no-edit", "--no-verify", "--no-gpg-sign", "-m", message, merge.commit)
    if done.code == 0:
        return None
    names = tool.fresh("diff", "--name-only", "--diff-filter=U", "-z").stdout
    files = tuple(name.decode(errors="replace") for name in names.split(b"\0") if name)
    _require(tool.fresh("reset", "-q", "--hard", "HEAD"), "a merge could not be undone")
    return Conflict(merge.branch, files)


def _include(tool: Git) -> tuple[list[str], list[str]]:
    """Copies the ignored files that were asked for; what was copied, and a warning for each that was not."""
    copied: list[str] = []
    warnings: list[str] = []
    for name in tool.checkout.include:
        try:
            source = _inside(tool.checkout.source_tree or "", name)
            _copy_all(source, _inside(tool.workspace, name))
            copied.append(os.path.normpath(name))
        except (OSError, ValueError) as error:
            warnings.append(f"{name} was not copied into the checkout: {getattr(error, 'strerror', None) or error}")
    return copied, warnings


def _inside(root: str, name: str) -> str:
    path = os.path.normpath(name)
    if not root or os.path.isabs(path) or path.split("/")[0] in ("..", ".", ".git"):
        raise ValueError("it is not a file inside the repository")
    return f"{root}/{path}"


def _copy_all(source: str, target: str) -> None:
    """A file, a link or a whole directory; what is already in the checkout stays."""
    mode = os.lstat(source).st_mode
    if stat.S_ISDIR(mode):
        os.makedirs(target, exist_ok=True)
        for name in os.listdir(source):
            _copy_all(f"{source}/{name}", f"{target}/{name}")
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISREG(mode):
            _copy(source, target)


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as reading, open(target, "wb") as writing:
        status = os.fstat(reading.fileno())
        os.fchmod(writing.fileno(), stat.S_IMODE(status.st_mode))
        while piece := reading.read(_PIECE):
            writing.write(piece)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _exclude(directory: str, names: list[str]) -> None:
    """Keeps included files out of commits; written as patterns, where a few characters mean something."""
    with open(f"{directory}/info/exclude", "w", encoding="utf-8", errors="surrogateescape") as file:
        for name in names:
            file.write("/" + "".join(f"\\{letter}" if letter in "*?[]\\#! " else letter for letter in name) + "\n")


def _absences(workspace: str) -> tuple[str, ...]:
    """What a user would look for in vain."""
    found = []
    if os.path.lexists(f"{workspace}/.gitmodules"):
        found.append("Submodules are not in the checkout; the agent may run `git submodule update --init`.")
    with contextlib.suppress(OSError), open(f"{workspace}/.gitattributes", "rb") as file:
        if b"filter=lfs" in file.read(_PIECE):
            found.append("Files kept by Git LFS are pointers in the checkout; the agent may run `git lfs pull`.")
    return tuple(found)
