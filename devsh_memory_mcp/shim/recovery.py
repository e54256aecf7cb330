"""What is done for an attempt whose shim died: prove that its tree is gone, save its work, write its outcome.

It may be repeated at will, and be killed in between.
"""

import contextlib
import os
import time

from devsh_memory_mcp.agents.adapter import Ending, Verdict
from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.errors import DevshError, NoSandbox
from devsh_memory_mcp.shim import census, git, limits, rundir, tree, workspace
from devsh_memory_mcp.shim.assignment import assignment_of
from devsh_memory_mcp.shim.cell import Cell, find_cell
from devsh_memory_mcp.shim.confinement import GUARD
from devsh_memory_mcp.shim.ending import End, Ended, Facts, Unverified
from devsh_memory_mcp.shim.git import Git
from devsh_memory_mcp.shim.history import Bundler
from devsh_memory_mcp.shim.output import TAIL, Relief
from devsh_memory_mcp.shim.place import Place
from devsh_memory_mcp.shim.pulse import Pulse
from devsh_memory_mcp.shim.report import Inbox, now
from devsh_memory_mcp.shim.rundir import Process, Report, Run
from devsh_memory_mcp.shim.saving import Saving
from devsh_memory_mcp.shim.surroundings import agent_environment
from devsh_memory_mcp.shim.workspace import Prepared

_END_SECONDS = 10.0


class StillAlive(Exception):
    """A process of the attempt cannot be ended, so nothing may be done with its files."""


def recover(run: Run, place: Place) -> bool:
    """Ends what is left, saves, writes the outcome; whether it is on disk. StillAlive where something cannot be ended."""
    pulse = Pulse(place.loop, run, place.version, lambda: None)
    pulse.connect()
    reports, _ = rundir.read_lines(f"{place.directory}/{rundir.REPORT_FILE}", Report)
    _end_tree(run, place, reports)
    limits.clear(reports, git.marker(run), place.loop)
    prepared = next((workspace.from_facts(report.facts) for report in reports if report.type == "workspace"), None)
    end = End(place.loop, run, place.directory, Relief(f"{place.directory}/{rundir.RESERVE_FILE}"))
    began = any(report.type == "guard" for report in reports)
    unverified, isolation = Unverified.from_reports(reports), isolation_of(reports)
    cell = _cell(run, place) if isolation != GUARD else None
    ended = Ended.from_reports(reports) or _found_verifying(run, place.directory, unverified) or _found_dead(run, place.directory)
    publish, saving = ended.cause == "exit" and ended.verdict.succeeded, _saving(run, place, prepared, cell, isolation) if began else None
    if unverified is None:
        saved, failure = end.save(saving, publish=publish)
    else:  # what the verification left in the checkout is not the agent's work
        saved, failure = end.publish(saving, unverified.saved) if publish else (unverified.saved, None)
    left = () if cell is None else cell.take_back(ended.verdict.session_id)
    verdict = ended.verdict.despite(failure)
    verdict = verdict._replace(warnings=(*verdict.warnings, *left))
    started_at = reports[0].at if reports else now()
    facts = Facts(
        ended.cause, started_at, ended.duration_ms, max((report.n for report in reports), default=0), ended.exit_code, ended.signal,
        _size(f"{place.directory}/{rundir.STDOUT_FILE}"), _size(f"{place.directory}/{rundir.STDERR_FILE}"), ended.active_ms, ended.verified,
        isolation, limits=limits.in_force_of(reports),
    )  # fmt: skip
    written = end.write(facts, verdict, prepared, saved)
    pulse.leave()
    return written


def _cell(run: Run, place: Place) -> Cell | None:
    """The sandbox that the agent was in; None where the machine has none any more."""
    with contextlib.suppress(NoSandbox):
        return find_cell(run, place.directory, place.walls)
    return None


def isolation_of(reports: list[Report]) -> str:
    """What the last guard that stood was told to be in force."""
    told = [report.facts.get("isolation") for report in reports if report.type == "guard"]
    return str(told[-1]) if told and told[-1] else GUARD


