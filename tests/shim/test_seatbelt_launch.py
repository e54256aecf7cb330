"""Attempts as they are made on macOS, with a sandbox-exec that holds nobody: all around the walls, which are not there."""

import os
import pathlib
import sys
from collections.abc import Callable, Iterator

import pytest

from devsh_memory_mcp.shim import probe
from devsh_memory_mcp.shim.confinement import Confinement, Mount
from devsh_memory_mcp.shim.mcp_socket import bridge_command
from devsh_memory_mcp.shim.probe import Missing
from devsh_memory_mcp.shim.rundir import Letter
from devsh_memory_mcp.shim.seatbelt import Seatbelt
from tests.doubles.bell import Bell
from tests.doubles.raw_host import RawHost
from tests.doubles.sandbox_exec import SandboxExec
from tests.shim.stage import PACKAGES, Repository, Stage

BOOT = """import sys; sys.path.insert(0, sys.argv.pop(1)); program = sys.argv.pop(1)
from devsh_memory_mcp.shim.__main__ import main
from devsh_memory_mcp.shim.seatbelt import Seatbelt
sys.exit(main(sys.argv[1:], {}, Seatbelt(program)))"""
Make = Callable[[SandboxExec], Stage]


@pytest.fixture
def make(tmp_path: pathlib.Path, bell: Bell) -> Iterator[Make]:
    stages = []

    def staged(program: SandboxExec) -> Stage:
        root = tmp_path / "memory"
        root.mkdir()
        boot = (os.path.realpath(sys.executable), "-I", "-S", "-c", BOOT, PACKAGES, str(program.path))
        stages.append(Stage(root, bell, boot))
        return stages[0]

    yield staged
    for stage in stages:
        stage.close()


@pytest.fixture
def program(tmp_path: pathlib.Path) -> SandboxExec:
    return SandboxExec(tmp_path)


@pytest.fixture
def stage(make: Make, program: SandboxExec) -> Stage:
    return make(program)


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "una"
    path.mkdir()
    return path


