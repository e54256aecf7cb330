"""Where things are and who is calling: what a command line, the environment and the session say, read once."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.errors import MemoryRootUnusable
from devsh_memory_mcp.shim.rundir import ISOLATION_VARIABLE, sync_directory
from devsh_memory_mcp.shim.runtime import home, root_path

VERSION = "0.1.0"
OPERATOR = "operator"  # the user whose server it is; every other user of it is his guest
# A server's address. The original's clients have three hosts; here all are one, and the first that is named is it.
BASE_URLS = ("CMUX_API_BASE_URL", "CMUX_SERVER_URL", "CMUX_CALLBACK_URL")
TOKEN_VARIABLE = "CMUX_TASK_RUN_JWT"

# What an agent's launch needs of its caller; everything else stays with him.
HANDED_ON = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ",
    "TERM", "TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE",
    "no_proxy", "NO_PROXY", "VIRTUAL_ENV", "JAVA_HOME", "GOPATH", "CARGO_HOME", "RUSTUP_HOME", "PYENV_ROOT", "NVM_DIR",
    "CLAUDE_CONFIG_DIR", "IS_SANDBOX", "CLAUDE_CODE_MAX_RETRIES", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING", "DISABLE_AUTOUPDATER", "CODEX_HOME", "GEMINI_CLI_HOME",
    "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION",
)  # fmt: skip
# The same, but only a plain URL of each: what is handed on is written down, and these are where people keep passwords and tokens.
HANDED_ON_URLS = (
    "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
    "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "CHATGPT_BASE_URL", "GOOGLE_GEMINI_BASE_URL",
    "PIP_INDEX_URL", "UV_INDEX_URL", "NPM_CONFIG_REGISTRY",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Remote:
    """What a server knows of a caller who is not on this machine: the name of his project, and whose guest he is on it.

    A `guest` is somebody else than the server's own user, whose logins, files and orchestrations are not for him.
    """

    project: str
    guest: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """One session of one face: who speaks, from where, with which environment.

    `identity` is `head` or an id of the task whose agent calls; `session` names an MCP head's session. `unknown_run` is the run that
    his environment named and that no orchestration knows: he counts as a head then, and is told. `depth` is how many spawned whom
    above him: 0 for whom nobody spawned. `is_worker` where the face was started for a sub-agent: whatever his environment names, he is
    no head. `run` is the task run of a head that was spawned itself. With `remote` he speaks through a server: no path of this machine's
    is his, and `environment` is what the server gives him. `scope` is the only orchestration that he reaches, if anything says so.
    """

    directory: Path
    environment: Mapping[str, str] = field(repr=False)
    identity: str = HEAD
    head_agent: str = "cli"
    session: str | None = None
    is_shell: bool = True
    unknown_run: str | None = None
    depth: int = 0
    is_worker: bool = False
    remote: Remote | None = None
    run: str | None = None
    scope: str | None = None

    @property
    def is_head(self) -> bool:
        """Whether he may do what is for heads."""
        return self.identity == HEAD and not self.is_worker

    @property
    def project(self) -> str:
        """The git root that he stands in, else the directory; of a remote caller what no path is called."""
        if self.remote is not None:
            return f"remote:{self.remote.project}"
        here = Path(os.path.abspath(self.directory))
        return str(next((place for place in (here, *here.parents) if _has_repository(place / ".git")), here))

    @property
    def settings_place(self) -> str | None:
        """Whose settings hold for him beside the user's own: his project's, where that is on this machine."""
        return None if self.remote is not None else self.project

    @property
    def project_path(self) -> Path:
        """The same as a path."""
        return Path(self.project)

    def handed_on(self) -> dict[str, str]:
        """The environment that an agent gets of it."""
        found = self.environment
        kept = {name: found[name] for name in HANDED_ON if name in found and not ("://" in found[name] and "@" in found[name])}
        return kept | {name: found[name] for name in HANDED_ON_URLS if _is_plain_url(found.get(name, ""))}


def _has_repository(git: Path) -> bool:
    """As git sees it: an empty .git, as a sandbox leaves one behind in /tmp, makes no repository."""
    return git.is_file() or (git / "HEAD").exists()


def _is_plain_url(text: str) -> bool:
    """Whether `text` is a URL of a host, with neither userinfo nor query nor fragment; nothing else is known to be no secret."""
    try:
        url = urlsplit(text)
        return bool(url.scheme and url.hostname) and "://" in text and not set("@?#") & set(text) and url.port != 0
    except ValueError:
        return False


def identity_of(environment: Mapping[str, str]) -> str:
    """`head`, or the task run whose agent a process with this environment is; a run that leads others is a head."""
    leads = environment.get("CMUX_IS_ORCHESTRATION_HEAD") == "1"
    return HEAD if leads else environment.get("CMUX_TASK_RUN_ID") or HEAD


def memory_root(given: str | None, environment: Mapping[str, str]) -> Path:
    """`--dir`, else DEVSH_MEMORY_DIR, else the sandbox's path where it can be written, else `~/.local/state/devsh`; made if missing.

    Raises MemoryRootUnusable where it cannot be made or written, or is outside of the sandbox that this process is in.
    """
    if environment.get(ISOLATION_VARIABLE):
        told = "This process is in the sandbox of an agent, where no memory root is."
        raise MemoryRootUnusable(told, next_step="Spawn the agent with `--sandbox none` if it is to use devsh itself.")
    root = Path(os.path.abspath(root_path(given, environment)))
    try:
        made = [above for above in (root, *root.parents) if not above.exists()]
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for directory in made:
            with suppress(PermissionError):  # the directory above is somebody else's, who lets it be passed and not read
                sync_directory(str(directory.parent))
    except OSError as error:
        raise MemoryRootUnusable(f"The memory root {root} cannot be made: {error.strerror}.") from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise MemoryRootUnusable(f"The memory root {root} cannot be written.")
    return root


def config_directory(environment: Mapping[str, str]) -> Path:
    """Where the user's own settings are: `$XDG_CONFIG_HOME/devsh`, else `~/.config/devsh`; it may not exist."""
    named = Path(environment.get("XDG_CONFIG_HOME") or ".")
    return (named if named.is_absolute() else home_directory(environment) / ".config") / "devsh"


def home_directory(environment: Mapping[str, str]) -> Path:
    """HOME, else what the system says."""
    return Path(home(environment))
