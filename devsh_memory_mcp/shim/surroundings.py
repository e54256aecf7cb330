"""What an agent finds around it: its environment, built from what was recorded and from nothing of the shim's own."""

from devsh_memory_mcp.shim import git, rundir
from devsh_memory_mcp.shim.rundir import Run


def agent_environment(run: Run, workspace: str) -> dict[str, str]:
    """The recorded allow-list, the run's names, the user's identity for commits, and the marker by which it is found again."""
    names = {
        "CMUX_ORCHESTRATION_ID": run.orchestration_id,
        "CMUX_TASK_RUN_ID": run.task_run_id,
        "CMUX_AGENT_NAME": run.agent_name,
        "PWD": workspace,
        rundir.RUN_MARKER: git.marker(run),
        rundir.RUN_ROOT: run.memory_root,
    }
    return {**run.environment, **(git.identity(run.checkout) if run.checkout else {}), **names}
