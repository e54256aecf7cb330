"""What a thread of Codex is begun with: its model, what it may do, and which MCP servers it sees. Pure."""

from devsh_memory_mcp.agents.adapter import SERVER, Assignment
from devsh_memory_mcp.agents.document import Document
from devsh_memory_mcp.agents.endpoint import CHATGPT

FLOATING = "default"  # whichever model Codex would take by itself
_STARTS_WITHIN = 60  # seconds for our server; a first turn without it would not know its tools
# What nobody reads: a model's words while they come, and what a finished item says again.
UNHEARD = (
    "item/agentMessage/delta", "item/commandExecution/outputDelta", "item/commandExecution/terminalInteraction", "item/plan/delta",
    "item/fileChange/outputDelta", "item/fileChange/patchUpdated", "item/reasoning/summaryTextDelta", "item/reasoning/textDelta",
    "item/reasoning/summaryPartAdded", "item/mcpToolCall/progress", "turn/diff/updated", "turn/plan/updated", "thread/started",
    "thread/status/changed", "remoteControl/status/changed", "skills/changed", "app/list/updated",
)  # fmt: skip
_ACCOUNT = "devsh"  # instead of the real one


def client_parameters(assignment: Assignment) -> Document:
    """Of `initialize`. A login from outside is one of its experiments."""
    can_log_in = placeholder(assignment) is not None
    capabilities = {"experimentalApi": can_log_in, "requestAttestation": False, "optOutNotificationMethods": UNHEARD}
    return {"clientInfo": {"name": "devsh", "version": "1"}, "capabilities": capabilities}


def placeholder(assignment: Assignment) -> str | None:
    """What stands for a login of ChatGPT's that a broker shows; None where Codex has a key, or its own login."""
    return assignment.environment.get(CHATGPT.own_variable or "") if assignment.is_walled and not assignment.credentials else None


def login_parameters(assignment: Assignment) -> Document:
    """Of the answer to `account/chatgptAuthTokens/refresh`, and with a type of `account/login/start`."""
    return {"accessToken": placeholder(assignment), "chatgptAccountId": _ACCOUNT}


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
