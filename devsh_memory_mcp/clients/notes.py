"""What `devsh setup` and `devsh skill` put into other programs' files, remembered so that exactly that can be taken out again."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from devsh_memory_mcp.clients.text import Change, EmptyDirectoryChange
from devsh_memory_mcp.config import config_directory
from devsh_memory_mcp.domain.records import Record
from devsh_memory_mcp.errors import SettingsInvalid, Unavailable
from devsh_memory_mcp.shim.rundir import write_file

NOTES_FILE = "setup.json"


class Note(Record):
    """What was done to one file.

    `made` containers in it and `directories` above it were not there before, nor the file itself if `is_new`. `replaced` is the text of a
    foreign entry that ours took the place of, `text` what was put in where that is no JSON, `digest` the content of a whole file. `by` is
    the command that did it, where several do the same.
    """

    is_new: bool = False
    directories: tuple[str, ...] = ()
    made: int = 0
    replaced: str | None = None
    text: str | None = None
    digest: str | None = None
    by: str | None = None


class Notes(Record):
    """By the file's path."""

    files: dict[str, Note] = {}

    def of(self, path: Path) -> Note | None:
        """What was done to this one, None for nothing."""
        return self.files.get(str(path))


@dataclass(slots=True)
class Plan:
    """Changes to be shown, asked for and made; `notes` are remembered with them, None is forgotten."""

    changes: list[Change] = field(default_factory=list)
    notes: dict[str, Note | None] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Plan") -> "Plan":
        self.changes += other.changes
        self.notes |= other.notes
        self.said += other.said
        return self

    def shown(self) -> list[str]:
        """All changes as a diff."""
        return [line for change in self.changes for line in change.shown()]


def read_notes(environment: Mapping[str, str]) -> Notes:
    """What is remembered."""
    path = config_directory(environment) / NOTES_FILE
    try:
        return Notes.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Notes()
    except (OSError, ValidationError) as error:
        raise SettingsInvalid(f"{path} cannot be read.", next_step="Remove it; then --remove no longer knows what was added.") from error


def carry_out(plan: Plan, environment: Mapping[str, str]) -> None:
    """Makes the changes. What is to be remembered is written before, what is to be forgotten after: a stop in between loses nothing."""
    _remember({path: note for path, note in plan.notes.items() if note is not None}, environment)
    for change in plan.changes:
        try:
            change.apply()
        except OSError as error:
            raise Unavailable(
                f"{change.path} cannot be written: {error.strerror}.", next_step="Mend that and repeat the command."
            ) from error
    _remember({path: note for path, note in plan.notes.items() if note is None}, environment)


def _remember(notes: Mapping[str, Note | None], environment: Mapping[str, str]) -> None:
    if not notes:
        return
    files = {path: note for path, note in {**read_notes(environment).files, **notes}.items() if note is not None}
    directory = config_directory(environment)
    if not files:
        (directory / NOTES_FILE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds more than the notes
            directory.rmdir()
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_file(str(directory / NOTES_FILE), Notes(files=files).model_dump_json(by_alias=True, indent=2).encode() + b"\n")


def missing_above(path: Path) -> tuple[str, ...]:
    """The directories above a file that are not there yet, the innermost first."""
    missing = []
    for directory in path.parents:
        if os.path.lexists(directory):
            break
        missing.append(str(directory))
    return tuple(missing)


def emptied(note: Note) -> list[Change]:
    """The directories that were made for it."""
    return [EmptyDirectoryChange(Path(directory)) for directory in note.directories]
