"""What a broker is told at its start, through a pipe: where an agent's requests go, and with which credential."""

import typing

from devsh_memory_mcp.agents.endpoint import Ask

LARGEST_HEAD = 64 * 1024  # bytes of a request's or an answer's head


class Source(typing.NamedTuple):
    """Where a real credential is: a value, or the file in which a CLI keeps its own login, which is read at each request.

    `header` is how it is shown: bearer, x-api-key or x-goog-api-key. `login` is the program whose file it is.
    """

    header: str
    value: str | None = None
    login_file: str | None = None
    login: str = ""


class Route(typing.NamedTuple):
    """One provider's API. A request belongs to the route whose `placeholder` it carries.

    `at` is what stands before the path inside where `base_url` has its own path outside, `asks` what may be asked for
    below it; without any that is everything.
    """

    base_url: str
    placeholder: str
    source: Source
    at: str = ""
    asks: tuple[Ask, ...] = ()


class Plan(typing.NamedTuple):
    """All that a broker knows. `allow` are the hosts that may be connected to; the rest is the caller's way out and whom he trusts."""

    routes: tuple[Route, ...] = ()
    allow: tuple[str, ...] = ()
    proxy: str | None = None
    no_proxy: str = ""
    certificates: str | None = None  # a file instead of the system's store
    certificate_directory: str | None = None
    more_certificates: str | None = None  # a file beside it
