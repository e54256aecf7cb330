"""What an attempt changed: numbers and names, from one `git diff-tree`, and how long the files are by now, from one `git ls-tree`."""

import typing

from devsh_memory_mcp.shim.git import Git

MOST_FILES = 200
_LINK = b"160000"  # the mode of a nested repository, of which git keeps a commit's name and no file


class Difference(typing.NamedTuple):
    """Between two trees. `nested` are directories that became repositories of their own.

    `sizes` are the bytes of those of `files` that are there afterwards.
    """

    files: tuple[str, ...] = ()
    file_count: int = 0
    insertions: int = 0
    deletions: int = 0
    nested: tuple[str, ...] = ()
    sizes: dict[str, int] | None = None


def compare(tool: Git, before: str, after: str) -> Difference:
    """From `before` to `after`, two commits or trees."""
    if before == after:
        return Difference()
    listed = tool.own("diff-tree", "-r", "-z", "--raw", "--numstat", "--no-renames", "--ignore-submodules=none", before, after).stdout
    names: list[str] = []
    nested: list[str] = []
    insertions = deletions = 0
    parts = iter(listed.split(b"\0"))
    for part in parts:
        if part.startswith(b":"):
            name = next(parts).decode(errors="surrogateescape")
            names.append(name)
            old, new = part[1:].split(b" ")[:2]
            if new == _LINK and old != _LINK:
                nested.append(name)
        elif part:
            added, removed, _ = part.split(b"\t", 2)
            if added != b"-":  # of binary files no lines are counted
                insertions += int(added)
                deletions += int(removed)
    first = names[:MOST_FILES]
    return Difference(tuple(map(_readable, first)), len(names), insertions, deletions, tuple(nested), _sizes(tool, after, first))


def _sizes(tool: Git, tree: str, names: typing.Sequence[str]) -> dict[str, int]:
    if not names:
        return {}
    listed = tool.own("--literal-pathspecs", "ls-tree", "-z", "-l", "--full-tree", tree, "--", *names).stdout
    sizes = {}
    for line in listed.split(b"\0"):
        facts, _, name = line.partition(b"\t")
        size = facts.split(b" ")[-1]
        if size.isdigit():  # a nested repository has none
            sizes[_readable(name.decode(errors="surrogateescape"))] = int(size)
    return sizes


def _readable(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="replace")
