"""Where a user's memory root is, and where his sockets are.

Every process of his that speaks to another one looks here, some of which live for a moment only: it imports next to nothing.
"""

import os
import pwd
from collections.abc import Mapping

SANDBOX_ROOT = "/root/lifecycle/memory"
ROOT_VARIABLE = "DEVSH_MEMORY_DIR"


class NotPrivate(Exception):
    """The directory of the sockets is somebody else's; the message says what to do."""


def runtime_directory() -> str:
    """The private directory of this user's sockets, made where it is missing. It does not depend on the environment,

    so that every process of a user looks in the same place. NotPrivate where somebody else owns it.
    """
    user = os.getuid()
    session = f"/run/user/{user}"
    path = f"{session}/devsh" if os.path.isdir(session) and os.access(session, os.W_OK) else f"/tmp/devsh-{user}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        status = os.lstat(path)
        if status.st_uid != user or status.st_mode & 0o077 or not os.path.isdir(path) or os.path.islink(path):
            raise NotPrivate(f"{path} is not a private directory of this user; remove it.") from None
    return path


def root_path(given: str | None, environment: Mapping[str, str]) -> str:
    """`--dir`, else DEVSH_MEMORY_DIR, else the sandbox's path where it can be written, else `~/.local/state/devsh`.

    It may not exist; what is given as a relative path stays one.
    """
    named = given or environment.get(ROOT_VARIABLE)
    if named:
        return expanded(named, environment)
    if os.access(SANDBOX_ROOT, os.W_OK | os.X_OK):  # False, not an error, where /root is somebody else's
        return SANDBOX_ROOT
    return os.path.join(home(environment), ".local", "state", "devsh")


def expanded(path: str, environment: Mapping[str, str]) -> str:
    """The path with the caller's home for a leading `~`, whoever's process this is."""
    if path == "~" or path.startswith("~/"):
        return home(environment) + path[1:]
    return os.path.expanduser(path)


def home(environment: Mapping[str, str]) -> str:
    """HOME, else what the system says."""
    return environment.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a process for everybody gets: nothing of whoever started it but what names the user and the system."""
    kept = ("HOME", "USER", "LOGNAME", "DEVSH_ALLOW_REMOTE_FS")
    named = {name: environment[name] for name in kept if name in environment}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **named}
