"""Where a server's guests are: each has a memory root and a home of his own below its user's, and so reaches nothing of anybody else's.

What is found through HOME and XDG_CONFIG_HOME (logins, stored credentials, settings, git's own) is a guest's where these are his.
"""

from collections.abc import Mapping
from pathlib import Path

from devsh_memory_mcp.config import OPERATOR, config_directory
from devsh_memory_mcp.domain.names import checked_id
from devsh_memory_mcp.store.files import make_directory

GUESTS = "guests"
LOBBY = "lobby"

# What of the server's own environment says nothing about its user.
_OF_ALL = ("PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TERM", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS",
           "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # fmt: skip


def guest_root(root: Path, guest: str) -> Path:
    """A guest's memory root, made if missing. InvalidId for a name that is none."""
    place = root / GUESTS / checked_id(guest, "owner")
    for each in (place.parent, place):
        make_directory(each)
    return place


def owner_of(root: Path) -> str:
    """Whose memory root it is: a guest's, else the user's own."""
    return root.name if root.parent.name == GUESTS else OPERATOR


def guest_environment(environment: Mapping[str, str], guest: str) -> Mapping[str, str]:
    """What a guest's calls are made with: a home of his own, in which the server's user may put what is for him, and no secret of ours."""
    home = config_directory(environment) / GUESTS / checked_id(guest, "owner")
    for each in (home.parent.parent, home.parent, home):
        make_directory(each)
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "USER": guest, "LOGNAME": guest, "DEVSH_SANDBOX": "required"}
    return {name: environment[name] for name in _OF_ALL if name in environment} | own | {"GIT_TERMINAL_PROMPT": "0", "SHELL": "/bin/sh"}


def environment_in(root: Path, environment: Mapping[str, str]) -> Mapping[str, str]:
    """What a process that works for one memory root alone works with: its owner's, so that no login of ours is lent to a guest's agents."""
    owner = owner_of(root)
    return environment if owner == OPERATOR else guest_environment(environment, owner)
