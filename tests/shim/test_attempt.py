"""How an attempt begins and ends, seen from its run directory."""

import fcntl
import os
import signal
import stat
import subprocess
import sys

import pytest

from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Letter
from tests.doubles.bell import PATIENCE
from tests.doubles.processes import await_end
from tests.shim.stage import PACKAGES, SETSID_AND_DOUBLE_FORK, Repository, Stage, outcome_of, post


def test_a_script_that_succeeds_is_a_success_with_its_output_as_the_result(stage: Stage) -> None:
    outcome = stage.run("echo hello")
    assert (outcome.cause, outcome.succeeded, outcome.exit_code, outcome.result) == ("exit", True, 0, "hello\n")


def test_a_failing_exit_code_is_a_failure_that_says_why(stage: Stage) -> None:
    outcome = stage.run("echo broken >&2; exit 3")
    assert (outcome.cause, outcome.succeeded, outcome.exit_code) == ("exit", False, 3)
    assert "broken" in (outcome.error_message or "")


def test_an_agent_killed_by_a_signal_ends_with_that_signal(stage: Stage) -> None:
    outcome = stage.run("kill -KILL $$")
    assert (outcome.cause, outcome.exit_code, outcome.signal) == ("exit", None, signal.SIGKILL)


def test_an_agent_that_cannot_be_found_ends_as_spawn(stage: Stage) -> None:
    outcome = stage.run("true", agent_name="shell/none")
    assert (outcome.cause, outcome.succeeded) == ("spawn", False)
    outcome = stage.run("true", environment={"PATH": "/nowhere"})
    assert (outcome.cause, outcome.error_message) == ("spawn", "sh cannot be started: No such file or directory")


def test_the_agent_gets_the_recorded_environment_and_nothing_else(stage: Stage) -> None:
    run = stage.launch("env; umask; ls /proc/self/fd | wc -l; cat /proc/self/oom_score_adj; grep SigIgn /proc/self/status")
    result = run.end().result or ""
    names = {line.partition("=")[0] for line in result.splitlines() if "=" in line}
    assert names == {
        "PATH",
        "HOME",
        "PWD",
        "PORT",
        "CMUX_ORCHESTRATION_ID",
        "CMUX_TASK_RUN_ID",
        "CMUX_AGENT_NAME",
        "DEVSH_RUN",
        "DEVSH_RUN_ROOT",
    }
    assert result.splitlines()[-4:] == ["0022", "4", "500", "SigIgn:\t0000000000000000"]


def test_reports_are_numbered_and_no_agent_runs_before_its_guard_is_on_disk(stage: Stage) -> None:
    run = stage.launch('cat "$HOME"/run1/report.jsonl')
    outcome = run.end()
    types = ["started", "workspace", "guard", "agent_started", "ended"]
    assert [(report.n, report.type) for report in run.reports()] == list(enumerate(types, 1))
    assert '"type":"guard"' in (outcome.result or "")
    assert outcome.last_report == 5


def test_the_runner_is_greeted_and_rung(stage: Stage) -> None:
    run = stage.launch("true")
    hello = stage.bell.await_hello()
    assert hello == {"hello": "shim", "format": 1, "version": "0.1.0", "taskRunId": hello["taskRunId"], "attempt": 1}
    assert hello["taskRunId"] == rundir.read_json(str(run.directory / rundir.RUN_FILE), rundir.Run).task_run_id
    stage.bell.await_line("ring orch_1")
    stage.bell.await_line("end")
    assert run.wait() == 0


def test_a_shim_that_loses_its_runner_finds_the_next_one(stage: Stage) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; echo a >&9; sleep 1000")
    tether.await_words(1)
    stage.bell.await_hello()
    stage.bell.hang_up()
    stage.bell.await_hello()
    run.post(Letter(1, "cancel"))
    stage.bell.ring()
    assert run.end().cause == "cancelled"


def test_without_any_runner_the_agent_does_its_work(stage: Stage) -> None:
    directory = stage.directory("echo done")
    stage.bell.hide()
    assert stage.start(directory).end().result == "done\n"


def test_a_failing_setup_ends_the_attempt_with_the_end_of_its_output(stage: Stage) -> None:
    run = stage.launch("echo agent", setup="echo installing; echo no network >&2; exit 7")
    outcome = run.end()
    assert (outcome.cause, outcome.succeeded, outcome.result) == ("setup", False, None)
    assert "exit code 7" in (outcome.error_message or "")
    assert "installing\nno network" in (outcome.error_message or "")
    assert not (run.directory / "stdout.log").exists()


