"""One attempt's sandbox: its private directories are made here, and its commands put behind the walls.

For root the agent is a user whom the machine does not know, and who owns the checkout as long as it works there.
"""

import errno
import functools
import os
import typing

from devsh_memory_mcp.errors import NoSandbox
from devsh_memory_mcp.shim import belongings, borrowing, leading, mcp_socket, mountpoint, ownership, probe, rundir, sandbox
from devsh_memory_mcp.shim.confinement import Confinement
from devsh_memory_mcp.shim.enclosure import Walls, enclosed, isolation_by
from devsh_memory_mcp.shim.probe import Missing
from devsh_memory_mcp.shim.rundir import Run
from devsh_memory_mcp.shim.sandbox import Bind, Bubblewrap, Layout
from devsh_memory_mcp.shim.stranger import stranger
from devsh_memory_mcp.shim.toolchain import Toolchains, find_toolchains, is_shown, is_within
from devsh_memory_mcp.shim.wall import Task, find_program

_HOME = "/home/agent"  # of a caller that has none
# What leads to sockets, keys and settings that are not inside.
_LEFT_OUT = frozenset({"SSH_AUTH_SOCK", "TMPDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME"})
_BELOW_HOME = frozenset({"CARGO_HOME", "GOPATH"})  # are written to: elsewhere than in the private home they cannot be
_ROOTED = {"ASDF_DATA_DIR": ".asdf", "RUSTUP_HOME": ".rustup", "VOLTA_HOME": ".volta"}  # which are looked for below HOME
_AFRESH = f"{rundir.SANDBOX_DIRECTORY}/verification"


