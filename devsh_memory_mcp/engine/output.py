"""What agents print: whole lines in the words of their adapter, or the bytes as they are. Followed, never polled."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.engine import reading
from devsh_memory_mcp.engine.site import Site
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.ports import Printed
from devsh_memory_mcp.shim import rundir

PIECE = 1024 * 1024  # bytes that are read at a time


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at a task's newest attempt: where its output is, and whether more can come."""

    run: Path | None
    agent_name: str
    is_last: bool


async def output_of(site: Site, any_id: str, *, follow: bool, last: int | None = None) -> AsyncIterator[str]:
    """Whole lines as people read them, of each file at first its `last` bytes; with `follow` until the task has ended.

    A line that is not whole yet is kept back until the task has ended.
    """
    texts: list[_Text] = []
    shown = None
    async for look in _looks(site, any_id, follow=follow):
        if look.run != shown:
            for text in [text for text in texts if text.rest]:
                yield text.ended()
            texts, shown = [_Text(tail, look.agent_name) for tail in _tails(look.run, last, rundir.VERIFY_FILE)], look.run
        for text in texts:
            for lines in text.read():
                yield lines
        if look.is_last:
            for text in [text for text in texts if text.rest]:
                yield text.ended()


async def printed_by(site: Site, any_id: str, *, follow: bool) -> AsyncIterator[Printed]:
    """The bytes that the task's newest attempt printed; with `follow` until the task has ended, attempt after attempt."""
    tails: list[_Tail] = []
    shown = None
    async for look in _looks(site, any_id, follow=follow):
        if look.run != shown:
            tails, shown = _tails(look.run, None), look.run
        for tail in tails:
            for content in tail.read():
                yield Printed(tail.is_error, content)


async def _looks(site: Site, any_id: str, *, follow: bool) -> AsyncIterator[_Look]:
    async with site.link.follow(site.orchestration_id) if follow else _nobody() as follower:
        while True:
            task = (await site.journal.read()).get_task(any_id)
            yield _Look(reading.Places(site.directory).run(task), task.spec.agent_name, task.is_terminal)
            if follower is None or task.is_terminal:
                return
            await site.journal.read_whole()  # behind a damage nothing tells of its end
            await follower.wait()


@asynccontextmanager
async def _nobody() -> AsyncIterator[None]:
    yield None


def _tails(run: Path | None, last: int | None, *others: str) -> list["_Tail"]:
    """What the agent printed, and `others`, which come after it."""
    return [_Tail(run / name, last) for name in (rundir.STDOUT_FILE, rundir.STDERR_FILE, *others)] if run else []


@dataclass(slots=True)
class _Tail:
    """Where in an output file reading goes on; at first at its beginning, or `last` bytes before its end."""

    path: Path
    last: int | None
    offset: int | None = None
    begins_inside: bool = False  # of a line

    @property
    def is_error(self) -> bool:
        return self.path.name == rundir.STDERR_FILE

    def read(self) -> Iterator[bytes]:
        """The new bytes. Nothing where there is no file, or something else in its place: the agent could have put it there."""
        try:
            file = rundir.open_regular(str(self.path))
        except (FileNotFoundError, ValueError):
            return
        with file:
            self._find_begin(file.seek(0, 2))
            file.seek(self.offset or 0)
            while content := file.read(PIECE):
                self.offset = file.tell()
                yield content

    def _find_begin(self, size: int) -> None:
        if self.offset is None:
            self.offset = max(0, size - self.last) if self.last is not None else 0
            self.begins_inside = self.offset > 0


@dataclass(slots=True)
class _Text:
    """An output file as lines. `rest` is the line that is not whole yet."""

    tail: _Tail
    agent_name: str
    rest: bytes = field(default=b"", init=False)

    def read(self) -> Iterator[str]:
        """The new whole lines, some at a time."""
        for content in self.tail.read():
            *lines, self.rest = (self.rest + content).split(b"\n")
            if lines and self.tail.begins_inside:
                self.tail.begins_inside = False
                del lines[0]
            if told := self._told(lines):
                yield told

    def ended(self) -> str:
        """The line that was not whole, which it never will be."""
        told, self.rest = self._told([self.rest]), b""
        return told

    def _told(self, lines: list[bytes]) -> str:
        texts = (line.decode(errors="replace").removesuffix("\r") for line in lines)
        if self.tail.path.name == rundir.VERIFY_FILE:
            texts = (f"[verify] {text}" for text in texts)
        elif not self.tail.is_error:
            texts = (words for line in texts if (words := _narrated(self.agent_name, line)) is not None)
        return "".join(f"{text}\n" for text in texts)


def _narrated(agent_name: str, line: str) -> str | None:
    try:
        return find_adapter(agent_name).narrate(line)
    except DevshError:  # a task of another release, whose agent this one does not know
        return line
