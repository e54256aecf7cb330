"""What a user, or a repository, settled once; every value comes with the place that says it.

Environment > `.devsh.toml` in the repository's root > `config.toml` in the user's configuration > built in. What a command line or a
tool call says comes before all of them, and is not seen here. A repository's file may narrow what the user allows; what acts for him
or widens it is ignored until he allowed it.
"""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from devsh_memory_mcp.agents.catalogue import DEFAULT_AGENT
from devsh_memory_mcp.config import config_directory
from devsh_memory_mcp.domain.durations import duration_text, parse_duration
from devsh_memory_mcp.domain.names import DEFAULT_BRANCH_PREFIX, is_branch_prefix
from devsh_memory_mcp.domain.records import DEFAULT_KEEP_DAYS, DEFAULT_PLACES, Billing, Network, SandboxMode
from devsh_memory_mcp.domain.requests import Places, Script, fault_in_words
from devsh_memory_mcp.domain.sizes import Bytes, Cpus, size_text
from devsh_memory_mcp.errors import SettingsInvalid
from devsh_memory_mcp.trust import is_trusted

USER_FILE = "config.toml"
REPOSITORY_FILE = ".devsh.toml"
DEFAULT_AGENT_VARIABLE = "CMUX_DEFAULT_CODING_AGENT"
LARGEST_FILE = 64 * 1024  # bytes

Source = Literal["environment", "repository", "user", "built in"]


def _span(value: object) -> object:
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        span = parse_duration(str(value))
        if not span:
            raise ValueError("has to be more than nothing")
        return span
    return value


def _prefix(text: str) -> str:
    if not is_branch_prefix(text):
        raise ValueError(f"{text!r} cannot begin a branch's name; one like 'dev/' can, of at most 30 characters")
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[^\s/]+/\S+", text):
        raise ValueError(f"{text!r} is no agent: write provider/model, like claude/haiku-4.5")
    return text


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Span = Annotated[timedelta, BeforeValidator(_span), PlainSerializer(duration_text, return_type=str)]
Size = Annotated[Bytes, PlainSerializer(size_text, return_type=str)]
Pattern = Annotated[str, Field(min_length=1, max_length=1000)]


class Values(BaseModel):
    """The settings by their names in files. Unknown names are refused, and nothing is taken for what it is not."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    default_agent: Annotated[str, AfterValidator(_name), Field(description="The agent where none is named.")] = DEFAULT_AGENT
    branch_prefix: Annotated[str, AfterValidator(_prefix), Field(description="What new branches begin with.")] = DEFAULT_BRANCH_PREFIX
    auto_pr: Annotated[bool, Field(description="Whether a pull request is opened for what an agent completed.")] = False
    max_concurrent: Annotated[Places, Field(description="How many tasks of an orchestration run at a time.")] = DEFAULT_PLACES
    timeout: Annotated[Span | None, Field(description="When an agent is ended, as 90s, 30m, 2h.")] = None
    keep_days: Annotated[int, Field(ge=1, le=3650, description="How long the output of a task is kept.")] = DEFAULT_KEEP_DAYS
    setup: Annotated[Script | None, Field(description="What runs in a checkout before its agent.")] = None
    verify: Annotated[Script | None, Field(description="What an agent's success has to pass, run in its checkout.")] = None
    include: Annotated[
        tuple[Pattern, ...],
        BeforeValidator(_listed),
        Field(max_length=100, description="Ignored files that are copied into checkouts, as .gitignore would name them."),
    ] = ()
    sandbox: Annotated[
        SandboxMode | None,
        Field(description="Whether agents run in a sandbox; without it those do, where there is one, whose login can stay outside."),
    ] = None
    network: Annotated[Network, Field(description="What network agents in a sandbox have: on, off, or allow:HOST,… for some hosts.")] = "on"
    memory: Annotated[Size | None, Field(description="How much memory an agent may use, as 512M or 4G.")] = None
    cpus: Annotated[Cpus | None, Field(description="How many processors an agent may use, as 2 or 0.5.")] = None
    disk: Annotated[Size | None, Field(description="How much of the disk an agent may come to hold, as 500M or 10G.")] = None
    billing: Annotated[Billing | None, Field(description="Who pays for agents where a key and a subscription are there.")] = None
    max_depth: Annotated[int, Field(ge=1, le=10, description="How deep agents may spawn agents; 1 is what you spawn.")] = 2
    auto_spawn: Annotated[bool, Field(description="Whether agents may spawn agents by themselves.")] = True
    max_tasks: Annotated[int, Field(ge=1, le=100_000, description="How many unfinished tasks an orchestration may have.")] = 50


@dataclass(frozen=True, slots=True)
class Origin:
    """What said a value: `place` is a file or a variable, None where it is built in."""

    source: Source
    place: str | None = None


class Settings(Values):
    """What holds for one project. `ignored` are the keys of `repository_file` that wait for `devsh trust`."""

    origins: dict[str, Origin] = {}
    ignored: tuple[str, ...] = ()
    repository_file: Path | None = None

    def origin(self, key: str) -> Origin:
        """What said the value of `key`."""
        return self.origins.get(key, Origin("built in"))

    @property
    def timeout_ms(self) -> int | None:
        """The timeout as requests want it."""
        return None if self.timeout is None else round(self.timeout / timedelta(milliseconds=1))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever spawns should be told."""
        if not self.ignored or self.repository_file is None:
            return ()
        named = ", ".join(self.ignored)
        return (f"{self.repository_file} says what acts for you ({named}); that is ignored until you allow it: {trust_command(self)}",)


