"""What the backend does where the helpers that it starts do not do their work."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.agents.adapter import Verdict
from devsh_memory_mcp.backends import local
from devsh_memory_mcp.backends.local import LocalBackend
from devsh_memory_mcp.shim import census, rundir
from devsh_memory_mcp.shim.ending import Ended
from devsh_memory_mcp.shim.rundir import FORMAT, Outcome, Report, Run
from devsh_memory_mcp.shim.shape import to_json

ENDED = Ended("exit", 70, 0, None, Verdict(succeeded=True, result="Done.", usage={"turns": 2}, cost_usd=0.5, warnings=("w",)))


def make_run(directory: Path) -> Run:
    run = Run(FORMAT, "orch_1", "ns1", "tr_1", 1, "shell/sh", "true", {}, str(directory), "socket", ("false",))
    rundir.write_json(f"{directory}/{rundir.RUN_FILE}", run)
    reports = [Report(1, "started", "2026-01-02T00:00:00Z"), Report(2, "ended", "2026-01-02T00:00:01Z", facts=ENDED.facts())]
    lines = (json.dumps(to_json(report)) + "\n" for report in reports)
    (directory / rundir.REPORT_FILE).write_text("".join(lines), encoding="utf-8")
    return run


async def finished(directory: Path, run: Run, *, recover_unbegun: bool = True) -> Outcome | None:
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            backend = LocalBackend(directory, 0.05, tasks, lambda _directory: None)
            return await backend.finish(str(directory), run, recover_unbegun=recover_unbegun)
    return None


def instead_of_a_recovery(monkeypatch: pytest.MonkeyPatch, code: str) -> list[subprocess.Popen[bytes]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(_directory: str, _lock: int) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-S", "-c", code]))
        return started[-1]

    monkeypatch.setattr(local, "_recovery", start)
    monkeypatch.setattr(local.time, "sleep", lambda _seconds: None)
    return started


def test_what_an_agent_came_to_is_told_by_its_report_in_the_words_of_other_files() -> None:
    facts = ENDED.facts()
    assert (facts["durationMs"], facts["exitCode"], facts["verdict"]["costUsd"]) == (70, 0, 0.5)
    assert Ended.from_reports([Report(1, "ended", "", facts={**facts, "later": 1})]) == ENDED


@pytest.mark.parametrize("spoilt", [{"cause": "good"}, {"durationMs": "7"}, {"verdict": None}, {"verdict": {"succeeded": 1, "result": ""}}])
def test_a_report_of_an_end_that_is_none_of_ours_counts_for_nothing(spoilt: dict[str, object]) -> None:
    assert Ended.from_reports([Report(1, "ended", "", facts={**ENDED.facts(), **spoilt})]) is None


@pytest.mark.parametrize(
    ("code", "times"),
    [("raise SystemExit(1)", local._FAILURES), ("import os; os.kill(os.getpid(), 9)", local._DEATHS)],
    ids=["it gives up", "it is killed"],
)
async def test_an_attempt_that_cannot_be_recovered_is_lost_with_what_its_agent_had_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, times: int
) -> None:
    run, started = make_run(tmp_path), instead_of_a_recovery(monkeypatch, code)
    outcome = await finished(tmp_path, run)
    assert outcome is not None
    assert (len(started), outcome.cause, outcome.succeeded, outcome.unsaved) == (times, "lost", False, True)
    assert (outcome.result, outcome.usage, outcome.cost_usd, outcome.last_report) == ("Done.", {"turns": 2}, 0.5, 2)
    assert f"{tmp_path}/workspace" in (outcome.error_message or "")


async def test_a_recovery_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_RECOVERS_WITHIN", 0.01)
    monkeypatch.setattr(local, "_DEATHS", 1)
    started = instead_of_a_recovery(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    outcome = await finished(tmp_path, make_run(tmp_path))
    assert outcome is not None
    assert outcome.cause == "lost"
    assert [process.returncode for process in started] == [-9]


_GUARD = """
import fcntl, os, signal, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(lock, fcntl.LOCK_EX)
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
os.waitpid(child, os.WUNTRACED)
print(child, flush=True)
sys.stdin.read()
"""


async def test_what_a_killed_guard_had_stopped_before_it_was_an_agent_does_not_keep_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead_of_a_recovery(monkeypatch, "raise SystemExit(1)")
    lock = f"{tmp_path}/{rundir.LOCK_FILE}"
    guard = subprocess.Popen(
        [sys.executable, "-S", "-c", _GUARD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    stranger = subprocess.Popen([sys.executable, "-S", "-c", _GUARD, f"{lock}2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with guard, stranger:
        assert guard.stdout is not None
        assert stranger.stdout is not None
        left, other = int(guard.stdout.readline()), int(stranger.stdout.readline())
        run, process = make_run(tmp_path), census.identify(guard.pid)
        guard.kill()
        guard.wait()
        reports = [Report(number, kind, "", process=process) for number, kind in ((1, "started"), (2, "guard"))]
        lines = (json.dumps(rundir.to_json(report)) + "\n" for report in reports)
        (tmp_path / rundir.REPORT_FILE).write_text("".join(lines), encoding="utf-8")
        outcome = await finished(tmp_path, run)
        assert outcome is not None
        found = census.find_entry(left), census.find_entry(other)
        assert (found[0] is None or found[0].state == "Z", found[1] is not None and found[1].state == "T") == (True, True)
        os.kill(other, signal.SIGKILL)
        stranger.kill()


_STARTER = """
import fcntl, os, signal, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(lock, int(sys.argv[2]))
os.kill(os.getpid(), signal.SIGSTOP)
"""


async def test_a_runner_of_before_that_was_stopped_over_a_launch_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock, run = f"{tmp_path}/{rundir.LOCK_FILE}", make_run(tmp_path)
    (tmp_path / rundir.REPORT_FILE).unlink()
    words = [sys.executable, "-S", "-c", _STARTER, lock]
    with subprocess.Popen([*words, str(fcntl.LOCK_EX), str(tmp_path)]) as starter, subprocess.Popen([*words, str(fcntl.LOCK_UN)]) as reader:
        for process in (starter, reader):
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert await finished(tmp_path, run, recover_unbegun=False) is None
        assert starter.wait() == -signal.SIGKILL
        assert reader.poll() is None, "somebody else who looks at the file"
        reader.kill()


async def test_a_supervisor_that_is_stopped_saves_nothing_though_its_agent_has_gone(tmp_path: Path) -> None:
    shim, guard = (subprocess.Popen(["sleep", "1000"]) for _ in range(2))
    try:
        processes = [(1, "started", census.identify(shim.pid)), (2, "guard", census.identify(guard.pid))]
        guard.kill()
        guard.wait()
        reports = [rundir.to_json(Report(number, kind, "", process=process)) for number, kind, process in processes]
        (tmp_path / rundir.REPORT_FILE).write_text("".join(json.dumps(report) + "\n" for report in reports), encoding="utf-8")
        async with anyio.create_task_group() as tasks:
            backend = LocalBackend(tmp_path, 1.0, tasks, lambda _directory: None)
            assert await backend.is_saving(str(tmp_path))
            shim.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, shim.pid, os.WSTOPPED)
            assert not await backend.is_saving(str(tmp_path))
    finally:
        shim.kill()
        shim.wait()
