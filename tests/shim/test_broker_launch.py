"""What an agent gets instead of a credential, and what its broker is told; which hosts are allowed."""

import base64
import json

import pytest

from devsh_memory_mcp.agents.claude import PROVIDER
from devsh_memory_mcp.agents.codex import PROVIDER as CODEX_PROVIDER
from devsh_memory_mcp.agents.endpoint import CHATGPT, CLAUDE, CODEX, GEMINI, find_endpoint
from devsh_memory_mcp.inventory import KINDS
from devsh_memory_mcp.shim.assignment import shown_to
from devsh_memory_mcp.shim.broker.launch import PORT, prepare
from devsh_memory_mcp.shim.broker.plan import Plan, Source
from devsh_memory_mcp.shim.broker.rule import is_allowed, may_lead_to, parse_entry
from devsh_memory_mcp.shim.shape import from_json, to_json

REAL = "the-real-one"
HOME = {"HOME": "/home/user"}
NEARBY = "127.0.0.1,localhost,::1"


@pytest.mark.parametrize(
    ("endpoint", "variable", "header"),
    [(endpoint, *pair) for endpoint in (CLAUDE, CODEX, GEMINI) for pair in endpoint.headers.items()],
)
def test_the_placeholder_is_of_the_kind_of_the_credential(endpoint, variable, header):
    launch = prepare(endpoint, {variable: REAL}, HOME, PORT)
    (route,) = launch.plan.routes
    assert route.source == Source(header, REAL)
    assert launch.environment[variable] == route.placeholder
    assert REAL not in repr(launch.environment)
    assert route.base_url == endpoint.address
    assert launch.environment[endpoint.address_variable] == f"http://127.0.0.1:{PORT}{endpoint.at}"


def test_claudes_variables_are_the_ones_that_its_provider_has():
    assert tuple(CLAUDE.headers) == tuple(variable for variable, _ in PROVIDER.variables)
    assert CLAUDE.login_file == (PROVIDER.home_variable, PROVIDER.home, PROVIDER.login_file)
    assert {CLAUDE.program, CODEX.program, GEMINI.program} <= {kind.name for kind in KINDS}


@pytest.mark.parametrize("name", ["claude/haiku", "codex/gpt", "gemini/flash", "opencode/anthropic/x", "opencode/openai/x", "shell/sh"])
@pytest.mark.parametrize("is_walled", [True, False])
def test_an_agent_gets_its_secrets_themselves_where_it_is_not_in_a_sandbox_and_nothing_of_them_there(name, is_walled):
    endpoint = find_endpoint(name)
    secrets = dict.fromkeys((*(endpoint.headers if endpoint else ()), "ANOTHER_KEY"), REAL)
    shown = shown_to(HOME, secrets, prepare(endpoint, secrets, HOME, PORT).environment if is_walled else {}, is_walled=is_walled)
    if is_walled:
        assert REAL not in repr(shown)
        assert "ANOTHER_KEY" not in repr(shown)
        assert set(shown.credentials) == secrets.keys() & shown.login.keys() == secrets.keys() & shown.known.keys()
    else:
        assert (shown.login, shown.known, shown.credentials) == (secrets, HOME, tuple(secrets))


def test_a_login_of_the_programs_own_is_named_and_not_read():
    launch = prepare(CLAUDE, {}, HOME | {"CLAUDE_CONFIG_DIR": "/elsewhere"}, PORT)
    assert launch.plan.routes[0].source == Source("bearer", login_file="/elsewhere/.credentials.json", login="claude")
    assert launch.environment["CLAUDE_CODE_OAUTH_TOKEN"] == launch.plan.routes[0].placeholder


def test_codexs_own_login_is_for_another_api_than_its_keys():
    caller = HOME | {"OPENAI_BASE_URL": "https://gateway.example", "CODEX_HOME": "/elsewhere"}
    launch = prepare(CODEX, {}, caller, PORT)
    (route,) = launch.plan.routes
    assert (route.base_url, route.asks) == ("https://chatgpt.com/backend-api/codex", CHATGPT.asks)
    assert route.source == Source("bearer", login_file="/elsewhere/auth.json", login="codex")
    own = {"CHATGPT_BASE_URL": f"http://127.0.0.1:{PORT}/v1", "CHATGPT_LOGIN": route.placeholder}
    assert launch.environment == own | {"no_proxy": NEARBY, "NO_PROXY": NEARBY}
    header, claims, word = route.placeholder.split(".")
    assert [json.loads(base64.urlsafe_b64decode(f"{part}==")) for part in (header, claims)] == [{"alg": "none"}, {"exp": 4102444800}]
    assert word.startswith("devsh-")
    assert CHATGPT.login_file == (CODEX_PROVIDER.home_variable, CODEX_PROVIDER.home, CODEX_PROVIDER.login_file)


