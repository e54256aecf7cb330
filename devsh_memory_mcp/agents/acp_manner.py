"""In what agents that speak the Agent Client Protocol differ, as one record: the conversation itself is the same for all."""

import typing

from devsh_memory_mcp.agents.document import Document


def _nothing(result: Document) -> dict[str, int]:
    return {}


def _nobody(result: Document) -> tuple[str, ...]:
    return ()


def _never(call_id: str) -> bool:
    return False


class Manner(typing.NamedTuple):
    """Of one agent. `program` is what people call it, `login` what they do to log it in.

    `model` is to be the session's own, where its name can be compared with what the agent tells; `named` are the models that a turn's
    end says were at work. A prompt is taken in the middle of a turn where it `is_steerable`, else it would end it. `usage` are the
    tokens of a turn, where its end tells them all. `belongs` tells by a call's id that its model made it in the answer before: see
    `acp_answers`.
    """

    program: str
    login: str
    model: str | None = None
    is_steerable: bool = False
    usage: typing.Callable[[Document], dict[str, int]] = _nothing
    named: typing.Callable[[Document], tuple[str, ...]] = _nobody
    belongs: typing.Callable[[str], bool] = _never
