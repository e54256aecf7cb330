"""Where bubblewrap may mount: it makes what a mount point lacks, as us, and through links that an agent left to any place of the machine.

To be asked before each command of an attempt, when nothing of the attempt runs.
"""

import os
import stat
import typing

from devsh_memory_mcp.shim.sandbox import Bind


def reachable(binds: typing.Iterable[Bind]) -> tuple[Bind, ...]:
    """Those to which nothing leads but directories, in what is shown writable as well."""
    shown = {bind.target: bind for bind in binds}
    kept: dict[str, Bind] = {}
    for target in sorted(shown, key=lambda path: path.split("/")):
        holder = next((kept[path] for path in _above(target) if path in kept), None)
        if holder is None or not holder.writable or _is_clear(holder.source, target.removeprefix(holder.target), shown[target].source):
            kept[target] = shown[target]
    return tuple(kept.values())


def _above(path: str) -> typing.Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _is_clear(top: str, below: str, source: str) -> bool:
    """Whether the way from `top` can be gone on, or made, and ends at what `source` can be mounted on."""
    *between, last = below.strip("/").split("/")
    path = top
    for name in between:
        path = f"{path}/{name}"
        kind = _kind(path)
        if kind is None:
            return True
        if not stat.S_ISDIR(kind):
            return False
    kind = _kind(f"{path}/{last}")
    return kind is None or (not stat.S_ISLNK(kind) and stat.S_ISDIR(kind) == os.path.isdir(source))


def _kind(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return None
