"""How work gets into the user's repository: objects and new refs.

A ref that is there is changed in one case alone: a branch that the task published which this one goes on from, untouched since.
"""

import typing

from devsh_memory_mcp.shim.git import Git
from devsh_memory_mcp.shim.process import CommandFailed

_MOST_NAMES = 50
_OTHER_PREFIX = "devsh"


def salvage(tool: Git, tip: str, name: str) -> str:
    """Brings `tip` over under `name`, or `name-2` … where another attempt to save it stands there; the ref it has.

    A repeat finds its own ref and changes nothing.
    """
    failure: CommandFailed | None = None
    for ref in _numbered(name):
        try:
            tool.set_ref(
                ref, "fetch", "-q", "--no-write-fetch-head", "--no-tags", "--no-auto-maintenance", "--no-recurse-submodules",
                tool.own_directory, f"{tip}:{ref}",
            )  # fmt: skip
        except CommandFailed as error:
            failure = error
            there = tool.find_user("rev-parse", "--verify", "-q", ref)
            if there is None:
                raise  # not a taken name: it would fail under every other one too
            if there != tip:
                continue
            tool.note(f"{ref} was there when it was to be made: {error}")  # by a git that outlived its shim
        return ref
    raise failure or CommandFailed(f"no name like {name} is free")


def publish(tool: Git, tip: str, branch: str) -> str:
    """Creates the branch at `tip`, under the nearest free name; the name it has.

    Where the user has a branch that is called like the prefix, git has no room below it and another prefix is used.
    """
    zero = "0" * len(tip)
    last = branch.partition("/")[2] or branch
    for wanted in dict.fromkeys((branch, f"{_OTHER_PREFIX}/{last}", branch.replace("/", "-"))):
        for name in _numbered(wanted):
            ref = f"refs/heads/{name}"
            try:
                tool.set_ref(ref, "update-ref", ref, tip, zero)
            except CommandFailed as error:
                there = find(tool, name)
                tool.note(f"{name} cannot be created, it is at {there}: {error}")
                if there is None:
                    break
                if there != tip:
                    continue
            return name
    raise CommandFailed(f"no name like {branch} can be created in {tool.checkout.repository}")


def move(tool: Git, tip: str, branch: str, base: str) -> str | None:
    """Moves the branch on from `base` to `tip`; why that may not be, None where it was done. A repeat finds it done.

    A branch that is checked out stays where it is: its files would seem to be changed. No lock of git's keeps a branch from being
    checked out, so it is asked before, to leave an old checkout alone, and after, to take back what a new one would suffer from. One
    that read the branch before the move and is still writing files at the second look is not seen: git notes it at its end only.
    """
    ref = f"refs/heads/{branch}"
    there = find(tool, branch)
    if there == tip:
        return None
    if there != base:
        return "has been moved since" if there else "is not there any more"
    if tool.find_user("merge-base", "--is-ancestor", base, tip) is None:
        return "would lose commits, which the agent has rewritten"
    where = checked_out(tool, ref)
    if where is not None:
        return f"is checked out in {where}"
    try:
        tool.user("update-ref", "-m", "devsh: continued", ref, tip, base)
    except CommandFailed as error:
        tool.note(f"{branch} cannot be moved: {error}")
        return "could not be moved"
    return _move_back(tool, tip, ref, base)


def _move_back(tool: Git, tip: str, ref: str, base: str) -> str | None:
    """Undoes the move for whoever has checked out `base` in the same instant; why, None where it stays."""
    where = checked_out(tool, ref)
    if where is None or tool.has_in_index(where, tip):  # he came after it, and has the files of `tip`
        return None
    try:
        tool.user("update-ref", "-m", "devsh: continued elsewhere", ref, base, tip)
    except CommandFailed as error:
        tool.note(f"{ref} cannot be moved back: {error}")  # he has committed on it already
        return None
    return f"is checked out in {where}"


def find(tool: Git, branch: str) -> str | None:
    """The commit that the user's branch is at, None where it is not there."""
    return tool.find_user("rev-parse", "--verify", "-q", f"refs/heads/{branch}")


def checked_out(tool: Git, ref: str) -> str | None:
    """The work tree in which the branch is checked out; all of them where that cannot be said."""
    listed = tool.find_user("worktree", "list", "--porcelain")
    if listed is None:
        return "a work tree"
    for entry in listed.split("\n\n"):
        lines = entry.splitlines()
        if f"branch {ref}" in lines:
            return lines[0].removeprefix("worktree ")
    return None


def verify(tool: Git, tip: str, salvage_ref: str, branch: str | None = None) -> str | None:
    """Reads back what was saved. CommandFailed where the salvage ref is not at `tip`.

    A branch was at `tip` when it was created or moved, and belongs to the user from then on: what he did to it is told, None if nothing.
    """
    refs = [salvage_ref, *([f"refs/heads/{branch}"] if branch else [])]
    lines = tool.user("for-each-ref", "--format=%(refname) %(objectname)", *refs).text.splitlines()
    there = {name: commit for name, _, commit in (line.partition(" ") for line in lines)}
    if there.get(salvage_ref) != tip:
        raise CommandFailed(f"{salvage_ref} should be at {tip} and is not")
    if branch is None or there.get(refs[-1]) == tip:
        return None
    return "has been moved since it was published" if refs[-1] in there else "has been deleted since it was published"


def _numbered(name: str) -> typing.Iterator[str]:
    yield name
    for number in range(2, _MOST_NAMES):
        yield f"{name}-{number}"
