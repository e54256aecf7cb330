"""Where a server is: an address of http, https or a unix socket, as people and the environment give it."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from devsh_memory_mcp.config import BASE_URLS
from devsh_memory_mcp.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Address:
    """`base` is what paths are put behind; `socket` the unix socket through which it is reached, if it is one."""

    base: str
    socket: str | None = None

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else self.base


def parse_address(text: str) -> Address:
    """`http://…`, `https://…`, `unix:/PATH` (`unix:///PATH`, `http+unix://%2FPATH`), or `HOST:PORT`. InvalidRequest."""
    said = text.strip()
    if said.startswith("unix:"):
        return _socket("/" + said.removeprefix("unix:").lstrip("/"))
    if said.startswith("http+unix://"):
        return _socket(unquote(said.removeprefix("http+unix://")))
    try:
        url = urlsplit(said if "://" in said else f"http://{said}")
        _ = url.port
    except ValueError as error:
        raise InvalidRequest(f"{said[:200]!r} is no address: {error}.") from error
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment or url.username or url.password:
        raise InvalidRequest(
            "The server's address is not one: it is HOST:PORT, http(s)://… or unix:/PATH, and nothing secret is in it.",
            next_step="The token goes into CMUX_TASK_RUN_JWT.",
        )
    return Address(f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}")


def _socket(path: str) -> Address:
    if not path.startswith("/") or len(path) < 2 or "\0" in path:
        raise InvalidRequest(f"{path[:200]!r} is not the absolute path of a socket.")
    return Address("http://localhost", path)


def address_of(given: str | None, environment: Mapping[str, str]) -> Address | None:
    """The server that is meant: `--remote`, else the first of BASE_URLS that says something; None where the work is on this machine."""
    said = given or next((environment[name] for name in BASE_URLS if environment.get(name)), None)
    return parse_address(said) if said else None