class Cell:
    """Where the commands of one attempt run."""

    def __init__(self, run: Run, directory: str, walls: Walls, private: str = rundir.SANDBOX_DIRECTORY) -> None:
        self._run = run
        self._asked = run.sandbox or Confinement()
        self._directory = directory
        self._walls = walls
        self._private = f"{directory}/{private}"
        self._workspace = f"{directory}/{rundir.WORKSPACE_DIRECTORY}"
        home = os.path.normpath(run.environment.get("HOME") or "/")
        self._users_home = home if home.startswith("/") and home.strip("/") and not is_shown(home) else _HOME
        memory = run.limits.memory if run.limits is not None else None
        self._room = sandbox.ROOM if memory is None else memory // 2
        self._out: str | None = None
        place = mcp_socket.place_in(directory)
        self.is_beside = not isinstance(walls, Bubblewrap)  # it has neither a file system nor a network of its own, but rules for ours
        if isinstance(walls, Bubblewrap):
            self._home, self._tmp, self.server, self._memory = self._users_home, "/tmp", mcp_socket.INSIDE, leading.MEMORY
            self._user = stranger(run.task_run_id) if walls.setpriv else None
        else:
            self._home, self._tmp, self.server, self._user = f"{self._private}/home", f"{self._private}/tmp", place, None
            self._memory = leading.memory_in(directory)

    @property
    def isolation(self) -> str:
        """As outcomes call it."""
        return isolation_by(self._walls)

    @property
    def inside(self) -> leading.Inside:
        """Where a head finds what it leads with."""
        return leading.Inside(self.server, self._memory, self._user)

    def furnish(self) -> tuple[str, ...]:
        """Makes the private directories and hands over what is the agent's, before anything of his runs; warnings. OSError, DevshError."""
        for name in ("home", "tmp", "etc"):
            os.makedirs(f"{self._private}/{name}", exist_ok=True)
        if self._run.head is not None:
            leading.furnish(self._directory, self._user)
        for bind in (*self._binds(), *self._mounts(needed=False)):
            if bind.target.startswith(f"{self._home}/"):  # made by bubblewrap they would be root's
                os.makedirs(os.path.dirname(f"{self._private}/home{bind.target.removeprefix(self._home)}"), exist_ok=True)
        os.chmod(f"{self._private}/tmp", 0o1777)
        for name, content in self._accounts().items():
            with open(f"{self._private}/etc/{name}", "w", encoding="utf-8", errors="replace") as file:
                file.write(content)
        warnings = belongings.bring_in(self._run, f"{self._private}/home")
        for path in (self._workspace, f"{self._private}/home"):
            self._give(path)
        return *self._toolchains.warnings(), *warnings

    def afresh(self) -> "Cell":
        """The same walls and checkout, with a home and a /tmp in which an agent has left nothing, nor any session. OSError, DevshError."""
        cell = Cell(self._run._replace(session=None), self._directory, self._walls, _AFRESH)
        cell.furnish()
        return cell

    def obstacle(self) -> Missing | None:
        """What of the checkout only root can read, who the agent is not."""
        return None if self._user is None else borrowing.closed(self._objects())

    def new_out(self) -> str:
        """Where the next command without network may leave a file for us: a directory of its own, or it would find what another left."""
        number = 1
        while os.path.lexists(f"{self._private}/out{number}"):
            number += 1
        self._out = f"{self._private}/out{number}"
        os.mkdir(self._out)
        self._give(self._out)
        return self._out

    def take_back(self, session_id: str | None) -> tuple[str, ...]:
        """When nothing runs in it any more the checkout is ours again, and the agent's session its user's; warnings. It never raises.

        Git would call the checkout somebody else's.
        """
        failure = None if self._user is None else ownership.give(self._workspace, os.geteuid())
        told = () if failure is None else (f"Some of {self._workspace} still belongs to the user {self._user}: {failure}.",)
        return *told, *belongings.bring_out(self._run, self._directory, f"{self._private}/home", session_id)

    def enclose(self, task: Task, *, network: bool = True, port: int | None = None) -> Task:
        """The same command behind the walls, with a broker at `port` if any. NoSandbox where the agent took away what they stand on."""
        for name in (rundir.PROMPT_FILE, rundir.BRIEFING_FILE):
            self._give(f"{self._directory}/{name}")
        environment = self._environment(task.environment)
        out = [Bind(self._out, self._out, writable=True)] if self._out is not None and not network else []  # for after the agent's end
        mounts = self._mounts(needed=network)
        binds = mountpoint.reachable((*self._binds(), *mounts, *out, *_of_program(task.argv[0], environment, self._users_home)))
        needed = {self._workspace, self._home, *(bind.target for bind in out)} - {bind.target for bind in binds}
        if needed:
            raise NoSandbox(f"Its agent has put something in the way to {min(needed)}, so nothing more runs in its sandbox.")
        layout = Layout(binds, probe.roots()[1], environment, task.directory, network and not self._asked.is_alone, self._user, self._room)
        return enclosed(self._walls, self._ruled(layout, port if network else None) if self.is_beside else layout, task)

    def _ruled(self, layout: Layout, port: int | None) -> Layout:
        """With real paths, which are what rules are about."""
        binds = tuple(bind._replace(source=self._real(bind.source)) for bind in layout.binds)
        hidden = tuple(os.path.realpath(path) for path in (self._users_home, self._run.memory_root))
        sockets = (self._real(path) for path in (mcp_socket.socket_in(self.server), leading.api_in(self.server)))
        return layout._replace(binds=binds, port=port, sockets=tuple(filter(os.path.exists, sockets)), hidden=hidden)

    def _real(self, path: str) -> str:
        """What is below the run's directory is not followed: it may be the agent's link."""
        above = self._directory if path.startswith(f"{self._directory}/") else ""
        return os.path.realpath(above) + path.removeprefix(above) if above else os.path.realpath(path)

    def _environment(self, given: typing.Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in given.items() if name not in _LEFT_OUT}
        for name in _BELOW_HOME & kept.keys():
            if not kept[name].startswith(f"{self._home}/"):
                del kept[name]
        if self._user is not None:
            kept |= {name: "agent" for name in ("USER", "LOGNAME") if name in kept}
        elsewhere = self._elsewhere(kept) if self.is_beside else {}
        return {**kept, **elsewhere, "HOME": self._home, rundir.ISOLATION_VARIABLE: self.isolation}

    def _elsewhere(self, kept: typing.Mapping[str, str]) -> dict[str, str]:
        """For what looks in /tmp or its user's home where neither is at its place."""
        rooted = {name: f"{self._users_home}/{below}" for name, below in _ROOTED.items() if name not in kept}
        found = {name: path for name, path in rooted.items() if os.path.isdir(path)}
        return {**found, "TMPDIR": self._tmp, "CLAUDE_CODE_TMPDIR": self._tmp}

    def _binds(self) -> tuple[Bind, ...]:
        own = [f"{self._directory}/{name}" for name in (rundir.PROMPT_FILE, rundir.BRIEFING_FILE)]
        return (*self._lasting, *(Bind(path, path) for path in own if os.path.exists(path)), *self._server(), *self._of_head())

    def _server(self) -> tuple[Bind, ...]:
        """What leads to our MCP server, with the interpreter that its bridge needs."""
        place = mcp_socket.place_in(self._directory)
        if not os.path.isdir(place):
            return ()
        return (Bind(place, self.server), *_of_program(mcp_socket.bridge_command()[0], {}, self._users_home))

    def _of_head(self) -> typing.Iterator[Bind]:
        """The memory root of one that leads, and our own code, of which its `devsh` is made."""
        if self._run.head is not None:
            yield Bind(leading.memory_in(self._directory), self._memory, writable=True)
            yield from (Bind(path, path) for path in self._run.head.code if os.path.exists(path))

    @functools.cached_property
    def _toolchains(self) -> Toolchains:
        return find_toolchains(self._run.environment, self._users_home, (self._run.memory_root, self._directory))

    @functools.cached_property
    def _lasting(self) -> tuple[Bind, ...]:
        """What every command of the attempt is shown."""
        private = self._private
        return (
            *(() if self.is_beside else _system(private)),
            Bind(f"{private}/tmp", self._tmp, writable=True),
            Bind(f"{private}/home", self._home, writable=True),
            *self._toolchains.binds,
            *(Bind(path, path) for path in self._objects()),
            Bind(self._workspace, self._workspace, writable=True),
        )

    def _mounts(self, *, needed: bool) -> typing.Iterator[Bind]:
        """What was asked for, looked at before each command: another agent that may write there can have put a link to anything."""
        memory = os.path.realpath(self._run.memory_root)
        for path, writable in self._asked.mounts:
            real = os.path.realpath(path)
            if real == path and not is_within(real, memory) and not is_within(memory, real):
                yield Bind(path, path, writable)
            elif needed:
                why = f"leads to {real} now" if real != path else "lies where the memory root is"
                raise NoSandbox(
                    f"{path} is not shown to the agent: it {why}.", next_step="Name the directory itself in --mount, spawned anew."
                )

    def _objects(self) -> list[str]:
        """Where git's objects are that the checkout borrows: the user's, those that he borrows himself, and our merges."""
        checkout = self._run.checkout
        if checkout is None:
            return []
        merged = f"{self._directory}/{rundir.GIT_DIRECTORY}/objects"
        return [*borrowing.objects_of(checkout.repository), *([merged] if checkout.merges and os.path.isdir(merged) else [])]

    def _accounts(self) -> dict[str, str]:
        user, group = (self._user, self._user) if self._user is not None else (os.getuid(), os.getgid())
        name = "agent" if self._user is not None else self._run.environment.get("USER") or "agent"
        shown = name if name.replace("-", "").replace("_", "").replace(".", "").isalnum() else "agent"
        root = [] if user == 0 else ["root:x:0:0:root:/root:/bin/sh"]
        people = [*root, f"{shown}:x:{user}:{group}::{self._home}:/bin/sh", "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin"]
        groups = ["root:x:0:", *([] if group == 0 else [f"{shown}:x:{group}:"]), "nogroup:x:65534:"]
        return {"passwd": "\n".join(people) + "\n", "group": "\n".join(groups) + "\n"}

    def _give(self, path: str) -> None:
        """To the agent. OSError."""
        failure = None if self._user is None else ownership.give(path, self._user)
        if failure is not None:
            raise PermissionError(errno.EPERM, f"it cannot be given to the user {self._user}: {failure}", path)