def _end_tree(run: Run, place: Place, reports: list[Report]) -> None:
    """The recorded processes first, by all that identifies them; then whatever carries the run's mark or is of the agent's session."""
    recorded = [report.process for report in reports if report.process is not None]
    for process in recorded:
        if process.pid != os.getpid() and not census.end(process, _END_SECONDS):
            raise StillAlive(f"process {process.pid} does not end")
    agents = [report.process for report in reports if report.type == "agent_started" and report.process is not None]
    sessions = {process.pid for process in agents if _is_of_here(process)}
    until = time.monotonic() + _END_SECONDS
    while tree.kill(left := census.marked(git.marker(run), sessions)):
        place.loop.wait(lambda: False, time.monotonic() + 0.005)
        if time.monotonic() > until:
            raise StillAlive(f"processes {[entry.pid for entry in left]} do not end")


def _is_of_here(process: Process) -> bool:
    """Whether its pid means something on this start of this machine. A session keeps its number while it has a member."""
    return (process.boot_id, process.pid_namespace) == (census.boot_id(), census.pid_namespace())


def _saving(run: Run, place: Place, prepared: Prepared | None, cell: Cell | None, isolation: str) -> Saving | None:
    if run.checkout is None or prepared is None:
        return None
    environment = agent_environment(run, f"{place.directory}/{rundir.WORKSPACE_DIRECTORY}")
    bundler = Bundler(place.loop, place.directory, environment, place.lock, cell, is_barred=isolation != GUARD and cell is None)
    return Saving(Git(place.door, run, run.checkout, place.directory), run, prepared, bundler)


def _is_cancelled(run: Run, directory: str) -> bool:
    return run.cancelled or any(letter.type == "cancel" for letter in Inbox(directory).take())


def _found_dead(run: Run, directory: str) -> Ended:
    """Of an attempt whose agent had not ended when its shim died."""
    is_cancelled = _is_cancelled(run, directory)
    reason = "It was cancelled." if is_cancelled else "Its supervisor died, and the agent with it."
    verdict = _heard(run, directory)._replace(succeeded=False, error_message=reason, failure=None, retry_at=None)
    age = _age_in_milliseconds(f"{directory}/{rundir.RUN_FILE}")
    return Ended("cancelled" if is_cancelled else "lost", age, None, None, verdict)


def _found_verifying(run: Run, directory: str, unverified: Unverified | None) -> Ended | None:
    """Of an attempt whose agent had succeeded, and whose shim died before anything was verified."""
    if unverified is None:
        return None
    is_cancelled = _is_cancelled(run, directory)
    reason = "It was cancelled." if is_cancelled else "Its supervisor died while the work was being verified."
    ended = unverified.ended
    return ended._replace(cause="cancelled" if is_cancelled else "lost", verdict=ended.verdict.despite(reason))


def _heard(run: Run, directory: str) -> Verdict:
    """What the agent had come to by what it had printed: its answer, what it used, its session."""
    path = f"{directory}/{rundir.STDOUT_FILE}"
    size, tail, talk = _size(path), b"", None
    with contextlib.suppress(DevshError):
        talk = find_adapter(run.agent_name).talk(assignment_of(run, directory, run.environment))
    with contextlib.suppress(FileNotFoundError, ValueError), rundir.open_regular(path) as file:
        if talk is not None:
            while line := file.readline(rundir.MOST_BYTES):
                talk.hear(line)
        file.seek(max(0, size - TAIL))
        tail = file.read(TAIL)
    text = tail.decode(errors="replace")
    if talk is not None:
        return talk.verdict(Ending(None, None, text, "", size > TAIL))
    return Verdict(succeeded=False, result=text or None, result_truncated=size > TAIL)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _age_in_milliseconds(path: str) -> int:
    """By the wall clock, the only one that outlives a process; never negative."""
    try:
        return max(0, round((time.time() - os.stat(path).st_mtime) * 1000))
    except FileNotFoundError:
        return 0
