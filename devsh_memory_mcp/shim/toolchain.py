"""Which programs of the user's own an agent sees: what his PATH and a few variables name, and what those programs are made of.

They are shown read-only. Of a directory that may hold anything (a home, a project) only the parts are taken that programs are
made of, since the rest may be keys.
"""

import os
import typing

from devsh_memory_mcp.shim import sandbox
from devsh_memory_mcp.shim.sandbox import Bind

# Directories that hold installed programs and nothing else, by their names anywhere in a path.
_HOUSES = (
    ".pyenv", ".nvm", ".volta", ".asdf", ".rbenv", ".nodenv", ".goenv", ".jenv", ".sdkman", ".bun", ".deno", ".linuxbrew", ".rustup",
    ".ghcup", ".juliaup", ".nix-profile", ".fnm", "node_modules",
)  # fmt: skip
_PARTS = (
    "bin", "sbin", "lib", "lib32", "lib64", "libexec", "include", "share", "conf", "jmods", "pkg", "src", "pyvenv.cfg", "go.env", "VERSION",
)  # fmt: skip
_SHARED = ("uv", "pipx", "mise", "pnpm", "fnm", "claude")  # of `~/.local/share`, where others keep keys
_VARIABLES = ("JAVA_HOME", "PYENV_ROOT", "NVM_DIR", "RUSTUP_HOME", "VIRTUAL_ENV")
_FILES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE")
_MOST_LINKS = 500


def find_toolchains(environment: typing.Mapping[str, str], home: str, forbidden: typing.Sequence[str]) -> tuple[Bind, ...]:
    """What is to be shown beside the system. Nothing that holds the home, or that holds or lies in one of `forbidden`."""
    found: dict[str, None] = {}
    for directory in dict.fromkeys(environment.get("PATH", "").split(os.pathsep)):
        if directory.startswith("/") and os.path.isdir(directory):
            path = os.path.normpath(directory)
            found |= dict.fromkeys(_of_directory(path, home))
            for target in _links(path):
                found |= dict.fromkeys(_of_program(target, home))
    found |= dict.fromkeys(
        os.path.normpath(environment[name]) for name in (*_VARIABLES, *_FILES) if environment.get(name, "").startswith("/")
    )
    if any(path == f"{home}/.cargo/bin" for path in found):
        found |= dict.fromkeys([f"{home}/.rustup"])
    return tuple(Bind(path, path) for path in found if os.path.exists(path) and not _is_refused(path, home, forbidden))


def _of_directory(path: str, home: str) -> typing.Iterator[str]:
    """A directory of programs, with what stands around it where it is that of an installation."""
    house = _house(path)
    prefix, name = os.path.split(path)
    if is_shown(path):
        return
    if house is not None:
        yield house
    elif prefix == f"{home}/.local":
        yield from (path, f"{prefix}/lib", *(f"{prefix}/share/{name}" for name in _SHARED))
    elif name in ("bin", "sbin") and prefix != home and os.path.basename(prefix) != ".cargo":
        yield from (f"{prefix}/{part}" for part in _PARTS)
    else:
        yield path


def _of_program(path: str, home: str) -> typing.Iterator[str]:
    """A program that a link leads to: its installation, else the file alone."""
    directory = os.path.dirname(path)
    if is_shown(path):
        return
    if _house(path) is not None or os.path.basename(directory) in ("bin", "sbin"):
        yield from _of_directory(directory, home)
    else:
        yield path


def _house(path: str) -> str | None:
    parts = path.split("/")
    at = next((number for number, part in enumerate(parts) if part in _HOUSES), None)
    return None if at is None else "/".join(parts[: at + 1])


def _links(directory: str) -> typing.Iterator[str]:
    """Where the links in a directory lead to outside of it; those of a house stay in there."""
    if is_shown(directory) or _house(directory) is not None:
        return
    try:
        with os.scandir(directory) as entries:
            links = [entry.path for entry, _ in zip(entries, range(_MOST_LINKS), strict=False) if entry.is_symlink()]
    except OSError:
        return
    for link in links:
        target = os.path.realpath(link)
        if not _is_within(target, directory):
            yield target


def is_shown(path: str) -> bool:
    """Whether it is the system's, which every agent sees."""
    return any(_is_within(path, shown) for shown in sandbox.SYSTEM)


def _is_refused(path: str, home: str, forbidden: typing.Sequence[str]) -> bool:
    real = os.path.realpath(path)
    for one in (path, real):
        if is_shown(one) or _is_within(home, one) or one == "/":
            return True
        if any(_is_within(one, other) or _is_within(other, one) for other in forbidden):
            return True
    return False


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")