def test_a_setup_prepares_the_workspace_for_the_agent(stage: Stage) -> None:
    assert stage.run("cat made", setup="echo by the setup >made").result == "by the setup\n"


def test_an_agent_over_its_time_is_ended_and_keeps_its_result(stage: Stage) -> None:
    tether = stage.tether()
    script = f"exec 9>{tether.path}; echo so far; trap '' TERM; {SETSID_AND_DOUBLE_FORK} while :; do sleep 1000; done"
    outcome = stage.run(script, timeout=0.3, timeout_grace=0.1)
    tether.await_end()
    assert (outcome.cause, outcome.succeeded, outcome.signal, outcome.result) == ("timeout", False, signal.SIGKILL, "so far\n")


def test_a_cancel_before_the_start_ends_without_an_agent(stage: Stage) -> None:
    directory = stage.directory("echo ran")
    post(directory, Letter(5, "cancel"))
    run = stage.start(directory)
    outcome = run.end()
    assert (outcome.cause, outcome.succeeded, outcome.result) == ("cancelled", False, None)
    assert [report.type for report in run.reports()] == ["started", "ended"]
    assert stage.run("echo ran", cancelled=True).cause == "cancelled"


def test_a_cancel_that_is_heard_with_the_agents_own_end_comes_too_late(stage: Stage) -> None:
    tether, gate = stage.tether(), stage.root / "gate"
    os.mkfifo(gate)
    run = stage.launch(f"exec 9>{tether.path}; echo a >&9; read line <{gate}; echo done")
    tether.await_words(1)
    stage.bell.await_hello()
    os.kill(run.process.pid, signal.SIGSTOP)
    gate.write_text("go\n")
    tether.await_end()
    assert await_end(run.pid_of("guard"), PATIENCE)
    run.post(Letter(5, "cancel"))
    stage.bell.ring()
    os.kill(run.process.pid, signal.SIGCONT)
    outcome = run.end()
    assert (outcome.cause, outcome.succeeded, outcome.result) == ("exit", True, "done\n")


def test_a_cancel_ends_the_whole_tree_wherever_it_has_fled(stage: Stage) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; {SETSID_AND_DOUBLE_FORK} echo d >&9; sleep 1000", cancel_grace=0.05)
    tether.await_words(4)
    stage.bell.await_hello()
    run.post(Letter(5, "cancel"))
    stage.bell.ring()
    tether.await_end()
    outcome = run.end()
    assert (outcome.cause, outcome.succeeded, outcome.error_message) == ("cancelled", False, "It was cancelled.")


def test_a_fork_loop_does_not_outrun_its_end(stage: Stage) -> None:
    tether = stage.tether()
    loop = "import os\nos.write(9, b'a\\n')\nwhile True:\n    if os.fork(): os._exit(0)\n    os.setsid()\n"
    run = stage.launch(f'exec 9>{tether.path}; python3 -I -S -c "{loop}" & echo b >&9; sleep 1000', cancel_grace=0.05)
    tether.await_words(2)
    stage.bell.await_hello()
    run.post(Letter(5, "cancel"))
    stage.bell.ring()
    tether.await_end()
    assert run.end().cause == "cancelled"


def test_a_child_left_in_the_background_neither_lives_on_nor_holds_up_the_end(stage: Stage) -> None:
    tether = stage.tether()
    outcome = stage.run(f"exec 9>{tether.path}; {SETSID_AND_DOUBLE_FORK} echo done", cancel_grace=0.05)
    tether.await_end()
    assert (outcome.cause, outcome.succeeded, outcome.result) == ("exit", True, "done\n")


def test_output_is_bounded_in_the_file_and_its_end_is_the_result(stage: Stage) -> None:
    run = stage.launch("seq 100000", output_limit=1000)
    outcome = run.end()
    content = (run.directory / "stdout.log").read_text()
    assert content.startswith("1\n2\n")
    assert "bytes left out]" in content
    assert content.endswith("99999\n100000\n")
    assert len(content) < 1100
    assert outcome.result_truncated
    assert outcome.stdout_bytes == 588895
    assert (outcome.result or "").endswith("99999\n100000\n")


def test_output_below_the_limit_is_whole(stage: Stage) -> None:
    run = stage.launch("seq 300; seq 300 >&2", output_limit=2000)
    run.end()
    for name in ("stdout.log", "stderr.log"):
        assert (run.directory / name).read_text().split() == [str(number) for number in range(1, 301)]


def test_a_terminated_shim_ends_its_agent_in_order(stage: Stage) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; echo a >&9; sleep 1000")
    tether.await_words(1)
    run.process.send_signal(signal.SIGTERM)
    tether.await_end()
    assert run.end().cause == "lost"


