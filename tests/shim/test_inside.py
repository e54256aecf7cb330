"""Sockets that listen inside a sandbox's network and belong to a process outside of it, with real sandboxes."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from devsh_memory_mcp.agents.endpoint import find_endpoint
from devsh_memory_mcp.shim.broker.passage import Passage
from devsh_memory_mcp.shim.inside import NotInside, listen_here, listen_inside
from devsh_memory_mcp.shim.loop import Loop
from tests.doubles.walls import needs_sandbox

PORT = 8123
NOBODY = 65534
# What runs inside: it says that it is up, and once it may, connects to loopback and says what it hears there.
GUEST = f"""echo up; read -r go; exec 3<>/dev/tcp/127.0.0.1/{PORT}; echo asked >&3; read -r answer <&3; echo "$answer" """
MAKES = """
import os, socket, sys
from devsh_memory_mcp.agents.endpoint import find_endpoint
from devsh_memory_mcp.shim.broker.passage import Passage
from devsh_memory_mcp.shim.inside import listen_inside
from devsh_memory_mcp.shim.loop import Loop
from tests.doubles.walls import needs_sandbox
if sys.argv[3:]:
    os.setgroups([])
    os.setresgid(*[int(sys.argv[3])] * 3)
    os.setresuid(*[int(sys.argv[3])] * 3)  # only now: that user may read neither our interpreter nor our checkout
with listen_inside(int(sys.argv[1]), int(sys.argv[2])) as listener:
    connection, _ = (print("listens", flush=True), listener.accept())[1]
    assert connection.recv(6) == b"asked\\n"
    connection.sendall(b"answered\\n")
"""

pytestmark = needs_sandbox


def as_user(user: int | None) -> list[str]:
    return [] if user is None else ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]


@pytest.fixture
def sandbox() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    with ExitStack() as stack:

        def start(*options: str, user: int | None = None) -> subprocess.Popen[str]:
            command = [*as_user(user), "bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-pid", "--unshare-net"]
            command += ["--die-with-parent", *options, "--", "bash", "-c", GUEST]
            guest = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(guest)
            stack.callback(guest.kill)
            if guest.stdout is None or guest.stdout.readline() != "up\n":
                pytest.skip(f"bubblewrap cannot do {options} here")
            return guest

        yield start


def child_of(pid: int) -> int:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return int(file.read().split()[0])


OPTIONS = [("--unshare-user",), ("--unshare-user", "--disable-userns")]


@pytest.mark.parametrize("options", [(), *OPTIONS] if os.getuid() == 0 else OPTIONS)
@pytest.mark.parametrize("user", [None, NOBODY] if os.getuid() == 0 else [None])
def test_who_is_inside_reaches_a_socket_of_outside(sandbox, options, user):
    if user is not None and not options:
        options = ("--unshare-user-try",)
    guest = sandbox(*options, user=user)
    command = [sys.executable, "-c", MAKES, str(child_of(guest.pid)), str(PORT), *([] if user is None else [str(user)])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "listens\n"
        said, _ = guest.communicate("go\n", timeout=60)
        assert said == "answered\n"
        assert host.wait(60) == 0
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", PORT), 5):
        pass  # it listens in there alone


def test_a_process_that_is_gone_has_no_inside():
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(NotInside, match="No such file"):
        listen_inside(gone.pid, PORT)


def test_a_port_that_is_taken_is_said_to_be(sandbox):
    inside = child_of(sandbox("--unshare-user").pid)
    with listen_inside(inside, PORT), pytest.raises(NotInside, match="in use"):
        listen_inside(inside, PORT)


def test_in_our_own_network_any_port_will_do():
    with listen_here() as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        with socket.create_connection((host, port), 5):
            listener.accept()[0].close()


def test_an_agent_that_is_over_already_needs_no_way(signals):
    told, gone = [], subprocess.Popen(["true"])
    gone.wait()
    passage = Passage(find_endpoint("claude/haiku"), {"ANTHROPIC_API_KEY": "real"}, {}, is_alone=True)
    passage.open(Loop(), gone.pid, told.append)
    assert [each["kind"] for each in told] == ["gone"]
    assert (passage.strangers, passage.end()) == (set(), {})
