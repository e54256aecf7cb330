"""What an agent in a sandbox can do, and each thing that it cannot: as root and as an ordinary user."""

import os
import pathlib
import signal
import subprocess

import pytest

from devsh_memory_mcp.shim import probe
from devsh_memory_mcp.shim.confinement import Confinement, Mount
from devsh_memory_mcp.shim.probe import Missing
from tests.shim.stage import SETSID_AND_DOUBLE_FORK, Tether
from tests.shim.warden import Warden

pytestmark = pytest.mark.skipif(isinstance(probe.probe(os.environ["PATH"]), Missing), reason="no sandbox works on this machine")


def test_the_agent_works_as_without_one(warden: Warden) -> None:
    script = "git log --format=%s; echo new >made; git add made; git commit -qm mine; echo left >left; git status --short; cat ~/kept"
    outcome = warden.run(script, has_code=True, setup="echo of the setup >~/kept")
    assert (outcome.succeeded, outcome.result, outcome.warnings) == (True, "first\n?? left\nof the setup\n", ())
    assert warden.repository.files(outcome.branch or "") == {"readme": "hello", "made": "new", "left": "left"}
    assert outcome.commits == 2


def test_it_is_an_unprivileged_user_without_any_capability(warden: Warden) -> None:
    outcome = warden.run("id -u; grep -h -e ^CapEff -e ^CapBnd -e ^NoNewPrivs /proc/self/status; touch /usr/x /x /etc/x 2>/dev/null; true")
    user, bounding, effective, bound = (outcome.result or "").split("\n")[:4]
    assert int(user) not in (0, 65534)
    assert effective == "CapEff:\t0000000000000000" or bounding == "CapEff:\t0000000000000000"
    assert "NoNewPrivs:\t1" in (outcome.result or "")
    assert bound


def test_what_processes_share_memory_by_is_there(warden: Warden) -> None:
    assert warden.run("python3 -c 'import multiprocessing; multiprocessing.Semaphore(); print(1)'").result == "1\n"


@pytest.mark.parametrize(
    "place", [".ssh/id_ed25519", ".aws/credentials", ".config/gh/hosts.yml", ".gitconfig", ".cargo/credentials.toml", "notes"]
)
def test_the_users_home_is_not_there(warden: Warden, place: str) -> None:
    path = warden.home / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("secret")
    (warden.home / ".cargo/bin").mkdir(parents=True, exist_ok=True)
    outcome = warden.run(
        f"cat {path} ~/{place}; echo end", environment={"PATH": f"{warden.home}/.cargo/bin:{os.environ['PATH']}", "HOME": str(warden.home)}
    )
    assert outcome.result == "end\n"


def test_neither_shadow_nor_other_accounts_are_there(warden: Warden) -> None:
    outcome = warden.run("cat /etc/shadow /etc/sudoers /etc/gshadow; ls /root /home /boot /var/lib /var/log; wc -l </etc/passwd")
    assert int((outcome.result or "").split()[-1]) <= 3
    assert "secret" not in (outcome.result or "")


def test_neither_the_memory_root_nor_other_runs_are_there(warden: Warden) -> None:
    other = warden.stage.root / "run0/workspace"
    other.mkdir(parents=True)
    (other / "theirs").write_text("secret")
    (warden.stage.root / "EVENTS.jsonl").write_text("secret")
    script = f"cat {other}/theirs {warden.stage.root}/EVENTS.jsonl ../run.json ../report.jsonl; ls ..; ls {warden.stage.root}"
    assert "secret" not in (result := warden.run(script, has_code=True).result or "")
    assert set(result.split()) <= {"run1", "prompt", "workspace", "briefing"}


def test_the_users_repository_is_borrowed_from_and_never_written(warden: Warden) -> None:
    inner = warden.repository.path / ".git"
    (inner / "hooks/post-update").write_text("#!/bin/sh\necho secret\n")
    before = warden.repository.state()
    script = f"""
    cat {inner}/hooks/post-update {inner}/config {warden.repository.path}/readme
    for place in hooks/pre-commit config objects/aa objects/info/x refs/heads/evil HEAD packed-refs; do echo x >{inner}/$place; done
    mkdir -p {inner}/hooks; echo evil >{inner}/hooks/pre-commit; rm -rf {inner}/objects/*; git push -q {warden.repository.path} HEAD:evil
    git log --format=%s"""
    assert warden.run(script, has_code=True).result == "first\n"
    assert warden.repository.state() == before
    assert not (inner / "hooks/pre-commit").exists()
    assert warden.repository.git("fsck") == ""


