"""The socket that leads an agent from its sandbox to our MCP server, which runs outside."""

import os

import pytest

from devsh_memory_mcp.shim import probe
from devsh_memory_mcp.shim.confinement import Confinement
from devsh_memory_mcp.shim.mcp_socket import bridge_command
from devsh_memory_mcp.shim.probe import Missing
from tests.shim.warden import Warden

pytestmark = pytest.mark.skipif(isinstance(probe.probe(os.environ["PATH"]), Missing), reason="no sandbox works on this machine")
REQUIRED = Confinement()


def bridge(warden: Warden) -> str:
    """As the agent's CLI would start it, by the interpreter that the shim has."""
    return " ".join((warden.interpreter, *bridge_command()[1:]))


def serve(script: str) -> tuple[str, ...]:
    return "/bin/sh", "-c", script


@pytest.mark.parametrize("network", ["on", "off"])
def test_it_runs_outside_and_under_the_name_of_the_run(warden: Warden, network: str) -> None:
    server = serve('read -r asked; echo "$asked $CMUX_AGENT_NAME ${DEVSH_ISOLATION:-outside}"')
    confinement = Confinement(network=network)
    assert warden.run(f"echo who | {bridge(warden)}", confinement=confinement, server_command=server).result == "who shell/sh outside\n"


def test_what_is_long_comes_through_both_ways_and_to_its_end(warden: Warden) -> None:
    script = f"head -c 5000000 /dev/urandom > sent; {bridge(warden)} < sent > came; cmp sent came && echo same"
    assert warden.run(script, confinement=REQUIRED, server_command=("/bin/cat",)).result == "same\n"


def test_no_more_than_two_at_a_time_are_started(warden: Warden) -> None:
    script = f"""mkfifo first second; {bridge(warden)} <first >one & {bridge(warden)} <second >two & exec 3>first 4>second
    until [ -s one ] && [ -s two ]; do :; done
    echo "third: $({bridge(warden)} </dev/null)"; exec 3>&- 4>&-; wait; cat one two"""
    outcome = warden.run(script, agent_name="shell/bash", confinement=REQUIRED, server_command=serve("echo here; cat"))
    assert outcome.result == "third: \nhere\nhere\n"


def test_who_comes_and_goes_in_a_loop_gets_so_many_in_a_minute_and_no_more(warden: Warden) -> None:
    script = f"""for number in $(seq 25); do {bridge(warden)} </dev/null; done | grep -c here"""
    assert warden.run(script, confinement=REQUIRED, server_command=serve("echo here")).result == "20\n"


def test_it_is_bounded_and_goes_before_its_shim_does(warden: Warden) -> None:
    server = serve("read -r asked; ulimit -d; cat /proc/self/oom_score_adj")
    assert warden.run(f"echo who | {bridge(warden)}", confinement=REQUIRED, server_command=server).result == f"{512 * 1024}\n500\n"


def test_one_that_stays_is_ended_with_the_agent(warden: Warden) -> None:
    script = f"mkfifo said; {bridge(warden)} </dev/null >said & read -r pid <said; echo $pid"
    outcome = warden.run(script, confinement=REQUIRED, server_command=serve("echo $$; exec sleep 1000"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(outcome.result or "0"), 0)


def test_one_that_cannot_be_started_hangs_up(warden: Warden) -> None:
    script = f"{bridge(warden)} </dev/null; echo $?"
    assert warden.run(script, confinement=REQUIRED, server_command=("/there/is/none",)).result == "0\n"


def test_without_one_there_is_no_socket(warden: Warden) -> None:
    assert warden.run("ls /run", confinement=REQUIRED).result == ""


def test_a_socket_that_cannot_be_made_is_a_warning(warden: Warden) -> None:
    launched = warden.stage.directory("echo worked", sandbox=REQUIRED, server_command=("/bin/cat",))
    (launched / "sandbox").mkdir()
    (launched / "sandbox/mcp").write_text("in the way")
    warden.give()
    outcome = warden.stage.start(launched).end()
    assert (outcome.result, outcome.isolation) == ("worked\n", "bubblewrap")
    assert [warning[:40] for warning in outcome.warnings] == ["The agent goes without our MCP server: ["]
