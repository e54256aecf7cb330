"""The lines of a journal: how a commit is written and how whole commits are found in bytes that anybody may have added to.

Pure. A line of ours is an object with `seq`, `timestamp` and `event`; every other line is foreign and means nothing. A commit of
several events carries in each line `end`, the `seq` of its last one, and counts only when that line has arrived with its newline.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError
from pydantic_core import from_json

from devsh_memory_mcp.domain.events import BY_NAME, Event, ForeignLines
from devsh_memory_mcp.domain.instants import instant_text, parse_instant

_BOM = b"\xef\xbb\xbf"


class UnknownEvent(Event):
    """An event that a newer release wrote; it takes its number and changes nothing."""

    name = "unknown"
    event: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One event with its place in the journal."""

    seq: int
    timestamp: datetime
    event: Event


@dataclass(frozen=True, slots=True)
class Foreign:
    """How many foreign lines nobody has told of yet, and after which `seq` the first of them stands."""

    count: int = 0
    after: int = 0


@dataclass(slots=True)
class Scan:
    """What was found: the whole commits, where they and the foreign lines between them end, and what stopped it, if anything.

    `ends` are the numbers of the commits' last events.
    """

    entries: list[Entry] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    end: int = 0
    foreign: Foreign = Foreign()
    damage: str = ""


class Damaged(ValueError):
    """A line of ours that cannot be, or not at its place."""


def encode(events: Sequence[Event], first: int, now: datetime) -> bytes:
    """One commit's lines. ValueError where a text in them cannot be written."""
    timestamp, last = instant_text(now), first + len(events) - 1
    tail = f',"end":{last}}}\n' if len(events) > 1 else "}\n"
    lines: list[str] = []
    for seq, event in enumerate(events, first):
        fields = event.model_dump_json(by_alias=True, exclude_none=True)[1:-1]
        comma = "," if fields else ""
        lines.append(f'{{"seq":{seq},"timestamp":"{timestamp}","event":"{event.name}"{comma}{fields}{tail}')
    return "".join(lines).encode()


def scan(content: bytes, seq: int, foreign: Foreign = Foreign()) -> Scan:
    """The whole commits in `content`, which follows the event `seq` in the journal."""
    found = Scan(foreign=foreign)
    scanner = _Scanner(found, seq)
    start = 0
    while (stop := content.find(b"\n", start)) >= 0:
        try:
            whole = scanner.take(content[start:stop], start, stop + 1)
        except Damaged as error:
            found.damage = str(error)
            break
        if not whole:
            found.damage = _lost_behind(content[found.end :], scanner.seq)
            break
        start = stop + 1
    return found


def own_lines(content: bytes) -> Iterator[Entry | Damaged]:
    """Every line of ours by itself, whatever its number; Damaged for one that is not valid. For looking at what cannot be scanned."""
    for raw in content.split(b"\n"):
        document = _envelope(raw)
        if document is not None:
            try:
                yield _entry(document)
            except Damaged as error:
                yield error


def _lost_behind(content: bytes, seq: int) -> str:
    """Whether events that were told to be done stand behind a hole. One write has one time: what has another came after its sync."""
    times = {found.timestamp for found in own_lines(content) if isinstance(found, Entry)}
    return f"there is a hole of NUL bytes behind the event {seq}, with whole events behind it" if len(times) > 1 else ""


class _Scanner:
    """The scan line by line; `found` is the result at every instant."""

    def __init__(self, found: Scan, seq: int) -> None:
        self._found = found
        self.seq = seq
        self._commit: list[Entry] = []
        self._last = 0  # the `end` of the commit that is being read
        self._within = 0  # foreign lines inside it
        self._zeros: tuple[int, Foreign] | None = None  # where something with NUL bytes began, and what was foreign before

    def take(self, raw: bytes, start: int, stop: int) -> bool:
        """Takes one line in; False where the rest is the torn end of a write."""
        document = _envelope(raw)
        if document is None:
            self._skip(raw, start, stop)
            return True
        expected = self.seq + len(self._commit) + 1
        seq = int(str(document["seq"]))
        if seq != expected:
            if self._zeros is not None and seq > expected:  # blocks that a power loss left unwritten
                self._found.end, self._found.foreign = self._zeros
                return False
            raise Damaged(f"the event after {expected - 1} has the number {seq}")
        self._join(document, stop)
        return True

    def _skip(self, raw: bytes, start: int, stop: int) -> None:
        if b"\0" in raw and self._zeros is None:
            self._zeros = (self._found.end if self._commit else start), self._found.foreign
        if self._commit:
            self._within += 1
        else:
            self._count(1, stop)

    def _count(self, lines: int, stop: int) -> None:
        known = self._found.foreign
        if lines:
            self._found.foreign = Foreign(known.count + lines, known.after if known.count else self.seq)
        self._found.end = stop

    def _join(self, document: dict[str, object], stop: int) -> None:
        entry = _entry(document)
        end = document.get("end", entry.seq)
        if not isinstance(end, int) or end < entry.seq or (self._commit and end != self._last):
            raise Damaged(f"the event {entry.seq} belongs to no whole commit")
        self._commit.append(entry)
        self._last = end
        if entry.seq == end:
            self._finish(stop)

    def _finish(self, stop: int) -> None:
        self._found.entries += self._commit
        self._found.ends.append(self._last)
        told = any(isinstance(entry.event, ForeignLines) for entry in self._commit)
        self.seq, self._commit, self._zeros = self._last, [], None
        if told:
            self._found.foreign = Foreign()
        self._count(self._within, stop)
        self._within = 0


def _envelope(raw: bytes) -> dict[str, object] | None:
    try:
        document = from_json(raw.removeprefix(_BOM))
    except ValueError:
        return None
    if not isinstance(document, dict) or type(document.get("seq")) is not int:
        return None
    return document if isinstance(document.get("event"), str) and isinstance(document.get("timestamp"), str) else None


def _entry(document: dict[str, object]) -> Entry:
    seq, name = int(str(document["seq"])), str(document["event"])
    at = parse_instant(str(document["timestamp"]))
    if at is None:
        raise Damaged(f"the event {seq} has no valid time")
    kind = BY_NAME.get(name, UnknownEvent)
    try:
        return Entry(seq, at, kind.model_validate(document))
    except ValidationError as error:
        raise Damaged(f"the event {seq} ({name}) is not valid: {error.errors()[0]['msg']}") from error
