"""The way out of a sandbox that an attempt gives its agent: hosts that were named, and nothing else."""

import os
import pathlib
import sys

import pytest

from devsh_memory_mcp.shim import probe, rundir
from devsh_memory_mcp.shim.confinement import Confinement, Mount
from devsh_memory_mcp.shim.probe import Missing
from devsh_memory_mcp.shim.rundir import Traffic
from tests.doubles.raw_host import RawHost
from tests.shim.stage import BOOT, PACKAGES, Launched, Tether
from tests.shim.warden import Warden

pytestmark = pytest.mark.skipif(isinstance(probe.probe(os.environ["PATH"]), Missing), reason="no sandbox works on this machine")
OWN = (os.path.realpath(sys.executable), "-I", "-S", "-c", BOOT, PACKAGES)
ASK = """ask() {
    exec 3<>/dev/tcp/127.0.0.1/8123; printf 'CONNECT %s HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n' $1 $1 >&3
    read -r line <&3; echo "${line%?}"
}
"""


def ask(*places: str) -> str:
    return ASK + "; ".join(f"ask {place}" for place in places)


def test_a_host_that_was_named_is_reached_from_the_first_instruction_and_others_are_refused_and_told(warden: Warden) -> None:
    host = RawHost()
    try:
        place = f"127.0.0.1:{host.port}"
        confinement = Confinement(network=f"allow:{place}")
        launched = warden.launch(ask(place, "example.org:443", "example.org:443"), confinement=confinement, agent_name="shell/bash")
        outcome = launched.end()
    finally:
        host.close()
    told = [report.facts for report in launched.reports() if report.type == "network"]
    assert (outcome.result or "").splitlines() == ["HTTP/1.1 200 Connection established", *["HTTP/1.1 403 Forbidden"] * 2], outcome
    assert [(fact["kind"], fact["host"]) for fact in told] == [("refused", "example.org:443")]
    assert outcome.network is not None
    assert outcome.network.refused == {"example.org:443": 2}


def test_programs_are_led_there_by_their_environment(warden: Warden) -> None:
    script = "echo $https_proxy $HTTPS_PROXY"
    led = warden.run(script, confinement=Confinement(network="allow:example.com"))
    assert led.result == "http://127.0.0.1:8123 http://127.0.0.1:8123\n"
    assert led.network == Traffic()


@pytest.mark.parametrize("network", ["on", "off"])
def test_who_may_reach_all_or_nothing_has_no_broker(warden: Warden, network: str) -> None:
    outcome = warden.run("echo $https_proxy", confinement=Confinement(network=network))
    assert (outcome.result, outcome.network) == ("\n", None)


@pytest.mark.parametrize("command", ["setup", "verify"])
def test_setup_and_verification_reach_the_hosts_that_were_named_and_no_others(warden: Warden, command: str) -> None:
    host = RawHost()
    try:
        place = f"127.0.0.1:{host.port}"
        confinement = Confinement(network=f"allow:{place}")
        asks = f"echo $https_proxy; bash <<'END'\n{ask(place, 'example.org:443')}\nEND"
        launched = warden.launch("true", confinement=confinement, **{command: asks})
        outcome = launched.end()
    finally:
        host.close()
    said = (launched.directory / f"{command}.log").read_text().splitlines()
    assert said == ["http://127.0.0.1:8123", "HTTP/1.1 200 Connection established", "HTTP/1.1 403 Forbidden"], outcome
    assert [report.facts["host"] for report in launched.reports() if report.type == "network"] == ["example.org:443"]
    assert outcome.network is not None
    assert (outcome.network.requests, outcome.network.refused) == (2, {"example.org:443": 1})


def test_setup_and_verification_get_neither_a_login_nor_a_provider(warden: Warden) -> None:
    confinement = Confinement(network="allow:example.com")
    (warden.home / ".claude").mkdir()
    (warden.home / ".claude/.credentials.json").write_text("{}")  # a login that a broker would show for an agent
    launched = warden.launch("p", agent_name="claude/haiku", setup="env; exit 1", confinement=confinement, server_command=("/bin/cat",))
    launched.end()
    said = (launched.directory / "setup.log").read_text()
    assert "https_proxy=http://127.0.0.1:8123" in said
    assert "ANTHROPIC" not in said
    assert "CLAUDE_CODE" not in said


def test_that_a_broker_has_died_is_said_of_the_attempt(warden: Warden) -> None:
    tether = Tether(warden.root / "tether")
    tether.path.chmod(0o666)
    shown = Confinement(network="allow:example.com", mounts=(Mount(str(tether.path), writable=True),))
    script = f"exec 9>{tether.path}; echo up >&9; while (: 3<>/dev/tcp/127.0.0.1/8123) 2>/dev/null; do :; done; echo left"
    launched = warden.launch(script, agent_name="shell/bash", confinement=shown)
    tether.await_words(1)
    launched.kill(_broker_of(launched))
    outcome = launched.end()
    assert (outcome.succeeded, outcome.result) == (True, "left\n")
    assert [warning for warning in outcome.warnings if "What leads out of its sandbox was gone before its end" in warning]
    assert not [report for report in launched.reports() if report.type == "network"]


OPEN = """
import os, socket
for name in os.listdir("/proc/self/fd"):
    if os.path.exists(path := f"/proc/self/fd/{name}") and os.readlink(path).startswith("socket:"):
        with socket.socket(fileno=os.dup(int(name))) as found:
            assert not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), found
"""


def test_nobody_is_listened_to_any_more_after_an_agent_that_could_not_begin(warden: Warden) -> None:
    boot = BOOT.replace("sys.exit(", "code = ").replace("main(sys.argv[1:]))", "main(sys.argv[1:])")
    warden.stage.boot = tuple(f"{boot}\n{OPEN}\nsys.exit(code)" if word == BOOT else word for word in warden.stage.boot or OWN)
    directory = warden.stage.directory("true", server_command=("/bin/cat",), sandbox=Confinement())
    (directory / rundir.STDOUT_FILE).mkdir()  # so that it stumbles when all is ready
    warden.give()
    outcome = warden.stage.start(directory).end()
    assert (outcome.cause, "Is a directory" in (outcome.error_message or "")) == ("spawn", True), outcome


def _broker_of(launched: Launched) -> int:
    shim = launched.process.pid
    children = map(int, pathlib.Path(f"/proc/{shim}/task/{shim}/children").read_text().split())
    (broker,) = set(children) - {launched.pid_of("guard")}
    return broker
