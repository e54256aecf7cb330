"""A request tried on an orchestration that is not there yet, so that none is begun for what would be refused.

Looking first and not taking back: another process may have found a new orchestration before its maker could remove it.
"""

from datetime import datetime
from typing import NamedTuple

from devsh_memory_mcp.domain.requests import BatchRequest, SpawnRequest
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine import admission
from devsh_memory_mcp.engine.preparation import Preparation, Preparing

Spawning = SpawnRequest | BatchRequest


class Rehearsed(NamedTuple):
    """What the request came to; it holds for an orchestration without tasks."""

    request: Spawning
    prepared: Preparing


async def rehearse(preparation: Preparation, request: Spawning, now: datetime) -> Rehearsed:
    """What admitting the request to a new orchestration would raise, is raised here."""
    state, settings = State(), await preparation.settings()
    prepared = await (preparation.batch(state, request) if isinstance(request, BatchRequest) else preparation.one(state, request))
    bounds = admission.Bounds(max_tasks=settings.max_tasks)
    admission.admit(state, now, prepared[0], key=None, request="", max_concurrent=None, bounds=bounds)
    return Rehearsed(request, prepared)
