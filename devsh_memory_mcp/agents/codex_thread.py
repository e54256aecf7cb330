"""What a thread of Codex is begun with: its model, what it may do, and which MCP servers it sees. Pure."""

from devsh_memory_mcp.agents.adapter import SERVER, Assignment
from devsh_memory_mcp.agents.document import Document

FLOATING = "default"  # whichever model Codex would take by itself
_STARTS_WITHIN = 60  # seconds for our server; a first turn without it would not know its tools
# What nobody reads: a model's words while they come, and what a finished item says again.
UNHEARD = (
    "item/agentMessage/delta", "item/commandExecution/outputDelta", "item/commandExecution/terminalInteraction", "item/plan/delta",
    "item/fileChange/outputDelta", "item/fileChange/patchUpdated", "item/reasoning/summaryTextDelta", "item/reasoning/textDelta",
    "item/reasoning/summaryPartAdded", "item/mcpToolCall/progress", "turn/diff/updated", "turn/plan/updated", "thread/started",
    "thread/status/changed", "remoteControl/status/changed", "skills/changed", "app/list/updated",
)  # fmt: skip
CLIENT: Document = {
    "clientInfo": {"name": "devsh", "version": "1"},
    "capabilities": {"experimentalApi": False, "requestAttestation": False, "optOutNotificationMethods": UNHEARD},
}


def is_unwalled(assignment: Assignment) -> bool:
    """Whether it is to do without its own sandbox: it may do anything, or is in ours, in which it could not make another."""
    return assignment.is_walled or assignment.permissions == "bypass"


def thread_parameters(model: str, assignment: Assignment) -> Document:
    """Of `thread/start` and `thread/fork`."""
    is_free = is_unwalled(assignment)
    servers: Document = {name: {"enabled": False} for name in assignment.hide}
    config: Document = {"mcp_servers": servers | _ours(assignment)}
    if not is_free:
        config["sandbox_workspace_write"] = {"writable_roots": [_repository(assignment)]}
    return {
        "cwd": assignment.workspace,
        "model": None if model == FLOATING else model,
        "sandbox": "danger-full-access" if is_free else "workspace-write",
        # Asked for what its sandbox refuses, we say no and know of it; with `never` nobody would be told.
        "approvalPolicy": "never" if is_free else "on-request",
        "config": config,
    }


def probe_parameters(assignment: Assignment) -> Document:
    """Of a command that does nothing, within its sandbox: where that cannot be made, its commands would fail and nobody be told why."""
    policy = {"type": "workspaceWrite", "writableRoots": [_repository(assignment)], "networkAccess": False}
    return {"command": ["true"], "cwd": assignment.workspace, "sandboxPolicy": policy}


def _repository(assignment: Assignment) -> str:
    """Its sandbox keeps every .git for reading, so that an agent could not commit; this is that of a checkout of its own."""
    return f"{assignment.workspace}/.git"


def _ours(assignment: Assignment) -> dict[str, Document]:
    """Our server; it is handed the run's identity by name, since Codex hands on nothing by itself."""
    if not assignment.server:
        return {}
    program, *arguments = assignment.server
    server = {
        "command": program,
        "args": arguments,
        "env_vars": sorted(assignment.environment),
        "enabled": True,
        "required": True,
        "startup_timeout_sec": _STARTS_WITHIN,
        "default_tools_approval_mode": "approve",
    }
    return {SERVER: server}
