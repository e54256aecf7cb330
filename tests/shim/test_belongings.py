"""What crosses the wall of a sandbox with an agent: its user's instructions and a session inward, its own session outward."""

import json
import os
import pathlib

import pytest

from devsh_memory_mcp.agents.claude_project import project_name
from devsh_memory_mcp.errors import DevshError, InvalidId, NotFound, Unavailable
from devsh_memory_mcp.shim import belongings, rundir, vitals
from devsh_memory_mcp.shim.confinement import Confinement, Mount
from devsh_memory_mcp.shim.rundir import AgentSession, Outcome, Report, Run
from tests.doubles.walls import needs_sandbox
from tests.shim.stage import Stage
from tests.shim.warden import Warden

ID, OTHER = "0aa00000-0000-4000-8000-000000000001", "0aa00000-0000-4000-8000-000000000002"
TOO_MUCH = 257 * 1024 * 1024


class House:
    """A user's home, a private one, and a run directory."""

    def __init__(self, root: pathlib.Path, agent_name: str) -> None:
        self.users, self.inside, self.directory = root / "una", root / "run1/sandbox/home", root / "run1"
        self.users.mkdir()
        self.inside.mkdir(parents=True)
        self.agent_name = agent_name
        name = project_name(str(self.directory / "workspace"))
        claude, codex = f".claude/projects/{name}/{{}}.jsonl", ".codex/sessions/2026/01/02/rollout-2026-01-02T03-04-05-{}.jsonl"
        self.pattern = claude if agent_name.startswith("claude") else codex

    def session(self, session_id: str = ID) -> pathlib.Path:
        return self.inside / self.pattern.format(session_id)

    def run(self, resumes: str | None = None) -> Run:
        return Run(
            format=1, orchestration_id="orch_1", orchestration_task_id="ns1234567890", task_run_id="tr_1", attempt=1, prompt="",
            agent_name=self.agent_name, environment={"HOME": str(self.users)}, memory_root=str(self.users), control_socket="",
            runner_command=("false",), session=AgentSession(ID, resumes),
        )  # fmt: skip

    def out(self, session_id: str | None = ID) -> tuple[str, ...]:
        return belongings.bring_out(self.run(), str(self.directory), str(self.inside), session_id)

    def taken(self) -> dict[str, str]:
        return {str(path.relative_to(self.users)): path.read_text() for path in self.users.rglob("*") if path.is_file()}