def trust_command(settings: Settings) -> str:
    """The line to type."""
    where = str(settings.repository_file.parent) if settings.repository_file else ""
    return f"devsh trust {where}" if re.fullmatch(r"[\w@%+=:,./-]+", where) else f"devsh trust '{where}'"


def user_file(environment: Mapping[str, str]) -> Path:
    """Where the user's settings are."""
    return config_directory(environment) / USER_FILE


def load_settings(project: str | Path | None, environment: Mapping[str, str]) -> Settings:
    """What holds in a project, or without one; SettingsInvalid, with file and line, where any of it is wrong."""
    merged: dict[str, object] = users_values(environment)
    origins = {key: Origin("user", str(user_file(environment))) for key in merged}
    ignored: tuple[str, ...] = ()
    theirs = Path(project) / REPOSITORY_FILE if project is not None else None
    content = read_file(theirs) if theirs is not None else None
    if theirs is not None and content is not None:
        found = parse_file(theirs, content)
        ignored = _not_allowed(found, merged, theirs, content, environment)
        taken = {key: value for key, value in found.items() if key not in ignored}
        merged |= taken
        origins |= {key: Origin("repository", str(theirs)) for key in taken}
    for key, variable, value in _from_environment(environment):
        merged[key] = value
        origins[key] = Origin("environment", variable)
    return Settings().model_copy(update={**merged, "origins": origins, "ignored": ignored, "repository_file": theirs})


_LIMITS = ("max_depth", "max_tasks", "max_concurrent", "timeout", "memory", "cpus", "disk")


def acts_for_user(key: str, value: object, own: Mapping[str, object]) -> bool:
    """Whether a repository's file may say this only with leave of a user whose `own` file says that.

    It runs a command here, sends work somewhere, says who pays, has files copied that git was told to leave alone, or lifts a limit.
    """
    if key in _LIMITS:
        return _exceeds(value, own.get(key, Values.model_fields[key].default))
    if key == "default_agent":
        return str(value).startswith("shell/")
    if key == "sandbox":
        return value == "none" or (value == "auto" and own.get(key) == "required")
    if key == "network":
        return value not in ("off", own.get(key, "on"))
    if key == "auto_spawn":
        return value is True and own.get(key) is False
    return key in ("setup", "verify", "billing") or (key in ("auto_pr", "include") and bool(value))


def _exceeds(value: object, most: object) -> bool:
    if isinstance(value, timedelta) and isinstance(most, timedelta):
        return value > most
    return isinstance(value, int | float) and isinstance(most, int | float) and value > most


def users_values(environment: Mapping[str, str]) -> dict[str, object]:
    """What the user's own file says; SettingsInvalid."""
    path = user_file(environment)
    content = read_file(path)
    return {} if content is None else parse_file(path, content)


def _not_allowed(
    found: Mapping[str, object], own: Mapping[str, object], path: Path, content: bytes, environment: Mapping[str, str]
) -> tuple[str, ...]:
    wanted = tuple(key for key, value in found.items() if acts_for_user(key, value, own))
    return wanted if wanted and not is_trusted(path, content, environment) else ()


