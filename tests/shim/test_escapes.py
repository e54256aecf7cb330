"""Ways out that were tried. Each is tried without the wall too, where it works: so it is the wall that holds it."""

import ctypes
import os
import pathlib
import signal
import socket
import stat
import subprocess

import pytest

from devsh_memory_mcp.shim.bounds import Limits
from devsh_memory_mcp.shim.confinement import Confinement, Mount
from tests.doubles.walls import needs_sandbox
from tests.shim.stage import SETSID_AND_DOUBLE_FORK, Tether
from tests.shim.warden import ORDINARY, Warden

pytestmark = needs_sandbox
M = 1 << 20
ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}.get(os.uname().machine, (0, 0))


def inside(warden: Warden, script: str, **fields: object) -> list[str]:
    return (warden.run(script, **fields).result or "").split()


def outside(warden: Warden, script: str, **fields: object) -> list[str]:
    """The same without the wall."""
    outcome = warden.launch(script, **{"sandbox": None} | fields).end()
    warden.take()
    assert outcome.isolation == "guard"
    return (outcome.result or "").split()


def secret(path: pathlib.Path) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("reached\n")
    return path


READS = {
    "an ssh key": ".ssh/id_ed25519",
    "a cloud's credentials": ".aws/credentials",
    "a login of claude's": ".claude/.credentials.json",
    "a history": ".bash_history",
    "another project": "other/.env",
}


@pytest.mark.parametrize("what", READS)
def test_what_is_in_the_users_home_is_not_read(warden: Warden, what: str) -> None:
    path = secret(warden.home / READS[what])
    script = f"cat {path} ~/{READS[what]} /proc/1/root{path} /proc/self/cwd/../../../{path.relative_to(warden.root)} 2>/dev/null | sort -u"
    assert inside(warden, script) == []
    assert outside(warden, script) == ["reached"]


def test_neither_other_runs_nor_the_memory_root_are_read_or_written(warden: Warden) -> None:
    other = warden.stage.directory("true")
    paths = [secret(warden.stage.root / "orchestrations/orch_1/EVENTS.jsonl"), secret(other / "workspace/theirs"), other / "run.json"]
    try_each = "test -r $path && echo x >>$path && echo reached"
    script = f"cd {warden.stage.root} 2>/dev/null; for path in {' '.join(map(str, paths))}; do {try_each}; done; true"
    assert inside(warden, script) == []
    assert outside(warden, script) == ["reached"] * 3


def test_the_password_file_is_not_read(warden: Warden) -> None:
    """Nor by an ordinary user who is of its group, as an operator may be; nor whoever else has an account."""
    found = os.stat("/etc/shadow")
    if warden.is_ordinary and os.geteuid() == 0:
        warden.join(found.st_gid)
    may_read = stat.S_IRGRP if warden.is_ordinary else stat.S_IRUSR
    script = "head -c1 /etc/shadow >/dev/null 2>&1 && echo reached; grep -q ^daemon: /etc/passwd && echo told; true"
    assert inside(warden, script) == []
    assert outside(warden, script) == [*(["reached"] if found.st_mode & may_read else []), "told"]


def test_a_hook_of_the_users_is_not_planted(warden: Warden) -> None:
    """Inside, the same path is one of its private home."""
    inner = warden.repository.path / ".git"
    hook, config = inner / "hooks/post-checkout", inner / "config"
    script = f"mkdir -p {hook.parent}; echo evil >{hook}; git config --file {config} core.pager evil; true"
    inside(warden, script, has_code=True)
    assert (hook.exists(), "evil" in config.read_text()) == (False, False)
    outside(warden, script)
    assert (hook.exists(), "evil" in config.read_text()) == (True, True)


WRITES = ["/", "/tmp", "/var/tmp", "/dev/shm", "/run", "/usr/local", "/etc", "home", "memory"]


@pytest.mark.parametrize("where", WRITES)
def test_nothing_is_written_outside(warden: Warden, where: str) -> None:
    directory = {"home": warden.home, "memory": warden.stage.root}.get(where, pathlib.Path(where))
    path = directory / f"devsh-escape-{os.getpid()}"
    script = f"{{ echo x >{path}; }} 2>/dev/null; true"
    inside(warden, script)
    assert not path.exists()
    outside(warden, script)
    if path.exists():
        path.unlink()
    else:
        assert warden.is_ordinary  # who may write less