def write(path: pathlib.Path, content: str = "said\n") -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.fixture(params=["claude/haiku-4.5", "codex/gpt-5"])
def house(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> House:
    return House(tmp_path, request.param)


@pytest.fixture
def claude(tmp_path: pathlib.Path) -> House:
    return House(tmp_path, "claude/haiku-4.5")


def test_its_own_session_goes_out_and_nothing_else_that_looks_like_one(house: House) -> None:
    write(house.session())
    write(house.session(OTHER))
    for name in (f".claude/projects/-work-other/{ID}.jsonl", f".codex/sessions/x/01/02/rollout-2026-01-02T03-04-05-{ID}.jsonl"):
        write(house.inside / name, "planted")
    write(house.inside / f".codex/sessions/2026/01/02/rollout-planted-{ID}.jsonl", "planted")
    assert house.out() == ()
    assert house.taken() == {house.pattern.format(ID): "said\n"}


@pytest.mark.parametrize("session_id", [None, "", "*", "../x", "[0-9]*", "-x", f"{ID}\n"])
def test_without_an_id_of_a_session_nothing_goes_out(house: House, session_id: str | None) -> None:
    write(house.session())
    assert house.out(session_id) == ()
    assert house.taken() == {}


@pytest.mark.parametrize("depth", range(6))
def test_no_link_is_followed_on_the_way_to_it(house: House, tmp_path: pathlib.Path, depth: int) -> None:
    path = write(house.session())
    between = [path, *path.parents][: len(path.relative_to(house.inside).parts)]
    if depth >= len(between):
        pytest.skip("there are no more directories on the way")
    aside = tmp_path / "aside"
    between[depth].rename(aside)
    between[depth].symlink_to(aside)
    (warning,) = house.out()
    assert warning.startswith("Its session stayed in ")
    assert house.taken() == {}


def test_nothing_that_the_user_has_is_written_over_nor_a_session_of_his_doubled(claude: House) -> None:
    there = write(claude.users / f".claude/projects/-work-other/{ID}.jsonl", "mine")
    write(claude.session())
    assert claude.out() == ()
    assert list(claude.taken().values()) == ["mine"]
    there.unlink()
    target = claude.users / claude.pattern.format(ID)
    target.parent.mkdir(parents=True)
    target.symlink_to("nowhere")
    assert claude.out() == ()
    assert (target.is_symlink(), claude.taken()) == (True, {})


def test_what_is_too_large_or_no_file_stays(claude: House) -> None:
    path = write(claude.session())
    os.truncate(path, TOO_MUCH)
    assert "File too large" in claude.out()[0]
    path.unlink()
    os.mkfifo(path)
    assert "it is no file" in claude.out()[0]
    assert claude.taken() == {}


def test_what_takes_no_room_inside_takes_none_outside(claude: House) -> None:
    path = write(claude.session())
    os.truncate(path, TOO_MUCH // 2)
    assert claude.out() == ()
    taken = (claude.users / claude.pattern.format(ID)).stat()
    assert (taken.st_size, taken.st_blocks * 512 < 1 << 20) == (TOO_MUCH // 2, True)


def test_instructions_and_the_session_that_is_gone_on_with_come_in(claude: House) -> None:
    write(claude.users / ".claude/CLAUDE.md", "be brief")
    write(claude.users / f".claude/projects/-work-other/{OTHER}.jsonl")
    assert belongings.bring_in(claude.run(resumes=OTHER), str(claude.inside)) == ()
    assert (claude.inside / ".claude/CLAUDE.md").read_text() == "be brief"
    assert (claude.inside / f".claude/projects/-work-other/{OTHER}.jsonl").read_text() == "said\n"


def test_instructions_that_cannot_be_had_are_a_warning(claude: House) -> None:
    os.truncate(write(claude.users / ".claude/CLAUDE.md"), TOO_MUCH)
    (warning,) = belongings.bring_in(claude.run(), str(claude.inside))
    assert warning == f"The agent goes without {claude.users}/.claude/CLAUDE.md: File too large."


@pytest.mark.parametrize(
    ("resumes", "error", "said"),
    [
        ("--settings=x", InvalidId, "no id of a session"),
        (ID, NotFound, "is not in"),
        (OTHER, Unavailable, "copied: File too large"),
    ],
)
def test_a_session_that_cannot_be_gone_on_with_says_what_to_do(claude: House, resumes: str, error: type[DevshError], said: str) -> None:
    os.truncate(write(claude.users / f".claude/projects/-work-other/{OTHER}.jsonl"), TOO_MUCH)
    with pytest.raises(error, match=said) as caught:
        belongings.bring_in(claude.run(resumes=resumes), str(claude.inside))
    assert "without --resume" in caught.value.next_step


def test_without_a_sandbox_too_no_other_word_becomes_one_of_a_command(stage: Stage) -> None:
    outcome = stage.launch("", agent_name="claude/haiku-4.5", session=AgentSession(ID, "--settings=x")).end()
    assert (outcome.cause, outcome.error_message) == (
        "spawn", "What it was to go on with is no id of a session. Spawn a new task, without --resume.",
    )  # fmt: skip


@pytest.mark.parametrize("session_id", [ID, "--settings=x", 7])
def test_what_a_report_says_is_checked_where_it_is_read(tmp_path: pathlib.Path, session_id: object) -> None:
    descriptor = os.open(tmp_path / rundir.REPORT_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    rundir.append_line(descriptor, Report(1, "session", "2026-01-02T03:04:05Z", facts={"sessionId": session_id}))
    os.close(descriptor)
    assert vitals.vitals(str(tmp_path)).session_id == (session_id if session_id == ID else None)


CLAUDE = """#!/bin/sh
echo '{{"type":"system","subtype":"init","session_id":"{id}","model":"m","permissionMode":"default"}}'
place=~/.claude/projects/$(pwd | tr -c '[:alnum:]\\n' -); mkdir -p "$place"; echo said >"$place/{id}.jsonl"
{more}
"""


def spoken(warden: Warden, session_id: str, more: str = "", mounts: tuple[Mount, ...] = (), **fields: object) -> Outcome:
    """An attempt of a program that says it is claude, with a session of that id."""
    program = write(warden.home / "tools/claude", CLAUDE.format(id=session_id, more=more))
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(warden.home)}
    return warden.run("", agent_name="claude/haiku-4.5", environment=environment, confinement=Confinement(mounts=mounts), **fields)


def kept(warden: Warden) -> list[str]:
    return sorted(path.name for path in (warden.home / ".claude/projects").glob("*/*"))


@needs_sandbox
@pytest.mark.parametrize("session_id", [ID, "--dangerously-skip-permissions", "*"])
def test_what_an_agent_calls_its_session_is_heeded_where_it_can_be_one(warden: Warden, session_id: str) -> None:
    outcome = spoken(warden, session_id)
    expected = session_id if session_id == ID else None
    told = [report.facts for report in warden.stage.launched[-1].reports() if report.type == "session"]
    assert (outcome.session_id, [facts["sessionId"] for facts in told]) == (expected, [expected])
    assert kept(warden) == ([f"{ID}.jsonl"] if expected else [])
    assert "--dangerously" not in json.dumps(told)


@needs_sandbox
def test_a_session_that_stays_inside_is_a_warning(warden: Warden) -> None:
    outcome = spoken(warden, ID, more="mv ~/.claude ~/aside; ln -s aside ~/.claude")
    assert (outcome.session_id, kept(warden)) == (ID, [])
    assert [warning[:21] for warning in outcome.warnings] == ["Its session stayed in"]


@needs_sandbox
def test_a_recovery_brings_it_out_as_well(warden: Warden) -> None:
    spoken(warden, ID)
    run = warden.stage.launched[-1]
    (run.directory / "outcome.json").unlink()
    for path in (warden.home / ".claude/projects").glob("*/*"):
        path.unlink()
    warden.give()
    assert warden.stage.start(run.directory, "--recover").end().session_id == ID
    assert kept(warden) == [f"{ID}.jsonl"]


@needs_sandbox
def test_an_attempt_whose_session_is_gone_ends_with_what_to_do(warden: Warden) -> None:
    outcome = warden.launch("", agent_name="claude/haiku-4.5", session=AgentSession(ID, OTHER)).end()
    assert outcome.cause == "spawn"
    assert outcome.error_message == (
        f"The session {OTHER}, which is to be gone on with, is not in {warden.home}/.claude. "
        "Spawn a new task, without --resume, or go on without a sandbox (--sandbox none)."
    )


RESULT = """echo '{"type":"result","subtype":"success","is_error":false,"result":"done","num_turns":1,"session_id":"%s"}'"""


@needs_sandbox
@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_verification_has_no_session_and_needs_none(warden: Warden, *, is_deleted: bool) -> None:
    """Its user may have deleted it meanwhile: a success stays one."""
    session = write(warden.home / f".claude/projects/-work-other/{OTHER}.jsonl")
    session.parent.chmod(0o777)
    outcome = spoken(
        warden,
        ID,
        more=f"cat {session} >seen; {f'rm {session};' if is_deleted else ''} {RESULT % ID}",
        mounts=(Mount(str(session.parent), writable=True),) if is_deleted else (),
        session=AgentSession(ID, OTHER),
        verify="grep said seen && ! find ~/.claude -name '*.jsonl' | grep .",
    )
    assert session.exists() is not is_deleted
    assert (outcome.cause, outcome.succeeded, outcome.verified, outcome.error_message) == ("exit", True, True, None)
