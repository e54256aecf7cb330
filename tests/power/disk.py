"""A file system that loses power: what is durable, what is only in memory, and what a disk may hold when the power goes.

The weakest reading of POSIX: of a file, what was written since its last sync is there in any part, sector by sector, and where the size
is there and the bytes are not, there are zeros. A name is there from the sync of its directory on and not by the sync of its file;
before that any set of the changes of names may be there, but each one whole, and none without the ones before it on the same names.
"""

import base64
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

SECTOR = 512
Line = dict[str, Any]
Link = str  # where a symlink points
Found = dict[str, "bytes | Link | None"]  # by path: a file's content, where a symlink points, None for a directory


@dataclass(eq=False)
class File:
    """`durable` is its content after a power loss, whatever happens to `writes`: (at, data), or (size, None) for a truncation."""

    durable: bytes = b""
    writes: list[tuple[int, bytes | None]] = field(default_factory=list)
    target: Link = ""

    def sync(self) -> None:
        self.durable = whole(self)
        self.writes = []


@dataclass(eq=False)
class Directory:
    """`now` is what programs see, `durable` what a power loss leaves of it for sure."""

    now: dict[str, "File | Directory"] = field(default_factory=dict)
    durable: dict[str, "File | Directory"] = field(default_factory=dict)


Node = File | Directory
Name = tuple[Directory, str]


@dataclass(eq=False)
class Change:
    """One change of names, whole or not at all; None for a name that goes."""

    names: list[tuple[Directory, str, Node | None]]

    def do(self, entries: dict[Name, Node | None]) -> None:
        for directory, name, node in self.names:
            entries[directory, name] = node


class Disk:
    """What programs did, one line of a log at a time. `above` is the directory in which the root is, or is made."""

    def __init__(self, above: str) -> None:
        self.above = above
        self._top = Directory()
        self._changes: list[Change] = []
        self._files: dict[int, File] = {}

    def do(self, line: Line) -> bool:
        """Takes one operation in; False for what is none."""
        act = getattr(self, f"_{line['op']}", None)
        if act is None:
            return False
        act(line)
        return True

    def survivors(self, seed: str, draws: int) -> Iterator[tuple[str, Found]]:
        """The worst that a power loss can leave now, and some that are drawn."""
        if not self._changes and not any(file.writes for file in self._files.values()):
            yield "nothing was unsynced", self._tree([], _durable)
            return
        yield "nothing unsynced", self._tree([], _durable)
        yield "all", self._tree(self._changes, whole)
        yield "names and no data", self._tree(self._changes, _durable)
        yield "names and zeros", self._tree(self._changes, _zeros)
        yield "names and data that ends in zeros", self._tree(self._changes, _tail_of_zeros)
        yield "data and no names", self._tree([], whole)
        for number in range(draws):
            chance = random.Random(f"{seed} {number}")
            kept = self._drawn(chance)
            yield f"draw {number}", self._tree(kept, lambda file, chance=chance: torn(file, chance))  # type: ignore[misc]

    # --- operations

    def _open(self, line: Line) -> None:
        if line["new"]:
            node = File()
            self._files[line["inode"]] = node
            self._change((*self._place(line["path"]), node))
        elif line["inode"] in self._files:
            self._files[line["inode"]].writes.append((0, None))

    def _write(self, line: Line) -> None:
        if line["inode"] in self._files:
            self._files[line["inode"]].writes.append((line["at"], base64.b64decode(line["data"])))

    _pwrite = _write

    def _ftruncate(self, line: Line) -> None:
        if line["inode"] in self._files:
            self._files[line["inode"]].writes.append((line["size"], None))

    def _fsync(self, line: Line) -> None:
        if line["directory"]:
            self._sync_names(line["path"])
        elif line["inode"] in self._files:
            self._files[line["inode"]].sync()

    _fdatasync = _fsync

    def _sync_names(self, path: str) -> None:
        directory = self._find(path)
        for change in [change for change in self._changes if any(one is directory for one, _, _ in change.names)]:
            for parent, name, node in change.names:
                if node is None:
                    parent.durable.pop(name, None)
                else:
                    parent.durable[name] = node
            self._changes.remove(change)

    def _rename(self, line: Line) -> None:
        place, name = self._place(line["from"])
        if name in place.now:  # not one of those that are left out
            self._change((*self._place(line["path"]), place.now[name]), (place, name, None))

    _replace = _rename

    def _link(self, line: Line) -> None:
        place, name = self._place(line["from"])
        if name in place.now:
            self._change((*self._place(line["path"]), place.now[name]))

    def _symlink(self, line: Line) -> None:
        self._change((*self._place(line["path"]), File(target=line["from"])))

    def _mkdir(self, line: Line) -> None:
        self._change((*self._place(line["path"]), Directory()))

    def _unlink(self, line: Line) -> None:
        place, name = self._place(line["path"])
        if name in place.now:
            self._change((place, name, None))

    _remove = _rmdir = _unlink

    def _change(self, *names: tuple[Directory, str, Node | None]) -> None:
        for directory, name, node in names:
            if node is None:
                del directory.now[name]
            else:
                directory.now[name] = node
        self._changes.append(Change(list(names)))

    def _find(self, path: str) -> Directory:
        node: Node = self._top
        for name in filter(None, path.removeprefix(self.above).split("/")):
            assert isinstance(node, Directory)
            node = node.now[name]
        assert isinstance(node, Directory), path
        return node

    def _place(self, path: str) -> Name:
        directory, _, name = path.rpartition("/")
        return self._find(directory), name

    # --- what is left

    def _drawn(self, chance: random.Random) -> list[Change]:
        """Some of the changes: one that was left out takes along whatever came later on the same names."""
        rate, kept = chance.random(), []
        missing: set[Name] = set()
        for change in self._changes:
            names = {(directory, name) for directory, name, _ in change.names}
            if names & missing or chance.random() < rate:
                missing |= names
            else:
                kept.append(change)
        return kept

    def _tree(self, changes: list[Change], content: Callable[[File], bytes]) -> Found:
        entries: dict[Name, Node | None] = {}
        for change in changes:
            change.do(entries)
        found: Found = {}
        _walk(self._top, "", entries, content, found)
        return found


