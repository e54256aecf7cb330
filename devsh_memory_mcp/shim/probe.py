"""Whether this machine has a sandbox: found out by running one, since having the program says little.

User namespaces may be switched off, forbidden by AppArmor or by the container around us, and root needs more than its name.
"""

import os
import select
import signal
import sys
import time
import types
import typing

from devsh_memory_mcp.shim import sandbox, seatbelt
from devsh_memory_mcp.shim.enclosure import Walls
from devsh_memory_mcp.shim.sandbox import Bind, Bubblewrap, Layout
from devsh_memory_mcp.shim.seatbelt import Seatbelt
from devsh_memory_mcp.shim.stranger import stranger

_SECONDS = 5.0
_INSTALL = "install bubblewrap: apt-get install bubblewrap (or dnf, pacman, apk, zypper)"
_SWITCHES = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
        "an AppArmor profile that lets bwrap have user namespaces, or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
)  # fmt: skip
_CONTAINER = "in a container: start it with --privileged, or with --security-opt seccomp=unconfined and CAP_SYS_ADMIN"


class Missing(typing.NamedTuple):
    """Why there is no sandbox here, and what gets one."""

    why: str
    remedy: str


def probe(search: str, platform: str = sys.platform) -> Walls | Missing:
    """Runs what is found in these directories (as PATH has them) once; some 7 ms."""
    if platform == "darwin":
        if os.geteuid() == 0:  # who cannot be made somebody else by it
            return Missing("macOS has no sandbox for root", "run devsh as an ordinary user")
        return try_seatbelt(Seatbelt())
    if platform != "linux":
        return Missing("sandboxes are bubblewrap on Linux and Seatbelt on macOS", "run the work on Linux, in a virtual machine for example")
    program = find("bwrap", search)
    if program is None:
        return Missing("bubblewrap is not installed", _INSTALL)
    setpriv = find("setpriv", search) if os.geteuid() == 0 else None
    if os.geteuid() == 0 and setpriv is None:
        return Missing("setpriv is not installed, and as root nothing runs in a sandbox without it", "apt-get install util-linux")
    said = ""
    # Versions before 0.8 cannot disable user namespaces, those before 0.7 know no sizes.
    for disables_userns, takes_size in ((True, True), (False, True), (False, False))[0 if setpriv is None else 1 :]:
        found = Bubblewrap(program, setpriv, disables_userns, takes_size)
        code, said = _try_bubblewrap(found)
        if code == 0:
            return found
    return Missing(f"bubblewrap is installed and does not work here: {_words(said)}", _remedy())


def try_seatbelt(found: Seatbelt) -> Seatbelt | Missing:
    """Puts its profile around nothing."""
    code, said = _run(seatbelt.command(found, Layout((), (), {}, "/", network=False), ("true",)), (seatbelt.UP, seatbelt.HOLD))
    if code == 0:
        return found
    remedy = "look for `sandbox` in the system's log (log show --last 1m), and tell us; until then --sandbox none is what there is"
    return Missing(f"{found.program} does not work here: {_words(said)}", remedy)


def find(name: str, search: str) -> str | None:
    """The program in one of these directories."""
    paths = (os.path.join(directory, name) for directory in search.split(os.pathsep) if directory.startswith("/"))
    return next((path for path in paths if os.access(path, os.X_OK) and not os.path.isdir(path)), None)


def roots() -> tuple[tuple[Bind, ...], tuple[tuple[str, str], ...]]:
    """The system's own directories, and those that are links to them, with where these point."""
    links = tuple((os.readlink(path), path) for path in sandbox.SYSTEM if os.path.islink(path))
    binds = tuple(Bind(path, path) for path in sandbox.SYSTEM if os.path.isdir(path) and not os.path.islink(path))
    return binds, links


def _remedy() -> str:
    for path, bad, remedy in _SWITCHES:
        try:
            with open(path, encoding="ascii") as file:
                if file.read().strip() == bad:
                    return remedy
        except OSError:
            continue
    return _CONTAINER


def _words(said: str) -> str:
    return said.strip().partition("\n")[0][:200] or "it does not answer"


def _try_bubblewrap(bubblewrap: Bubblewrap) -> tuple[int, str]:
    """A whole sandbox around nothing, without network, since that is what fails first; its exit code and what it said."""
    layout = Layout(*roots(), environment={}, directory="/", network=False, user=stranger(""))
    given = os.memfd_create("options")
    try:
        os.write(given, sandbox.packed(sandbox.options(bubblewrap, layout)))
        os.lseek(given, 0, os.SEEK_SET)
        return _run(sandbox.command(bubblewrap, layout, ("true",)), (sandbox.UP, sandbox.HOLD), {given: sandbox.OPTIONS})
    finally:
        os.close(given)


def _run(argv: tuple[str, ...], gate: tuple[int, int], given: typing.Mapping[int, int] = types.MappingProxyType({})) -> tuple[int, str]:
    """Its exit code and what it said. `gate` are the descriptors of one that nobody holds shut, `given` others and what they are to be."""
    up, hold = gate
    reading, writing = os.pipe()
    try:
        pid = os.posix_spawn(
            argv[0], argv, {"PATH": os.defpath},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                *_moved({**given, writing: 2}),
                (os.POSIX_SPAWN_OPEN, up, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, hold, os.devnull, os.O_RDONLY, 0),
            ],
            setpgroup=0,
        )  # fmt: skip
    except OSError as error:
        os.close(reading)
        return 127, str(error)
    finally:
        os.close(writing)
    said = _read(reading)
    os.close(reading)
    if said is None:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), (said or b"").decode(errors="replace")


def _moved(wanted: dict[int, int]) -> list[tuple[int, ...]]:
    """Where one of them stands where another has to go, it goes by a number that nobody wants."""
    high = {source: 100 + count for count, source in enumerate(wanted)}
    up: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, source, number) for source, number in high.items()]
    down: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, high[source], target) for source, target in wanted.items()]
    return [*up, *down, *((os.POSIX_SPAWN_CLOSE, number) for number in high.values())]


def _read(reading: int) -> bytes | None:
    """All that it says, until it has closed its end; None where it takes too long."""
    said, until = b"", time.monotonic() + _SECONDS
    while select.select([reading], [], [], max(0.0, until - time.monotonic()))[0]:
        content = os.read(reading, 4096)
        if not content:
            return said
        said += content
    return None
