"""A task group for work beside a body, whose body's own error comes out as it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def alongside() -> AsyncIterator[TaskGroup]:
    """The tasks end with the body. What the body raises is not wrapped into a group, so that callers catch it by its class."""
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as error:  # noqa: BLE001  raised again below, outside of the group
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
