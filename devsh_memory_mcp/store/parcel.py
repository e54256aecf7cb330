"""One orchestration's directory packed for a bug report: what tells what happened, without secrets, and never any work.

Files are read while they grow, each up to its size at that instant, line by line; the archive is in place whole or not at all.
"""

import gzip
import json
import os
import re
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from devsh_memory_mcp.errors import Conflict
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE, VIEW_FILES, VIEWS_FILE
from devsh_memory_mcp.store.files import MODE, explained, give_name
from devsh_memory_mcp.store.inspection import RUNS
from devsh_memory_mcp.store.scrubber import Scrubber, parsed, rest_of_key

ABOUT_FILE = "export.json"
MOST_OF_A_LOG = 1 << 20  # bytes, from its end
MOST_OF_A_LINE = 16 << 20  # bytes, as of a document that is looked at as a whole
RUNNER_LOG = "runner.log"  # the root's: it tells of other orchestrations too

_MOST_OF_A_KEY = 16 << 10
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ")  # with which an entry of that log begins; a traceback follows in lines without
_ORCHESTRATION = re.compile(rb"orch_\w+")
_WHOLE = (JOURNAL_FILE, rundir.REPORT_FILE, rundir.INBOX_FILE)
_DOCUMENTS = (*VIEW_FILES, VIEWS_FILE, rundir.RUN_FILE, rundir.OUTCOME_FILE)
_LOGS = (rundir.STDOUT_FILE, rundir.STDERR_FILE, rundir.SHIM_LOG_FILE, rundir.SETUP_FILE, rundir.VERIFY_FILE)
_KEPT_ASIDE = (".torn-", ".before-repair-", ".edited-", ".damaged-", ".foreign-")
_LOCKS = (rundir.LOCK_FILE, rundir.OPEN_FILE, "journal.lock")


@dataclass(slots=True)
class Parcel:
    """What was packed, and what was not; `cut` names the logs of which the end alone is there."""

    path: Path
    files: int = 0
    cut: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    scrubbed: dict[str, int] = field(default_factory=dict)


