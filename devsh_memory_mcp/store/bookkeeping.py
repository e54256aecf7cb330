"""views.json: which files the views are and up to where they tell the journal; and the views themselves, where they are exact.

Standard library only, so that a command which only shows what is there starts fast.
"""

import hashlib
import json
import os
import re
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from devsh_memory_mcp.shim.rundir import open_regular

JOURNAL_FILE = "EVENTS.jsonl"
VIEWS_FILE = "views.json"
PLAN_FILE = "PLAN.json"
AGENTS_FILE = "AGENTS.json"
MAILBOX_FILE = "MAILBOX.json"
VIEW_FILES = (PLAN_FILE, AGENTS_FILE, MAILBOX_FILE)
_VIEW_AT_END = re.compile(rb'"_view":\s*\{\s*"seq":\s*(\d{1,15}),\s*"offset":\s*\d+\s*\}\s*\}\s*$')

Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class Written:
    """A file as we wrote it; `sha256` is that of its content without the bookkeeping in it."""

    inode: int
    size: int
    mtimeNs: int  # the name on disk
    sha256: str

    def is_file(self, status: os.stat_result) -> bool:
        """Whether that is still the file we wrote."""
        return (status.st_ino, status.st_size, status.st_mtime_ns) == (self.inode, self.size, self.mtimeNs)


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """`seq` and `offset` in the journal of `inode` up to which the views are exact; `idle` where nothing is left to do."""

    seq: int = 0
    offset: int = 0
    inode: int = 0
    idle: bool = False
    files: dict[str, Written] = field(default_factory=dict)

    def content(self) -> bytes:
        """The file's content."""
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


def written(status: os.stat_result, content: bytes) -> Written:
    """The record of a file that was just put in place."""
    return Written(status.st_ino, status.st_size, status.st_mtime_ns, hashlib.sha256(content).hexdigest())


def read_bookkeeping(directory: Path) -> Bookkeeping | None:
    """views.json, None where it is not there or is not one."""
    try:
        if not stat.S_ISREG(os.stat(directory / VIEWS_FILE).st_mode):
            return None  # a pipe would be waited for
        document = json.loads((directory / VIEWS_FILE).read_bytes())
        files = {name: Written(**entry) for name, entry in document.pop("files").items()}
        known = Bookkeeping(**document, files=files)
        return known if type(known.seq) is int and type(known.offset) is int else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def shown_seq(directory: Path) -> int:
    """The last event that the views know of, 0 where they do not say; who reads it before the journal finds that event there."""
    known = read_bookkeeping(directory)
    return max(_seq_at_end(directory / name) for name in VIEW_FILES) if known is None else known.seq


def _seq_at_end(path: Path) -> int:
    """What the bookkeeping in a view says, without reading all of it."""
    try:
        with open_regular(str(path)) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 200))
            found = _VIEW_AT_END.search(file.read())
    except (OSError, ValueError):
        return 0
    return int(found[1]) if found else 0


def shows(directory: Path, seq: int) -> bool:
    """Whether the views tell the journal at least up to `seq` and are the files that were written."""
    known = read_bookkeeping(directory)
    try:
        return known is not None and known.seq >= seq and all(known.files[name].is_file(os.stat(directory / name)) for name in VIEW_FILES)
    except (OSError, KeyError):
        return False


def is_exact(directory: Path) -> bool:
    """Whether the views tell the journal to its end and are the files that were written."""
    return exact_bookkeeping(directory) is not None


def exact_bookkeeping(directory: Path) -> Bookkeeping | None:
    """The bookkeeping where the views are exact, None where they are not."""
    known = read_bookkeeping(directory)
    try:
        if known is None or not _is_journal(directory / JOURNAL_FILE, known):
            return None
        ours = all(known.files[name].is_file(os.stat(directory / name)) for name in VIEW_FILES)
    except (OSError, KeyError):
        return None
    return known if ours else None


def _is_journal(path: Path, known: Bookkeeping) -> bool:
    status = os.stat(path)
    if (status.st_ino, status.st_size) != (known.inode, known.offset):
        return False
    return known.offset > 0 and last_seq(path, known.offset) == known.seq


def last_seq(path: Path, offset: int) -> int | None:
    """The `seq` of the line that ends at `offset`, None where that is no line of ours."""
    with path.open("rb") as file:
        length = 4096
        while True:
            start = max(0, offset - length)
            file.seek(start)
            content = file.read(offset - start)
            begin = content.rfind(b"\n", 0, -1) + 1
            if begin or not start:
                break
            length *= 8
    try:
        document = json.loads(content[begin:]) if content.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    seq = document.get("seq") if isinstance(document, dict) else None
    return seq if isinstance(seq, int) else None


def read_exact(directory: Path) -> dict[str, Document] | None:
    """PLAN.json, AGENTS.json and MAILBOX.json by name where they are exact, None where the journal must be folded instead."""
    before = exact_bookkeeping(directory)
    if before is None:
        return None
    try:
        documents = {name: json.loads((directory / name).read_bytes()) for name in VIEW_FILES}
    except (OSError, ValueError):
        return None
    return documents if exact_bookkeeping(directory) == before else None
