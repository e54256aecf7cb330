"""From a request to the parameters of what it asks: the query and the body as one flat record, and the orchestration that is meant."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from devsh_memory_mcp.domain.requests import fault_in_words, faults_of
from devsh_memory_mcp.errors import InvalidRequest, TooLarge

MAX_BODY = 16 * 1024 * 1024
ORCHESTRATION = "orchestrationId"

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A request's parameters, the orchestration that is named, and what was taken and means nothing."""

    given: BaseModel
    orchestration_id: str | None
    ignored: tuple[str, ...]


async def parsed(
    request: Request, kind: type[BaseModel], renames: Mapping[str, str] = {}, tolerates: frozenset[str] = frozenset({"teamSlugOrId"})
) -> Parsed:
    """The parameters, of the query and the body. InvalidRequest, TooLarge."""
    sent: dict[str, object] = dict(request.query_params)
    if request.method == "POST":
        sent |= await _body(request)
    for theirs, ours in renames.items():
        if theirs in sent:
            sent.setdefault(ours, sent.pop(theirs))
    place = sent.pop(ORCHESTRATION, None)
    if place is not None and (not isinstance(place, str) or not 0 < len(place) <= 64):
        raise InvalidRequest(f"{ORCHESTRATION} is not an id.")
    known = {field.alias or name for name, field in kind.model_fields.items()}
    ignored = tuple(sorted(name for name in sent if name in tolerates and name not in known))
    return Parsed(validated(kind, {name: value for name, value in sent.items() if name not in ignored}), place, ignored)


def validated(kind: type[Model], sent: Mapping[str, object]) -> Model:
    """The record; InvalidRequest says what is wrong with it."""
    try:
        return kind.model_validate({name: value for name, value in sent.items() if value is not None})
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the request'}: {fault_in_words(fault)}" for fault in faults_of(error)[:3])
        raise InvalidRequest(f"{said}.") from error


async def _body(request: Request) -> dict[str, object]:
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > MAX_BODY:
            raise TooLarge(f"A request has at most {MAX_BODY // 2**20} MiB.")
    if not content:
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not JSON.") from None
    if not isinstance(found, dict):
        raise InvalidRequest("The body is not a JSON object.")
    return found
