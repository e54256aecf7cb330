"""What can be read of an orchestration by address: the brief, the plan, the agents and what they print. Reading changes nothing."""

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.types import Resource, ResourceTemplate

from devsh_memory_mcp.domain.answers import TaskRow
from devsh_memory_mcp.domain.brief import elsewhere
from devsh_memory_mcp.domain.requests import ListRequest
from devsh_memory_mcp.errors import DevshError, JournalDamaged, NotFound
from devsh_memory_mcp.faces.mcp_result import Json, dumped, fitted, plain
from devsh_memory_mcp.ports import Orchestrations

LIMIT = 32 * 1024  # bytes; clients cut at about 100 KB
LOG_END = 12 * 1024  # bytes of each of an agent's two outputs
_ID = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


@dataclass(frozen=True)
class Offer:
    """One address, or with `{id}` in it one for each agent, and how it is read."""

    uri: str
    name: str
    title: str
    text: str
    mime_type: str
    read: Callable[[Orchestrations, str], Awaitable[str]]

    @property
    def is_template(self) -> bool:
        """Whether it stands for many."""
        return "{id}" in self.uri

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What its addresses look like; the group is the id."""
        return re.compile(re.escape(self.uri).replace(r"\{id\}", f"({_ID})"))

    def resource(self) -> Resource:
        """As it is listed."""
        return Resource(uri=self.uri, name=self.name, title=self.title, description=self.text, mime_type=self.mime_type)

    def template(self) -> ResourceTemplate:
        """As it is listed where it stands for many."""
        return ResourceTemplate(uri_template=self.uri, name=self.name, title=self.title, description=self.text, mime_type=self.mime_type)


async def read(orchestrations: Orchestrations, uri: str) -> tuple[str, str]:
    """What is at the address, and its type. ResourceError, which names the next step."""
    for offer in OFFERS:
        if (found := offer.pattern.fullmatch(uri)) is not None:
            try:
                return await offer.read(orchestrations, *(found.groups() or ("",))), offer.mime_type
            except NotFound as error:
                raise ResourceNotFoundError(f"{error.code}: {error.message} devsh://agents lists them.") from error
            except DevshError as error:
                raise ResourceError(f"{error.code}: {error}") from error
    raise unknown(uri)


def unknown(uri: str) -> ResourceNotFoundError:
    """The error of an address that leads nowhere."""
    return ResourceNotFoundError(f"Unknown resource: {uri[:200]}. There are {', '.join(offer.uri for offer in OFFERS)}.")


def is_known(uri: str) -> bool:
    """Whether the address has a form that leads somewhere."""
    return any(offer.pattern.fullmatch(uri) for offer in OFFERS)


def id_in(uri: str) -> str | None:
    """The task's id in an address, None where it is not about one task."""
    found = next(filter(None, (offer.pattern.fullmatch(uri) for offer in OFFERS)), None)
    return found[1] if found is not None and found.groups() else None


def of_task(any_id: str) -> list[str]:
    """The addresses about one task."""
    return [offer.uri.replace("{id}", any_id) for offer in OFFERS if offer.is_template]


def of_all() -> list[str]:
    """The addresses about an orchestration as a whole."""
    return [offer.uri for offer in OFFERS if not offer.is_template]


async def brief_of(orchestrations: Orchestrations) -> str:
    """The caller's brief; where his session has nothing, what else is at work in his project."""
    try:
        return await (await orchestrations.current()).brief()
    except NotFound:
        others = []
        for other in await orchestrations.active():
            try:
                counts = (await other.summary()).status
            except JournalDamaged as damage:
                others.append((other.orchestration_id, f"damaged: {damage.next_step}"))
            else:
                others.append((other.orchestration_id, f"{counts.running} running, {counts.pending} pending, {counts.total} in all"))
        return elsewhere(others)


async def _brief(orchestrations: Orchestrations, _: str) -> str:
    return await brief_of(orchestrations)


async def _plan(orchestrations: Orchestrations, _: str) -> str:
    orchestration = await orchestrations.current()
    whole: dict[str, Json] = await orchestration.plan()  # type: ignore[assignment]
    rest = str(orchestration.directory / "PLAN.json") if orchestration.directory else None
    return dumped(fitted(whole, rest=rest, limit=LIMIT))


async def _agents(orchestrations: Orchestrations, _: str) -> str:
    rows: tuple[TaskRow, ...] = ()
    with suppress(NotFound):
        rows = (await (await orchestrations.current()).list_tasks(ListRequest(limit=500))).result
    return dumped(fitted({"agents": [plain(row) for row in rows]}, limit=LIMIT))


async def _agent(orchestrations: Orchestrations, any_id: str) -> str:
    record = await (await orchestrations.holding(any_id)).status(any_id)
    return dumped(fitted(plain(record), rest=record.result_path or record.run_directory, limit=LIMIT))


async def _log(orchestrations: Orchestrations, any_id: str) -> str:
    orchestration = await orchestrations.holding(any_id)
    said = "".join([text async for text in orchestration.output(any_id, last=LOG_END)])
    return said[-2 * LOG_END :] or "It has printed nothing yet."


OFFERS = (
    Offer(
        "devsh://brief",
        "brief",
        "Brief",
        "For a head that lost its memory: who runs, what is owed, unread mail, the next calls. At most 1,500 tokens.",
        "text/markdown",
        _brief,
    ),
    Offer("devsh://plan", "plan", "Plan", "PLAN.json: every task, its status and what it waits for.", "application/json", _plan),
    Offer("devsh://agents", "agents", "Agents", "The agents, newest first.", "application/json", _agents),
    Offer("devsh://agents/{id}", "agent", "Agent", "One agent in full, by any of its ids.", "application/json", _agent),
    Offer("devsh://runs/{id}/log", "log", "Log", "The end of what an agent printed, by any of its ids.", "text/plain", _log),
)
