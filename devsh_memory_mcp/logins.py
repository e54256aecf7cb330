"""Credentials that a user gave to `devsh auth`: one file in his own configuration, which nobody else may read.

It lies outside of every memory root: what is there, agents without a sandbox are shown. A login that a CLI keeps itself is none of these.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.config import config_directory
from devsh_memory_mcp.domain.records import Billing
from devsh_memory_mcp.errors import InvalidRequest, NotAvailable, SettingsInvalid
from devsh_memory_mcp.user_record import changed

RECORD = "logins.json"
_VALUE = re.compile(r"[\x21-\x7e]{8,8192}")
_LARGEST = 256 * 1024


@dataclass(frozen=True, slots=True)
class Kind:
    """What of a program's credentials can be stored: the variable that each is, and what it begins with where that tells it."""

    variables: Mapping[Billing, str]
    beginnings: Mapping[str, Billing]
    instead: str  # where there is no token of a subscription to store


KINDS = {
    "claude": Kind(
        {"api": "ANTHROPIC_API_KEY", "subscription": "CLAUDE_CODE_OAUTH_TOKEN"}, {"sk-ant-oat": "subscription", "sk-ant-api": "api"}, ""
    ),
    "codex": Kind({"api": "CODEX_API_KEY"}, {"sk-": "api"}, "Log in with `codex login`; that login is used where it is."),
    "gemini": Kind({"api": "GEMINI_API_KEY"}, {"AIza": "api"}, "Log in with `gemini`; that login is used where it is."),
}


def stored_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables and their values, for whichever program takes such a one; SettingsInvalid where the file cannot be used."""
    return {name: value for values in _read(environment).values() for name, value in values.items()}


def kind_of(program: str, value: str, billing: Billing | None) -> Billing:
    """Who pays for what that value is; InvalidRequest where it is not known or is not what was said."""
    if not _VALUE.fullmatch(value):
        raise InvalidRequest("That is no key or token: those are one word, of at least 8 characters.")
    kind = KINDS[program]
    if billing is not None and billing not in kind.variables:
        raise NotAvailable(f"{program} has no token of a {billing} that could be stored.", next_step=kind.instead)
    told = next((found for beginning, found in kind.beginnings.items() if value.startswith(beginning)), None)
    if told is not None and billing is not None and told != billing:
        raise InvalidRequest(f"That is a credential of the kind {told}, by how it begins.", next_step=f"Leave out --billing {billing}.")
    known = billing or told or (next(iter(kind.variables)) if len(kind.variables) == 1 else None)
    if known is None:
        raise InvalidRequest("It cannot be told whether that is a key or a subscription's token.", next_step="Say it: --billing api.")
    return known


def store(program: str, value: str, billing: Billing, environment: Mapping[str, str]) -> Path:
    """Keeps it instead of what was there; where."""
    with changed(RECORD, environment, _read) as record:
        record[program] = {KINDS[program].variables[billing]: value}
    return place(environment)


def forget(program: str, environment: Mapping[str, str]) -> bool:
    """Removes it; whether there was anything."""
    if not place(environment).exists():
        return False
    with changed(RECORD, environment, _read) as record:
        return record.pop(program, None) is not None


def place(environment: Mapping[str, str]) -> Path:
    """The file."""
    return config_directory(environment) / RECORD


def _read(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    path = place(environment)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}.", next_step="Remove it, and run `devsh auth` again.") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
            raise SettingsInvalid(f"{path} holds credentials, and others may get at it.", next_step=f"chmod 600 {path}, if it is yours.")
        document = json.loads(os.read(descriptor, _LARGEST))
    except ValueError as error:
        raise SettingsInvalid(f"{path} is not as it was written.", next_step="Remove it, and run `devsh auth` again.") from error
    finally:
        os.close(descriptor)
    entries = document if isinstance(document, dict) else {}
    return {name: _texts(values) for name, values in entries.items() if isinstance(values, dict)}


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: value for name, value in values.items() if isinstance(value, str)}
