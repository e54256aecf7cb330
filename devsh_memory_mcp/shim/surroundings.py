"""What an agent finds around it: its environment, built from what was recorded and from nothing of the shim's own."""

import zlib

from devsh_memory_mcp.shim import git, rundir
from devsh_memory_mcp.shim.rundir import Run


def agent_environment(run: Run, workspace: str) -> dict[str, str]:
    """The recorded allow-list, the run's names, the user's identity for commits, and the marker by which it is found again."""
    names = {
        "CMUX_ORCHESTRATION_ID": run.orchestration_id if run.head is None else run.head.orchestration_id,
        "CMUX_TASK_RUN_ID": run.task_run_id,
        "CMUX_AGENT_NAME": run.agent_name,
        "PWD": workspace,
        "PORT": str(port_of(run.task_run_id)),
        rundir.RUN_MARKER: git.marker(run),
        rundir.RUN_ROOT: run.memory_root,
        **({} if run.head is None else {"CMUX_IS_ORCHESTRATION_HEAD": "1"}),
    }
    return {**run.environment, **(git.identity(run.checkout) if run.checkout else {}), **names}


def port_of(task_run_id: str) -> int:
    """The first of ten ports for servers that the agent starts, so that runs side by side seldom want the same.

    By the run's id, 20000 to 31990: below what systems give out by themselves. Nothing is reserved.
    """
    return 20_000 + 10 * (zlib.crc32(task_run_id.encode()) % 1200)
