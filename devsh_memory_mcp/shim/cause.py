"""Why an attempt was ended that has not ended by itself, in words."""

from devsh_memory_mcp.shim.rundir import Run


def why_ended(cause: str | None, run: Run) -> str:
    """A sentence for people; empty for a cause of which something else says more."""
    if cause == "timeout":
        return f"It was ended after {run.timeout:g} s, its time limit."
    if cause == "stalled":
        return f"It was ended: it had printed nothing for {run.stall_timeout:g} s."
    return {"cancelled": "It was cancelled.", "lost": "Its supervision was ended from outside, and the agent with it."}.get(cause or "", "")