def read_file(path: Path) -> bytes | None:
    """A settings file's content, None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SettingsInvalid(f"{path} cannot be read: it is no regular file.")
        content = os.read(descriptor, LARGEST_FILE + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST_FILE:
        raise SettingsInvalid(f"{path} is larger than {LARGEST_FILE // 1024} KiB, so it is no file of settings.")
    return content


def parse_file(path: Path, content: bytes) -> dict[str, object]:
    """The values that a file says, checked; SettingsInvalid names the file, the line and the key."""
    try:
        text = content.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise SettingsInvalid(f"{path} is not UTF-8 (byte {error.start}).") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid(f"{path} is not TOML: {str(error)[:200]}.", next_step="Mend the file.") from error
    return _checked(document, lambda key: f"{path}, line {line_of(text, key)}")


def checked_key(key: str) -> str:
    """The key itself; SettingsInvalid with the nearest where there is none of that name."""
    if key not in Values.model_fields:
        raise SettingsInvalid(_sentence(key, {"type": "extra_forbidden"}, {}), next_step="`devsh config` shows all of them.")
    return key


def parse_words(key: str, words: Sequence[str]) -> str | int | bool | list[str]:
    """What the words of a command line mean for a key, as a file would say it; SettingsInvalid."""
    if isinstance(Values.model_fields[key].default, tuple):
        plain: object = list(words)
    elif len(words) == 1:
        plain = _typed(key, words[0])
    else:
        raise SettingsInvalid(f"{key} takes one value; these are {len(words)}.", next_step="Put it in quotes.")
    _checked({key: plain}, lambda _key: "config set")
    return plain  # type: ignore[return-value]


def parse_value(key: str, text: str, where: str) -> object:
    """The value of one key as a variable or a command line gives it; SettingsInvalid begins with `where`."""
    return _checked({key: _typed(key, text)}, lambda _key: where)[key]


def _checked(document: Mapping[str, object], where: Callable[[str], str]) -> dict[str, object]:
    try:
        values = Values.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = str(fault["loc"][0])
        raise SettingsInvalid(f"{where(key)}: {_sentence(key, dict(fault), document)}", next_step=_help(key)) from error
    return {key: getattr(values, key) for key in document}


def _sentence(key: str, fault: Mapping[str, object], document: Mapping[str, object]) -> str:
    if fault["type"] != "extra_forbidden":
        found = "" if fault["type"] == "value_error" else f" (it is {str(document[key])[:60]!r})"
        return f"{key}: {fault_in_words(fault)}{found}."
    near = difflib.get_close_matches(key.lower().replace("-", "_"), list(Values.model_fields), n=1, cutoff=0.5)
    return f"there is no setting {key[:60]!r}{f', did you mean {near[0]!r}?' if near else '.'}"


def _help(key: str) -> str:
    return "`devsh config --help` lists the settings."


def line_of(text: str, key: str) -> int:
    """The line on which a key, or the table of that name, begins."""
    name = re.escape(key)
    found = re.search(rf"""^[ \t]*\[{{0,2}}[ \t]*(?:{name}|"{name}"|'{name}')[ \t]*[.=\]]""", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def variable_of(key: str) -> str:
    """The environment variable that says the same."""
    return DEFAULT_AGENT_VARIABLE if key == "default_agent" else f"DEVSH_{key.upper()}"


# What existing heads set for theirs: the key, and what the value is of.
_OTHER_NAMES = {
    "CMUX_MAX_CONCURRENT_SUBAGENTS": ("max_concurrent", ""),
    "CMUX_MAX_TASK_DURATION_MINUTES": ("timeout", "m"),
    "CMUX_AUTO_SPAWN_ENABLED": ("auto_spawn", ""),
}


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str, object]]:
    """Key, variable and value of what is set; an empty variable is none. Our own names come last, and so before the others."""
    for variable, (key, unit) in _OTHER_NAMES.items():
        if text := environment.get(variable):
            yield key, variable, parse_value(key, f"{text}{unit}", variable)
    for key in Values.model_fields:
        variable = variable_of(key)
        if text := environment.get(variable):
            yield key, variable, parse_value(key, text, variable)


def settings_in(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say a setting, as they are."""
    names = (*_OTHER_NAMES, *(variable_of(key) for key in Values.model_fields))
    return {name: environment[name] for name in names if environment.get(name)}


def _typed(key: str, text: str) -> object:
    """Words become what a file would say without quotes; what they cannot become is left for the check to refuse."""
    default = Values.model_fields[key].default if key in Values.model_fields else None
    if isinstance(default, bool):
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)
    if isinstance(default, int):
        return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else text
    if key == "cpus" and re.fullmatch(r"\d{1,4}(\.\d{1,9})?", text):
        return float(text) if "." in text else int(text)
    if isinstance(default, tuple):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text