def test_an_address_of_the_callers_own_is_kept_with_all_its_paths():
    launch = prepare(CLAUDE, {"ANTHROPIC_API_KEY": REAL}, HOME | {"ANTHROPIC_BASE_URL": "https://gateway.example/a"}, PORT)
    assert (launch.plan.routes[0].base_url, launch.plan.routes[0].asks) == ("https://gateway.example/a", ())
    assert launch.environment["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:{PORT}"


@pytest.mark.parametrize("address", ["ftp://gateway.example", "https://user:secret@gateway.example", "gateway.example"])
def test_an_address_that_is_none_has_no_route(address):
    assert prepare(CLAUDE, {"ANTHROPIC_API_KEY": REAL}, {"ANTHROPIC_BASE_URL": address}, PORT).plan.routes == ()


def test_every_run_has_a_placeholder_of_its_own():
    plans = [prepare(CLAUDE, {"ANTHROPIC_API_KEY": REAL}, {}, PORT).plan for _ in range(2)]
    assert plans[0].routes[0].placeholder != plans[1].routes[0].placeholder


@pytest.mark.parametrize(
    ("known", "named"),
    [({}, NEARBY), ({"NO_PROXY": "a.example"}, f"a.example,{NEARBY}"), ({"no_proxy": "b"}, f"b,{NEARBY}"), ({"NO_PROXY": "*"}, None)],
)
@pytest.mark.parametrize("is_alone", [False, True])
def test_no_proxy_of_the_callers_is_on_the_way_to_the_broker(known, named, is_alone):
    caller = {"HTTPS_PROXY": "http://proxy.example:3128", **known}
    launch = prepare(find_endpoint("claude/haiku"), {"ANTHROPIC_API_KEY": "real"}, caller, PORT, is_alone=is_alone)
    assert (launch.environment.get("NO_PROXY"), launch.environment.get("no_proxy")) == (named, named)


def test_hosts_are_allowed_in_a_network_of_its_own_alone():
    launch = prepare(None, {}, {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "a.example"}, PORT, ["example.com"])
    assert launch.environment["HTTPS_PROXY"] == launch.environment["https_proxy"] == f"http://127.0.0.1:{PORT}"
    assert (launch.plan.allow, launch.plan.proxy, launch.plan.no_proxy) == (("example.com",), "http://proxy.example:3128", "a.example")
    shared = prepare(None, {}, {}, PORT, ["example.com"], is_alone=False)
    assert (shared.plan.allow, shared.environment) == ((), {})


def test_a_plan_is_the_same_on_the_other_side():
    plan = prepare(CLAUDE, {"ANTHROPIC_API_KEY": REAL}, HOME, PORT, ["example.com"]).plan
    assert from_json(Plan, to_json(plan)) == plan


# --- hosts


@pytest.mark.parametrize(
    ("entry", "host", "port", "fits"),
    [
        ("example.com", "example.com", 443, True),
        ("Example.com.", "example.com", 80, True),
        ("example.com", "example.com", 8443, False),
        ("example.com:8443", "example.com", 8443, True),
        ("example.com:8443", "example.com", 443, False),
        ("example.com", "a.example.com", 443, False),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "anexample.com", 443, False),
        ("[::1]:8080", "::1", 8080, True),
        ("127.0.0.1", "127.0.0.1", 443, True),
    ],
)
def test_hosts_are_meant_by_name_suffix_and_port(entry, host, port, fits):
    assert is_allowed([parse_entry(entry)], host, port) is fits


@pytest.mark.parametrize(
    "text", ["", "*", "*.", "a b", "https://example.com", "example.com/x", "user@example.com", "example.com:0", "*.1.2.3.4"]
)
def test_what_is_no_host_is_refused(text):
    with pytest.raises(ValueError, match="name them as"):
        parse_entry(text)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "nonsense",
    ],
)  # fmt: skip
def test_a_name_leads_to_no_private_address(address):
    assert not may_lead_to([parse_entry("example.com"), parse_entry("*.example.com")], "example.com", 443, address)


def test_an_address_that_is_named_itself_may_be_led_to():
    entries = [parse_entry("intranet.example"), parse_entry("10.1.2.3"), parse_entry("localhost:3000")]
    assert may_lead_to(entries, "intranet.example", 443, "10.1.2.3")
    assert not may_lead_to(entries, "intranet.example", 8443, "10.1.2.3")
    assert may_lead_to(entries, "localhost", 3000, "127.0.0.1")
    assert not may_lead_to(entries, "localhost", 3000, "10.1.2.3")
    assert may_lead_to(entries, "intranet.example", 443, "93.184.216.34")
