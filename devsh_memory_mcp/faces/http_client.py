"""The orchestrations of a server, answered over its API: the same interface as on this machine, for the same faces."""

from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain import answers, exchange, requests
from devsh_memory_mcp.domain.records import Request
from devsh_memory_mcp.faces.http_address import Address
from devsh_memory_mcp.faces.http_listening import Waiting, listen, reader_of
from devsh_memory_mcp.faces.http_wire import NONE, PATIENCE, Parameters, Wire, open_wire
from devsh_memory_mcp.faces.mirroring import mirrored
from devsh_memory_mcp.faces.operations import BY_NAME, STREAM_BY_NAME
from devsh_memory_mcp.ports import Change, Printed, Progress
from devsh_memory_mcp.store.mirror import Mirror


class RemoteOrchestration:
    """See `ports.Orchestration` for what each call does and raises; all of them raise Unreachable too."""

    def __init__(self, wire: Wire, orchestration_id: str, root: Path | None = None) -> None:
        self._wire = wire
        self._id = orchestration_id
        self._mirror = None if root is None else Mirror(root, orchestration_id)

    @property
    def orchestration_id(self) -> str:
        """Which it is."""
        return self._id

    @property
    def directory(self) -> Path | None:
        """Its files are the server's."""
        return None

    @property
    def plan_path(self) -> Path | None:
        """Where the copy of its PLAN.json is."""
        return self._mirror.plan_path if self._mirror else None

    async def _ask(self, name: str, any_id: str = "", parameters: Parameters = NONE, *, lasts: float = 0.0) -> Any:
        return await self._wire.ask(BY_NAME[name], any_id, {**parameters, "orchestrationId": self._id}, lasts=lasts)

    async def spawn(self, request: requests.SpawnRequest) -> answers.SpawnAnswer:
        """Admits one task, on the caller's repository as the server can reach it."""
        request, told = await self._wire.origin.of_spawn(request)
        answer: answers.SpawnAnswer = await self._ask("spawn", parameters=_keyed(request))
        return answer.model_copy(update={"warnings": (*told, *answer.warnings)})

    async def spawn_batch(self, request: requests.BatchRequest) -> answers.BatchAnswer:
        """Admits several."""
        request, told = await self._wire.origin.of_batch(request)
        answer: answers.BatchAnswer = await self._ask("spawn_batch", parameters=_keyed(request))
        return answer.model_copy(update={"warnings": (*told, *answer.warnings)})

    async def status(self, any_id: str) -> answers.TaskRecord:
        """One task."""
        answer: answers.TaskRecord = await self._ask("status", any_id)
        return answer

    async def list_tasks(self, request: requests.ListRequest) -> answers.ListAnswer:
        """The tasks."""
        answer: answers.ListAnswer = await self._ask("list", parameters=_sent(request))
        return answer

    async def remains(self) -> Sequence[answers.TaskRow]:
        """Of a damaged journal."""
        answer: answers.ListAnswer = await self._ask("remains")
        return answer.result

    async def results(self) -> answers.ResultsAnswer:
        """What all came to."""
        answer: answers.ResultsAnswer = await self._wire.ask(BY_NAME["results"], self._id)
        return answer

    async def work(self, any_id: str) -> answers.WorkAnswer:
        """Where the work is, on the server's machine."""
        answer: answers.WorkAnswer = await self._ask("work", any_id)
        return answer

    async def wait(self, request: requests.WaitRequest, progress: Progress | None = None) -> answers.WaitAnswer:
        """Until the condition holds; what may end it is told by the stream."""

        async def ask(timeout: int) -> answers.WaitAnswer:
            sent = _whole(request.model_copy(update={"timeout": timeout}))
            answer: answers.WaitAnswer = await self._ask("wait", parameters=sent, lasts=timeout / 1000)
            return answer

        if request.timeout == 0:
            return await ask(0)
        heard = listen(self._wire, self._id, await self.position())
        return await Waiting(request, ask, reader_of(is_shell=self._wire.is_shell)).run(heard, progress)

    async def message(self, request: requests.MessageRequest) -> answers.MessageAnswer:
        """Sends it."""
        answer: answers.MessageAnswer = await self._ask("message", parameters=_keyed(request))
        return answer

    async def messages(
        self,
        *,
        after: int | None = None,
        include_read: bool = False,
        type_: str | None = None,
        correlation_id: str | None = None,
        max_bytes: int | None = None,
    ) -> answers.MessagesAnswer:
        """The caller's own."""
        answer: answers.MessagesAnswer = await self._ask(
            "messages",
            parameters={
                "after": after,
                "includeRead": include_read,
                "type": type_,
                "correlationId": correlation_id,
                "maxBytes": max_bytes,
            },
        )
        return answer

    async def cancel(self, any_id: str, *, cascade: bool = False) -> answers.CancelAnswer:
        """Ends a task."""
        answer: answers.CancelAnswer = await self._ask("cancel", any_id, {"cascade": cascade})
        return answer

    async def summary(self) -> answers.SummaryAnswer:
        """At a glance."""
        answer: answers.SummaryAnswer = await self._ask("summary")
        return answer

    async def pull(self, *, full: bool = False) -> answers.PullAnswer:
        """What changed."""
        answer: answers.PullAnswer = await self._ask("pull", parameters={"full": full})
        return answer if self._mirror is None else await mirrored(self._mirror, self, answer)

    async def push(self, request: exchange.PushRequest) -> exchange.PushAnswer:
        """What its head decided."""
        answer: exchange.PushAnswer = await self._ask("push", parameters=_sent(request))
        return answer

    async def mirror(self, after: int) -> exchange.MirrorAnswer:
        """Its files."""
        answer: exchange.MirrorAnswer = await self._ask("mirror", parameters={"after": after})
        return answer

    async def brief(self) -> str:
        """What a head has to know."""
        return str((await self._ask("brief")).text)

    async def plan(self) -> dict[str, object]:
        """PLAN.json."""
        found: dict[str, object] = (await self._ask("plan")).plan
        return found

    async def explain(self, any_id: str) -> answers.Explanation:
        """Why a task is where it is."""
        answer: answers.Explanation = await self._ask("explain", any_id)
        return answer

    async def position(self) -> int:
        """Of the newest event."""
        return int((await self._ask("position")).seq)

    async def changes(self, after: int) -> AsyncIterator[Change]:
        """Every event behind `after`; where the connection breaks, it goes on behind the last that arrived."""
        async with aclosing(listen(self._wire, self._id, after)) as heard:  # type: ignore[type-var]
            async for each in heard:
                yield each.change

    async def output(self, any_id: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[str]:
        """As people read it."""
        stream = STREAM_BY_NAME["output"]
        async for piece in self._wire.lines(stream, any_id, {"orchestrationId": self._id, "follow": follow, "last": last}):
            yield piece.text

    async def printed(self, any_id: str, *, follow: bool = False) -> AsyncIterator[Printed]:
        """Byte by byte."""
        stream = STREAM_BY_NAME["printed"]
        async for piece in self._wire.lines(stream, any_id, {"orchestrationId": self._id, "follow": follow}):
            yield Printed(piece.is_error, b64decode(piece.content))


class RemoteOrchestrations:
    """See `ports.Orchestrations`."""

    def __init__(self, wire: Wire, named: str | None, root: Path | None = None) -> None:
        self._wire = wire
        self._named = named
        self._root = root

    async def current(
        self, *, create: bool = False, request: requests.SpawnRequest | requests.BatchRequest | None = None
    ) -> RemoteOrchestration:
        """The caller's own."""
        if self._named is not None:
            return await self.named(self._named)
        if not create:
            return self._known(await self._wire.ask(BY_NAME["current"]))
        wanted: dict[str, object] = {}
        if isinstance(request, requests.BatchRequest):
            wanted = {"batch": _sent((await self._wire.origin.of_batch(request))[0])}
        elif request is not None:
            wanted = {"spawn": _sent((await self._wire.origin.of_spawn(request))[0])}
        return self._known(await self._wire.ask(BY_NAME["demand_current"], parameters=wanted))

    async def named(self, orchestration_id: str) -> RemoteOrchestration:
        """By its id."""
        return self._known(await self._wire.ask(BY_NAME["named"], orchestration_id))

    async def holding(self, any_id: str) -> RemoteOrchestration:
        """By a task's."""
        if self._named is not None:
            return await self.named(self._named)
        return self._known(await self._wire.ask(BY_NAME["holding"], any_id))

    async def active(self, *, everything: bool = False) -> list[RemoteOrchestration]:
        """Those that matter now."""
        if self._named is not None:
            return [await self.named(self._named)]
        found = await self._wire.ask(BY_NAME["active"], parameters={"everything": everything})
        return [self._known(one) for one in found.orchestrations]

    async def begin(self, description: str = "", *, max_concurrent: int | None = None) -> RemoteOrchestration:
        """A new one."""
        wanted = {"description": description, "maxConcurrent": max_concurrent}
        return self._known(await self._wire.ask(BY_NAME["begin"], parameters=wanted))

    def _known(self, found: Any) -> RemoteOrchestration:
        return RemoteOrchestration(self._wire, found.orchestration_id, self._root)


@asynccontextmanager
async def open_remote(
    address: Address,
    token: str | None,
    caller: Caller,
    orchestration_id: str | None = None,
    *,
    patience: float = PATIENCE,
    transport: httpx2.AsyncBaseTransport | None = None,
    mirror: Path | None = None,
) -> AsyncIterator[RemoteOrchestrations]:
    """The orchestrations that the token opens at a server; `orchestration_id` settles which one is current.

    `mirror` is the memory root of this machine into which a pull brings their files.
    """
    async with open_wire(address, token, caller, patience=patience, transport=transport) as wire:
        yield RemoteOrchestrations(wire, orchestration_id, mirror)


def _sent(request: Request) -> dict[str, object]:
    """The fields as the caller set them."""
    return request.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _whole(request: Request) -> dict[str, object]:
    """All its fields."""
    return request.model_dump(mode="json", by_alias=True)


def _keyed(request: requests.SpawnRequest | requests.BatchRequest | requests.MessageRequest) -> dict[str, object]:
    """The same with a key, so that it can be sent again where no answer came."""
    sent = _sent(request)
    return sent if sent.get("idempotencyKey") else sent | {"idempotencyKey": f"sent-{uuid4().hex}"}
