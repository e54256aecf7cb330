"""What a client of the Messages API asked for, as a test looks at it."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple


class Request(NamedTuple):
    """A request as it came; header names are in lower case, and `body` is empty where there was none."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def is_turn(self) -> bool:
        """Whether it asks for an answer of the model."""
        return self.method == "POST" and self.path.partition("?")[0] == "/v1/messages"

    @property
    def is_streamed(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def credential(self) -> tuple[str, str]:
        """Its kind, `api key`, `bearer` or `none`, and what it is."""
        if key := self.headers.get("x-api-key"):
            return "api key", key
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        return ("bearer", token) if token else ("none", "")

    @property
    def session_id(self) -> str:
        return self.headers.get("x-claude-code-session-id", "")

    @property
    def tools(self) -> list[str]:
        return [tool["name"] for tool in self.body.get("tools", [])]

    @property
    def system(self) -> str:
        return strings_of(self.body.get("system", ""))

    @property
    def opening(self) -> str:
        """What says who asks: the first thing that the user said, and the system prompt. Later turns do not change it."""
        first = next((message for message in self._messages if message["role"] == "user"), {"content": ""})
        return f"{strings_of(first['content'])}\n{self.system}"

    @property
    def turn(self) -> int:
        """How many turns of the model are behind it."""
        return sum(message["role"] == "assistant" for message in self._messages)

    @property
    def conversation(self) -> str:
        """Everything that was said, called and answered so far."""
        return strings_of([message["content"] for message in self._messages])

    @property
    def results(self) -> list[str]:
        """What the tools of the last turn answered, in their order."""
        last = max((at for at, message in enumerate(self._messages) if message["role"] == "assistant"), default=-1)
        blocks = [block for message in self._messages[last + 1 :] for block in message["content"] if isinstance(block, dict)]
        return [strings_of(block.get("content", "")) for block in blocks if block.get("type") == "tool_result"]

    @property
    def _messages(self) -> list[dict[str, Any]]:
        return list(self.body.get("messages", []))

    def has(self, pattern: str) -> bool:
        return re.search(pattern, f"{self.conversation}\n{self.system}") is not None


def strings_of(value: object) -> str:
    """All strings in it that carry content, a line each; what only labels them is left out."""
    return "\n".join(_strings(value))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        inner = value if isinstance(value, list) else [v for k, v in value.items() if k not in ("type", "role", "id", "tool_use_id")]
        for each in inner:
            yield from _strings(each)
