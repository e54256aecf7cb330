"""Which programs of the user's own an agent sees: what his PATH and a few variables name, and what those programs are made of.

They are shown read-only. Of a directory that may hold anything (a home, a project) only the parts are taken that programs are
made of, since the rest may be keys; and no link in there is followed to what is none of a program.
"""

import itertools
import os
import stat
import typing

from devsh_memory_mcp.shim import sandbox
from devsh_memory_mcp.shim.sandbox import Bind

# Directories that hold installed programs and nothing else, by their names anywhere in a path.
_HOUSES = (
    ".pyenv", ".nvm", ".volta", ".asdf", ".rbenv", ".nodenv", ".goenv", ".jenv", ".sdkman", ".bun", ".deno", ".rustup",
    ".ghcup", ".juliaup", ".nix-profile", ".fnm", "node_modules",
)  # fmt: skip
_PARTS = (
    "bin", "sbin", "lib", "lib32", "lib64", "libexec", "include", "share", "conf", "jmods", "pkg", "src", "pyvenv.cfg", "go.env",
    "VERSION", "release",
)  # fmt: skip
_BREW = ".linuxbrew"  # which has the settings and the data of services too
_BREWED = ("bin", "sbin", "lib", "libexec", "include", "share", "Cellar", "opt", "etc/ca-certificates", "etc/openssl@3")
_MANAGED = (*_PARTS, "versions", "shims", "plugins", "alias", "nvm.sh", "toolchains", "settings.toml")  # of what a variable names
_SHARED = ("uv", "pipx", "mise", "pnpm", "fnm", "claude")  # of `~/.local/share`, where others keep keys
_VARIABLES = ("JAVA_HOME", "PYENV_ROOT", "NVM_DIR", "RUSTUP_HOME", "VIRTUAL_ENV")
_FILES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE")
_BINS = ("bin", "sbin")
_MOST_LINKS = 500
_MOST_PROGRAMS, _MOST_ENTRIES = 100, 1000  # of a directory of which only the programs are shown, each by a mount of its own


class Toolchains(typing.NamedTuple):
    """What is shown, and the directories on PATH that hold too much to be gone through."""

    binds: tuple[Bind, ...]
    left_out: tuple[str, ...] = ()

    def warnings(self) -> tuple[str, ...]:
        """For who looks for a program in there."""
        if not self.left_out:
            return ()
        more = f" and {len(self.left_out) - 3} more" if len(self.left_out) > 3 else ""
        where, most = ", ".join(self.left_out[:3]), f"{_MOST_PROGRAMS} programs or {_MOST_ENTRIES:,} files"
        return (f"The agent does not see {where}{more} of your PATH: more than {most}, and no directory named bin.",)


class _TooMuch(Exception):
    pass


def find_toolchains(environment: typing.Mapping[str, str], home: str, forbidden: typing.Sequence[str]) -> Toolchains:
    """What is to be shown beside the system. Nothing that holds the home, or that holds or lies in one of `forbidden`."""
    found: dict[str, None] = {}
    left_out = []
    for directory in dict.fromkeys(environment.get("PATH", "").split(os.pathsep)):
        if directory.startswith("/") and os.path.isdir(directory):
            path = os.path.normpath(directory)
            try:
                found |= dict.fromkeys(_of_directory(path, home))
            except _TooMuch:
                left_out.append(path)
                continue
            for target in _links(path):
                found |= dict.fromkeys(_of_program(target, home))
    for name in (*_VARIABLES, *_FILES):
        path = os.path.normpath(environment.get(name) or ".")
        if path.startswith("/"):
            found |= dict.fromkeys([path] if name in _FILES else _of_house(path) or _parts(path, _MANAGED))
    if any(path == f"{home}/.cargo/bin" for path in found):
        found |= dict.fromkeys(_of_house(f"{home}/.rustup"))
    binds = tuple(Bind(path, path) for path in found if os.path.exists(path) and not _is_refused(path, home, forbidden))
    return Toolchains(binds, tuple(left_out))