@pytest.mark.parametrize("where", ["/run", "/tmp", "home"])
def test_a_socket_of_a_daemon_or_an_agent_is_not_reached(warden: Warden, where: str) -> None:
    path = f"{warden.home if where == 'home' else where}/devsh-escape-{os.getpid()}.sock"
    script = f"""python3 -c "import socket; socket.socket(socket.AF_UNIX).connect('{path}'); print('reached')" 2>/dev/null; true"""
    with socket.socket(socket.AF_UNIX) as listening:
        try:
            listening.bind(path)
        except PermissionError:
            pytest.skip(f"nobody but root makes a socket in {where}")
        try:
            os.chmod(path, 0o777)
            listening.listen()
            assert inside(warden, script) == []
            assert outside(warden, script) == ["reached"]
        finally:
            os.unlink(path)


def test_without_network_the_hosts_loopback_and_abstract_sockets_are_not_reached(warden: Warden) -> None:
    with socket.socket(socket.AF_UNIX) as abstract, socket.create_server(("127.0.0.1", 0)) as loopback:
        abstract.bind(f"\0devsh-escape-{os.getpid()}")
        abstract.listen()
        script = f"""for address in "1, '\\\\0devsh-escape-{os.getpid()}'" "2, ('127.0.0.1', {loopback.getsockname()[1]})"; do
            python3 -c "import socket; f, a = $address; socket.socket(f).connect(a); print('reached')" 2>/dev/null; done; true"""
        assert inside(warden, script, confinement=Confinement(network="off")) == []
        assert inside(warden, script) == outside(warden, script) == ["reached", "reached"]


def test_a_key_of_the_session_is_not_read(warden: Warden) -> None:
    name = f"devsh-escape-{os.getpid()}"
    libc = ctypes.CDLL(None)
    libc.syscall(KEYCTL, 1, None)  # a session of this process's own, which it hands on
    if libc.syscall(ADD_KEY, b"user", name.encode(), b"hush", 4, -3) < 0:
        pytest.skip("no keyring is to be had here")
    script = f"""python3 -c 'import ctypes
if ctypes.CDLL(None).syscall({KEYCTL}, 10, -3, b"user", b"{name}", 0) >= 0: print("reached")'"""
    assert inside(warden, script) == []
    assert outside(warden, script) == ["reached"]


