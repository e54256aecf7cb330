"""What this project promises, each promise with an id; `tests/test_requirements.py` holds that the built ones have a test.

A test names what it holds: `@pytest.mark.promise("cli.spawn.priority")`. As a program it lists what no test names yet.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent


class Promise(NamedTuple):
    """One thing that a user may rely on. `built` is false where it is specified and comes later."""

    id: str
    text: str
    built: bool


# What is specified and not there yet. Using it says so; the README has the same list in words.
NOT_BUILT_YET = frozenset(
    {
    }
)  # fmt: skip

_COMMANDS = {
    "cli.spawn": 'orchestrate spawn [flags] "prompt": spawns a sub-agent in a sandbox',
    "cli.spawn.agent": "spawn --agent NAME, default claude/haiku-4.5",
    "cli.spawn.repo": "spawn --repo OWNER/REPO: the repository to clone",
    "cli.spawn.branch": "spawn --branch NAME: the branch to check out, default main",
    "cli.spawn.pr-title": "spawn --pr-title TITLE: the pull request's title",
    "cli.spawn.priority": "spawn --priority N: 0 is the highest, default 5",
    "cli.spawn.depends-on": "spawn --depends-on ID, repeatable: waits for these tasks",
    "cli.spawn.use-env-jwt": "spawn --use-env-jwt: authenticates with CMUX_TASK_RUN_JWT",
    "cli.spawn.cloud-workspace": "spawn --cloud-workspace: an orchestration head",
    "cli.spawn.open-pr": "spawn --open-pr: the branch is pushed and the pull request opened with gh, once the task has completed",
    "cli.spawn.verify": "spawn --verify COMMAND: work that does not pass has failed and is saved, and the next attempt is told why",
    "cli.spawn.stall-timeout": "spawn --stall-timeout DURATION: an agent that prints nothing for so long is ended, and tried again",
    "cli.spawn.max-turns": "spawn --max-turns N: the agent is ended after so many; refused where it could not be kept",
    "cli.spawn.max-cost-usd": "spawn --max-cost-usd USD: the agent is ended when it has cost so much; refused where it could not be kept",
    "cli.spawn.memory": "spawn --memory SIZE: an agent that uses more is ended with reason oom; what cannot be kept is told or refused",
    "cli.spawn.cpus": "spawn --cpus N: the agent gets so many processors at most",
    "cli.spawn.disk": "spawn --disk SIZE: an agent that comes to hold more of the disk is ended with reason disk, and its work saved",
    "cli.spawn.resume": "spawn --resume ID: goes on with an ended task's session, work and branch",
    "cli.spawn.json": "spawn --json: the result as JSON, with orchestrationTaskId",
    "cli.spawn.new-branch": "each agent works on a new branch {prefix}{slug}-{id}, prefix dev/, never on the base branch",
    "cli.spawn.gh-hint": "after completion `gh pr create` opens the pull request: the result ends with that line",
    "cli.spawn.auto-pr": "Auto-PR in the settings opens pull requests",
    "cli.status": "orchestrate status ID: the task in detail",
    "cli.status.watch": "status --watch, -w: follows it, and ends by itself at a terminal state",
    "cli.status.interval": "status --interval SECONDS, default 3",
    "cli.status.notify": "status --watch --notify COMMAND: the same at a watch's end",
    "cli.status.line": "status --line: one line for a status line, from the views alone",
    "cli.status.board": "status --watch without an id is a live board: what each agent does, what it waits for, needs and costs",
    "cli.status.json": "status --json",
    "cli.results": "orchestrate results ORCHESTRATION: what all sub-agents came to",
    "cli.results.use-env-jwt": "results --use-env-jwt",
    "cli.results.json": "results --json",
    "cli.results.conflicts": "results say which published branches conflict with each other, and in which files",
    "cli.list": "orchestrate list: all sub-agents and their status",
    "cli.list.status": "list --status pending|running|completed|failed",
    "cli.list.json": "list --json: an array whose items have orchestrationTaskId",
    "cli.wait": "orchestrate wait ID: until the task has ended",
    "cli.wait.timeout": "wait --timeout DURATION, default 5m",
    "cli.wait.notify": "wait --notify COMMAND: runs once at the end, with the outcome in its environment",
    "cli.wait.json": "wait --json",
    "cli.message": 'orchestrate message TASK_RUN_ID "message": to a running agent, through the mailbox',
    "cli.message.type": "message --type handoff|request|status, required",
    "cli.cancel": "orchestrate cancel ID",
    "cli.logs": "orchestrate logs ID, -f, --raw: what an agent does and prints, in words or byte by byte",
    "cli.diff": "orchestrate diff ID: what an ended task changed, as git shows it",
    "cli.open": "orchestrate open ID: the agent's own session, or a shell, in its checkout, which stays while it is open",
    "cli.replay": "orchestrate replay [ID|PATH] --to SEQ: plan, agents and mailbox as they were, from a journal, a directory or an export",
    "cli.export": "orchestrate export: one orchestration packed without secrets, without work, in place whole or not at all",
    "cli.merge": "orchestrate merge ID…: the branches of completed tasks into the user's own clean checkout",
}

_TOOLS = {
    "mcp.tools": "the server devsh-memory-mcp offers the nine tools by their names",
    "mcp.spawn_agent": "spawn_agent answers orchestrationTaskId, taskId, taskRunId, agentName, status",
    "mcp.spawn_agent.prompt": "spawn_agent.prompt",
    "mcp.spawn_agent.agentName": "spawn_agent.agentName",
    "mcp.spawn_agent.repo": "spawn_agent.repo, optional",
    "mcp.spawn_agent.branch": "spawn_agent.branch, optional",
    "mcp.spawn_agent.dependsOn": "spawn_agent.dependsOn, optional: waits for these tasks",
    "mcp.spawn_agent.priority": "spawn_agent.priority, optional: 0 highest to 10 lowest",
    "mcp.spawn_agent.openPr": "spawn_agent.openPr, optional: the same",
    "mcp.spawn_agent.resume": "spawn_agent.resume, optional: goes on with an ended task's session, work and branch",
    "mcp.get_agent_status": "get_agent_status answers status, prompt, result, errorMessage",
    "mcp.get_agent_status.orchestrationTaskId": "get_agent_status.orchestrationTaskId",
    "mcp.list_spawned_agents": "list_spawned_agents answers an array of id, prompt, status, agentName",
    "mcp.list_spawned_agents.status": "list_spawned_agents.status, optional filter",
    "mcp.wait_for_agent": "wait_for_agent blocks until the end and answers status, result, errorMessage",
    "mcp.wait_for_agent.orchestrationTaskId": "wait_for_agent.orchestrationTaskId",
    "mcp.wait_for_agent.timeout": "wait_for_agent.timeout, optional, milliseconds, default five minutes",
    "mcp.cancel_agent": "cancel_agent answers ok, cancelled, cancelledCount",
    "mcp.cancel_agent.orchestrationTaskId": "cancel_agent.orchestrationTaskId",
    "mcp.cancel_agent.cascade": "cancel_agent.cascade, optional: cancels the dependents too",
    "mcp.get_orchestration_summary": "get_orchestration_summary answers orchestrationId, status counts, activeAgents, activeAgentCount, "
    "recentCompletions, allTasksComplete, hasFailures",
    "mcp.pull_orchestration_updates": "pull_orchestration_updates answers synced, tasks, messages, aggregatedStatus",
    "mcp.pull_orchestration_updates.orchestrationId": "pull_orchestration_updates.orchestrationId, optional, else CMUX_ORCHESTRATION_ID",
    "mcp.pull_orchestration_updates.plan": "a pull brings PLAN.json up to date: statuses, unread messages, counts",
    "mcp.send_message": "send_message sends a message to another agent",
    "mcp.get_my_messages": "get_my_messages answers the messages addressed to this agent",
    "mcp.spawn_batch": "spawn_batch admits tasks with dependencies among them in one commit, or none",
    "mcp.worker": "a worker's server offers messages and status only",
    "mcp.brief": "devsh://brief restores a head that lost its memory in at most 1,500 tokens",
    "mcp.resources": "devsh://plan, devsh://agents, devsh://agents/{id}, devsh://runs/{id}/log",
    "mcp.subscriptions": "who subscribes to a resource is told when it changes",
    "mcp.prompts": "the four patterns as prompts",
    "mcp.conformance": "the server passes the protocol's conformance scenarios that apply to it",
    "mcp.http": "MCP at /mcp and /sse of a server: each client is who its token says, and a session is that token's alone",
    "mcp.transport": "devsh-memory-mcp --transport streamable-http|sse serves many clients at once",
    "mcp.remote": "devsh-memory-mcp --remote URL, CMUX_API_BASE_URL: over stdio at a server as on this machine",
    "mcp.warm": "sessions over stdio share one process of their memory root, and none of them can end or read another",
    "mcp.example.parallel": "the example of parallel tasks works as printed",
    "mcp.example.pipeline": "the example of a sequential pipeline works as printed",
}

_HEADS = {
    "head.instructions": "heads get HEAD_AGENT_INSTRUCTIONS.md",
    "head.environment": "heads get CMUX_IS_ORCHESTRATION_HEAD and CMUX_ORCHESTRATION_ID",
}

_ROUTES = {
    "http.spawn": "POST /api/orchestrate/spawn",
    "http.status": "GET /api/orchestrate/status/{id}",
    "http.results": "GET /api/orchestrate/results/{id}",
    "http.events": "GET /api/orchestrate/events/{id}",
    "http.list": "GET /api/orchestrate/list",
    "http.cancel": "POST /api/orchestrate/cancel/{id}",
    "http.pull": "GET /api/orchestration/pull",
    "http.serve": "serve: this memory root over HTTP, at a network address or a unix socket; a signal ends it, never an agent",
    "http.token": "token [--head ORCH | --worker RUN | --owner NAME] [--expires DURATION]: what a server's clients show",
    "http.remote": "--remote URL, CMUX_API_BASE_URL: every command at a server as here; no path of this machine's is sent there",
    "http.second-machine": "with a server's address and a token a second machine does the main job, from a shell and with MCP",
    "http.metrics": "GET /metrics: what a server counts, as Prometheus reads it",
    "http.openapi": "GET /openapi.json, and a page that shows it",
    "http.rights": "every route asks for a token, and answers 401 or 403 to one that is not good for it",
    "http.guests": "a guest of a server has orchestrations of his own, walls around everything, and nothing of its user",
    "sse.connected": "the event connected, when the connection stands",
    "sse.task_status": "the event task_status, when a task's status changed",
    "sse.task_completed": "the event task_completed, with the result",
    "sse.heartbeat": "the event heartbeat, every 30 seconds",
    "sse.watch": "--watch uses the stream of a server where there is one",
}

_PATTERNS = {
    "pattern.pipeline": "pattern 1, sequential pipeline, works as printed (with jq)",
    "pattern.fan-out": "pattern 2, parallel fan-out, works as printed (with & and wait)",
    "pattern.leader-worker": "pattern 3, leader and workers",
    "pattern.review-loop": "pattern 4, review loop: a prompt that names a task's id gives its agent that task's branch",
}

_FILES = {
    "file.root": "orchestration data lies in orchestration/ under the memory root, /root/lifecycle/memory in a sandbox",
    "file.plan": "PLAN.json: version, orchestrationId, createdAt, status, headAgent, isOrchestrationHead, description, tasks",
    "file.plan.tasks": "PLAN.json's tasks: id, prompt, agentName, status, dependsOn, orchestrationTaskId, result",
    "file.agents": "AGENTS.json: version, orchestrationId, agents",
    "file.agents.agents": "AGENTS.json's agents: orchestrationTaskId, taskRunId, agentName, status, spawnedAt, completedAt, prompt, "
    "sandboxId",
    "file.events": "EVENTS.jsonl: append-only, a JSON object a line with timestamp and event",
    "file.events.agent_spawned": "the event agent_spawned with agentName and orchestrationTaskId",
    "file.events.agent_completed": "the event agent_completed with orchestrationTaskId and status",
    "file.events.message_sent": "the event message_sent with from, to and type",
}

_ENVIRONMENT = {
    "env.CMUX_IS_ORCHESTRATION_HEAD": "CMUX_IS_ORCHESTRATION_HEAD is 1 for an orchestration head",
    "env.CMUX_ORCHESTRATION_ID": "CMUX_ORCHESTRATION_ID names the orchestration",
    "env.CMUX_TASK_RUN_JWT": "CMUX_TASK_RUN_JWT authenticates sub-agent spawns",
    "env.CMUX_HEAD_AGENT": "CMUX_HEAD_AGENT names the coordinating head agent",
    "env.CMUX_PARENT_TASK_RUN_ID": "CMUX_PARENT_TASK_RUN_ID names the parent task run",
}

_CONDUCT = {
    "status.machine": "a task is pending, running, then completed, failed or cancelled, which are final",
    "status.parallel": "tasks without dependencies between them run at the same time",
    "status.dependents": "a dependent starts after its dependencies have completed",
    "status.failure": "a failure is told with its reason, and fails the dependents",
    "agent.shell": "shell/bash and shell/sh run the prompt as a script",
    "agent.claude": "claude/… runs Claude Code",
    "agent.codex": "codex/… runs Codex",
    "agent.opencode": "opencode/… runs opencode",
    "agent.gemini": "gemini/… runs Gemini CLI",
    "agent.acp": "acp/<command> runs any agent that speaks the Agent Client Protocol",
    "skill.file": ".agents/skills/devsh-orchestrator/SKILL.md tells an agent how to use it",
    "skill.symlink": ".claude/skills/devsh-orchestrator is a link to it",
}

_SETTINGS = {
    "settings.order": "settings come from the environment, .devsh.toml of the repository, config.toml of the user, what is built in",
    "settings.wrong": "a wrong setting is told with file, line, key and the nearest name, and nothing is started",
    "settings.trust": "what acts for the user in a repository's file is ignored until `devsh trust` allowed that very content",
    "settings.keys": "each setting does what it says to the tasks that are spawned",
    "settings.limits": "agents spawn agents max_depth deep at most, and an orchestration has max_tasks unfinished tasks at most",
}

_GETTING_THERE = {
    "settings.config": "devsh config shows each value and where it comes from; get, set [--project]",
    "setup.claude": "devsh setup claude [--project] enters server, permission and skill, and shows the diff before",
    "setup.codex": "devsh setup codex enters server, timeouts, variables and permission",
    "setup.remove": "devsh setup … --remove takes out what was put in, and nothing else",
    "skill.install": "devsh skill install [--project] copies the skill, and writes over nothing",
    "skill.wheel": "the skill is part of what is installed",
    "plugin.valid": "the repository is a Claude Code plugin, valid by claude itself; .mcp.json and server.json say the same",
    "doctor.fsck": "devsh fsck [--repair] finds what is wrong with the files, says it in words, mends it and loses nothing",
    "settings.billing": "spawn --billing subscription|api, and `billing` in the settings: who pays where both could",
    "settings.auth": "devsh auth PROGRAM [--remove] [--status]: a key or token that comes before any other, in a file for its user alone",
    "doctor.report": "devsh doctor says which CLIs, logins and tools are there, what is missing and how to get it",
    "doctor.limits": "devsh doctor says whether limits of memory and processors can be kept here, and what gets them",
}

_ALL = _COMMANDS | _TOOLS | _HEADS | _ROUTES | _PATTERNS | _FILES | _ENVIRONMENT | _CONDUCT | _SETTINGS | _GETTING_THERE
PROMISES = tuple(Promise(id_, text, built=id_ not in NOT_BUILT_YET) for id_, text in _ALL.items())


def named_promises(tests: Path = TESTS) -> dict[str, list[str]]:
    """Which tests name which promise, read from their source: id to `file:line`. ValueError for a marker that cannot be read so."""
    found: dict[str, list[str]] = {}
    for path in sorted(tests.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if _is_marker(node):
                where = f"{path.relative_to(tests)}:{node.lineno}"
                for id_ in _arguments(node, where):
                    found.setdefault(id_, []).append(where)
    return found


def uncovered() -> Iterator[Promise]:
    """The built promises that no test names."""
    named = named_promises()
    return (promise for promise in PROMISES if promise.built and promise.id not in named)


def _is_marker(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.promise"


def _arguments(call: ast.Call, where: str) -> Iterator[str]:
    if call.keywords or not call.args:
        raise ValueError(f"{where}: a promise marker takes ids alone.")
    for argument in call.args:
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            raise ValueError(f"{where}: a promise marker takes literal ids, so that they are found without running anything.")
        yield argument.value


if __name__ == "__main__":
    for promise in uncovered():
        sys.stdout.write(f"{promise.id:48}{promise.text}\n")
