"""The only file that chooses and builds: who answers a port on this machine."""

import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import anyio
from anyio import to_thread

import devsh_memory_mcp
from devsh_memory_mcp.backends.local import LocalBackend
from devsh_memory_mcp.config import OPERATOR, VERSION, Caller, memory_root
from devsh_memory_mcp.domain.schedule import has_work
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine import garbage
from devsh_memory_mcp.engine.briefing import HeadSetting
from devsh_memory_mcp.engine.credentials import lendable
from devsh_memory_mcp.engine.heads import Mint
from devsh_memory_mcp.engine.limits import USUAL, Limits
from devsh_memory_mcp.engine.link import open_link
from devsh_memory_mcp.engine.orchestrations import LocalOrchestrations, recognised
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.engine.runner import Commands, Runner
from devsh_memory_mcp.engine.sites import Sites
from devsh_memory_mcp.faces.claims import TEAM, Claims, mint
from devsh_memory_mcp.faces.http_rooms import Hosting
from devsh_memory_mcp.ports import Clock, Orchestrations
from devsh_memory_mcp.shim.doorbell import ANSWER_WITHIN, NoRunner, ensure_runner
from devsh_memory_mcp.store.files import make_directory
from devsh_memory_mcp.store.fsck import Finding
from devsh_memory_mcp.store.fsck import check as check_root
from devsh_memory_mcp.store.fsck import check_directory as check_one
from devsh_memory_mcp.store.guests import LOBBY, guest_environment, guest_root, owner_of
from devsh_memory_mcp.store.journal import JOURNAL_FILE, FileJournal, fold_file
from devsh_memory_mcp.store.root import MemoryRoot
from devsh_memory_mcp.store.server_key import server_key

_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from devsh_memory_mcp.runner import main; sys.exit(main(sys.argv[1:]))"

_API_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from devsh_memory_mcp.api import main; sys.exit(main(sys.argv[1:]))"
_SERVER_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from devsh_memory_mcp.__main__ import main; sys.exit(main())"


_NEEDED = ("click", "pydantic", "anyio", "httpx2")  # by `devsh` where it asks a server


class SystemClock:
    """This machine's clocks."""

    def now(self) -> datetime:
        """The present instant, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never step."""
        return time.monotonic()


def runner_command(root: Path) -> tuple[str, ...]:
    """How a runner of `root` is started, by whoever finds none; it works from an installation as from a checkout."""
    package = str(Path(devsh_memory_mcp.__file__).parent.parent)
    return sys.executable, "-I", "-c", _BOOT, package, str(root)


def server_command() -> tuple[str, ...]:
    """How our MCP server is started for an agent, from an installation as from a checkout."""
    package = str(Path(devsh_memory_mcp.__file__).parent.parent)
    return sys.executable, "-I", "-c", _SERVER_BOOT, package, "--worker"


def api_command(root: Path) -> tuple[str, ...]:
    """How the process is started that answers heads in sandboxes."""
    package = str(Path(devsh_memory_mcp.__file__).parent.parent)
    return sys.executable, "-I", "-c", _API_BOOT, package, str(root)


def minting(root: Path, clock: Clock, environment: Mapping[str, str]) -> Mint:
    """How an attempt gets its token, with the key that this user's servers know. It raises what reading that raises."""

    def mint_for(state: State, task: Task, life: timedelta) -> str:
        led, now = task.spec.leads, clock.now()
        claims = Claims(
            task_run_id=task.task_run_id,
            team_id=TEAM,
            user_id=owner_of(root),
            orchestration_id=led.orchestration_id if led else state.orchestration_id,
            role="head" if led else "worker",
            iat=now,
            exp=now + life,
            attempt=task.attempt,
        )
        return mint(server_key(environment), claims)

    return mint_for


def head_setting() -> HeadSetting:
    """What an agent that leads is given: our MCP server, and the code of `devsh`, with what that imports."""
    package = Path(devsh_memory_mcp.__file__).parent
    found = (find_spec(name) for name in _NEEDED)
    others = {str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin is not None}
    server = sys.executable, "-I", "-c", _SERVER_BOOT, str(package.parent), "--led"
    code = (str(package), *sorted(others))
    return HeadSetting("", server, code, tuple(dict.fromkeys((str(package.parent), *code[1:]))))


@asynccontextmanager
async def open_orchestrations(
    root: Path, caller: Caller, orchestration_id: str | None = None, *, patience: float = ANSWER_WITHIN
) -> AsyncIterator[Orchestrations]:
    """The orchestrations of a memory root for one caller; `orchestration_id` settles which one is current.

    A runner that is silent for `patience` seconds is replaced.
    """
    place = MemoryRoot(root, SystemClock(), choose, caller.environment)
    async with (
        open_link(root, runner_command(root), lent=lendable(caller.environment), patience=patience) as link,
        _open_with(Sites(link, SystemClock()), place, caller, orchestration_id) as orchestrations,
    ):
        yield orchestrations