def test_no_process_of_the_machine_is_seen_or_signalled(warden: Warden) -> None:
    drops = warden.is_ordinary and os.geteuid() == 0
    user = ("setpriv", "--reuid", str(ORDINARY), "--regid", str(ORDINARY), "--clear-groups") if drops else ()
    with subprocess.Popen([*user, "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()  # it is that user by now
            environ = f"head -c1 /proc/{other.pid}/environ >/dev/null 2>&1"
            script = f"kill -0 {other.pid} 2>/dev/null && echo reached; {environ} && echo reached; true"
            assert inside(warden, script) == []
            assert outside(warden, script) == ["reached", "reached"]
        finally:
            other.kill()


MOUNTS = """mount -t tmpfs none /tmp 2>/dev/null && echo mounted; umount -l /tmp 2>/dev/null && echo unmounted
mount --bind /usr /usr 2>/dev/null; mount -o remount,rw,bind /usr 2>/dev/null && echo remounted
mknod zero c 1 5 2>/dev/null && head -c1 zero >/dev/null 2>&1 && echo made; true"""


def test_neither_mounts_nor_devices_are_made(warden: Warden) -> None:
    """Without the wall in a mount namespace, so that the machine keeps its own; an ordinary user has a user namespace for it."""
    away = f"unshare {'-Urm' if warden.is_ordinary else '-m'} sh -c '{MOUNTS}' 2>/dev/null; true"
    reached = ["mounted", "unmounted", "remounted"] + ([] if warden.is_ordinary else ["made"])
    assert inside(warden, f"{MOUNTS}\n{away}; touch /usr/x 2>/dev/null && echo touched; true") == []
    if warden.is_ordinary and outside(warden, "unshare -Urm true 2>/dev/null || echo none") == ["none"]:
        pytest.skip("this user may make no user namespaces, but for those of a sandbox")
    assert outside(warden, away) == reached


INSIDE = {"console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"}  # which bubblewrap makes


def test_no_device_of_the_machine_is_there(warden: Warden) -> None:
    found = [path for path in pathlib.Path("/dev").iterdir() if not path.is_symlink()]
    others = sorted({path.name for path in found if path.is_block_device() or path.is_char_device()} - INSIDE)
    if not others:
        pytest.skip("this machine has no other devices than a sandbox")
    script = f"cd /dev; for name in {' '.join(others)}; do test -e $name && echo $name; done; true"
    assert inside(warden, script) == []
    assert outside(warden, script) == others


def test_what_an_agent_makes_setuid_is_not_so_when_the_checkout_is_taken_back(warden: Warden) -> None:
    script = "cp /bin/sh mine; chmod 6755 mine; mkdir set; chmod 2777 set; ln -s /etc/passwd link; ln /usr/bin/env hard 2>/dev/null; true"
    before = [os.stat(path) for path in ("/etc/passwd", "/usr/bin/env")]
    run = warden.launch(script, has_code=True)
    assert run.end().succeeded
    mine = (run.directory / "workspace/mine").stat()
    if not warden.is_ordinary:
        assert (mine.st_uid, stat.S_IMODE(mine.st_mode) & 0o6000) == (0, 0)
    assert not (run.directory / "workspace/hard").exists()
    assert [(now.st_uid, now.st_mode, now.st_nlink) for now in map(os.stat, ("/etc/passwd", "/usr/bin/env"))] == [
        (then.st_uid, then.st_mode, then.st_nlink) for then in before
    ]


def test_guard_and_shim_killed_at_once_leave_nobody_even_before_a_recovery(warden: Warden) -> None:
    tether = Tether(secret(warden.root / "tethers/x").with_name("tether"))
    os.chmod(tether.path, 0o666)
    confinement = Confinement(mounts=(Mount(str(tether.path.parent), writable=True),))
    run = warden.launch(f"exec 9>{tether.path}; {SETSID_AND_DOUBLE_FORK} echo d >&9; sleep 1000", confinement=confinement)
    tether.await_words(4)
    os.kill(run.process.pid, signal.SIGSTOP)  # or it would do what the wall has to
    run.kill(run.pid_of("guard"))
    tether.await_end()
    run.kill()


def test_the_same_without_a_wall_leaves_somebody(warden: Warden) -> None:
    tether = Tether(secret(warden.root / "tethers/x").with_name("tether"))
    os.chmod(tether.path, 0o666)
    run = warden.launch(f"exec 9>{tether.path}; {SETSID_AND_DOUBLE_FORK} echo d $$ >&9; sleep 1000", sandbox=None)
    tether.await_words(5)
    os.kill(run.process.pid, signal.SIGSTOP)
    guard = run.pid_of("guard")
    run.kill(guard)
    run.kill()
    run.wait()
    run.await_lock()
    left = [int(path.parts[2]) for path in pathlib.Path("/proc").glob("[0-9]*/fd/9") if _leads_to(path, tether.path)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left
    tether.await_end()


def _leads_to(link: pathlib.Path, path: pathlib.Path) -> bool:
    try:
        return os.readlink(link) == str(path)
    except OSError:
        return False


PLANTED = """
git config include.path {outside}.inc; git config core.worktree {home}
for key in core.fsmonitor core.editor core.pager core.sshCommand core.alternateRefsCommand gpg.program diff.external credential.helper \
    uploadpack.packObjectsHook filter.evil.clean filter.evil.smudge filter.evil.process merge.evil.driver diff.evil.textconv; do
    git config $key 'touch {outside}; cat'
done
printf '* filter=evil diff=evil merge=evil\\n' >.gitattributes; mkdir -p .git/info; cp .gitattributes .git/info/attributes
mkdir -p hooks .git/hooks
for hook in pre-commit post-commit post-checkout reference-transaction pre-auto-gc post-index-change fsmonitor-watchman; do
    printf '#!/bin/sh\\ntouch {outside}\\n' | tee hooks/$hook >.git/hooks/$hook; chmod +x hooks/$hook .git/hooks/$hook
done
echo {home}/.ssh >.git/objects/info/alternates.evil
printf '[submodule "x"]\\n\\tpath = x\\n\\turl = ext::sh -c "touch {outside}"\\n\\tupdate = !touch {outside}\\n' >.gitmodules
ln -s {home}/.ssh/id_ed25519 key; echo work >work; true
"""


def test_nothing_that_is_planted_runs_on_the_host_when_the_work_is_fetched(warden: Warden) -> None:
    outside_file = warden.root / "executed"
    run = warden.launch(PLANTED.format(outside=outside_file, home=warden.home), has_code=True)
    run.end()
    warden.take()
    assert not outside_file.exists()
    # What was planted is sharp: who uses git in that checkout runs it.
    workspace = run.directory / "workspace"
    assert (workspace / "work").read_text() == "work\n"
    sharp = ["git", "-c", "safe.directory=*", "-C", str(workspace), "--work-tree", str(workspace), "add", "-A"]
    subprocess.run(sharp, check=False, capture_output=True)
    assert outside_file.exists()


DEEPER = """python3 - <<'END'
import os
for count, name in ((1500, "d"), (40, "n" * 250)):
    top = os.open(".", os.O_RDONLY)
    for _ in range(count):
        os.mkdir(name, dir_fd=top)
        top, above = os.open(name, os.O_RDONLY, dir_fd=top), top
        os.close(above)
    os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=top))
END
"""


@pytest.mark.parametrize("is_killed", [False, True])
def test_an_attempt_comes_to_its_end_however_deep_a_tree_its_agent_leaves(warden: Warden, *, is_killed: bool) -> None:
    run = warden.launch(f"{DEEPER} cd ~ && {DEEPER} touch .git/refs/heads/x; exit {9 if is_killed else 0}", has_code=True)
    outcome = run.end()
    if is_killed:
        (run.directory / "outcome.json").unlink()
        outcome = warden.stage.start(run.directory, "--recover").end()
    warden.take()
    assert (outcome.cause, outcome.succeeded) == ("exit", not is_killed)
    assert {path.lstat().st_uid for path in (run.directory / "workspace").glob("*")} == {run.directory.stat().st_uid}
    subprocess.run(["rm", "-rf", str(run.directory)], check=True)


TOOL = ".local/share/uv/bin"


def with_tool(warden: Warden) -> dict[str, str]:
    """An environment whose PATH has a directory of the user's, which is mounted in the private home."""
    tool = secret(warden.home / TOOL / "tool")
    return {"PATH": f"{tool.parent}:{os.environ['PATH']}", "HOME": str(warden.home)}


@pytest.mark.parametrize("link", [".local", ".local/share", TOOL])
def test_mount_points_are_not_made_where_a_link_in_the_home_leads(warden: Warden, link: str) -> None:
    planted = warden.root / "planted"
    planted.mkdir()
    planted.chmod(0o777)
    script = f"cd ~ && mv {link} aside && ln -s /oldroot{planted}/made {link} && mkdir -p aside && ln -s /oldroot{planted} other; echo x"
    outcome = warden.run(f"{script}; cd - && git commit -q --allow-empty -m x", has_code=True, environment=with_tool(warden), verify="true")
    assert list(planted.iterdir()) == []
    assert (outcome.verified, outcome.warnings) == (True, ())


def test_a_link_before_the_checkout_ends_it(warden: Warden) -> None:
    """The checkout lies below /tmp here, which is the agent's inside."""
    planted = warden.root / "planted"
    planted.mkdir()
    planted.chmod(0o777)
    if not warden.is_ordinary:
        pytest.skip("what root's bubblewrap has made in /tmp its agent cannot move")
    name = warden.root.name
    script = f"git commit -q --allow-empty -m x; echo left >left; cd /tmp && mv {name} aside && ln -s /oldroot{planted} {name}"
    outcome = warden.run(script, has_code=True, verify="echo verified")
    assert list(planted.iterdir()) == []
    assert (outcome.verified, outcome.unsaved) == (True, True), "the verification has a /tmp of its own"
    assert "has put something in the way" in " ".join(outcome.warnings)
    assert warden.repository.files(outcome.salvage_ref or "")["left"] == "left"


@pytest.mark.parametrize(("limits", "size"), [(None, 1 << 30), (Limits(memory=64 * M), 32 * M)])
def test_what_is_in_memory_has_a_size_or_is_not_written(warden: Warden, limits: Limits | None, size: int) -> None:
    sizes = "df -B1 --output=size /dev/shm /run | tail -n +2"
    write = f"file=/dev/devsh-escape-{os.getpid()}; {{ echo x >$file; }} 2>/dev/null && echo written && rm $file; true"
    assert inside(warden, f"{sizes}; {write}", limits=limits) == [str(size)] * 2
    assert str(size) not in outside(warden, sizes)
    if not warden.is_ordinary:
        assert outside(warden, write) == ["written"]


def test_a_file_in_memory_that_is_too_long_cannot_be_written(warden: Warden) -> None:
    path = f"/dev/shm/devsh-escape-{os.getpid()}"
    script = f"head -c {40 * M} /dev/zero >{path} 2>/dev/null && echo reached; rm {path}"
    assert inside(warden, script, limits=Limits(memory=64 * M)) == []
    assert outside(warden, script) == ["reached"]


GIT = """#!/bin/sh
[ "$1" != bundle ] || mkdir -p "${4%/*}/left/more"
exec /usr/bin/git "$@"
"""


def test_what_is_left_where_bundles_are_made_is_in_nobodys_way(warden: Warden) -> None:
    environment = {"PATH": f"{warden.home}/mine:{os.environ['PATH']}", "HOME": str(warden.home)}
    left = f"mkdir ~/mine; cat >~/mine/git <<'END'\n{GIT}END\nchmod +x ~/mine/git\n"
    commits = "git commit -q --allow-empty -m one; git checkout -q -b other HEAD~1; git commit -q --allow-empty -m two; git checkout -q -"
    run = warden.launch(left + commits, has_code=True, environment=environment)
    outcome = run.end()
    warden.take()
    assert len([*(run.directory / "sandbox").glob("out*/left/more")]) == 2
    assert (outcome.succeeded, outcome.unsaved, outcome.commits) == (True, False, 1), outcome
