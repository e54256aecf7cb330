"""`gemini/<model>`: Gemini CLI, spoken to as `gemini --acp`.

A prompt in the middle of a turn would end it, so messages wait for its end. It trusts no checkout unless its user trusts the place, and
connects to no MCP server there: only one that may do anything has ours.
"""

import re

from devsh_memory_mcp.agents.acp import Acp
from devsh_memory_mcp.agents.acp_manner import Manner
from devsh_memory_mcp.agents.adapter import SERVER, Assignment, Command, Provider
from devsh_memory_mcp.agents.document import Document, amount, listing, mapping, text

PROVIDER = Provider(
    program="gemini",
    install="npm install -g @google/gemini-cli",
    login="run `gemini` and log in, or set GEMINI_API_KEY",
    variables=(("GEMINI_API_KEY", "api"), ("GOOGLE_API_KEY", "api")),
    home_variable="GEMINI_CLI_HOME",
    home=".gemini",
    login_file="oauth_creds.json",
    instructions=("GEMINI.md",),
    many="an API key in GEMINI_API_KEY is for many",
    limits=("turns",),
)
FLOATING = "default"  # whichever model it would take by itself
_KNOWN = re.compile(r"gemini-\d+(\.\d+)?(-[a-z0-9][a-z0-9.]*)*|auto|pro|flash|flash-lite")
_DASHED = re.compile(r"(?<=-)(\d)-(\d)(?=-)")
_LATER = re.compile(r".*_[1-9]\d*")  # the id of a call ends in its place in the model's answer
_GLUED = re.compile(r"(?:gemini)?[-_ ]?(\d+(?:\.\d+)?-[a-z][a-z0-9.-]*)")


class Gemini(Acp):
    """Runs `gemini --acp` with one model."""

    keeps_sessions = False  # they belong to a directory, and every run has one of its own

    def __init__(self, model: str) -> None:
        options = () if model == FLOATING else ("--model", model)
        named = model if _is_exact(model) else None
        manner = Manner("gemini", PROVIDER.login, model=named, usage=_usage, named=_named, belongs=_is_later)
        super().__init__(("gemini", "--acp", "--allowed-mcp-server-names", SERVER, *options), manner, PROVIDER)

    def command(self, assignment: Assignment) -> Command:
        """The command; it would start itself anew for more memory, and the first of the two hands on no signal."""
        begun = super().command(assignment)
        environment = {"GEMINI_CLI_NO_RELAUNCH": "1"}
        if assignment.permissions != "bypass":
            return begun._replace(environment=environment)
        environment["GEMINI_CLI_TRUST_WORKSPACE"] = "true"
        return begun._replace(argv=(*begun.argv, "--approval-mode", "yolo"), environment=environment)


def _is_exact(model: str) -> bool:
    return model.startswith("gemini-")


def _is_later(call_id: str) -> bool:
    return _LATER.fullmatch(call_id) is not None


def _usage(result: Document) -> dict[str, int]:
    """A turn's own, all requests of it together."""
    told = mapping(mapping(mapping(result.get("_meta")).get("quota")).get("token_count"))
    return (
        {"inputTokens": int(amount(told.get("input_tokens")) or 0), "outputTokens": int(amount(told.get("output_tokens")) or 0)}
        if told
        else {}
    )


def _named(result: Document) -> tuple[str, ...]:
    """The models that answered; it takes another where the account has not the one that is asked for."""
    quota = mapping(mapping(result.get("_meta")).get("quota"))
    return tuple(name for each in listing(quota.get("model_usage")) if (name := text(mapping(each), "model")))


def near_miss(given: str) -> str | None:
    """What was probably meant: `gemini-2.5-pro` for `2.5-pro` and `gemini-2-5-pro`; None where the name passes."""
    dotted = _DASHED.sub(r"\1.\2", given.lower())
    if given == FLOATING or (_KNOWN.fullmatch(given) and dotted == given):
        return None
    if _KNOWN.fullmatch(dotted):
        return dotted
    found = _GLUED.fullmatch(dotted)
    return f"gemini-{found[1]}" if found else None