def test_the_second_start_in_a_run_directory_is_refused(stage: Stage) -> None:
    run = stage.launch("echo once")
    run.end()
    assert stage.start(run.directory).wait() == 3
    (run.directory / "outcome.json").unlink()
    assert stage.start(run.directory).wait() == 3
    assert not (run.directory / "outcome.json").exists()


def test_a_lock_that_is_another_file_by_now_is_refused(stage: Stage) -> None:
    directory = stage.directory("echo never")
    (directory / "lock").touch()
    blocker = os.open(directory / "lock", os.O_RDWR)
    (directory / "lock").rename(directory / "other")
    (directory / "lock").touch()
    argv = [sys.executable, "-m", "devsh_memory_mcp.shim", str(directory), "--lock-fd", str(blocker)]
    assert subprocess.run(argv, pass_fds=[blocker], cwd=PACKAGES, check=False, stderr=subprocess.DEVNULL).returncode == 4
    os.close(blocker)


def test_the_outcome_stands_before_the_lock_is_free(stage: Stage) -> None:
    run = stage.launch("true")
    run.await_lock()
    assert outcome_of(run.directory).succeeded
    run.wait()


def test_a_lock_that_is_held_is_refused(stage: Stage) -> None:
    directory = stage.directory("echo never")
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        argv = [sys.executable, "-m", "devsh_memory_mcp.shim", str(directory)]
        assert subprocess.run(argv, cwd=PACKAGES, check=False, stderr=subprocess.DEVNULL).returncode == 4
    assert subprocess.run(argv, cwd=PACKAGES, check=False).returncode == 0


def test_a_runner_that_a_shim_had_started_is_not_taken_for_the_agents(stage: Stage) -> None:
    runner, agent = stage.tether(), stage.tether()
    start = f"mkdir {stage.root}/once || exit 1; (setsid sh -c 'echo $$ >&8; exec sleep 1000' 8>{runner.path} &); exit 1"
    directory = stage.directory(f"exec 9>{agent.path}; echo a >&9; sleep 1000", runner_command=("sh", "-c", start))
    stage.bell.hide()
    run = stage.start(directory)
    agent.await_words(1)
    pid = int(runner.await_words(1)[0])
    run.kill(run.pid_of("guard"))
    agent.await_end()
    assert run.end().cause == "lost"
    os.kill(pid, signal.SIGKILL)  # it is still there to be ended
    runner.await_end()


STOPPED = "trap '' TERM; (while kill -STOP $PPID; do :; done) & while kill -STOP $PPID; do [ -e told ] || { echo a >&9; touch told; }; done"


@pytest.mark.parametrize("script", ["kill -STOP $PPID; echo a >&9; sleep 1000", STOPPED])
def test_an_agent_that_stops_its_guard_is_cancelled_all_the_same(stage: Stage, script: str) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; {SETSID_AND_DOUBLE_FORK} {script}", cancel_grace=0.05)
    tether.await_words(4)
    stage.bell.await_hello()
    run.post(Letter(5, "cancel"))
    stage.bell.ring()
    tether.await_end()
    assert run.end().cause == "cancelled"


def test_an_agent_that_stops_its_guard_is_ended_at_its_deadline(stage: Stage) -> None:
    tether = stage.tether()
    outcome = stage.run(f"exec 9>{tether.path}; {SETSID_AND_DOUBLE_FORK} {STOPPED}", timeout=0.3, timeout_grace=0.05)
    tether.await_end()
    assert (outcome.cause, outcome.succeeded) == ("timeout", False)


def test_an_agent_that_stops_its_guard_and_leaves_has_ended(stage: Stage) -> None:
    outcome = stage.run("echo done; kill -STOP $PPID")
    assert (outcome.cause, outcome.succeeded, outcome.result) == ("exit", True, "done\n")


def test_the_shims_own_files_are_private_and_those_of_its_saving_are_gone(stage: Stage, repository: Repository) -> None:
    script = "ls -l ../prompt ../reserve | cut -c1-10; echo new >made; git add made; git commit -qm mine"
    run = stage.launch(script, checkout=repository.checkout())
    assert run.end().result == "-rw-------\n" * 2
    left = {path.name: stat.S_IMODE(path.stat().st_mode) for path in run.directory.iterdir() if path.is_file()}
    assert set(left) == {"lock", "run.json", "report.jsonl", "prompt", "shim.log", "stdout.log", "stderr.log", "outcome.json"}
    assert set(left.values()) == {0o600}
    assert stat.S_IMODE((run.directory / "git").stat().st_mode) == 0o700