def test_the_way_to_an_agent_of_keys_is_not_named(warden: Warden) -> None:
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(warden.home), "SSH_AUTH_SOCK": f"{warden.home}/agent.sock"}
    assert warden.run('echo "${SSH_AUTH_SOCK-none}"', environment=surroundings).result == "none\n"


def test_a_shim_and_its_environment_cannot_be_seen(warden: Warden) -> None:
    outcome = warden.run("ls -d /proc/[0-9]* | wc -l; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'")
    count, *seen = (outcome.result or "").splitlines()
    assert int(count) < 8
    assert not [line for line in seen if "devsh_memory_mcp" in line or line.startswith("CMUX_SECRET")]


def test_a_secret_is_on_no_command_line(warden: Warden) -> None:
    tether = _tether(warden)
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(warden.home), "TZ": "sentinel-of-a-secret"}
    run = warden.launch(f"exec 9>{tether.path}; echo $TZ >&9; sleep 1000", environment=surroundings, confinement=_with(tether))
    assert tether.await_words(1) == ["sentinel-of-a-secret"]
    lines = subprocess.run(["ps", "axww", "-o", "command"], check=True, capture_output=True, text=True).stdout
    assert "bwrap --args" in lines
    assert "sentinel-of-a-secret" not in lines
    run.kill()


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [("exit 3", 3, None), ("kill -KILL $$", None, signal.SIGKILL), ("kill -TERM $$", None, signal.SIGTERM), ("exit 1", 1, None)],
)
def test_how_the_command_ended_comes_through(warden: Warden, script: str, code: int | None, number: int | None) -> None:
    outcome = warden.run(script)
    assert (outcome.cause, outcome.exit_code, outcome.signal) == ("exit", code, number)


def test_a_command_that_is_not_there_ends_as_spawn(warden: Warden) -> None:
    outcome = warden.run("true", environment={"PATH": "/nowhere", "HOME": str(warden.home)})
    assert (outcome.cause, outcome.error_message) == ("spawn", "sh cannot be started: No such file or directory")


def test_a_sandbox_that_cannot_be_made_is_told_as_such_and_nothing_runs(warden: Warden) -> None:
    missing = Confinement(mounts=(Mount(f"{warden.root}/missing"),))
    outcome = warden.launch("echo ran", confinement=missing).end()
    assert (outcome.cause, outcome.result) == ("spawn", None)
    assert "Its sandbox could not be made: bwrap: " in (outcome.error_message or "")
    assert f"{warden.root}/missing" in (outcome.error_message or "")


def test_a_cancel_asks_what_is_inside_and_lets_it_finish(warden: Warden) -> None:
    tether = _tether(warden)
    script = f"exec 9>{tether.path}; trap 'echo saved >saved; echo asked; exit 7' TERM; echo up >&9; while :; do sleep 0.05; done"
    run = warden.launch(script, has_code=True, confinement=_with(tether), cancel_grace=10.0)
    tether.await_words(1)
    warden.stage.bell.await_hello()
    warden.cancel(run)
    outcome = run.end()
    warden.take()
    assert (outcome.cause, outcome.exit_code, outcome.signal) == ("cancelled", 7, None)
    assert warden.repository.git("show", f"{outcome.salvage_ref}:saved") == "saved"


@pytest.mark.parametrize("end", ["cancel", "exit", "shim", "guard", "bubblewrap", "init"])
def test_nobody_outlives_the_run_wherever_he_fled(warden: Warden, end: str) -> None:
    tether = _tether(warden)
    leave = tether.path.with_suffix(".leave")
    os.mkfifo(leave)
    leave.chmod(0o666)
    script = f"exec 9>{tether.path}; {SETSID_AND_DOUBLE_FORK} echo d >&9; read go <{leave}"
    run = warden.launch(script, confinement=_with(tether), cancel_grace=0.05)
    tether.await_words(4)
    if end == "cancel":
        warden.stage.bell.await_hello()
        warden.cancel(run)
    elif end == "exit":
        leave.write_text("go")
    else:
        outer = run.pid_of("agent_started")
        inner = int(pathlib.Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0])
        run.kill({"shim": run.process.pid, "guard": run.pid_of("guard"), "bubblewrap": outer, "init": inner}[end])
    tether.await_end()
    assert end == "shim" or run.end().isolation == "bubblewrap"


