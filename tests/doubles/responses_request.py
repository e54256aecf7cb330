"""What a client of the Responses API asked for, as a test looks at it."""

from itertools import pairwise, takewhile
from typing import Any

from tests.doubles.model_request import Request, strings_of


class ResponsesRequest(Request):
    """See `Request`: the same questions about another form."""

    @property
    def is_turn(self) -> bool:
        return self.method == "POST" and self.path.partition("?")[0] == "/v1/responses"

    @property
    def session_id(self) -> str:
        return self.headers.get("session-id", "")

    @property
    def tools(self) -> list[str]:
        """Those of an MCP server as `namespace.name`."""
        found = []
        for tool in self.body.get("tools", []):
            name = tool.get("name", tool["type"])
            found += [f"{name}.{each['name']}" for each in tool["tools"]] if tool["type"] == "namespace" else [name]
        return found

    @property
    def system(self) -> str:
        return str(self.body.get("instructions", ""))

    @property
    def opening(self) -> str:
        """All that the user said before the model said anything."""
        before = takewhile(lambda item: not _is_models(item), self._items)
        return strings_of([item["content"] for item in before if item.get("role") == "user"])

    @property
    def turn(self) -> int:
        """How many runs of items are the model's own."""
        own = [False, *map(_is_models, self._items)]
        return sum(now and not before for before, now in pairwise(own))

    @property
    def conversation(self) -> str:
        shown = [{name: item[name] for name in ("content", "arguments", "input", "output") if name in item} for item in self._items]
        return strings_of(shown)

    @property
    def results(self) -> list[str]:
        last = max((at for at, item in enumerate(self._items) if _is_models(item)), default=-1)
        after = self._items[last + 1 :]
        return [strings_of(item["output"]) for item in after if item["type"] in ("function_call_output", "custom_tool_call_output")]

    @property
    def _items(self) -> list[dict[str, Any]]:
        return list(self.body.get("input", []))


def _is_models(item: dict[str, Any]) -> bool:
    return item.get("role") == "assistant" or item["type"] in ("function_call", "custom_tool_call", "reasoning")
