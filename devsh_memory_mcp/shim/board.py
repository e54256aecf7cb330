"""What a head sees of the orchestration that it leads: copies of its views and journal, and the branches of its agents in its checkout.

Both lie where the head may write, so nothing of its making is followed or run: a file is put where it belongs by name, in a directory that
was opened as what it is, and of git's own no program runs. A branch is a file with the name of a commit, whose objects the checkout
borrows from the repository that it was published in.
"""

import contextlib
import json
import os
import re
import stat
import time
import typing

_VIEWS = ("PLAN.json", "AGENTS.json", "MAILBOX.json", "HEAD_AGENT_INSTRUCTIONS.md")
_JOURNAL = "EVENTS.jsonl"
_LARGEST = 64 * 1024 * 1024  # bytes of a view
_CHUNK = 1 << 20
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|/\.|\.lock(?:/|$)))[A-Za-z0-9][A-Za-z0-9._/-]{0,200}(?<![/.])")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TELLING = (b'"agent_spawned"', b'"attempt_ended"', b'"agent_completed"')
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ON = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_Identity = tuple[int, int, int]  # inode, bytes, when it was written
Note = typing.Callable[[str], object]


class Board:
    """The files at `place`, None where the head sees the orchestration's own, and `branches` in its checkout; see `renew`."""

    def __init__(self, source: str, place: str | None, owner: int | None, branches: "Branches | None", note: Note) -> None:
        self._source = source
        self._place = place
        self._owner = owner
        self._branches = branches
        self._note = note
        self._seen: dict[str, _Identity] = {}  # of what was copied
        self._left: dict[str, _Identity | None] = {}  # of the copies
        self._read = 0  # bytes of the journal, in whole lines
        self._copied = 0

    def renew(self) -> None:
        """Brings all of it up to the orchestration as it is now; what cannot be done is noted, and tried again the next time."""
        try:
            lines = self._new_lines()
            self._put_files(lines)
            if self._branches is not None:
                self._branches.learn(lines)
        except OSError as error:
            self._note(f"the head does not see all of {self._source} yet: {error}")

    def _new_lines(self) -> bytes:
        """What the journal has more, in whole lines; a commit that is cut off names no branch that is there."""
        with open(f"{self._source}/{_JOURNAL}", "rb") as file:
            if os.fstat(file.fileno()).st_size < self._read:
                self._read = self._copied = 0  # it was repaired
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole

    def _put_files(self, lines: bytes) -> None:
        if self._place is None:
            return
        place = os.open(self._place, _DIRECTORY)
        try:
            for name in _VIEWS:
                self._put_view(place, name)
            if lines or self._copied != self._read:
                self._put_journal(place, lines)
        finally:
            os.close(place)

    def _put_view(self, place: int, name: str) -> None:
        path = f"{self._source}/{name}"
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return
        seen = status.st_ino, status.st_size, status.st_mtime_ns
        if self._seen.get(name) == seen or status.st_size > _LARGEST:
            return
        self._keep(place, name)
        with open(path, "rb") as file:
            self._put(place, name, file)
        self._seen[name], self._left[name] = seen, _identity(place, name)

    def _keep(self, place: int, name: str) -> None:
        """What the head has made of a file is put beside it: its own words are not written over."""
        there = _identity(place, name)
        if there is not None and there != self._left.get(name):
            os.rename(name, f"{name}.edited-{time.time_ns()}", src_dir_fd=place, dst_dir_fd=place)

    def _put_journal(self, place: int, lines: bytes) -> None:
        """Adds to the copy what is new; one that is not as it was left is made anew."""
        with contextlib.suppress(OSError):
            descriptor = os.open(_JOURNAL, _ON, dir_fd=place)
            with open(descriptor, "ab") as file:
                status = os.fstat(descriptor)
                if stat.S_ISREG(status.st_mode) and status.st_size == self._copied == self._read - len(lines):
                    file.write(lines)
                    self._copied = self._read
                    return
        with open(f"{self._source}/{_JOURNAL}", "rb") as source:
            self._put(place, _JOURNAL, source, self._read)
        self._copied = self._read

    def _put(self, place: int, name: str, source: typing.BinaryIO, most: int = _LARGEST) -> None:
        def write(descriptor: int) -> None:
            left = most
            while left > 0 and (chunk := source.read(min(_CHUNK, left))):
                left -= os.write(descriptor, chunk)

        put(place, name, write, self._owner)


