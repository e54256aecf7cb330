"""Changes to files that belong to somebody else: small replacements in a text that otherwise keeps every byte.

What is shown of a change is what it takes out and puts in, and no line beside it: these files hold other programs' secrets.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devsh_memory_mcp.errors import Conflict, InvalidRequest
from devsh_memory_mcp.shim.rundir import sync_directory

LOCK_PATIENCE = 5.0  # seconds
LOCK_STALE = 60.0
_LOCK_PAUSE = 0.1
LARGEST = 64 * 1024 * 1024  # bytes; some clients keep their history in the same file


@dataclass(frozen=True, slots=True)
class Splice:
    """One replacement: the characters from `start` to `end` become `new`. `foreign` tells which of both is not ours, and not shown."""

    start: int
    end: int
    new: str
    foreign: Literal["old", "new"] | None = None


@dataclass(frozen=True, slots=True)
class TextChange:
    """A file that gets another content; None is no file. `splices` tell what differs, and are empty where a whole file comes or goes.

    `is_private` is the mode of what was not there. `locks` has the file's owner's own lock taken: a directory beside it, as npm's
    proper-lockfile makes them.
    """

    path: Path
    before: str | None
    after: str | None
    splices: tuple[Splice, ...]
    is_private: bool = True
    locks: bool = False

    def shown(self) -> list[str]:
        """The change as a unified diff without context; of a whole file its size."""
        lines = [
            f"--- {self.path if self.before is not None else os.devnull}",
            f"+++ {self.path if self.after is not None else os.devnull}",
        ]
        if self.splices:
            return lines + hunks(self.before or "", self.splices)
        old, new = ((text or "").count("\n") for text in (self.before, self.after))
        return [*lines, f"@@ -{min(old, 1)},{old} +{min(new, 1)},{new} @@ the whole file"]

    def apply(self) -> None:
        """Makes the change whole, or not at all; Conflict where the file is no longer what the change was made from."""
        with _owners_lock(self.path) if self.locks else contextlib.nullcontext():
            if read_text(self.path) != self.before:
                raise Conflict(f"{self.path} was changed meanwhile; nothing was written to it.", next_step="Repeat the command.")
            if self.after is None:
                os.unlink(os.path.realpath(self.path))
            else:
                put_text(self.path, self.after, is_private=self.is_private)


@dataclass(frozen=True, slots=True)
class LinkChange:
    """A symbolic link that is made (`target`) or taken away (None)."""

    path: Path
    target: str | None

    def shown(self) -> list[str]:
        """One line."""
        return [f"+link {self.path} -> {self.target}" if self.target else f"-link {self.path}"]

    def apply(self) -> None:
        """FileExistsError where something has the name: a link is never made inside of what is there."""
        if self.target is None:
            self.path.unlink()
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(self.target, self.path)


@dataclass(frozen=True, slots=True)
class EmptyDirectoryChange:
    """A directory that goes if nothing is left in it."""

    path: Path

    def shown(self) -> list[str]:
        """Nothing: it is not worth a line."""
        return []

    def apply(self) -> None:
        """Leaves it where somebody has put something there."""
        with contextlib.suppress(OSError):
            self.path.rmdir()


Change = TextChange | LinkChange | EmptyDirectoryChange


def spliced(text: str, splices: Sequence[Splice]) -> str:
    """The text with all replacements made; they are positions of the original and do not overlap."""
    for splice in sorted(splices, key=lambda one: one.start, reverse=True):
        text = text[: splice.start] + splice.new + text[splice.end :]
    return text


def read_text(path: Path) -> str | None:
    """What a file says, with its own line ends; None where there is none. InvalidRequest where it cannot be read."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}. Nothing was changed.") from error
    if len(content) > LARGEST:
        raise InvalidRequest(f"{path} is larger than {LARGEST // 1024 // 1024} MB. Nothing was changed.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8. Nothing was changed.") from error


def put_text(path: Path, text: str, *, is_private: bool) -> None:
    """Replaces a file, whole at every instant; its mode stays, and a link to it stays a link."""
    real = os.path.realpath(path)
    try:
        mode = os.stat(real).st_mode & 0o7777
    except FileNotFoundError:
        os.makedirs(os.path.dirname(real), exist_ok=True)
        mode = 0o600 if is_private else 0o644
    descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(real)}.", dir=os.path.dirname(real))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, real)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(real))


def hunks(text: str, splices: Sequence[Splice]) -> list[str]:
    """What the replacements take out and put in, line by line."""
    lines: list[str] = []
    moved = 0
    for splice in sorted(splices, key=lambda one: one.start):
        old = _lines(text[splice.start : splice.end], is_foreign=splice.foreign == "old")
        new = _lines(splice.new, is_foreign=splice.foreign == "new")
        number = text.count("\n", 0, splice.start) + 1
        if not old and not splice.new.startswith("\n"):
            number -= 1  # nothing is counted from the line before it
        first = number + moved + (1 if not old else 0)
        lines.append(f"@@ -{number},{len(old)} +{first},{len(new)} @@")
        lines += [f"-{line}" for line in old] + [f"+{line}" for line in new]
        moved += len(new) - len(old)
    return lines


def _lines(text: str, *, is_foreign: bool) -> list[str]:
    lines = text.strip("\r\n").splitlines() if text.strip() else []
    return ["… (somebody else's; it may hold secrets)" for _ in lines[:1]] if is_foreign else lines


@contextlib.contextmanager
def _owners_lock(path: Path) -> Iterator[None]:
    lock = Path(f"{os.path.realpath(path)}.lock")
    until = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            lock.mkdir()
            break
        except FileExistsError:
            with contextlib.suppress(OSError):
                if time.time() - lock.stat().st_mtime > LOCK_STALE:  # its owner touches it all the time, so he was killed
                    lock.rmdir()
                    continue
            if time.monotonic() > until:
                raise Conflict(
                    f"Another program writes {path} (it holds {lock}); nothing was changed.", next_step="Repeat the command."
                ) from None
            time.sleep(_LOCK_PAUSE)  # no event tells when it is gone
        except FileNotFoundError:
            lock.parent.mkdir(parents=True)
    try:
        yield
    finally:
        lock.rmdir()