def pack(directory: Path, target: Path, about: Mapping[str, object], scrubber: Scrubber, *, force: bool) -> Parcel:
    """Packs an orchestration's directory to `target`, mode 0600. Conflict where something is there and not to be replaced.

    `about` is what the archive says of itself beside what was left out and scrubbed.
    """
    if os.path.lexists(target) and not force:
        raise _taken(target)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        try:
            with open(descriptor, "wb") as file:
                parcel = _Packer(directory, target, scrubber).write(file, about)
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, target) if force else give_name(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        raise explained(error, target) from error
    return parcel


def _taken(target: Path) -> Conflict:
    return Conflict(f"{target} is there already.", next_step="Name another file with -o, or replace it with --force.")


class _Packer:
    def __init__(self, directory: Path, target: Path, scrubber: Scrubber) -> None:
        self._directory = directory.resolve()  # which may be named by the link to the newest
        self._scrubber = scrubber
        self._parcel = Parcel(target)

    def write(self, file: BinaryIO, about: Mapping[str, object]) -> Parcel:
        """The whole archive into an open file."""
        parcel = self._parcel
        with gzip.GzipFile("", "wb", fileobj=file) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
            for path, name in self._found():
                self._add(archive, path, name)
            parcel.scrubbed = {what: count for what, count in sorted(self._scrubber.counts.items()) if count}
            told = {**about, "cut": parcel.cut, "leftOut": dict(parcel.left_out), "scrubbed": parcel.scrubbed}
            content = json.dumps(self._scrubber.document(told), indent=2, ensure_ascii=False).encode(errors="replace") + b"\n"
            self._put(archive, ABOUT_FILE, BytesIO(content), len(content), 0.0)
        return parcel

    def _found(self) -> Iterator[tuple[Path, str]]:
        """Every file that belongs in, with its name there; the journal first, since what follows is at least as new."""
        yield self._directory / JOURNAL_FILE, JOURNAL_FILE
        for path in _entries(self._directory):
            if path.name == RUNS:
                yield from self._of_runs(path)
            elif path.name != JOURNAL_FILE:
                yield from self._chosen(path, path.name)
        log = self._directory.parent.parent / RUNNER_LOG
        if log.is_file():
            yield log, log.name

    def _of_runs(self, runs: Path) -> Iterator[tuple[Path, str]]:
        for run in _entries(runs):
            for attempt in _entries(run):
                for path in _entries(attempt):
                    yield from self._chosen(path, f"{RUNS}/{run.name}/{attempt.name}/{path.name}")

    def _chosen(self, path: Path, name: str) -> Iterator[tuple[Path, str]]:
        if _kind(path.name):
            yield path, name
        elif path.name not in _LOCKS:
            self._parcel.left_out[path.name] += 1

    def _add(self, archive: tarfile.TarFile, path: Path, name: str) -> None:
        """One file, scrubbed. One that is gone meanwhile, or is none, is left out."""
        try:
            with rundir.open_regular(str(path)) as file, tempfile.TemporaryFile(dir=self._parcel.path.parent) as scratch:
                status = os.fstat(file.fileno())
                if status.st_nlink > 1:
                    raise ValueError("it has another name, and may be anything")
                for content in self._scrubbed(file, status.st_size, name):
                    scratch.write(content)
                size = scratch.tell()
                scratch.seek(0)
                self._put(archive, name, scratch, size, status.st_mtime)
        except (FileNotFoundError, ValueError):
            self._parcel.left_out[name] += 1

    def _put(self, archive: tarfile.TarFile, name: str, content: BinaryIO, size: int, changed: float) -> None:
        """Without its owner, whose name is nobody's business."""
        entry = tarfile.TarInfo(f"{self._directory.name}/{name}")
        entry.size, entry.mode, entry.mtime = size, MODE, int(changed)
        archive.addfile(entry, content)
        self._parcel.files += 1

    def _scrubbed(self, file: BinaryIO, size: int, name: str) -> Iterator[bytes]:
        kind = _kind(Path(name).name)
        self._scrubber.begin()
        if kind == "document":
            yield self._document(file, name)
            return
        if kind == "log" and size > MOST_OF_A_LOG:
            self._parcel.cut.append(name)
            _seek_end(file, size)
        lines = _lines(file, size)
        for line in self._own(lines, is_cut=file.tell() > 0) if name == RUNNER_LOG else lines:
            if len(line) > MOST_OF_A_LINE:
                self._parcel.left_out[f"a line of {name} that is too long"] += 1
            else:
                yield self._scrubber.line(line)

    def _own(self, lines: Iterable[bytes], *, is_cut: bool) -> Iterator[bytes]:
        """The entries of the runner's log that name no other orchestration; of the first one the beginning may be cut off."""
        own, entry = {self._directory.name.encode()}, list[bytes]()
        for line in lines:
            if _STAMP.match(line):
                yield from () if is_cut else _if_own(entry, own)
                entry, is_cut = [], False
            entry.append(line)
        yield from () if is_cut else _if_own(entry, own)

    def _document(self, file: BinaryIO, name: str) -> bytes:
        content = file.read(MOST_OF_A_LINE + 1)
        if len(content) > MOST_OF_A_LINE:
            raise ValueError(f"{name} is too large")
        document = parsed(content.decode(errors="replace"))
        if document is None:
            return b"".join(map(self._scrubber.line, content.splitlines(keepends=True)))
        scrubbed = self._scrubber.document(document)
        return content if scrubbed == document else json.dumps(scrubbed, indent=2, ensure_ascii=False).encode(errors="replace") + b"\n"


def _if_own(entry: list[bytes], own: set[bytes]) -> list[bytes]:
    return entry if set(_ORCHESTRATION.findall(b"".join(entry))) <= own else []


def _kind(name: str) -> str:
    """How a file is looked at; empty where it stays here."""
    own = next((name.partition(mark)[0] for mark in _KEPT_ASIDE if mark in name), name)
    if own in _WHOLE:
        return "lines"
    if own in _DOCUMENTS:
        return "document"
    return "log" if name in _LOGS or name == RUNNER_LOG else ""


def _entries(directory: Path) -> list[Path]:
    """What is in a directory; nothing where it is none, or a link to one."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return sorted(directory / name for name in os.listdir(descriptor))
    finally:
        os.close(descriptor)


def _seek_end(file: BinaryIO, size: int) -> None:
    """Goes to the last whole lines of a log: a part of a line, or of a key, may be a part of a secret."""
    file.seek(size - MOST_OF_A_LOG)
    file.readline(MOST_OF_A_LOG)
    start = file.tell()
    file.seek(start + rest_of_key(file.read(_MOST_OF_A_KEY)))


def _lines(file: BinaryIO, stop: int) -> Iterator[bytes]:
    """The lines up to a place in the file, each cut where it is longer than a line may be, and its rest passed over."""
    while (left := stop - file.tell()) > 0:
        line = file.readline(min(left, MOST_OF_A_LINE + 1))
        if not line:
            return
        yield line
        while len(line) > MOST_OF_A_LINE and not line.endswith(b"\n") and stop > file.tell():
            line = file.readline(min(stop - file.tell(), MOST_OF_A_LINE + 1))
            if len(line) <= MOST_OF_A_LINE:
                break