def hosting(root: Path, environment: Mapping[str, str]) -> Hosting:
    """What a server of this memory root gives its callers; a guest has a memory root and a home of his own, below ours."""
    lobby = root / LOBBY
    make_directory(lobby)
    shared: list[Sites] = []
    owner = owner_of(root)

    def home_of(guest: str | None) -> Mapping[str, str]:
        return environment if guest is None else guest_environment(environment, guest)

    def opened(caller: Caller, orchestration_id: str | None) -> AbstractAsyncContextManager[Orchestrations]:
        guest = caller.remote.guest if caller.remote else None
        if guest is not None and guest != owner:
            return open_orchestrations(guest_root(root, guest), caller, orchestration_id)
        return _open_with(shared[0], place, caller, orchestration_id)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        lent = lendable(home_of(None if owner == OPERATOR else owner))
        async with open_link(root, runner_command(root), lent=lent) as link:
            shared.append(Sites(link, SystemClock()))
            try:
                yield
            finally:
                shared.clear()

    place = MemoryRoot(root, SystemClock(), choose, environment)
    return Hosting(owner=owner, directory=lobby, environment=home_of, open=opened, lifespan=lifespan)


@asynccontextmanager
async def _open_with(sites: Sites, place: MemoryRoot, caller: Caller, orchestration_id: str | None) -> AsyncIterator[Orchestrations]:
    caller = await to_thread.run_sync(recognised, place, caller)
    orchestrations = LocalOrchestrations(place, sites, caller, SystemClock(), orchestration_id)
    try:
        yield orchestrations
    finally:
        with anyio.CancelScope(shield=True):
            await orchestrations.aclose()


def recognise(root: Path, caller: Caller) -> Caller:
    """The caller as a memory root knows him: a head where no orchestration has the run that he names."""
    return recognised(MemoryRoot(root, SystemClock(), choose, caller.environment), caller)


def run_runner(root: str, ready_fd: int | None = None) -> None:
    """Serves a memory root until nothing is left to do."""
    os.umask(0o077)  # for what shims and git make below the memory root, also where a terminal's runner is their parent
    path = memory_root(root, os.environ)
    place = MemoryRoot(path, SystemClock(), choose, os.environ)
    anyio.run(make_runner(place, SystemClock()).run, ready_fd)


def make_runner(place: MemoryRoot, clock: Clock, limits: Limits = USUAL) -> Runner:
    """A runner that starts its agents on this machine."""
    commands = Commands(runner_command(place.path), server_command(), api_command(place.path), head_setting())
    backend = partial(LocalBackend, place.path, limits.lock_goes)
    return Runner(place, clock, commands, backend, limits, mint=minting(place.path, clock, os.environ))


def check(root: Path, orchestration_id: str | None, *, repair: bool = False) -> list[Finding]:
    """What is wrong with the files of one orchestration, or of all; with `repair` it is mended where nothing is lost by it."""
    clock = SystemClock()
    place = MemoryRoot(root, clock, choose, os.environ)
    below = place.get(orchestration_id).directory if orchestration_id else None
    findings = check_root(place, clock, choose, repair=repair, sent_away=partial(_resume, place, clock))
    return [finding for finding in findings if below is None or finding.path.is_relative_to(below)]


def _resume(place: MemoryRoot, clock: Clock) -> None:
    """Starts a runner where there is work for one that was asked to leave; where none can be had, the next command tries again."""
    if any(has_work(fold_file(found.directory / JOURNAL_FILE), clock.now()) for found in place.all()):
        with suppress(NoRunner, OSError):
            ensure_runner(str(place.path), runner_command(place.path), {"hello": "face", "version": VERSION}).close()


def check_directory(directory: Path) -> list[Finding]:
    """What is wrong with one orchestration's directory, wherever it is; nothing is changed."""
    return check_one(directory, SystemClock(), choose)


async def collect_garbage(
    root: Path, orchestration_id: str | None, *, older_than: timedelta = garbage.KEEP_CHECKOUT, dry_run: bool = False
) -> garbage.Collected:
    """Removes old checkouts and output of one orchestration, or of all, or only names them."""
    place = MemoryRoot(root, SystemClock(), choose, os.environ)
    collected = garbage.Collected()
    for found in [place.get(orchestration_id)] if orchestration_id else place.all():
        journal = FileJournal(found.directory, SystemClock())
        try:
            collected += await garbage.collect(journal, SystemClock(), older_than=older_than, dry_run=dry_run)
        finally:
            await journal.aclose()
    return collected
