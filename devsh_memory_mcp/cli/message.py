"""`devsh orchestrate message`: words to a running agent."""

import sys

import click

from devsh_memory_mcp.cli.asking import ask, build, demanded
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.domain.answers import MessageAnswer
from devsh_memory_mcp.domain.requests import MessageRequest
from devsh_memory_mcp.errors import NotFound
from devsh_memory_mcp.ports import Orchestration, Orchestrations


@command(
    "message",
    'devsh orchestrate message tr_xyz789abc123 "Please also update the tests" --type request',
    'devsh orchestrate message ns7abc12345 "Stop, the spec changed: …" --type request --interrupt',
    'devsh orchestrate message head "The schema is ready" --type handoff',
    short_help="Say something to a running agent.",
)
@click.argument("to", metavar="ID")
@click.argument("text", metavar="MESSAGE")
@click.option(
    "--type",
    "type_",
    type=click.Choice(["handoff", "request", "status", "response"]),
    required=True,
    help="request asks for something, handoff gives work over, status only tells, response answers.",
)
@click.option("--reply-to", type=int, metavar="MESSAGE-ID", help="The message that this one answers.")
@click.option("--correlation-id", metavar="ID", help="Your own mark, to find the answer by.")
@click.option("--interrupt", is_flag=True, help="Stop what the agent does now, so that it reads this at once.")
@click.option("--priority", type=click.Choice(["high", "normal", "low"]))
@click.pass_context
def message(context: click.Context, /, to: str, text: str, *, type_: str, as_json: bool, **fields: object) -> None:
    """Send a message. ID is any id of a task, an agent's name, `head`, or `*` for everyone; `-` reads the message from stdin."""
    demanded(to)
    request = build(MessageRequest, to=to, message=sys.stdin.read() if text == "-" else text, type=type_, **fields)

    async def work(orchestrations: Orchestrations) -> MessageAnswer:
        return await (await _addressed(orchestrations, to)).message(request)

    answer = ask(session_of(context), work)
    if as_json:
        write_json(answer)
    else:
        click.echo(f"Message {answer.message_id} to {answer.to}: {_state(answer)}.{f' {answer.next}' if answer.next else ''}")


def _state(answer: MessageAnswer) -> str:
    if answer.interrupts:
        return "sent; it interrupts what the agent does, which reads it at once"
    return "delivered" if answer.delivered else "in its mailbox"


async def _addressed(orchestrations: Orchestrations, to: str) -> Orchestration:
    """A task's own orchestration; for `head`, `*` and agent names, which every orchestration may have, the current one."""
    if to not in ("head", "*"):
        try:
            return await orchestrations.holding(to)
        except NotFound as missing:
            try:
                return await orchestrations.current()
            except NotFound:
                raise missing from None
    return await orchestrations.current()