def find_cell(run: Run, directory: str, known: Walls | None) -> Cell | None:
    """The sandbox that the run was admitted to, None where that is none; NoSandbox where it cannot be made here any more."""
    if run.sandbox is None:
        return None
    found = known or probe.probe(search_path(run.environment))
    if not isinstance(found, Missing):
        cell = Cell(run, directory, found)
        obstacle = cell.obstacle()
        if obstacle is None:
            return cell
        found = obstacle
    raise NoSandbox(f"Its sandbox cannot be made: {found.why}.", next_step=f"What gets one: {found.remedy}.")


def make_cell(run: Run, directory: str, known: Walls | None) -> tuple[Cell | None, tuple[str, ...]]:
    """The same with its private directories, before anything runs in it; and warnings. OSError, DevshError."""
    cell = find_cell(run, directory, known)
    return cell, cell.furnish() if cell is not None else ()


def _system(private: str) -> tuple[Bind, ...]:
    """What everybody has, with accounts that name nobody else."""
    etc = tuple(Bind(f"/etc/{name}", f"/etc/{name}") for name in os.listdir("/etc") if _is_wanted(name))
    return (*probe.roots()[0], *etc, *(Bind(f"{private}/etc/{name}", f"/etc/{name}") for name in ("passwd", "group")))


def _is_wanted(name: str) -> bool:
    """Of what is in /etc; a link that leads nowhere is nothing."""
    return (name in sandbox.ETC or name.startswith(sandbox.ETC_BEGINS)) and os.path.exists(f"/etc/{name}")


def search_path(environment: typing.Mapping[str, str]) -> str:
    """Where bubblewrap is looked for: where the system has it, then on the caller's PATH."""
    return os.pathsep.join(("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin", environment.get("PATH", "")))


def _of_program(name: str, environment: typing.Mapping[str, str], home: str) -> tuple[Bind, ...]:
    """The command itself, where it lies in a directory of its own that PATH does not name."""
    path = find_program(name, environment)
    if not path.startswith("/") or not os.path.exists(path):
        return ()
    return find_toolchains({"PATH": os.path.dirname(path)}, home, ()).binds