def _walk(directory: Directory, path: str, entries: dict[Name, Node | None], content: Callable[[File], bytes], found: Found) -> None:
    """A directory's names: the durable ones, and over them the changes that survived."""
    there: dict[str, Node | None] = {**directory.durable, **{name: node for (one, name), node in entries.items() if one is directory}}
    for name, node in there.items():
        if isinstance(node, Directory):
            found[f"{path}{name}"] = None
            _walk(node, f"{path}{name}/", entries, content, found)
        elif node is not None:
            found[f"{path}{name}"] = node.target or content(node)


def whole(file: File) -> bytes:
    """As programs see it."""
    content = bytearray(file.durable)
    for at, data in file.writes:
        if data is None:
            del content[at:]
            content.extend(bytes(at - len(content)))
        else:
            content.extend(bytes(max(0, at - len(content))))
            content[at : at + len(data)] = data
    return bytes(content)


def _durable(file: File) -> bytes:
    return file.durable


def _zeros(file: File) -> bytes:
    """The size, and none of the bytes."""
    size = len(whole(file))
    return file.durable[:size].ljust(size, b"\0")


def _tail_of_zeros(file: File) -> bytes:
    """All but the last sector."""
    content = whole(file)
    if not file.writes:
        return content
    kept = max(0, len(content) - 1) // SECTOR * SECTOR
    return (content[:kept] + file.durable[kept : len(content)]).ljust(len(content), b"\0")


def torn(file: File, chance: random.Random) -> bytes:
    """Any of the sectors that were written; the size is that of any of the writes, or between two."""
    rate, content = chance.random(), bytearray(file.durable)
    for at, data in file.writes:
        if data is None:
            if chance.random() < rate:
                del content[at:]
            continue
        for start in range(at // SECTOR * SECTOR, at + len(data), SECTOR):
            if chance.random() < rate:
                begin, end = max(start, at), min(start + SECTOR, at + len(data))
                content.extend(bytes(max(0, begin - len(content))))
                content[begin:end] = data[begin - at : end - at]
        if chance.random() < 0.5:
            content.extend(bytes(max(0, at + len(data) - len(content))))
    return bytes(content)