def test_after_a_killed_shim_the_work_is_saved_from_inside_too(warden: Warden) -> None:
    tether = _tether(warden)
    script = f"echo new >made; git add made; git commit -qm mine; echo left >left; exec 9>{tether.path}; echo up >&9; sleep 1000"
    run = warden.launch(script, has_code=True, confinement=_with(tether))
    tether.await_words(1)
    run.kill()
    tether.await_end()
    run.await_lock()
    outcome = warden.stage.start(run.directory, "--recover").end()
    warden.take()
    assert (outcome.cause, outcome.isolation, outcome.commits, outcome.warnings) == ("lost", "bubblewrap", 2, ())
    assert set(warden.repository.files(outcome.salvage_ref or "")) == {"readme", "made", "left"}


def test_what_an_agent_configures_is_not_run_outside_when_its_commits_are_taken(warden: Warden) -> None:
    outside = warden.root / "executed"
    script = f"""
    for key in core.fsmonitor core.sshCommand uploadpack.packObjectsHook; do git config $key 'echo x >>{outside}; false'; done
    printf '#!/bin/sh\\necho x >>{outside}' >.git/hooks.sh; chmod +x .git/hooks.sh; git config core.hooksPath .git
    ln -s /etc/passwd link; ln -s {warden.home}/.gitconfig out
    git -c core.fsmonitor= add link out; git -c core.fsmonitor= commit -qm links"""
    outcome = warden.run(script, has_code=True)
    assert not outside.exists()
    assert warden.repository.git("show", f"{outcome.branch}:link") == "/etc/passwd"


def test_the_verification_is_behind_the_same_walls(warden: Warden) -> None:
    check = f'cat made && test "$DEVSH_ISOLATION" = bubblewrap && ! test -e {warden.home}/.gitconfig'
    outcome = warden.run("echo new >made", has_code=True, verify=check)
    assert (outcome.verified, outcome.cause, outcome.isolation) == (True, "exit", "bubblewrap")
    assert warden.repository.git("show", f"{outcome.branch}:made") == "new"


def test_the_verification_finds_nothing_of_what_the_agent_has_left_around_it(warden: Warden) -> None:
    (warden.home / ".local").mkdir()
    planted = (
        "mkdir -p ~/.local/bin; printf '#!/bin/sh\\nexit 0\\n' >~/.local/bin/judge; chmod +x ~/.local/bin/judge; cp ~/.local/bin/judge /tmp"
    )
    surroundings = {"PATH": f"{os.environ['PATH']}:{warden.home}/.local/bin:/tmp", "HOME": str(warden.home)}
    launched = warden.launch(f"{planted}; judge && echo done", verify="find ~ /tmp -name judge; judge", environment=surroundings)
    outcome = launched.end()
    assert (outcome.result, outcome.cause, outcome.verified) == ("done\n", "verify", False)
    assert "/judge" not in (launched.directory / "verify.log").read_text()
    assert "exit code 127" in (outcome.error_message or "")


def test_a_fork_bomb_comes_to_an_end(warden: Warden) -> None:
    script = """python3 - <<'END'
import os, resource, signal
print(*resource.getrlimit(resource.RLIMIT_NPROC))
resource.setrlimit(resource.RLIMIT_NPROC, (200, 200))
count = 0
try:
    while count < 1000:
        if not os.fork():
            signal.pause()
        count += 1
except BlockingIOError:
    print(100 < count < 200)
END
"""
    assert warden.run(script).result == "4096 4096\nTrue\n"


def test_objects_that_only_root_can_read_end_it_with_what_opens_them(warden: Warden) -> None:
    if warden.is_ordinary:
        pytest.skip("the agent is who the shim is")
    (warden.repository.path / ".git/objects").chmod(0o700)
    outcome = warden.launch("echo ran", has_code=True).end()
    assert (outcome.cause, outcome.result, "chmod -R o+rX" in (outcome.error_message or "")) == ("spawn", None, True)


def test_a_mount_is_shown_read_only_or_writable(warden: Warden) -> None:
    for name in ("shown", "written"):
        (warden.root / name).mkdir()
        (warden.root / name).chmod(0o777)
        (warden.root / name / "file").write_text("there")
    mounts = Confinement(mounts=(Mount(f"{warden.root}/shown"), Mount(f"{warden.root}/written", writable=True)))
    script = f"cat {warden.root}/*/file; echo x >{warden.root}/shown/new; echo x >{warden.root}/written/new"
    assert warden.run(script, confinement=mounts).result == "therethere"
    assert not (warden.root / "shown/new").exists()
    assert (warden.root / "written/new").read_text() == "x\n"


