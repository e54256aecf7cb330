"""The way out: from a host's name to a connection, through the caller's proxy if he has one, and secured."""

import contextlib
import os
import socket
import ssl
import threading
import time
import typing

from devsh_memory_mcp.shim.broker import turns
from devsh_memory_mcp.shim.broker.head import BadHead, parse_response
from devsh_memory_mcp.shim.broker.plan import LARGEST_HEAD, Plan
from devsh_memory_mcp.shim.broker.rule import find_address, parse_place
from devsh_memory_mcp.shim.broker.stream import Gone, Stream, TooLong

WITHIN = 30.0  # seconds for all of it
_EACH = 8.0  # seconds for one of several addresses


class NoWay(Exception):
    """There is no connection; the text says why."""


class Forbidden(NoWay):
    """The name leads where it must not."""


class Place(typing.NamedTuple):
    """Where to, and whether with TLS; `may_be` says whether an address that the name has led to is fine."""

    host: str
    port: int
    secured: bool = False
    may_be: typing.Callable[[str], bool] | None = None


class Way:
    """Everything about going out that is the same for all requests."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._proxy = _proxy(plan.proxy)
        self._direct = [name.strip().lower().removeprefix("*").removeprefix(".") for name in plan.no_proxy.split(",") if name.strip()]
        self._context: ssl.SSLContext | None = None

    def prepare(self) -> None:
        """Reads whom the caller trusts, which takes a while: before the first request."""
        if self._context is None:
            self._context = self._trusting()

    async def connect(self, place: Place) -> Stream:
        """NoWay, or Forbidden where the name leads to an address that it must not."""
        until = time.monotonic() + WITHIN
        named = f"{place.host}:{place.port}"
        stream = None
        try:
            if self._proxy is not None and not self._is_direct(place.host):
                stream = await _dial(Place(*self._proxy), until)
                await _ask(stream, named, until)
            else:
                stream = await _dial(place, until)
            if place.secured:
                self.prepare()
                assert self._context is not None
                await stream.secure(self._context, place.host, until)
        except (OSError, Gone, BadHead, TooLong) as error:
            if stream is not None:
                stream.close()
            raise NoWay(f"{named} cannot be reached: {_reason(error)}") from error
        except BaseException:
            if stream is not None:
                stream.close()
            raise
        return stream

    def _is_direct(self, host: str) -> bool:
        if host == "localhost" or host.startswith("127.") or host == "::1" or "" in self._direct:
            return True
        return any(host == name or host.endswith(f".{name}") for name in self._direct)

    def _trusting(self) -> ssl.SSLContext:
        plan = self._plan
        context = ssl.create_default_context(cafile=plan.certificates, capath=plan.certificate_directory)
        if plan.more_certificates:
            with contextlib.suppress(OSError, ssl.SSLError):  # node says nothing either, and goes on without
                context.load_verify_locations(plan.more_certificates)
        context.set_alpn_protocols(["http/1.1"])
        return context


def _proxy(address: str | None) -> tuple[str, int] | None:
    """Host and port of an http proxy; of any other kind nothing is known here."""
    if not address or not address.lower().startswith("http://"):
        return None
    place = parse_place(address[7:].rstrip("/"), 80)
    return (place[0], place[1]) if place is not None and place[1] is not None else None


async def _dial(place: Place, until: float) -> Stream:
    """The first address that answers; OSError, Forbidden."""
    addresses = await _resolve(place.host, place.port, until)
    allowed = [each for each in addresses if place.may_be is None or place.may_be(str(each[1][0]))]
    if addresses and not allowed:
        raise Forbidden(f"{place.host} leads to {addresses[0][1][0]}, a private address")
    failure: OSError | None = None
    for at, (family, address) in enumerate(allowed):
        try:
            return await _reach(family, address, until if at == len(allowed) - 1 else min(until, time.monotonic() + _EACH))
        except OSError as error:
            failure = error
    raise failure or OSError("it has no address")


async def _reach(family: int, address: tuple[typing.Any, ...], until: float) -> Stream:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.connect(address)
        await turns.ready(connection.fileno(), turns.WRITE, until)
        number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        return Stream(connection)
    except BaseException:
        connection.close()
        raise


Addresses = list[tuple[int, tuple[typing.Any, ...]]]


async def _resolve(host: str, port: int, until: float) -> Addresses:
    """In a thread of its own, since the C library keeps everybody waiting; an address needs no looking up."""
    literal = find_address(host)
    if literal is not None:
        return [(socket.AF_INET6 if literal.version == 6 else socket.AF_INET, (str(literal), port))]
    found: list[Addresses | OSError] = []
    reading, writing = socket.socketpair()

    def ask() -> None:
        try:
            listed = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.append([(int(family), tuple(address)) for family, _, _, _, address in listed])
        except (OSError, UnicodeError) as error:
            found.append(error if isinstance(error, OSError) else OSError(str(error)))
        finally:
            writing.close()

    try:
        threading.Thread(target=ask, daemon=True).start()
        await turns.ready(reading.fileno(), turns.READ, until)
    finally:
        reading.close()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


async def _ask(stream: Stream, named: str, until: float) -> None:
    """Has a proxy connect us."""
    await stream.send(f"CONNECT {named} HTTP/1.1\r\nHost: {named}\r\n\r\n".encode())
    head = await stream.head(LARGEST_HEAD, until, WITHIN)
    if head is None:
        raise Gone("the proxy has hung up")
    status = parse_response(head).status
    if not 200 <= status < 300:
        raise OSError(f"the proxy refused it with {status}")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); NODE_EXTRA_CA_CERTS names more to trust"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
