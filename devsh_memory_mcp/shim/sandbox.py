"""bubblewrap's command line, from facts: nothing is looked up or started here.

The rule that must not be broken: what is not named is not there. The root of the machine is never bound, and of a user's home only
the toolchains on his PATH.
"""

import typing

GATE_UP, GATE_MISSING = b"up", b"missing"
OPTIONS, UP, HOLD = 3, 4, 5  # descriptors: bubblewrap's options; the gate's word to the guard; what holds the gate until the guard knows it

ROOM = 1 << 30  # bytes of a file system in memory, which by itself may take half of the machine's
PROCESSES = 4096  # of an agent, threads included: what a fork bomb comes to

# It stands between bubblewrap and the command, so that a sandbox that could not be made is never taken for an agent that failed.
# One shell calls the limit of processes p, another u; it is for this agent alone, whose user or user namespace is nobody else's.
_GATE = """(ulimit -p {most}) 2>/dev/null && ulimit -p {most} || ulimit -u {most} 2>/dev/null
if command -v "$1" >/dev/null
then echo up >&{up}; read -r go <&{hold}; exec "$@" {up}>&- {hold}<&-
fi; echo missing >&{up}; exit 127"""

# Of /etc what programs cannot do without and everybody may read; each costs a tenth of a millisecond, and `passwd` and `group` are made.
ETC = frozenset({
    "ImageMagick-6", "ImageMagick-7", "R", "alternatives", "crypto-policies", "fonts", "hosts", "ld.so.cache", "localtime", "maven",
    "nsswitch.conf", "os-release", "php", "pki", "protocols", "resolv.conf", "services", "ssl",
})  # fmt: skip
ETC_BEGINS = "java-"  # each version has a directory
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")


class Bubblewrap(typing.NamedTuple):
    """A bubblewrap that was seen to work. `setpriv` is there where we are root: the agent is to be somebody else.

    `takes_size` says that it knows how to make a file system in memory of a size.
    """

    program: str
    setpriv: str | None = None
    disables_userns: bool = True
    takes_size: bool = True


class Bind(typing.NamedTuple):
    """What of the machine is shown, and where."""

    source: str
    target: str
    writable: bool = False


class Layout(typing.NamedTuple):
    """All that decides what is inside. `links` are symbolic links of the root directory, `user` the unprivileged one's id, for root.

    `room` is how many bytes each of its file systems in memory may hold.

    The last three are for walls that nothing can be mounted in: the broker's `port` on the loopback of all where there is no `network`,
    `sockets` that may be connected to, and what is `hidden` unless it is shown.
    """

    binds: tuple[Bind, ...]
    links: tuple[tuple[str, str], ...]
    environment: typing.Mapping[str, str]
    directory: str
    network: bool = True
    user: int | None = None
    room: int = ROOM
    port: int | None = None
    sockets: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


def options(bubblewrap: Bubblewrap, layout: Layout) -> tuple[str, ...]:
    """What goes through a descriptor, since lists of processes show command lines to everybody and there may be a login in it."""
    size = ("--size", str(layout.room)) if bubblewrap.takes_size else ()
    return (
        *_namespaces(bubblewrap, network=layout.network),
        *("--die-with-parent", "--new-session", "--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", *size, "--tmpfs", "/dev/shm", *size, "--tmpfs", "/run"),
        *("--remount-ro", "/dev"),  # which is such a file system as well, without a size
        *(word for target, path in layout.links for word in ("--symlink", target, path)),
        *("--perms", "0755", "--dir", "/var", "--symlink", "/tmp", "/var/tmp", "--symlink", "/run", "/var/run"),
        *_mounts(layout.binds),
        *("--remount-ro", "/", "--chdir", layout.directory, "--clearenv"),
        *(word for name, value in layout.environment.items() for word in ("--setenv", name, value)),
    )


def command(bubblewrap: Bubblewrap, layout: Layout, argv: typing.Sequence[str]) -> tuple[str, ...]:
    """What is executed outside: bubblewrap, which reads its options from a descriptor, the change of user, the gate, the command."""
    return (bubblewrap.program, "--args", str(OPTIONS), "--", *_as_user(bubblewrap, layout), *gated(argv, UP, HOLD))


def gated(argv: typing.Sequence[str], up: int, hold: int) -> tuple[str, ...]:
    """The command behind the gate, whose ends are these descriptors."""
    return ("/bin/sh", "-c", _GATE.format(most=PROCESSES, up=up, hold=hold), "sh", *argv)


def packed(words: typing.Iterable[str]) -> bytes:
    """The options as bubblewrap reads them."""
    return b"".join(word.encode(errors="surrogateescape") + b"\0" for word in words)


def _namespaces(bubblewrap: Bubblewrap, *, network: bool) -> tuple[str, ...]:
    shared = ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", *(() if network else ("--unshare-net",)))
    if bubblewrap.setpriv is not None:
        # No user namespace for root: inside of one the agent would still be the root of the machine to every file of his.
        return (*shared, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")
    return (*shared, "--unshare-user", *(("--disable-userns",) if bubblewrap.disables_userns else ()))


def _as_user(bubblewrap: Bubblewrap, layout: Layout) -> tuple[str, ...]:
    if bubblewrap.setpriv is None or layout.user is None:
        return ()
    user = str(layout.user)
    dropped = ("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs")
    return (bubblewrap.setpriv, "--reuid", user, "--regid", user, "--clear-groups", *dropped, "--")


def _mounts(binds: typing.Iterable[Bind]) -> typing.Iterator[str]:
    """What is further inside is mounted later, or it would be covered. The directories above are made so that all may pass."""
    shown = {bind.target: bind for bind in binds}
    above = {path for target in shown for path in _above(target)} - shown.keys()
    for path in sorted({*shown, *above}, key=lambda path: path.split("/")):
        if path in above:
            yield from ("--perms", "0755", "--dir", path)
        else:
            yield from ("--bind" if shown[path].writable else "--ro-bind", shown[path].source, path)


def _above(path: str) -> typing.Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
