"""A provider's refusal for now, as a broker tells it, and what it means for an attempt that failed. Pure."""

import time
import typing

from devsh_memory_mcp.agents.adapter import Verdict

_VAGUE = (None, "api", "crash")  # what a failure is called of which nothing was understood
_HEEDED = ("exit", "timeout", "stalled")


class Limit(typing.NamedTuple):
    """A refusal. `resets_at` is in epoch seconds, None where it was not said."""

    status: int
    resets_at: float | None


def limit_of(told: object) -> Limit | None:
    """As a broker tells it; None where it has told of none."""
    if not isinstance(told, dict) or not isinstance(told.get("status"), int):
        return None
    resets_at = told.get("resetsAt")
    return Limit(told["status"], resets_at if isinstance(resets_at, float) else None)


def heeded(verdict: Verdict, limit: Limit | None, cause: str | None) -> Verdict:
    """The verdict on an attempt whose provider had refused it to the last: what its agent did not tell of that stands in it.

    What the agent's program told itself is kept. One that waited for the provider until its time was over is limited too.
    """
    if limit is None or verdict.succeeded or cause not in _HEEDED:
        return verdict
    kind = "rate_limit" if limit.status == 429 else "overload"
    if verdict.failure not in (*_VAGUE, "rate_limit", "overload") or verdict.retry_at is not None:
        return verdict
    return verdict._replace(
        failure=kind if verdict.failure in _VAGUE else verdict.failure,
        retry_at=limit.resets_at,
        error_message=" ".join(filter(None, (verdict.error_message, _words(limit)))),
    )


def _words(limit: Limit) -> str:
    until = time.strftime(" until %Y-%m-%d %H:%M:%S UTC", time.gmtime(limit.resets_at)) if limit.resets_at is not None else ""
    return f"Its provider refused its requests ({limit.status}){until}."
