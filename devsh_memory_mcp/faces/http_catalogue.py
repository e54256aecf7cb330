"""What clients of the existing implementation ask before they spawn: which agents there are, and whether the server lives."""

from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devsh_memory_mcp.agents.catalogue import DEFAULT_AGENT, PROVIDERS, SHELLS
from devsh_memory_mcp.agents.claude_model import FAMILIES
from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.domain.instants import instant_text
from devsh_memory_mcp.faces.http_front import Addition, Front, Listed
from devsh_memory_mcp.inventory import AgentCli, find_agents

Document = dict[str, object]

# By rule any model of these programs may be named; these are names that need nobody to keep a list.
_NAMES = {"claude": (DEFAULT_AGENT.partition("/")[2], *FAMILIES[:3]), "gemini": ("default",), "opencode": ("default",)}
_VENDORS = {"claude": "anthropic", "codex": "openai", "gemini": "google", "opencode": "opencode", "shell": "local"}
_KEYS = {provider.program: [name for name, _ in provider.variables if name.endswith("_API_KEY")][:1] for provider in PROVIDERS}
CATALOGUE_ROUTES = (
    Listed("api_health", "/api/health", "That the server lives.", is_open=True),
    Listed("agents", "/api/agents", "Which agents can be started here."),
    Listed("models", "/api/models", "Which there would be, and what is missing."),
    Listed("providers", "/api/providers", "Which agents' programs are there, and whether they are logged in."),
)


def catalogue(front: Front) -> Addition:
    """What is added to an app."""

    def found(request: Request) -> tuple[AgentCli, ...]:
        claims = front.claims(request)
        rooms = front.rooms
        return find_agents(rooms.hosting.environment(rooms.guest(claims)))

    async def agents(request: Request) -> Response:
        return JSONResponse({"agents": agents_document(found(request))})

    async def models(request: Request) -> Response:
        return JSONResponse({"models": models_document(found(request))})

    async def providers(request: Request) -> Response:
        return JSONResponse({"providers": providers_document(found(request))})

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "healthy", "ok": True, "version": VERSION, "timestamp": instant_text(datetime.now(UTC))})

    answered = {"api_health": health, "agents": agents, "models": models, "providers": providers}
    return Addition(routes=[Route(each.path, answered[each.name], methods=["GET"], name=each.name) for each in CATALOGUE_ROUTES])


def agents_document(found: tuple[AgentCli, ...]) -> list[Document]:
    """Those that can be started here, with the program behind each."""
    there = {cli.name: cli.path for cli in found if cli.path}
    named: list[Document] = [{"name": f"{name}/{model}", "command": name} for name in there for model in _names(name)]
    scripts: list[Document] = [{"name": f"shell/{shell}", "command": shell} for shell in SHELLS]
    return [*named, *scripts]


def models_document(found: tuple[AgentCli, ...]) -> list[Document]:
    """The same with all that there would be; what is not installed is disabled, with the line that gets it."""
    shown = [_model(cli.name, model, None if cli.path else cli.kind.install) for cli in found for model in _names(cli.name)]
    return [*shown, *(_model("shell", shell, None) for shell in SHELLS)]


def _model(provider: str, model: str, missing: str | None) -> Document:
    why: Mapping[str, object] = {"disabledReason": missing} if missing else {}
    return {
        "name": f"{provider}/{model}",
        "displayName": model,
        "vendor": _VENDORS[provider],
        "requiredApiKeys": _KEYS.get(provider, []),
        "tier": "free" if provider == "shell" else "paid",
        "disabled": missing is not None,
        "tags": [],
        **why,
    }


def providers_document(found: tuple[AgentCli, ...]) -> Document:
    """Which programs are there, and whether one is logged in."""
    return {cli.name: {"available": cli.path is not None, "configured": bool(cli.logins)} for cli in found}


def _names(provider: str) -> tuple[str, ...]:
    return _NAMES.get(provider, ())
