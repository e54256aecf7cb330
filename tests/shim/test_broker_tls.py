"""The broker and providers that are spoken to with TLS."""

import pathlib
import shutil
import ssl
import subprocess

import pytest

from devsh_memory_mcp.shim.broker.plan import Plan, Route, Source
from tests.doubles.raw_host import Peer, RawHost
from tests.shim.keeper import Keeper

ASKED = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: placeholder\r\nContent-Length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A file with a certificate of localhost and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(path), "-out", f"{path}.cert"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    path.write_text(path.read_text() + pathlib.Path(f"{path}.cert").read_text())
    return path


@pytest.fixture
def host():
    host = RawHost()
    yield host
    host.close()


def plan(host: RawHost, **rest: str) -> Plan:
    return Plan((Route(f"https://localhost:{host.port}", "placeholder", Source("x-api-key", "real")),), **rest)


def secured(peer: Peer, certificate: pathlib.Path) -> Peer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return Peer(context.wrap_socket(peer.socket, server_side=True))


@pytest.mark.parametrize("how", ["more_certificates", "certificates"])
def test_whom_the_caller_trusts_is_trusted(host, certificate, how):
    with Keeper(plan(host, **{how: str(certificate)})) as keeper:
        agent = Peer.to(keeper.port).say(ASKED)
        there = secured(host.meet(), certificate)
        for _ in range(2):
            assert b"x-api-key: real\r\n" in there.head()
            there.until(b"{}")
            there.say(OK)
            agent.until(b"ok")
            agent.say(ASKED)
        agent.close()
        there.close()


def test_an_upgraded_connection_goes_both_ways_at_once(host, certificate):
    with Keeper(plan(host, more_certificates=str(certificate))) as keeper:
        asked = b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nx-api-key: placeholder\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        agent = Peer.to(keeper.port).say(asked)
        there = secured(host.meet(), certificate)
        there.head()
        there.say(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        agent.head()
        for _ in range(50):
            agent.say(b"u" * 30_000)
            there.say(b"d" * 30_000)
        there.until(b"u" * 1_500_000)
        agent.until(b"d" * 1_500_000)
        there.close()
        assert agent.rest() == b""
        agent.close()


def test_a_certificate_that_is_not_trusted_ends_it(host, certificate):
    with Keeper(plan(host)) as keeper:
        agent = Peer.to(keeper.port).say(ASKED)
        with pytest.raises(ssl.SSLError):
            secured(host.meet(), certificate)
        answer = agent.rest()
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"NODE_EXTRA_CA_CERTS" in answer
        agent.close()