def test_programs_on_the_path_are_there_and_what_lies_beside_them_is_not(warden: Warden) -> None:
    venv = warden.home / "work/venv"
    for part in ("bin", "lib", "secrets"):
        (venv / part).mkdir(parents=True)
    (venv / "lib/words").write_text("installed")
    (venv / "secrets/key").write_text("secret")
    (venv / "bin/hello").write_text(f"#!/bin/sh\ncat {venv}/lib/words\n")
    (venv / "bin/hello").chmod(0o755)
    nested = warden.home / ".pyenv/versions/3.99/bin"
    nested.mkdir(parents=True)
    (nested / "deep").write_text("#!/bin/sh\necho deep\n")
    (nested / "deep").chmod(0o755)
    (venv / "bin/link").symlink_to(nested / "deep")
    path = f"{venv}/bin:{os.environ['PATH']}"
    outcome = warden.run(
        f"hello; link; cat {venv}/secrets/key; echo x >{venv}/bin/hello; true", environment={"PATH": path, "HOME": str(warden.home)}
    )
    assert outcome.result == "installeddeep\n"
    assert "secret" not in (outcome.result or "")


def test_what_links_on_the_path_lead_to_and_what_lies_beside_programs_there_is_not_shown(warden: Warden) -> None:
    for name in (".ssh/id_ed25519", ".aws/credentials", "project/.env"):
        (warden.home / name).parent.mkdir(exist_ok=True)
        (warden.home / name).write_text("secret")
    for name in ("tools/bin/hello", "project/run"):
        (warden.home / name).parent.mkdir(parents=True, exist_ok=True)
        (warden.home / name).write_text("#!/bin/sh\necho hello\n")
        (warden.home / name).chmod(0o755)
    (warden.home / "tools/bin/key").symlink_to(warden.home / ".ssh/id_ed25519")
    (warden.home / "tools/conf").symlink_to(warden.home / ".aws")
    places = "tools/bin/key tools/conf/credentials .ssh/id_ed25519 .aws/credentials project/.env"
    path = f"{warden.home}/tools/bin:{warden.home}/project:{os.environ['PATH']}"
    outcome = warden.run(f"hello; run; cd; cat {places}; true", environment={"PATH": path, "HOME": str(warden.home)})
    assert outcome.result == "hello\nhello\n"


@pytest.mark.parametrize("leads_to", ["home", "memory"])
def test_a_mount_that_became_a_link_since_it_was_spawned_is_not_followed(warden: Warden, leads_to: str) -> None:
    (warden.home / "secret").write_text("secret")
    target = warden.home if leads_to == "home" else warden.stage.root
    (warden.root / "shown").symlink_to(target)
    mounts = Confinement(mounts=(Mount(f"{warden.root}/shown"),))
    outcome = warden.launch(f"cat {warden.root}/shown/secret; echo ran", confinement=mounts).end()
    assert (outcome.cause, outcome.result) == ("spawn", None)
    assert f"{warden.root}/shown is not shown to the agent: it leads to {target} now" in (outcome.error_message or "")


def test_a_mount_of_the_memory_root_is_refused_at_the_launch_too(warden: Warden) -> None:
    outcome = warden.launch("echo ran", confinement=Confinement(mounts=(Mount(str(warden.stage.root)),))).end()
    assert (outcome.cause, outcome.result) == ("spawn", None)
    assert "lies where the memory root is" in (outcome.error_message or "")


def test_the_checkout_belongs_to_the_user_again_after_the_end(warden: Warden) -> None:
    run = warden.launch("echo new >made; chmod 600 made", has_code=True)
    assert run.end().succeeded
    assert {path.lstat().st_uid for path in (run.directory / "workspace").rglob("*")} == {run.directory.stat().st_uid}


def _tether(warden: Warden) -> Tether:
    """In a directory that the sandbox shows."""
    (warden.root / "tethers").mkdir(exist_ok=True)
    tether = Tether(warden.root / "tethers" / f"{len(warden.stage.launched)}")
    os.chmod(tether.path, 0o666)
    return tether


def _with(tether: Tether) -> Confinement:
    return Confinement(mounts=(Mount(str(tether.path.parent), writable=True),))