def _of_directory(path: str, home: str) -> list[str]:
    """A directory of programs, with what stands around it where it is that of an installation. _TooMuch."""
    prefix, name = os.path.split(path)
    if is_shown(path):
        return []
    if _house(path) is not None:
        return _of_house(path)
    shared = next((one for one in (f"{home}/.local/share/{each}" for each in _SHARED) if is_within(path, one)), None)
    if shared is not None and _stays(shared, home):
        return [shared]
    if name not in _BINS or not _stays(path, prefix):
        return _programs(path)
    if prefix == f"{home}/.local":
        return [path, *_parts(prefix, ("lib", *(f"share/{name}" for name in _SHARED)))]
    if prefix == home or os.path.basename(prefix) == ".cargo":
        return [path]
    return _parts(prefix, _PARTS)


def _of_program(path: str, home: str) -> list[str]:
    """A program that a link leads to: its installation, else the file alone."""
    directory = os.path.dirname(path)
    if is_shown(path):
        return []
    if _house(path) is None and os.path.basename(directory) not in _BINS:
        return [path]
    try:
        return _of_directory(directory, home)
    except _TooMuch:
        return [path]


def _of_house(path: str) -> list[str]:
    """The house that a path is of; none where a link of that name leads to something else."""
    house = _house(path)
    if house is None:
        return []
    name, real = os.path.basename(house), os.path.realpath(house)
    if os.path.basename(real).lstrip(".") != name.lstrip(".") and not is_shown(real):
        return []
    return _parts(house, _BREWED) if name == _BREW else [house]


def _house(path: str) -> str | None:
    parts = path.split("/")
    at = next((number for number, part in enumerate(parts) if part in _HOUSES or part == _BREW), None)
    return None if at is None else "/".join(parts[: at + 1])


def _parts(prefix: str, names: typing.Iterable[str]) -> list[str]:
    """Those that are there, and no link to another place."""
    paths = [f"{prefix}/{name}" for name in names]
    return [path for path in paths if os.path.exists(path) and _stays(path, prefix)]


def _stays(path: str, prefix: str) -> bool:
    """Whether what it leads to is below the prefix too, or something that is shown anyway."""
    real = os.path.realpath(path)
    if is_within(real, os.path.realpath(prefix)) or is_shown(real):
        return True
    return any(is_within(real, shown) for shown in _of_house(real))


def _programs(directory: str) -> list[str]:
    """Its programs alone, since it is not for programs alone."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.path for entry in itertools.islice(entries, _MOST_ENTRIES + 1)]
    except OSError:
        return []
    found = [path for path in names if _is_program(path)]
    if len(names) > _MOST_ENTRIES or len(found) > _MOST_PROGRAMS:
        raise _TooMuch
    return found


def _links(directory: str) -> typing.Iterator[str]:
    """Which programs the links in a directory lead to outside of it; those of a house stay in there."""
    if is_shown(directory) or _house(directory) is not None:
        return
    try:
        with os.scandir(directory) as entries:
            links = [entry.path for entry, _ in zip(entries, range(_MOST_LINKS), strict=False) if entry.is_symlink()]
    except OSError:
        return
    for link in links:
        target = os.path.realpath(link)
        if not is_within(target, directory) and _is_program(target):
            yield target


def _is_program(path: str) -> bool:
    """Whether it is a file that may be executed: a key is none."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and mode & 0o111 != 0


def is_shown(path: str) -> bool:
    """Whether it is the system's, which every agent sees."""
    return any(is_within(path, shown) for shown in sandbox.SYSTEM)


def _is_refused(path: str, home: str, forbidden: typing.Sequence[str]) -> bool:
    if is_shown(path):
        return True
    for one in (path, os.path.realpath(path)):
        if is_within(home, one) or one == "/":
            return True
        if any(is_within(one, other) or is_within(other, one) for other in forbidden):
            return True
    return False


def is_within(path: str, directory: str) -> bool:
    """Whether it is that directory, or lies in it."""
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")
