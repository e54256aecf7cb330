"""What an attempt's outcome says, as the journal keeps it. Pure."""

from typing import get_args

from devsh_memory_mcp.domain.events import AttemptEnded
from devsh_memory_mcp.domain.records import (
    MAX_RESULT_BYTES,
    CostBasis,
    DiffStat,
    Failure,
    LimitsInForce,
    MergeConflict,
    Reason,
    Totals,
    Traffic,
)
from devsh_memory_mcp.shim.bounds import InForce
from devsh_memory_mcp.shim.rundir import Outcome

_REASONS: dict[str, Reason] = {name: name for name in get_args(Reason)}
_COST_BASES: dict[str | None, CostBasis] = {name: name for name in get_args(CostBasis)}
_FAILURES: dict[str | None, Failure] = {name: name for name in get_args(Failure)}


def reason_of(outcome: Outcome) -> Reason:
    """Why the attempt ended; a cause of a newer release is none that we know."""
    return _REASONS.get(outcome.cause, "lost")


def ended_by(task_id: str, outcome: Outcome) -> AttemptEnded:
    """The event for an attempt that ended so."""
    return AttemptEnded(
        orchestration_task_id=task_id,
        task_run_id=outcome.task_run_id,
        attempt=outcome.attempt,
        reason=reason_of(outcome),
        succeeded=outcome.succeeded,
        error_message=outcome.error_message,
        n=outcome.last_report,
        totals=totals_of(outcome),
    )


def bounded(text: str | None) -> tuple[str | None, bool]:
    """The end of a result that fits into the journal, and whether something was cut."""
    if text is None or len(raw := text.encode()) <= MAX_RESULT_BYTES:
        return text, False
    return raw[-MAX_RESULT_BYTES:].decode(errors="ignore"), True


def limits_of(limits: InForce | None) -> LimitsInForce | None:
    """The same as the journal keeps it."""
    return None if limits is None else LimitsInForce(**limits._asdict())


def totals_of(outcome: Outcome) -> Totals:
    """An outcome's figures as the journal keeps them."""
    return Totals(
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        branch=outcome.branch,
        salvage_ref=outcome.salvage_ref,
        head=outcome.head,
        tip=outcome.tip,
        commits=outcome.commits,
        diff_stat=DiffStat(files=outcome.files_changed, insertions=outcome.insertions, deletions=outcome.deletions),
        changed_files=outcome.changed_files,
        changed_file_count=outcome.changed_file_count,
        changed_file_sizes=outcome.changed_file_sizes or {},
        merge_conflicts=tuple(MergeConflict(branch=c.branch, files=c.files) for c in outcome.merge_conflicts),
        isolation=outcome.isolation,
        limits=limits_of(outcome.limits),
        duration_ms=outcome.duration_ms,
        usage=outcome.usage,
        cost_usd=outcome.cost_usd,
        cost_basis=_COST_BASES.get(outcome.cost_basis),
        session_cost_usd=outcome.session_cost_usd,
        failure=_FAILURES.get(outcome.failure),
        needs_input=outcome.needs_input,
        verified=outcome.verified,
        tool_calls=outcome.tool_calls,
        commands=outcome.commands,
        active_ms=outcome.active_ms,
        stop_reason=outcome.stop_reason,
        network=Traffic(**outcome.network._asdict()) if outcome.network else None,
        session_id=outcome.session_id,
        warnings=outcome.warnings,
    )
