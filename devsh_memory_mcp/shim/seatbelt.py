"""macOS' Seatbelt: the profile that holds an agent, and the command line that puts it on, from facts: nothing is looked up or started here.

The rule that must not be broken: what is not named can be neither read nor written, and no path stands in the profile's text, but among
its parameters. The last rule that fits decides; where a wildcard could be overruled by a name, the name is there too.
"""

import typing

from devsh_memory_mcp.shim import sandbox
from devsh_memory_mcp.shim.sandbox import Layout

UP, HOLD = 3, 4  # descriptors of the gate, which has no options before it here

# What programs cannot do without, and everybody may read. Not all of /System: its Volumes/Data is the whole disk once more.
SYSTEM = (
    "/usr", "/bin", "/sbin", "/opt/homebrew", "/opt/local", "/nix/store", "/Applications",
    "/System/Applications", "/System/Cryptexes", "/System/Library", "/System/Volumes/Preboot/Cryptexes", "/System/iOSSupport",
    "/Library/Apple", "/Library/Developer", "/Library/Fonts", "/Library/Frameworks", "/Library/Java", "/Library/Perl", "/Library/Python",
    "/Library/Ruby", "/private/var/db/DarwinDirectory/local/recordStore.data", "/private/var/db/dyld", "/private/var/db/oah",
    "/private/var/db/timezone", "/private/var/db/xcode_select_link", "/private/var/run/resolv.conf", "/private/var/select",
    *(f"/private/etc/{name}" for name in (
        "bashrc", "gitconfig", "group", "hosts", "localtime", "openssl", "passwd", "paths", "paths.d", "profile", "protocols",
        "resolv.conf", "services", "shells", "ssl", "zprofile", "zshenv", "zshrc",
    )),
)  # fmt: skip
_HIDDEN = ("/Users", "/Volumes", "/Library/Keychains", "/System/Volumes/Data", "/opt/homebrew/var", "/private/var/root", "/usr/local/var")
_DEVICES = ("null", "zero", "random", "urandom", "tty", "dtracehelper", "stdin", "stdout", "stderr")

_SERVICES = (
    "com.apple.PowerManagement.control", "com.apple.bsd.dirhelper", "com.apple.logd", "com.apple.system.logger",
    "com.apple.system.notification_center", "com.apple.system.opendirectoryd.libinfo", "com.apple.system.opendirectoryd.membership",
)  # fmt: skip
# Each of them asks other machines for things, and so would lead out of a sandbox without network.
_NETWORK_SERVICES = (
    "com.apple.SystemConfiguration.DNSConfiguration", "com.apple.SystemConfiguration.configd", "com.apple.dnssd.service",
    "com.apple.mDNSResponder", "com.apple.networkd", "com.apple.ocspd", "com.apple.trustd", "com.apple.trustd.agent",
)  # fmt: skip
# The Keychain; and who would start a program, outside of any sandbox, for whoever asks.
_NEVER = (
    "com.apple.SecurityServer", "com.apple.coreservices.appleevents", "com.apple.coreservices.launchservicesd", "com.apple.secd",
    "com.apple.security.agent", "com.apple.securityd", "com.apple.securityd.general", "com.apple.securityd.xpc", "com.apple.tccd",
)  # fmt: skip
# Named one by one: `kern.procargs2` has the environment of other processes.
_KERNEL = (
    "argmax", "boottime", "hostname", "maxfiles", "maxfilesperproc", "maxproc", "ngroups", "osproductversion", "osrelease", "ostype",
    "osvariant_status", "osversion", "secure_kernel", "tcsm_available", "tcsm_enable", "usrstack64", "version", "willshutdown",
)  # fmt: skip
_FACTS = ("machdep.ptrauth_enabled", "security.mac.lockdown_mode_state", "sysctl.proc_cputype", "vm.loadavg")
_FACTS_BEGIN = ("hw.", "kern.proc.pgrp.", "kern.proc.pid.", "machdep.cpu.", "net.routetable")

_READ, _WRITE = "file-read* file-read-metadata", "file-write* file-link"
_ALIKE = "(target same-sandbox)"
_PTY = '(require-all (regex #"^/dev/ttys[0-9]+$") (extension "com.apple.sandbox.pty"))'  # its own: the user's terminals are there too
_NAMES_SOCKET = "/private/var/run/mDNSResponder"


class Seatbelt(typing.NamedTuple):
    """A sandbox-exec that was seen to work."""

    program: str = "/usr/bin/sandbox-exec"


class Profile(typing.NamedTuple):
    """`text` calls the paths of `parameters` by their names."""

    text: str
    parameters: typing.Mapping[str, str]


def command(seatbelt: Seatbelt, layout: Layout, argv: typing.Sequence[str]) -> tuple[str, ...]:
    """What is executed: sandbox-exec, which becomes the gate, which becomes the command. By then it stands on no command line any more."""
    made = profile(layout)
    named = (f"-D{name}={path}" for name, path in made.parameters.items())
    return (seatbelt.program, "-p", made.text, *named, "--", *sandbox.gated(argv, UP, HOLD))


