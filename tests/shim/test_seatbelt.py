"""What an agent may on macOS, by the profile that it would be held by: read as text, never run there."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devsh_memory_mcp.shim import seatbelt
from devsh_memory_mcp.shim.sandbox import Bind, Layout
from devsh_memory_mcp.shim.seatbelt import Seatbelt, profile
from tests.doubles.seatbelt import Evaluator

HOME = "/Users/una"
MEMORY = f"{HOME}/.local/state/devsh"
RUN = f"{MEMORY}/orchestrations/orch_1/runs/tr_1/1"
WORKSPACE, PRIVATE = f"{RUN}/workspace", f"{RUN}/sandbox"
SOCKET = f"{PRIVATE}/mcp/socket"
LAYOUT = Layout(
    binds=(
        *(Bind(path, path, writable=True) for path in (WORKSPACE, f"{PRIVATE}/home", f"{PRIVATE}/tmp")),
        *(Bind(path, path) for path in (f"{RUN}/prompt", f"{PRIVATE}/mcp", f"{HOME}/.nvm", f"{HOME}/project/.git/objects")),
    ),
    links=(),
    environment={},
    directory=WORKSPACE,
    sockets=(SOCKET,),
    hidden=(HOME, MEMORY),
)
both_readings = pytest.mark.parametrize("by_name", [False, True])


def held(*, by_name: bool = False, binds: tuple[Bind, ...] = (), **fields: object) -> Evaluator:
    layout = LAYOUT._replace(**fields)  # type: ignore[arg-type]
    return Evaluator(profile(layout._replace(binds=(*layout.binds, *binds))), by_name=by_name)


@both_readings
@pytest.mark.parametrize("place", [WORKSPACE, f"{WORKSPACE}/src/a.py", f"{PRIVATE}/home/.claude/x", f"{PRIVATE}/tmp/x", "/dev/null"])
def test_it_may_write_its_checkout_its_home_and_its_temporary_files(by_name: bool, place: str) -> None:
    walls = held(by_name=by_name)
    assert walls.writes(place)
    assert walls.reads(place)
    assert walls.may("file-read-metadata", place)


@both_readings
@pytest.mark.parametrize(
    "place",
    [
        "/usr/bin/git", "/bin/sh", "/System/Library/Frameworks/x", "/opt/homebrew/Cellar/git/2/bin/git", "/Library/Developer/x",
        "/private/etc/hosts", "/private/var/select/sh", f"{HOME}/.nvm/versions/node", f"{HOME}/project/.git/objects/pack/x",
        f"{RUN}/prompt", f"{PRIVATE}/mcp/bridge.py", "/",
    ],
)  # fmt: skip
def test_it_may_read_the_system_its_toolchains_and_what_it_was_given_and_write_none_of_it(by_name: bool, place: str) -> None:
    walls = held(by_name=by_name)
    assert walls.reads(place)
    assert not walls.writes(place)
    assert not walls.may("file-write-unlink", place)


@both_readings
@pytest.mark.parametrize(
    "place",
    [
        f"{HOME}/.ssh/id_ed25519", f"{HOME}/.aws/credentials", f"{HOME}/.gitconfig", f"{HOME}/Library/Keychains/login.keychain-db", HOME,
        f"{HOME}/.claude/.credentials.json", f"{HOME}/project/.git/hooks/pre-commit", f"{HOME}/project/.git/config",
        f"{HOME}/project/readme", f"{MEMORY}/orchestrations/orch_1/EVENTS.jsonl",
        f"{MEMORY}/orchestrations/orch_1/runs/tr_2/1/workspace/theirs",
        MEMORY, RUN, f"{RUN}/run.json", f"{RUN}/report.jsonl", PRIVATE, "/Users/other/notes", "/Volumes/backup/x", "/private/tmp/x",
        "/private/var/folders/ab/cd/T/x", "/private/var/root/x", "/private/etc/master.passwd", "/private/etc/sudoers",
        f"/System/Volumes/Data{HOME}/.ssh/id_ed25519", "/Library/Keychains/System.keychain", "/opt/homebrew/var/postgres/x",
        f"{HOME}/.nvmrc", "/dev/ttys001", "/dev/disk0",
    ],
)  # fmt: skip
def test_it_may_neither_read_nor_write_what_is_the_users_or_another_runs(by_name: bool, place: str) -> None:
    walls = held(by_name=by_name)
    assert not walls.reads(place)
    assert not walls.writes(place)
    assert not walls.may("file-link", place)


@both_readings
@pytest.mark.parametrize("name", [".ssh", ".aws/credentials", "project/readme"])
def test_what_is_hidden_is_not_even_seen_to_be_there_but_what_leads_to_what_is_named(by_name: bool, name: str) -> None:
    walls = held(by_name=by_name)
    assert not walls.may("file-read-metadata", f"{HOME}/{name}")
    assert walls.may("file-read-metadata", f"{HOME}/project/.git")
    assert not walls.reads(f"{HOME}/project/.git")


@both_readings
def test_a_mount_is_shown_and_what_is_deeper_is_above_what_holds_it(by_name: bool) -> None:
    walls = held(by_name=by_name, binds=(Bind("/data/in", "/data/in"), Bind("/data", "/data", writable=True), Bind("/srv", "/srv")))
    assert walls.writes("/data/out/x")
    assert not walls.writes("/data/in/x")
    assert walls.reads("/data/in/x")
    assert walls.reads("/srv/x")
    assert not walls.writes("/srv/x")


@both_readings
def test_what_is_named_cannot_be_moved_away_and_something_else_put_in_its_place(by_name: bool) -> None:
    walls = held(by_name=by_name, binds=(Bind("/data", "/data", writable=True), Bind("/data/a/b", "/data/a/b", writable=True)))
    for place in (WORKSPACE, f"{PRIVATE}/home", f"{PRIVATE}/tmp", "/data", "/data/a", "/data/a/b", RUN):
        assert not walls.may("file-write-unlink", place)
    assert walls.may("file-write-unlink", f"{WORKSPACE}/a.py")
    assert not walls.may("file-write-setugid", f"{WORKSPACE}/a.py")


def test_a_link_to_what_is_shown_can_be_read_and_leads_nowhere_else() -> None:
    walls = held(binds=(Bind("/private/tmp/data", "/tmp/data"), Bind("/Volumes/disk/tools", f"{HOME}/tools")))
    assert walls.reads("/private/tmp/data/x")
    assert walls.may("file-read-metadata", f"{HOME}/tools")
    assert not walls.reads(f"{HOME}/tools")
    assert walls.reads("/Volumes/disk/tools/x")


DOCKER, AGENT = f"{HOME}/.docker/run/docker.sock", "/private/tmp/com.apple.launchd.x/Listeners"


@pytest.mark.parametrize("network", [True, False])
def test_it_reaches_sockets_of_its_own_and_our_server_and_neither_docker_nor_agents(network: bool) -> None:
    walls = held(network=network)
    assert [walls.may("network-outbound", socket=path) for path in (SOCKET, f"{PRIVATE}/tmp/own", f"{WORKSPACE}/own")] == [True] * 3
    elsewhere = (DOCKER, AGENT, "/private/var/run/docker.sock", "/private/tmp/devsh-501/x.sock", f"{SOCKET}/x", f"{HOME}/.nvm/x")
    assert [path for path in elsewhere if walls.may("network-outbound", socket=path)] == []
    assert walls.may("network-outbound", socket="/private/var/run/mDNSResponder") is network
    assert not walls.may("network-bind", socket=SOCKET)


def test_without_network_it_reaches_the_brokers_port_and_nothing_else() -> None:
    walls = held(network=False, port=49152)
    reached = [
        end for end in ("localhost:49152", "localhost:49153", "localhost:22", "192.0.2.1:443") if walls.may("network-outbound", remote=end)
    ]
    assert reached == ["localhost:49152"]
    assert not held(network=False).may("network-outbound", remote="localhost:49152")
    assert not walls.may("network-bind", local="localhost:8000")
    assert held(network=True).may("network-outbound", remote="192.0.2.1:443")


@pytest.mark.parametrize("network", [True, False])
def test_neither_the_keychain_nor_who_starts_programs_is_asked(network: bool) -> None:
    walls = held(network=network)
    never = ("com.apple.SecurityServer", "com.apple.securityd.xpc", "com.apple.coreservices.launchservicesd", "com.apple.cfprefsd.agent")
    assert [name for name in never if walls.may("mach-lookup", **{"global-name": name})] == []
    assert walls.may("mach-lookup", **{"global-name": "com.apple.system.opendirectoryd.libinfo"})
    assert walls.may("mach-lookup", **{"global-name": "com.apple.trustd.agent"}) is network


def test_it_starts_programs_and_signals_and_looks_at_nobody_else() -> None:
    walls = held()
    assert all(walls.may(operation) for operation in ("process-exec", "process-fork"))
    for operation in ("signal", "process-info-pidinfo"):
        assert walls.may(operation, target="same-sandbox")
        assert not walls.may(operation, target="others")
    assert walls.may("sysctl-read", **{"sysctl-name": "hw.ncpu"})
    assert not walls.may("sysctl-read", **{"sysctl-name": "kern.procargs2"})
    assert not walls.may("appleevent-send")
    assert walls.may("file-write-data", "/dev/ttys001", extension="com.apple.sandbox.pty")


def test_no_allowance_is_for_everything_but_those_that_are_meant() -> None:
    open_ones = {operation for rule in held().rules if rule.allows and not rule.filters for operation in rule.operations}
    assert open_ones == {"process-exec", "process-fork", "ipc-posix-sem", "pseudo-tty", "file-read-metadata"}
    bare = Evaluator(profile(Layout((), (), {}, "/", network=False)))
    assert {operation for rule in bare.rules if rule.allows and not rule.filters for operation in rule.operations} == open_ones
    assert not bare.writes("/private/tmp/x")


paths = st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1).filter(lambda name: name not in (".", "..")), min_size=1)


@given(paths.map(lambda parts: "/" + "/".join(parts)), paths.map(lambda parts: "/" + "/".join(parts)))
def test_no_name_of_a_directory_becomes_a_part_of_the_profile(workspace: str, mount: str) -> None:
    layout = LAYOUT._replace(binds=(Bind(workspace, workspace, writable=True), Bind(mount, mount)), hidden=(HOME,))
    made = profile(layout)
    plain = profile(layout._replace(binds=tuple(bind._replace(source=f"/{n}", target=f"/{n}") for n, bind in enumerate(layout.binds))))
    assert set(made.text) <= set(string.printable)
    assert _words(made.text) == _words(plain.text)
    assert Evaluator(made).writes(f"{workspace}/x") or f"{workspace}/x".startswith(f"{mount}/")
    assert set(made.parameters.values()) >= {workspace, mount, HOME}


def _words(text: str) -> set[str]:
    """What stands in quotes, but the names of paths."""
    return {word for word in re.findall(r'"([^"]*)"', text) if not re.fullmatch(r"P\d+", word)}


@pytest.mark.parametrize("name", ['a") (allow default) ("', "a\\", "a\nb", "a (b", "=x", "#", "ü"])
def test_a_path_goes_by_the_command_line_as_it_is(name: str) -> None:
    path = f"/Users/una/{name}"
    argv = seatbelt.command(Seatbelt("/sb"), LAYOUT._replace(binds=(Bind(path, path, writable=True),)), ("echo", "$x"))
    text, parameters = argv[2], dict(word[2:].split("=", 1) for word in argv[3 : argv.index("--")])
    assert argv[:2] == ("/sb", "-p")
    assert path not in text
    assert path in parameters.values()
    assert argv[-2:] == ("echo", "$x")
