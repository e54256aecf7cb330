"""The way out of a sandbox that an attempt gives its agent: hosts that were named, and nothing else."""

import os

import pytest

from devsh_memory_mcp.shim import probe
from devsh_memory_mcp.shim.confinement import Confinement
from devsh_memory_mcp.shim.probe import Missing
from devsh_memory_mcp.shim.rundir import Traffic
from tests.doubles.raw_host import RawHost
from tests.shim.warden import Warden

pytestmark = pytest.mark.skipif(isinstance(probe.probe(os.environ["PATH"]), Missing), reason="no sandbox works on this machine")
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
