"""Why a Codex run is no success: its class, from facts, and the sentence that people get. Pure."""

import typing

from devsh_memory_mcp.agents.adapter import Ending
from devsh_memory_mcp.agents.document import Document, mapping, text

_BY_NAME = {
    "unauthorized": "auth",
    "usageLimitExceeded": "rate_limit",
    "rateLimitExceeded": "rate_limit",
    "serverOverloaded": "overload",
    "internalServerError": "overload",
    "policyCapacityUnavailable": "overload",
    "flexUnavailable": "overload",
    "contextWindowExceeded": "context",
    "cyberPolicy": "refusal",
    "misalignmentPolicyViolation": "refusal",
    "inferenceHookDenied": "refusal",
    "tooManyDenials": "permission",
    "sandboxError": "permission",
    "sessionBudgetExceeded": "turns",
}
_BY_STATUS = {401: "auth", 403: "auth", 429: "rate_limit"}
# Where the error has no name of its own, and the status stands in its words only.
_BY_WORDS = (
    ("401 Unauthorized", "auth"),
    ("403 Forbidden", "auth"),
    ("429 Too Many", "rate_limit"),
    ("stream disconnected", "overload"),
    ("error sending request", "overload"),
)
_SHOWN = 5


def classify(
    error: Document | None, ending: Ending, *, has_answered: bool, denied: typing.Sequence[str], worked: int
) -> tuple[str | None, str | None]:
    """The class of the failure and why in words; two None for a success.

    `error` is what the last turn or the start failed with, None where a turn was completed; `worked` is how many tool calls were
    not refused.
    """
    if error is not None:
        said = " ".join(filter(None, (text(error, "message"), text(error, "additionalDetails"))))
        return _class(error), f"codex: {said.strip()[:2000] or 'its turn failed'}"
    if not has_answered:
        return "crash", f"codex ended without a result ({_how(ending)}){_last_words(ending)}"
    if ending.exit_code != 0:
        return "crash", f"codex ended with {_how(ending)} after its answer{_last_words(ending)}"
    if denied and not worked:
        return "permission", f"Nothing that it tried was allowed. {describe_denials(denied)}"
    return None, None


def _class(error: Document) -> str:
    info = error.get("codexErrorInfo")
    if isinstance(info, str) and info in _BY_NAME:
        return _BY_NAME[info]
    for value in mapping(info).values():
        status = mapping(value).get("httpStatusCode")
        if status in _BY_STATUS:
            return _BY_STATUS[status]
        return "overload" if status is None or status >= 500 else _by_words(error)
    return _by_words(error)


def _by_words(error: Document) -> str:
    said = f"{text(error, 'message')} {text(error, 'additionalDetails')}"
    return next((kind for words, kind in _BY_WORDS if words in said), "crash" if "code" in error else "api")


def describe_denials(denied: typing.Sequence[str]) -> str:
    """What it was refused, and how it can be allowed."""
    more = f" and {len(denied) - _SHOWN} more" if len(denied) > _SHOWN else ""
    told = f"It was not allowed what it wanted: {'; '.join(denied[:_SHOWN])}{more}."
    return f"{told} Allow it by a rule in ~/.codex/rules, or spawn it with permissions bypass."


def no_wall(said: str) -> Document:
    """The error of a start where its own sandbox cannot be made."""
    why = next((line for line in said.splitlines() if line.strip() and "panicked at" not in line), "").strip()[:300]
    told = f"its own sandbox cannot be made on this machine, so that it could do nothing ({why})."
    return {"message": f"{told} Spawn it with permissions bypass, or make the sandbox work.", "codexErrorInfo": "sandboxError"}


def refused_login() -> Document:
    """The error of a turn whose login a provider refused, or its broker, which shows none that has expired."""
    told = "its ChatGPT login was refused (401), has expired, or is none: codex itself renews it where you use it, else run `codex login`."
    return {"message": told, "codexErrorInfo": "unauthorized"}


def spent_turns(most: int | None) -> Document:
    """The error of a turn that was ended for a limit of ours."""
    return {"message": f"its model has answered {most} times, as often as it may.", "codexErrorInfo": "sessionBudgetExceeded"}


def login_advice() -> str:
    """What a person has to type."""
    return "codex is not logged in, or its login is refused: run `codex login`, or set OPENAI_API_KEY."


def _how(ending: Ending) -> str:
    return f"signal {ending.signal}" if ending.signal else f"exit code {ending.exit_code}"


def _last_words(ending: Ending) -> str:
    last = ending.stderr_tail.strip()[-500:]
    return f": {last}" if last else "."
