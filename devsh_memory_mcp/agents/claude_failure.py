"""Why a Claude Code run is no success: its class, from facts, and the sentence that people get. Pure."""

import typing

from devsh_memory_mcp.agents.adapter import Ending

_BY_STATUS = {401: "auth", 403: "auth", 429: "rate_limit", 529: "overload"}
_BY_SUBTYPE = {"error_max_turns": "turns", "error_max_budget_usd": "cost"}
_SHOWN = 5


def classify(
    result: typing.Mapping[str, typing.Any], ending: Ending, *, denied: typing.Sequence[str], worked: int, turns: int
) -> tuple[str | None, str | None]:
    """The class of the failure and why in words; two None for a success.

    `result` is the last turn's, empty where none came; `worked` is how many tool calls were not refused or failed, `turns` how
    many the model took in all.
    """
    if not result:
        return "crash", f"claude ended without a result ({_how(ending)}){_last_words(ending)}"
    if result.get("is_error") or result.get("subtype") != "success":
        said = result.get("result") or "; ".join(map(str, result.get("errors") or ())) or str(result.get("subtype"))
        return _class(result), f"claude: {said.strip()[:2000]}"
    if not turns and result.get("num_turns") == 0:
        return "crash", f"claude answered without a turn of the model: {str(result.get('result'))[:500]}"
    if ending.exit_code != 0:
        return "crash", f"claude ended with {_how(ending)} after its answer{_last_words(ending)}"
    if denied and not worked:
        return "permission", f"Nothing that it tried was allowed. {describe_denials(denied)}"
    return None, None


def _class(result: typing.Mapping[str, typing.Any]) -> str:
    status = result.get("api_error_status")
    said = str(result.get("result"))
    if result.get("subtype") in _BY_SUBTYPE:
        return _BY_SUBTYPE[result["subtype"]]
    if result.get("stop_reason") == "refusal":
        return "refusal"
    if result.get("terminal_reason") == "prompt_too_long":
        return "context"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if said.startswith(("Not logged in", "Invalid API key", "Failed to authenticate")):
        return "auth"
    return "overload" if isinstance(status, int) and status >= 500 else "api"


def describe_denials(denied: typing.Sequence[str]) -> str:
    """What it was refused, and how it can be allowed."""
    more = f" and {len(denied) - _SHOWN} more" if len(denied) > _SHOWN else ""
    told = f"It was not allowed what it wanted: {'; '.join(denied[:_SHOWN])}{more}."
    return f"{told} Allow it in ~/.claude/settings.json, or in the repository's if claude was told to trust it."


def login_advice() -> str:
    """What a person has to type."""
    return "claude is not logged in, or its login is refused: run `claude` and type /login, or `claude setup-token`."


def _how(ending: Ending) -> str:
    return f"signal {ending.signal}" if ending.signal else f"exit code {ending.exit_code}"


def _last_words(ending: Ending) -> str:
    last = ending.stderr_tail.strip()[-500:]
    return f": {last}" if last else "."
