"""What a client of the Gemini API asked for, as a test looks at it."""

from itertools import pairwise
from typing import Any

from tests.doubles.model_request import Request, strings_of

_ANSWERS = (":generateContent", ":streamGenerateContent")


class GeminiRequest(Request):
    """See `Request`: the same questions about another form."""

    @property
    def is_turn(self) -> bool:
        return self.method == "POST" and self.path.partition("?")[0].endswith(_ANSWERS)

    @property
    def is_streamed(self) -> bool:
        return ":streamGenerateContent" in self.path

    @property
    def credential(self) -> tuple[str, str]:
        key = self.headers.get("x-goog-api-key", "")
        return ("api key", key) if key else super().credential

    @property
    def model(self) -> str:
        return self.path.rpartition("/")[2].partition(":")[0]

    @property
    def tools(self) -> list[str]:
        return [each["name"] for tool in self.body.get("tools", []) for each in tool.get("functionDeclarations", [])]

    @property
    def system(self) -> str:
        return strings_of(self.body.get("systemInstruction", {}).get("parts", []))

    @property
    def opening(self) -> str:
        """All that the user said before the model said anything, and the system prompt."""
        first = next((at for at, each in enumerate(self._contents) if each["role"] == "model"), len(self._contents))
        return f"{strings_of([each['parts'] for each in self._contents[:first]])}\n{self.system}"

    @property
    def turn(self) -> int:
        """How many runs of contents are the model's own."""
        own = [False, *(each["role"] == "model" for each in self._contents)]
        return sum(now and not before for before, now in pairwise(own))

    @property
    def conversation(self) -> str:
        return strings_of([each["parts"] for each in self._contents])

    @property
    def results(self) -> list[str]:
        last = max((at for at, each in enumerate(self._contents) if each["role"] == "model"), default=-1)
        parts = [part for each in self._contents[last + 1 :] for part in each["parts"]]
        return [strings_of(part["functionResponse"]["response"]) for part in parts if "functionResponse" in part]

    @property
    def _contents(self) -> list[dict[str, Any]]:
        return list(self.body.get("contents", []))
