"""Which repositories' files may name commands: allowed once by the user, for what the file said then.

The record lies outside of every repository, beside the user's own settings; a file that changed is not the one that was allowed.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.config import config_directory
from devsh_memory_mcp.errors import SettingsInvalid
from devsh_memory_mcp.user_record import changed

RECORD = "trusted.json"


@dataclass(frozen=True, slots=True)
class Trusted:
    """A file that was allowed; `is_current` is false where it says something else by now, or is gone."""

    path: Path
    digest: str

    @property
    def is_current(self) -> bool:
        """Whether the file is still what was allowed."""
        try:
            return digest_of(self.path.read_bytes()) == self.digest
        except OSError:
            return False


def digest_of(content: bytes) -> str:
    """What stands for a file's content in the record."""
    return hashlib.sha256(content).hexdigest()


def is_trusted(path: Path, content: bytes, environment: Mapping[str, str]) -> bool:
    """Whether the user allowed this content at this place."""
    return _read(environment).get(_key(path)) == digest_of(content)


def trust(path: Path, content: bytes, environment: Mapping[str, str]) -> None:
    """Allows this content at this place, instead of what was allowed there before."""
    with changed(RECORD, environment, _read) as record:
        record[_key(path)] = digest_of(content)


def revoke(path: Path, environment: Mapping[str, str]) -> bool:
    """Takes it back; whether there was anything."""
    with changed(RECORD, environment, _read) as record:
        return record.pop(_key(path), None) is not None


def trusted_files(environment: Mapping[str, str]) -> list[Trusted]:
    """All that was allowed, by path."""
    return [Trusted(Path(path), digest) for path, digest in sorted(_read(environment).items())]


def _key(path: Path) -> str:
    """The real place: a link elsewhere, or a directory above that is one, is no other repository."""
    return str(Path(os.path.realpath(path.parent)) / path.name)


def _read(environment: Mapping[str, str]) -> dict[str, str]:
    path = config_directory(environment) / RECORD
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsInvalid(f"{path} cannot be read: {error}", next_step="Remove it, and allow the repositories again.") from error
    entries = document if isinstance(document, dict) else {}
    return {name: digest for name, digest in entries.items() if isinstance(digest, str)}
