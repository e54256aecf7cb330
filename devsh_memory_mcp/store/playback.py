"""A journal played back: what it said after any of its events. It reads only, without a lock, as far as it can be read."""

import tarfile
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.domain.events import FORMAT
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.errors import DevshError, InvalidRequest, JournalDamaged, NotFound
from devsh_memory_mcp.shim.rundir import open_regular
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE
from devsh_memory_mcp.store.files import explained
from devsh_memory_mcp.store.line import Entry, scan

MOST_PACKED = 1 << 30  # bytes of a journal in an archive, which may say anything of itself
_EXPORT_HINT = "Name a directory with an EVENTS.jsonl, or the .tar.gz that `devsh orchestrate export` made."


@dataclass(frozen=True, slots=True)
class Playback:
    """The whole commits of a journal; `ends` are the numbers of their last events, `damage` is what stopped the reading, if anything."""

    entries: Sequence[Entry]
    ends: Sequence[int]
    damage: str = ""
    torn: int = 0  # bytes at the end that are no whole commit
    foreign: int = 0  # lines that are not ours and that no event tells of

    @property
    def last(self) -> int:
        """The number of the last event that can be read."""
        return self.ends[-1]

    def end_of(self, seq: int) -> int:
        """The last event of the commit that `seq` belongs to: a commit counts as a whole. InvalidRequest where there is none."""
        if not 1 <= seq <= self.last:
            told = f"There is no event {seq}: 1 to {self.last} can be read in this journal."
            raise InvalidRequest(told, next_step=f"`--to {self.last}` is its end.")
        return self.ends[bisect_left(self.ends, seq)]

    def state_at(self, seq: int) -> State:
        """The state right behind the commit of the event `seq`."""
        return folded(self.entries[: self.end_of(seq)])

    def notes(self) -> list[str]:
        """What a reader should know of the journal itself."""
        told = []
        if self.damage:
            told.append(f"The journal is damaged: it can be read up to event {self.last}, and not what came after it ({self.damage}).")
        if self.torn:
            told.append(f"{self.torn} bytes at its end belong to no whole commit; nobody was told that they were done.")
        if self.foreign:
            told.append(f"{self.foreign} lines in it are not ours; they mean nothing.")
        newer = folded(self.entries[:1]).format
        return [*told, *([f"A newer release wrote it (format {newer}); some of it may be missing here."] if newer > FORMAT else [])]


def folded(entries: Sequence[Entry]) -> State:
    """The state that these events make, from the first on."""
    state = State()
    for entry in entries:
        state.apply(entry.seq, entry.timestamp, entry.event)
    return state


def read_playback(path: Path) -> Playback:
    """The journal of a directory, of an export, or the file itself. NotFound, InvalidRequest, JournalDamaged where none can be read."""
    if not path.exists():
        raise NotFound(f"{path} does not exist.", next_step=f"{_EXPORT_HINT} Or give an id: `devsh orchestrate list --all` shows all.")
    try:
        if path.is_dir():
            path = path / JOURNAL_FILE
        content = _read(path)
    except FileNotFoundError as error:
        raise NotFound(f"{path.parent} is no orchestration: it has no {JOURNAL_FILE}.", next_step=_EXPORT_HINT) from error
    except OSError as error:
        raise explained(error, path) from error
    played = play(content)
    if not played.ends:
        raise JournalDamaged(f"No event can be read in {path}{f': {played.damage}' if played.damage else ''}.", next_step=_EXPORT_HINT)
    return played


def play(content: bytes) -> Playback:
    """A journal's bytes, played back."""
    found = scan(content, 0)
    damage = found.damage
    state = State()
    for entry in found.entries:
        try:
            state.apply(entry.seq, entry.timestamp, entry.event)
        except (DevshError, KeyError, ValueError, TypeError) as error:
            damage = f"the event {entry.seq} cannot follow the ones before it: {error}"
            del found.ends[bisect_left(found.ends, entry.seq) :]
            break
    last = found.ends[-1] if found.ends else 0
    torn = 0 if damage else len(content) - found.end
    return Playback(found.entries[:last], found.ends, damage, torn, found.foreign.count)


def _read(path: Path) -> bytes:
    try:
        with open_regular(str(path.resolve())) as file:
            is_packed = file.read(2) == b"\x1f\x8b"
            if not is_packed:
                file.seek(0)
                return file.read()
    except ValueError as error:
        raise InvalidRequest(f"{path} is not a file.", next_step=_EXPORT_HINT) from error
    return _unpacked(path)


def _unpacked(path: Path) -> bytes:
    """The journal in an archive. Nothing of it is written anywhere, whatever names and links it has."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if not member.isreg() or Path(member.name).name != JOURNAL_FILE:
                    continue
                packed = archive.extractfile(member)
                if packed is None or member.size > MOST_PACKED:
                    raise InvalidRequest(f"{member.name} in {path} is larger than {MOST_PACKED >> 20} MB.")
                return packed.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InvalidRequest(f"{path} cannot be unpacked: {error}.", next_step=_EXPORT_HINT) from error
    raise InvalidRequest(f"There is no {JOURNAL_FILE} in {path}.", next_step=_EXPORT_HINT)
