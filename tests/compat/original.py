"""The existing implementation's clients, as far as a server sees them: which requests they make and what they read of the answers.

Its MCP server has three base URLs, which are one here, and shows its token as `X-Task-Run-JWT` to one host and as `Bearer` to another.
"""

import json
from typing import Any

import httpx2

SERVER, WWW = "X-Task-Run-JWT", "Authorization"


class McpServer:
    """The tools that ask a server. `team` is what it reads out of its token."""

    def __init__(self, client: httpx2.AsyncClient, token: str, orchestration_id: str) -> None:
        self._client, self._token, self.orchestration_id = client, token, orchestration_id

    async def _ask(self, host: str, method: str, path: str, **more: Any) -> Any:
        headers = {host: f"Bearer {self._token}" if host == WWW else self._token}
        answer = await self._client.request(method, path, headers=headers, **more)
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    async def spawn_agent(self, prompt: str, agent: str, **more: Any) -> dict[str, Any]:
        body = {"prompt": prompt, "agent": agent, "orchestrationId": self.orchestration_id, "priority": 5, **more}
        headers = {SERVER: self._token}
        answer = await self._client.post("/api/orchestrate/spawn", headers=headers, json=body)
        assert answer.status_code == 202, answer.text
        return {name: answer.json()[name] for name in ("orchestrationTaskId", "taskId", "taskRunId", "agentName", "status")}

    async def get_agent_status(self, task_id: str) -> dict[str, Any]:
        answer = await self._ask(SERVER, "GET", f"/api/orchestrate/status/{task_id}", params={"teamSlugOrId": "local"})
        return {"task": answer["task"], "taskRun": answer["taskRun"]}

    async def list_spawned_agents(self, **params: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._ask(WWW, "GET", self._v1("tasks"), params=params)
        return found

    async def cancel_agent(self, task_id: str, *, cascade: bool = False) -> dict[str, Any]:
        answer = await self._ask(SERVER, "POST", f"/api/orchestrate/cancel/{task_id}", json={"cascade": cascade})
        return {name: answer[name] for name in ("ok", "cancelled", "cancelledCount")}

    async def pull(self) -> dict[str, Any]:
        answer = await self._ask(WWW, "GET", self._v1("sync"))
        return {name: answer[name] for name in ("tasks", "messages", "aggregatedStatus")}

    async def push(self, **body: Any) -> dict[str, Any]:
        answer = await self._ask(WWW, "POST", self._v1("sync"), json={"orchestrationId": self.orchestration_id, **body})
        return {name: answer[name] for name in ("success", "tasksUpdated", "message")}

    async def wait_for_events(self, *types: str) -> dict[str, Any]:
        """The first data whose `type` is one of them."""
        path = f"/api/orchestrate/v2/events/{self.orchestration_id}"
        async with self._client.stream("GET", path, headers={WWW: f"Bearer {self._token}"}) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and (data := json.loads(line[6:]))["type"] in types:
                    assert isinstance(data, dict)
                    return data
        raise AssertionError("the stream ended")

    def _v1(self, name: str) -> str:
        return f"/api/v1/cmux/orchestration/{self.orchestration_id}/{name}"


class GoCli:
    """`devsh orchestrate`, for a user of a team."""

    def __init__(self, client: httpx2.AsyncClient, token: str) -> None:
        self._client, self._headers = client, {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, **params: str) -> Any:
        answer = await self._client.get(path, headers=self._headers, params={"teamSlugOrId": "team", **params})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self._client.post(path, headers=self._headers, json={"teamSlugOrId": "team", **body})
        assert answer.status_code in (200, 202), answer.text
        return answer.json()
