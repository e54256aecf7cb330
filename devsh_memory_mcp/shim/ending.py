"""The end of an attempt: save the work, then write outcome.json, however full the disk is."""

import contextlib
import os
import time
import typing

from devsh_memory_mcp.agents.adapter import Verdict
from devsh_memory_mcp.agents.plain import session_word
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.bounds import InForce
from devsh_memory_mcp.shim.confinement import GUARD
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.output import Relief
from devsh_memory_mcp.shim.place import Place
from devsh_memory_mcp.shim.process import CommandFailed
from devsh_memory_mcp.shim.report import Reports, now
from devsh_memory_mcp.shim.rundir import Outcome, Report, Run, Traffic
from devsh_memory_mcp.shim.saving import Saved, Saving
from devsh_memory_mcp.shim.shape import Shape, from_json, to_json
from devsh_memory_mcp.shim.workspace import Prepared

CAUSES = frozenset({"exit", "timeout", "stalled", "cancelled", "lost", "setup", "spawn", "verify", "oom", "disk"})
PATIENCE = 60.0  # seconds for a full disk to get some room again
_AGAIN = 1.0  # seconds until it is tried once more
_PAUSE = 1.0
_TRIES = 3
_LITTLE = 1 << 20
_SHORT = 4096


class Facts(typing.NamedTuple):
    """What the outcome says beside the verdict and the work."""

    cause: str
    started_at: str
    duration_ms: int
    last_report: int
    exit_code: int | None = None
    signal: int | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    active_ms: int | None = None
    verified: bool | None = None
    isolation: str = GUARD
    network: Traffic | None = None
    limits: InForce | None = None


class Ended(typing.NamedTuple):
    """How the agent ended, before anything is saved: the report `ended`, by which a recovery says what the dead shim would have said."""

    cause: str
    duration_ms: int
    exit_code: int | None
    signal: int | None
    verdict: Verdict
    active_ms: int | None = None
    verified: bool | None = None

    def facts(self) -> dict[str, typing.Any]:
        """As the report has it."""
        return to_json(self)

    def shortened(self) -> "Ended":
        """So short that it fits into the reserve, beside the outcome."""
        result = self.verdict.result and self.verdict.result[-_SHORT:]
        is_cut = self.verdict.result_truncated or result != self.verdict.result
        return self._replace(verdict=self.verdict._replace(result=result, result_truncated=is_cut))

    @classmethod
    def from_reports(cls, reports: list[Report]) -> "Ended | None":
        """What the shim had told, None where it died before the agent had ended (or it was somebody else who told)."""
        ended = _newest(cls, "ended", reports)
        return ended if ended is not None and ended.cause in CAUSES else None


class Unverified(typing.NamedTuple):
    """An agent's success that is still to be verified, and its work, saved before that: the report `verifying`.

    Where the shim dies then nothing is published, and what the verification wrote in the checkout is not the agent's work.
    """

    ended: Ended
    saved: Saved

    def facts(self) -> dict[str, typing.Any]:
        """As the report has it."""
        return to_json(self)

    @classmethod
    def from_reports(cls, reports: list[Report]) -> "Unverified | None":
        """What the shim had told, None where it had not come so far."""
        return _newest(cls, "verifying", reports)


def _newest(shape: type[Shape], kind: str, reports: list[Report]) -> Shape | None:
    told: dict[str, typing.Any] = next((report.facts for report in reversed(reports) if report.type == kind), {})
    try:
        return from_json(shape, told)
    except ValueError:
        return None


