"""Commits of the agent's to which its HEAD does not lead: other branches, tags it made, what it stashed.

Its refs are read as text and compared with those that the checkout began with; what they hold leaves in a bundle, as HEAD's does.
What a remote has is not the agent's alone, so remote-tracking branches and what they lead to are left where they are.
"""

import os
import typing

from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.git import Git
from devsh_memory_mcp.shim.history import Bundler, demand_repository, is_directory, is_hash, read_text
from devsh_memory_mcp.shim.process import CommandFailed

_MOST = 100
_MOST_FILES = 10000
_DEEPEST = 20
_MOST_PACKED = 64 << 20
_LEFT_OUT = "refs/remotes/", "refs/devsh/", "refs/replace/", "refs/bisect/", "refs/worktree/"
_FETCHED = "refs/devsh/strays"
_SCRIPT = """umask 077; git rev-parse --git-dir || exit; bundle=$1; shift; count=0; refs=
while [ "$1" != -- ]; do
    count=$((count + 1))
    if own=$(git rev-list -n 1 "$1" --not --remotes) && [ -z "$own" ]; then echo "known $count"
    elif git update-ref "refs/devsh/strays/$count" "$1"; then refs="$refs refs/devsh/strays/$count"; fi
    shift
done
shift; without=
for commit; do git cat-file -e "$commit" && without="$without $commit"; done
[ -z "$refs" ] || exec git bundle create -q "$bundle" $refs --not $without
"""


class Stray(typing.NamedTuple):
    """What a ref of the agent's is at. `name` can be the last part of a ref of ours."""

    name: str
    tip: str


def find(tool: Git, known: typing.Container[str]) -> list[Stray]:
    """The refs that are neither as the checkout began nor at something `known`. CommandFailed where they cannot all be read."""
    inner = f"{tool.workspace}/.git"
    if not is_directory(inner):
        return []
    demand_repository(inner)
    if not is_directory(f"{inner}/refs"):
        raise CommandFailed("the checkout's refs are somewhere else")
    began = read_text(f"{tool.own_directory}/{rundir.BEGAN_FILE}", _MOST_PACKED)
    packed = read_text(f"{inner}/packed-refs", _MOST_PACKED)
    if packed is None and os.path.lexists(f"{inner}/packed-refs"):
        raise CommandFailed("the checkout's packed-refs cannot be read")
    refs = _packed(packed or "") if packed != began else {}
    refs.update(_loose(inner, "refs"))
    stashed = {f"refs/stash-{number}": tip for number, tip in _stashed(inner)} if "refs/stash" in refs else {}
    old = set(_packed(began or "").values())
    found = [
        Stray(_shown(name), tip)
        for name, tip in {**refs, **stashed}.items()
        if not name.startswith(_LEFT_OUT) and tip not in old and tip not in known
    ]
    if len(found) > _MOST:
        raise CommandFailed(f"{len(found)} refs are new, which is more than can be saved")
    return found


def take_over(tool: Git, bundler: Bundler, strays: list[Stray], without: typing.Sequence[str]) -> tuple[list[Stray], list[Stray]]:
    """Brings them into the shim's own git directory: those that lead to what would be lost, and those that could not be had.

    `without` are commits that are there already, the first of them the one that is saved in any case.
    """
    made = bundler.make(_SCRIPT, tool.workspace, *(stray.tip for stray in strays), "--", *without)
    if made.path is not None:
        try:
            options = ("-q", "--no-write-fetch-head", "--no-tags", "--no-auto-maintenance")
            tool.own("fetch", *options, made.path, f"+{_FETCHED}/*:{_FETCHED}/*")
        except CommandFailed as error:
            tool.note(str(error))
    elsewhere = {line.partition(" ")[2] for line in made.said.splitlines() if line.startswith("known ")}
    here = [stray for number, stray in enumerate(strays, 1) if str(number) not in elsewhere]
    missing = [stray for stray in here if not _is_here(tool, stray.tip)]
    return [stray for stray in here if stray not in missing and not _is_kept(tool, stray.tip, without[0])], missing


def _is_here(tool: Git, tip: str) -> bool:
    try:
        tool.own("rev-parse", "--verify", "-q", f"{tip}^{{commit}}")
    except CommandFailed:
        return False
    return True


def _is_kept(tool: Git, tip: str, saved: str) -> bool:
    """Whether it is part of what is saved anyway, or of a branch or a tag that the user has."""
    if not tool.own("rev-list", "--max-count=1", tip, "--not", saved).stdout:
        return True
    return bool(tool.find_user("for-each-ref", "--count=1", "--contains", tip, "refs/heads", "refs/tags"))


def _packed(content: str) -> dict[str, str]:
    """Names and hashes; lines that say more about the one above are left out."""
    parts = (line.split(" ", 1) for line in content.splitlines() if not line.startswith(("#", "^")))
    return {part[1]: part[0] for part in parts if len(part) == 2 and is_hash(part[0])}


def _loose(inner: str, top: str) -> dict[str, str]:
    """The refs that are files of their own; no link is followed. Those that only name another ref are left out."""
    refs: dict[str, str] = {}
    directories, seen = [top], 0
    while directories:
        directory = directories.pop()
        try:
            entries = list(os.scandir(f"{inner}/{directory}"))
        except OSError as error:
            raise CommandFailed(f"the checkout's refs cannot be read: {error}") from error
        seen += len(entries)
        if seen > _MOST_FILES or directory.count("/") > _DEEPEST:
            raise CommandFailed("the checkout has more refs than can be read")
        for entry in entries:
            name = f"{directory}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                directories.append(name)
            elif (content := read_text(entry.path)) is not None and is_hash(content):
                refs[name] = content
    return refs


def _stashed(inner: str) -> typing.Iterator[tuple[int, str]]:
    """What was stashed before the last: git keeps it in that ref's log alone."""
    lines = (read_text(f"{inner}/logs/refs/stash", 1 << 20) or "").splitlines()
    for number, line in enumerate(reversed(lines)):
        words = line.split(" ", 2)
        if number and len(words) == 3 and is_hash(words[1]):
            yield number, words[1]


def _shown(name: str) -> str:
    for start, shown in (("refs/heads/", ""), ("refs/tags/", "tag-"), ("refs/", "")):
        if name.startswith(start):
            name = shown + name[len(start) :]
            break
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)[:100]
