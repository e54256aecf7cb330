"""`devsh orchestrate`: the group of everything that concerns tasks."""

import click

from devsh_memory_mcp.cli.group import LazyGroup, directory_option

MEMBERS = {
    "spawn": "spawn:spawn",
    "spawn-batch": "batch:spawn_batch",
    "status": "status:status",
    "list": "listing:list_tasks",
    "wait": "wait:wait",
    "results": "results:results",
    "diff": "diff:diff",
    "merge": "merge:merge",
    "open": "reopen:reopen",
    "message": "message:message",
    "cancel": "cancel:cancel",
    "logs": "logs:logs",
    "explain": "explain:explain",
    "new": "new:new",
    "replay": "replay:replay",
    "export": "export:export",
}
EXAMPLES = (
    'devsh orchestrate spawn --agent shell/bash --name unit "make test"',
    'devsh orchestrate spawn --agent shell/bash --depends-on unit "make package"',
    "devsh orchestrate status --watch",
    "devsh orchestrate results",
)


@click.group(cls=LazyGroup, members=MEMBERS, aliases={"ls": "list"}, examples=EXAMPLES)
@directory_option
def orchestrate() -> None:
    """Spawn agents, follow them, collect what they did.

    Each agent works on a branch of its own in its own checkout; your working copy is never touched.
    """