def surroundings(home: pathlib.Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": "/somewhere"}


def test_an_agent_works_in_its_checkout_with_a_home_and_temporary_files_of_its_own(
    stage: Stage, program: SandboxExec, home: pathlib.Path
) -> None:
    repository = Repository(home / "project")
    repository.commit("first", readme="hello\n")
    (home / ".rustup").mkdir()
    script = (
        "echo $HOME $TMPDIR $DEVSH_ISOLATION $RUSTUP_HOME; cat ~/kept; echo new >made; git add made; git commit -qm mine; echo left >left"
    )
    launched = stage.launch(
        script,
        environment=surroundings(home),
        checkout=repository.checkout(),
        sandbox=Confinement(),
        setup="echo of the setup >~/kept",
        verify="test ! -e ~/kept && cat made left",
    )
    outcome = launched.end()
    private = f"{launched.directory}/sandbox"
    assert outcome.result == f"{private}/home {private}/tmp seatbelt {home}/.rustup\nof the setup\n", outcome
    assert (outcome.isolation, outcome.verified, outcome.commits, outcome.warnings) == ("seatbelt", True, 2, ())
    assert repository.files(outcome.branch or "") == {"readme": "hello", "made": "new", "left": "left"}
    setup, agent, *_, verification = program.told
    for walls in (setup, agent):
        assert all(walls.writes(f"{place}/x") for place in (f"{launched.directory}/workspace", f"{private}/home", f"{private}/tmp"))
        hidden = (home / ".ssh/id", home / "project/.git/hooks/x", stage.root / "EVENTS.jsonl", launched.directory / "run.json", home / "x")
        assert [path for path in hidden if walls.reads(str(path)) or walls.writes(str(path))] == []
        assert walls.reads(f"{home}/project/.git/objects/aa/x")
    assert agent.reads(f"{launched.directory}/prompt")
    assert not agent.writes(f"{launched.directory}/prompt")
    assert not verification.writes(f"{private}/home/x")
    assert verification.writes(f"{private}/verification/home/x")


@pytest.mark.parametrize(("script", "end"), [("exit 137", (137, None)), ("kill -KILL $$", (None, 9)), ("exit 7", (7, None))])
def test_how_it_ended_is_told_as_it_was(stage: Stage, script: str, end: tuple[int | None, int | None]) -> None:
    outcome = stage.run(script, sandbox=Confinement())
    assert (outcome.exit_code, outcome.signal) == end


def test_a_profile_that_is_not_understood_is_no_agent_that_failed(make: Make, tmp_path: pathlib.Path) -> None:
    outcome = make(SandboxExec(tmp_path, fails="unbound variable: x")).run("echo ran", sandbox=Confinement())
    assert (outcome.cause, outcome.result) == ("spawn", None)
    assert "Its sandbox could not be made: sandbox-exec: unbound variable: x" in (outcome.error_message or "")


def test_a_program_that_is_not_there_is_said_to_be_none(stage: Stage) -> None:
    outcome = stage.run("echo ran", agent_name="shell/bash", environment={"PATH": "/nowhere"}, sandbox=Confinement())
    assert (outcome.cause, outcome.error_message) == ("spawn", "bash cannot be started: No such file or directory")


def test_a_request_to_end_comes_to_the_command_itself(stage: Stage) -> None:
    tether = stage.tether()
    launched = stage.launch(f"trap 'echo asked; exit 0' TERM; exec 9>{tether.path}; echo up >&9; while :; do sleep 0.01; done",
                            sandbox=Confinement(), agent_name="shell/bash")  # fmt: skip
    assert tether.await_words(1) == ["up"]
    launched.post(Letter(1, "cancel"))
    stage.bell.ring()
    outcome = launched.end()
    tether.await_end()
    assert (outcome.cause, outcome.result, outcome.exit_code) == ("cancelled", "asked\n", 0)


def test_hosts_that_were_named_are_reached_by_a_port_that_is_the_only_one_open(stage: Stage, program: SandboxExec) -> None:
    host = RawHost()
    try:
        place = f"127.0.0.1:{host.port}"
        script = f"""echo $https_proxy; exec 3<>/dev/tcp/127.0.0.1/${{https_proxy##*:}}
        printf 'CONNECT {place} HTTP/1.1\\r\\nHost: {place}\\r\\n\\r\\n' >&3; read -r line <&3; echo "${{line%?}}" """
        outcome = stage.run(script, agent_name="shell/bash", sandbox=Confinement(network=f"allow:{place}"))
    finally:
        host.close()
    led, said = (outcome.result or "").splitlines()
    assert said == "HTTP/1.1 200 Connection established"
    walls = program.told[-1]
    assert walls.may("network-outbound", remote=led.replace("http://127.0.0.1", "localhost"))
    assert not walls.may("network-outbound", remote=f"localhost:{host.port}")


def test_our_server_is_found_in_the_run_directory_however_long_its_name_is(stage: Stage, program: SandboxExec) -> None:
    stage.root = stage.root / ("d" * 120)
    stage.root.mkdir()
    directory = stage.directory(
        "", server_command=("/bin/sh", "-c", 'read -r asked; echo "$asked $CMUX_AGENT_NAME"'), sandbox=Confinement()
    )
    place = f"{directory}/sandbox/mcp"
    run = (directory / "run.json").read_text()
    (directory / "run.json").write_text(run.replace('"prompt": ""', f'"prompt": "echo who | {" ".join(bridge_command(place))}"'))
    assert stage.start(directory).end().result == "who shell/sh\n"
    assert program.told[-1].may("network-outbound", socket=f"{place}/socket")
    assert program.told[-1].reads(f"{place}/bridge.py")


def test_a_mount_is_written_and_nothing_around_it(stage: Stage, program: SandboxExec, tmp_path: pathlib.Path) -> None:
    (tmp_path / "disk/out").mkdir(parents=True)
    stage.run("true", sandbox=Confinement(mounts=(Mount(str(tmp_path / "disk/out"), writable=True),)))
    assert program.told[-1].writes(f"{tmp_path}/disk/out/x")
    assert not program.told[-1].writes(f"{tmp_path}/disk/x")


def test_what_a_dead_shim_left_is_saved_behind_the_same_walls(stage: Stage, program: SandboxExec, home: pathlib.Path) -> None:
    repository = Repository(home / "project")
    repository.commit("first", readme="hello\n")
    tether = stage.tether()
    script = f"echo new >made; git add made; git commit -qm mine; exec 9>{tether.path}; echo up >&9; sleep 1000"
    launched = stage.launch(script, environment=surroundings(home), checkout=repository.checkout(), sandbox=Confinement())
    assert tether.await_words(1) == ["up"]
    launched.kill()
    launched.await_lock()
    outcome = stage.start(launched.directory, "--recover").end()
    assert (outcome.cause, outcome.isolation, outcome.commits, outcome.warnings) == ("lost", "seatbelt", 1, ())
    assert not program.told[-1].may("network-outbound", remote="192.0.2.1:443")


def test_it_is_believed_in_when_it_has_been_seen_to_work(program: SandboxExec, tmp_path: pathlib.Path) -> None:
    assert probe.try_seatbelt(Seatbelt(str(program.path))) == Seatbelt(str(program.path))
    (tmp_path / "bad").mkdir()
    found = probe.try_seatbelt(Seatbelt(str(SandboxExec(tmp_path / "bad", fails="no such operation").path)))
    assert isinstance(found, Missing)
    assert "sandbox-exec: no such operation" in found.why


@pytest.mark.skipif(sys.platform == "darwin", reason="where there is one")
def test_other_systems_have_none_and_macos_has_one_of_its_own() -> None:
    other, mac = probe.probe("/usr/bin:/bin", "freebsd14"), probe.probe("/usr/bin:/bin", "darwin")
    assert isinstance(other, Missing)
    assert isinstance(mac, Missing)
    assert ("for root" if os.geteuid() == 0 else "/usr/bin/sandbox-exec") in mac.why
