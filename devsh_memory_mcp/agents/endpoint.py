"""Where the programs behind agents find their provider's API, and how each kind of credential is shown to it.

What a broker needs to stand between: the variable that leads to it, what of the API an agent asks for, the header of the credential.
"""

import re
import types
import typing

BEARER, KEY, GOOGLE_KEY = "bearer", "x-api-key", "x-goog-api-key"
WEBSOCKET = "WEBSOCKET"  # in the place of GET, where it is asked for one
_NAME = "[A-Za-z0-9._-]+"


class Ask(typing.NamedTuple):
    """One thing that may be asked of an API: a method, and a path in which `*` is a plain name, with neither slash nor colon."""

    method: str
    path: str

    def fits(self, method: str, path: str) -> bool:
        """Whether it is this that is asked, the path without its query."""
        return method == self.method and re.fullmatch(_NAME.join(map(re.escape, self.path.split("*"))), path) is not None


class Endpoint(typing.NamedTuple):
    """One program's API.

    `address_variable` is where the program reads its address, the caller's own above all; None where it is told by other means.
    `asks` are what may be asked for: what answers at once and is gone with its answer. Above all not what is kept there and is
    everybody's of that account, nor batches, which go on without the agent, nor what makes keys of a login, which it could keep.
    `headers` has the header for each variable that may hold a credential. `own_variable` takes a placeholder for the login that the
    program keeps itself, in `login_file`; None where it needs a file of its own. `at` is the path of the address inside.
    `subscription` is the API that its own login is for, where that is another one than that of keys. With `takes_token` the
    placeholder looks like a token that says itself how long it lasts, or the program would not take it. Which `uses_keychain` has its
    own login there on macOS, and not in its file.
    """

    program: str
    address: str
    address_variable: str | None
    asks: tuple[Ask, ...]
    headers: typing.Mapping[str, str]
    own_variable: str | None = None
    login_file: tuple[str, str, str] | None = None  # the variable that names its directory, that below the user's, the file's name
    at: str = ""
    subscription: "Endpoint | None" = None
    takes_token: bool = False
    uses_keychain: bool = False


CLAUDE = Endpoint(
    program="claude",
    address="https://api.anthropic.com",
    address_variable="ANTHROPIC_BASE_URL",
    asks=(
        Ask("POST", "/v1/messages"),
        Ask("POST", "/v1/messages/count_tokens"),
        Ask("GET", "/v1/models"),
        Ask("GET", "/v1/models/*"),
        Ask("GET", "/api/hello"),
        Ask("HEAD", "/api/hello"),
    ),
    headers=types.MappingProxyType(
        {"ANTHROPIC_AUTH_TOKEN": BEARER, "ANTHROPIC_API_KEY": KEY, "CLAUDE_CODE_OAUTH_TOKEN": BEARER},
    ),
    own_variable="CLAUDE_CODE_OAUTH_TOKEN",
    login_file=("CLAUDE_CONFIG_DIR", ".claude", ".credentials.json"),
    uses_keychain=True,
)
# Compaction is asked for by some versions of Codex alone.
_RESPONSES = (Ask("POST", "/responses"), Ask(WEBSOCKET, "/responses"), Ask("POST", "/responses/compact"), Ask("GET", "/models"))
CHATGPT = Endpoint(
    program="codex",
    address="https://chatgpt.com/backend-api/codex",
    address_variable="CHATGPT_BASE_URL",  # Codex knows neither of the two: our adapter makes its command line and its login of them
    asks=_RESPONSES,
    headers=types.MappingProxyType({}),
    own_variable="CHATGPT_LOGIN",
    login_file=("CODEX_HOME", ".codex", "auth.json"),
    at="/v1",
    takes_token=True,
)
CODEX = Endpoint(
    program="codex",
    address="https://api.openai.com/v1",
    address_variable="OPENAI_BASE_URL",  # which our adapter makes its command line of
    asks=(*_RESPONSES, Ask("POST", "/chat/completions")),
    headers=types.MappingProxyType({"CODEX_API_KEY": BEARER, "OPENAI_API_KEY": BEARER}),
    at="/v1",
    subscription=CHATGPT,
)


def _of_models(models: str) -> tuple[Ask, ...]:
    """What is asked of Gemini's models, which are at that path."""
    verbs = ("generateContent", "streamGenerateContent", "countTokens")
    return (Ask("GET", models), Ask("GET", f"{models}/*"), *(Ask("POST", f"{models}/*:{verb}") for verb in verbs))


GEMINI = Endpoint(
    program="gemini",
    address="https://generativelanguage.googleapis.com",
    address_variable="GOOGLE_GEMINI_BASE_URL",
    asks=(*_of_models("/v1beta/models"), *_of_models("/v1/models")),
    headers=types.MappingProxyType({"GEMINI_API_KEY": GOOGLE_KEY, "GOOGLE_API_KEY": GOOGLE_KEY}),
)
_PROGRAMS: typing.Mapping[str, Endpoint] = types.MappingProxyType({each.program: each for each in (CLAUDE, CODEX, GEMINI)})
# opencode's by the provider in its model's name; of the logins it knows keys alone.
_OPENCODE: typing.Mapping[str, Endpoint] = types.MappingProxyType(
    {
        "anthropic": CLAUDE._replace(headers=types.MappingProxyType({"ANTHROPIC_API_KEY": KEY}), own_variable=None, login_file=None),
        "openai": CODEX._replace(headers=types.MappingProxyType({"OPENAI_API_KEY": BEARER}), subscription=None),
        "google": GEMINI._replace(headers=types.MappingProxyType({"GEMINI_API_KEY": GOOGLE_KEY})),
    }
)


def find_endpoint(agent_name: str) -> Endpoint | None:
    """The API that an agent of this name asks; None where it has none, or more than one, or one that is not known here."""
    program, _, model = agent_name.partition("/")
    return _OPENCODE.get(model.partition("/")[0]) if program == "opencode" else _PROGRAMS.get(program)


def has_login(endpoint: Endpoint | None, variable: str | None, payer: str | None = None) -> bool:
    """Whether a broker can show the credential: it is in that variable, or (None) the login that the program keeps itself.

    `payer` is who pays there: a key may lie in such a login as well, which is for another API than a subscription.
    """
    if endpoint is None:
        return False
    if variable is not None:
        return variable in endpoint.headers
    return endpoint.own_variable is not None or (endpoint.subscription is not None and payer == "subscription")