class Branches:
    """Of its agents, in the checkout of a head: `repository` is the git directory whose objects it borrows."""

    def __init__(self, repository: str, inner: str, owner: int | None, note: Note) -> None:
        self._repository = repository
        self._inner = inner
        self._owner = owner
        self._note = note
        self._there: set[str] = set()  # the tasks that work on the same code
        self._tips: dict[str, str] = {}
        self._put: dict[str, str] = {}  # refs, and what they were given

    def learn(self, lines: bytes) -> None:
        """Puts up the branch of each task that has completed, by these lines of the journal."""
        for line in lines.splitlines():
            if not any(word in line for word in _TELLING):
                continue
            with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):  # a line of somebody else's
                self._hear(json.loads(line))

    def _hear(self, event: dict[str, typing.Any]) -> None:
        task, kind = str(event["orchestrationTaskId"]), event["event"]
        if kind == "agent_spawned":
            if (event["spec"].get("repository") or {}).get("gitDirectory") == self._repository:
                self._there.add(task)
        elif kind == "attempt_ended":
            self._tips[task] = str(event["totals"].get("tip"))
        elif kind == "agent_completed" and task in self._there and event.get("branch"):
            self._put_up(str(event["branch"]), self._tips.get(task, ""))

    def _put_up(self, branch: str, tip: str) -> None:
        """As `origin/…`, like those that were there before; and as a branch of its own, where it has none of that name."""
        if not _BRANCH.fullmatch(branch) or not _COMMIT.fullmatch(tip):
            return
        try:
            self._write(("refs", "remotes", "origin", *branch.split("/")), tip, over=True)
            self._write(("refs", "heads", *branch.split("/")), tip, over=False)
        except OSError as error:
            self._note(f"{branch} is not in the head's checkout: {error}")

    def _write(self, parts: tuple[str, ...], tip: str, *, over: bool) -> None:
        """The file of a ref; where it is not to be written `over`, one that is still as it was put there is."""
        with contextlib.ExitStack() as opened:
            above = os.open(self._inner, _DIRECTORY)
            opened.callback(os.close, above)
            for part in parts[:-1]:
                above = _descend(above, part, self._owner)
                opened.callback(os.close, above)
            name, ref = parts[-1], "/".join(parts)
            over = over or (ref in self._put and _content(above, name) == self._put[ref])
            put(above, name, lambda descriptor: os.write(descriptor, f"{tip}\n".encode()), self._owner, over=over)
            self._put[ref] = tip


def _descend(above: int, name: str, owner: int | None) -> int:
    """The directory of that name, made where it is missing."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=above)
    found = os.open(name, _DIRECTORY, dir_fd=above)
    if owner is not None:
        os.fchown(found, owner, owner)
    return found


def _identity(place: int, name: str) -> _Identity | None:
    try:
        status = os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _content(place: int, name: str) -> str:
    """What a ref's file says; nothing where it is none."""
    with contextlib.suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
        with open(descriptor, "rb") as file:
            return file.read(100).decode(errors="replace").strip()
    return ""


def put(place: int, name: str, write: typing.Callable[[int], object], owner: int | None, *, over: bool = True) -> None:
    """A file of `owner`'s in that directory, whole or not at all; what is there stays unless it is written `over`. OSError."""
    part = f".{name}.devsh"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part, dir_fd=place)
    descriptor = os.open(part, _ANEW, 0o644, dir_fd=place)
    try:
        write(descriptor)
        if owner is not None:
            os.fchown(descriptor, owner, owner)
        if over:
            os.rename(part, name, src_dir_fd=place, dst_dir_fd=place)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(part, name, src_dir_fd=place, dst_dir_fd=place, follow_symlinks=False)
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=place)


def make(directory: str, owner: int | None) -> None:
    """The place of a board, which is the head's."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    if owner is not None:
        for path in (os.path.dirname(directory), directory):
            os.chown(path, owner, owner)