class End:
    """The last two things that are done for a run directory."""

    def __init__(self, loop: Loop, run: Run, directory: str, relief: Relief) -> None:
        self._loop = loop
        self._run = run
        self._directory = directory
        self._relief = relief

    def save(self, saving: Saving | None, *, publish: bool) -> tuple[Saved, str | None]:
        """What was saved, and why it could not be; a full disk is given a minute, and whatever else may pass another try or two."""
        if saving is None:
            return Saved(), None
        saved, error = self._patiently(lambda: saving.save(publish=publish))
        if saved is not None:
            return saved, None
        where = f"{self._directory}/{rundir.WORKSPACE_DIRECTORY}"
        return Saved(unsaved=True), f"The work could not be saved in the repository and is in {where}: {error}"

    def publish(self, saving: Saving | None, saved: Saved) -> tuple[Saved, str | None]:
        """The same for work that was saved before and has its branch still to get."""
        if saving is None:
            return saved, None
        published, error = self._patiently(lambda: saving.publish(saved))
        if published is not None:
            return published, None
        return saved, f"The branch could not be set; the work is in {saved.salvage_ref}: {error}"

    def _patiently(self, act: typing.Callable[[], Saved]) -> tuple[Saved | None, Exception | None]:
        until, tries = time.monotonic() + PATIENCE, 0
        while True:
            tries += 1
            try:
                return act(), None
            except (CommandFailed, OSError) as error:
                freed = self._relief.free()
                if not freed and tries >= _TRIES and (not self._is_full() or time.monotonic() > until):
                    return None, error
                self._loop.wait(lambda: False, time.monotonic() + (0.0 if freed else _PAUSE))

    def _is_full(self) -> bool:
        paths = [self._directory, *([self._run.checkout.repository] if self._run.checkout else [])]
        return any(_free_bytes(path) < _LITTLE for path in paths)

    def keep_result(self, text: str, note: typing.Callable[[str], object]) -> None:
        """The whole answer in a file, for people: what the agent prints is for programs."""
        try:
            rundir.write_file(f"{self._directory}/{rundir.RESULT_FILE}", text.encode(errors="replace"))
        except OSError as error:
            note(f"the result has no file of its own: {error}")

    def write(self, facts: Facts, verdict: Verdict, prepared: Prepared | None, saved: Saved) -> bool:
        """Puts outcome.json into place; False where the disk did not take it within a minute, and recovery has to.

        What only the saving needed goes before it, and the reserve with the last step: nothing is done after it.
        """
        for name in (rundir.BUNDLE_FILE, rundir.BUNDLE_LOG_FILE):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._directory}/{name}")
        outcome = outcome_of(self._run, facts, verdict, prepared, saved)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                rundir.write_json(f"{self._directory}/{rundir.OUTCOME_FILE}", outcome, before=self._relief.free)
            except OSError:
                if time.monotonic() > until:
                    return False
                freed = self._relief.free()
                outcome = _shortened(outcome)
                self._loop.wait(lambda: False, time.monotonic() + (0.0 if freed else _PAUSE))
            else:
                return True


def outcome_of(run: Run, facts: Facts, verdict: Verdict, prepared: Prepared | None, saved: Saved) -> Outcome:
    """All that is known of an attempt that is over."""
    changes = saved.difference
    return Outcome(
        format=rundir.FORMAT,
        task_run_id=run.task_run_id,
        attempt=run.attempt,
        succeeded=verdict.succeeded,
        ended_at=now(),
        result=verdict.result,
        result_truncated=verdict.result_truncated,
        error_message=verdict.error_message,
        branch=saved.branch,
        salvage_ref=saved.salvage_ref,
        head=prepared.head if prepared else None,
        tip=saved.tip,
        commits=saved.commits,
        files_changed=changes.file_count,
        insertions=changes.insertions,
        deletions=changes.deletions,
        changed_files=changes.files,
        changed_file_count=changes.file_count,
        changed_file_sizes=changes.sizes,
        unsaved=saved.unsaved,
        usage=verdict.usage,
        cost_usd=verdict.cost_usd,
        session_cost_usd=verdict.session_cost_usd,
        cost_basis=verdict.cost_basis,
        session_id=session_word(verdict.session_id),
        failure=verdict.failure,
        retry_at=verdict.retry_at,
        needs_input=verdict.needs_input,
        tool_calls=verdict.tool_calls,
        commands=verdict.commands,
        stop_reason=verdict.stop_reason,
        merge_conflicts=prepared.conflicts if prepared else (),
        warnings=(*(prepared.warnings if prepared else ()), *verdict.warnings, *saved.warnings),
        **facts._asdict(),
    )


def _shortened(outcome: Outcome) -> Outcome:
    """So short that it fits into the reserve, whatever its characters take when they are escaped."""
    result = outcome.result and outcome.result[-_SHORT:]
    is_cut = outcome.result_truncated or result != outcome.result
    files = outcome.changed_files[:20]
    return outcome._replace(result=result, result_truncated=is_cut, changed_files=files, changed_file_sizes=None)


def _free_bytes(path: str) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def tell(reports: Reports, place: Place, kind: str, told: Ended | Unverified, patience: float) -> str | None:
    """Reports what an agent has come to, shortened where the disk takes no more; why it could not be told in `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            reports.add(kind, facts=told.facts(), relief=patience > 0)
        except OSError as error:
            place.door.note(f"not in the report ({error}): {kind}")
            if time.monotonic() >= until:
                return str(error)
            told = told.shortened() if isinstance(told, Ended) else told
            place.loop.wait(lambda: False, time.monotonic() + _AGAIN)
        else:
            return None
