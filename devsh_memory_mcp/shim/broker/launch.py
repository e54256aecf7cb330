"""From what an agent would be logged in with to a broker's plan and to what the agent gets instead. Pure, but for what is random."""

import base64
import json
import os
import re
import typing

from devsh_memory_mcp.agents.endpoint import BEARER, Endpoint
from devsh_memory_mcp.shim.broker.plan import Plan, Route, Source

PORT = 8123  # inside a network of the agent's own, where every port is free
_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_FAR = 4102444800  # the year 2100, in epoch seconds
_NEARBY = "127.0.0.1,localhost,::1"


class Launch(typing.NamedTuple):
    """The broker's plan, and the variables that replace the credential in the agent's environment."""

    plan: Plan
    environment: dict[str, str]


def prepare(
    endpoint: Endpoint | None,
    secrets: typing.Mapping[str, str],
    environment: typing.Mapping[str, str],
    port: int,
    allow: typing.Sequence[str] = (),
    *,
    is_alone: bool = True,
) -> Launch:
    """For an agent whose broker listens on 127.0.0.1:`port`; `environment` is its caller's, as far as that was recorded.

    `is_alone` says that it is to reach nobody else, which connections to allowed hosts ask for: they carry no credential.
    """
    if endpoint is not None and endpoint.subscription is not None and not any(map(secrets.get, endpoint.headers)):
        endpoint = endpoint.subscription
    base = f"http://127.0.0.1:{port}"
    proxies = _proxies(base) if is_alone and allow else {}
    plan = Plan((), tuple(allow) if is_alone else (), *_outside(environment))
    if endpoint is None:
        return Launch(plan, proxies)
    found = _source(endpoint, secrets, environment)
    own = environment.get(endpoint.address_variable) if endpoint.address_variable else None
    address = own or endpoint.address
    if found is None or not _ADDRESS.fullmatch(address):
        return Launch(plan, proxies)
    variable, source = found
    placeholder = _placeholder(endpoint)
    # What a gateway of the caller's own calls its paths is not known.
    route = Route(address, placeholder, source, endpoint.at, () if own else endpoint.asks)
    inside = {endpoint.address_variable: f"{base}{endpoint.at}"} if endpoint.address_variable else {}
    shown = {variable: placeholder} if variable else {}
    return Launch(plan._replace(routes=(route,)), {**_direct(environment), **proxies, **inside, **shown})


def find_own_login(endpoint: Endpoint, environment: typing.Mapping[str, str]) -> Source | None:
    """The login that the program keeps itself, which is shown where there is no variable with another."""
    endpoint = endpoint.subscription or endpoint
    path = _login_path(endpoint, environment)
    return None if path is None else Source(BEARER, login_file=path, login=endpoint.program)


def _placeholder(endpoint: Endpoint) -> str:
    """Nothing that a provider would take; a token names no issuer, is signed by nobody, and lasts longer than any agent."""
    word = f"devsh-{os.urandom(16).hex()}"
    return f"{_encoded({'alg': 'none'})}.{_encoded({'exp': _FAR})}.{word}" if endpoint.takes_token else word


def _encoded(document: typing.Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def _source(
    endpoint: Endpoint, secrets: typing.Mapping[str, str], environment: typing.Mapping[str, str]
) -> tuple[str | None, Source] | None:
    for variable, header in endpoint.headers.items():
        if secrets.get(variable):
            return variable, Source(header, secrets[variable])
    login = find_own_login(endpoint, environment)
    return None if login is None else (endpoint.own_variable, login)


def _login_path(endpoint: Endpoint, environment: typing.Mapping[str, str]) -> str | None:
    if endpoint.login_file is None:
        return None
    variable, below, name = endpoint.login_file
    home = environment.get("HOME")
    directory = environment.get(variable) or (f"{home}/{below}" if home else None)
    return f"{directory}/{name}" if directory else None


def _direct(environment: typing.Mapping[str, str]) -> dict[str, str]:
    """The way to the broker is no proxy's, which would be shown what is said, and where the agent is alone is not there."""
    known = environment.get("no_proxy") or environment.get("NO_PROXY")
    return {} if known == "*" else dict.fromkeys(("no_proxy", "NO_PROXY"), f"{known},{_NEARBY}" if known else _NEARBY)


def _proxies(base: str) -> dict[str, str]:
    named = dict.fromkeys(("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"), base)
    return {**named, "no_proxy": _NEARBY, "NO_PROXY": _NEARBY}


def _outside(environment: typing.Mapping[str, str]) -> tuple[str | None, str, str | None, str | None, str | None]:
    """The caller's own way out, in the order of the plan."""
    get = environment.get
    return (
        get("https_proxy") or get("HTTPS_PROXY") or get("all_proxy") or get("ALL_PROXY"),
        get("no_proxy") or get("NO_PROXY") or "",
        get("SSL_CERT_FILE"),
        get("SSL_CERT_DIR"),
        get("NODE_EXTRA_CA_CERTS"),
    )