def profile(layout: Layout) -> Profile:
    """For what is shown (`source` is a real path, `target` may lead there through links), and what is hidden of what everybody may read."""
    names: dict[str, str] = {}

    def named(kind: str, paths: typing.Iterable[str]) -> list[str]:
        return [f'({kind} (param "{names.setdefault(path, f"P{len(names)}")}"))' for path in dict.fromkeys(paths)]

    rules = ("(version 1)", "(deny default)", *_process(), *_network(layout, named), *_files(layout, named))
    return Profile("\n".join(rules) + "\n", {name: path for path, name in names.items()})


Named = typing.Callable[[str, typing.Iterable[str]], list[str]]


def _process() -> typing.Iterator[str]:
    # What `default` leaves out.
    yield "(deny process-info* nvram*)"
    yield "(allow process-exec process-fork)"
    yield from _rule("allow", "process-info* signal", [_ALIKE])
    yield "(allow ipc-posix-sem pseudo-tty)"
    yield from _rule("allow", "mach-lookup", _global(_SERVICES))
    yield from _rule("allow", "iokit-open", ['(iokit-registry-entry-class "RootDomainUserClient")'])
    facts = [f'(sysctl-name "{name}")' for name in (*(f"kern.{name}" for name in _KERNEL), *_FACTS)]
    yield from _rule("allow", "sysctl-read", [*facts, *(f'(sysctl-name-prefix "{name}")' for name in _FACTS_BEGIN)])
    yield from _rule("allow", "sysctl-write", ['(sysctl-name "kern.tcsm_enable")'])  # V8 asks so for its threads


def _network(layout: Layout, named: Named) -> typing.Iterator[str]:
    """What is there of it, and sockets in files: its own, and those that were named. The user's agents and Docker listen on such ones."""
    own = [bind.source for bind in layout.binds if bind.writable]
    yield "(allow system-socket (socket-domain AF_UNIX))"
    yield from _rule("allow", "network-bind network-inbound", [f"(local unix-socket {path})" for path in named("subpath", own)])
    yield from _rule("allow", "network-outbound", [f"(remote unix-socket {path})" for path in named("subpath", own)])
    yield from _rule("allow", "network-outbound", [f"(remote unix-socket {path})" for path in named("path-literal", layout.sockets)])
    if layout.network:
        yield "(allow system-socket (require-all (socket-domain AF_SYSTEM) (socket-protocol 2)))"
        yield '(allow network-bind network-inbound (local ip "*:*"))'
        yield '(allow network-outbound (remote ip "*:*"))'
        yield f'(allow network-outbound (remote unix-socket (path-literal "{_NAMES_SOCKET}")))'
        yield from _rule("allow", "mach-lookup", _global(_NETWORK_SERVICES))
    elif layout.port is not None:
        yield f'(allow network-outbound (remote ip "localhost:{int(layout.port)}"))'
    yield from _rule("deny", "mach-lookup", _global(_NEVER))


def _files(layout: Layout, named: Named) -> typing.Iterator[str]:
    """What is further inside comes later, as it would be mounted. What is named stays where it is, or another could take its place."""
    binds = sorted(layout.binds, key=lambda bind: bind.source.split("/"))
    places = [path for bind in binds for path in (bind.source, bind.target)]
    above = [path for place in places for path in _above(place)]
    yield "(allow file-read-metadata)"
    yield from _rule("allow", _READ, ['(literal "/")', *_fixed("subpath", SYSTEM), '(subpath "/dev/fd")'])
    yield from _rule("allow", f"{_READ} {_WRITE} file-ioctl", _fixed("literal", [f"/dev/{name}" for name in (*_DEVICES, "ptmx")]))
    yield from _rule("allow", f"{_READ} {_WRITE} file-ioctl", [_PTY])
    yield from _rule("allow", "file-write-data", ['(subpath "/dev/fd")'])
    yield from _rule("deny", f"{_READ} {_WRITE}", [*_fixed("subpath", _HIDDEN), *named("subpath", layout.hidden)])
    yield from _rule("allow", "file-read-metadata", named("literal", [*above, *places]))
    for bind in binds:
        path = named("subpath", [bind.source])
        yield from _rule("allow", f"{_READ} {_WRITE}" if bind.writable else _READ, path)
        if not bind.writable:
            yield from _rule("deny", _WRITE, path)
    yield from _rule("deny", "file-write-unlink", named("literal", [*above, *places]))
    yield "(deny file-write-setugid)"


def _rule(action: str, operations: str, filters: typing.Sequence[str]) -> typing.Iterator[str]:
    """Without any filter a rule would be for everything."""
    if filters:
        yield f"({action} {operations} {' '.join(filters)})"


def _global(services: typing.Iterable[str]) -> list[str]:
    return _fixed("global-name", services)


def _fixed(kind: str, words: typing.Iterable[str]) -> list[str]:
    return [f'({kind} "{word}")' for word in words]


def _above(path: str) -> typing.Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
