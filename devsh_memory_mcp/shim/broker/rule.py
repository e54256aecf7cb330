"""Which hosts an agent may be connected to. Pure.

A name that is allowed leads to no private address: who wants one of those names the address itself, or localhost.
"""

import ipaddress
import re
import typing

PORTS = (443, 80)
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*")
_PLACE = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]/@]+)(?::(\d{1,5}))?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Entry(typing.NamedTuple):
    """One host, or with `is_suffix` all below a domain; without a port the usual ones."""

    host: str
    port: int | None = None
    is_suffix: bool = False

    def fits(self, host: str, port: int) -> bool:
        """Whether it means that place."""
        is_meant = host.endswith(f".{self.host}") if self.is_suffix else host == self.host
        return is_meant and (port == self.port if self.port else port in PORTS)


def parse_entry(text: str) -> Entry:
    """`host`, `*.domain`, each with `:port` behind it, `[v6]`; ValueError with the reason."""
    is_suffix = text.startswith("*.")
    place = parse_place(text[2:] if is_suffix else text, None)
    if place is None or (is_suffix and find_address(place[0]) is not None):
        raise ValueError(f"{text[:80]!r} is no host: name them as example.com, *.example.com or example.com:8443")
    return Entry(place[0], place[1], is_suffix)


def parse_place(text: str, default: int | None) -> tuple[str, int | None] | None:
    """Host, in one spelling, and port; None where it is none."""
    found = _PLACE.fullmatch(text)
    if found is None:
        return None
    host = found[1].strip("[]").lower().removesuffix(".")
    port = int(found[2]) if found[2] else default
    if port is not None and not 0 < port < 65536:
        return None
    address = find_address(host)
    if address is not None:
        return str(address), port
    return (host, port) if _NAME.fullmatch(host) else None


def find_address(text: str) -> Address | None:
    """The address that a text is, an IPv4 one that dresses as IPv6 undressed."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_allowed(entries: typing.Iterable[Entry], host: str, port: int) -> bool:
    """Whether that place may be connected to by its name."""
    return any(entry.fits(host, port) for entry in entries)


def may_lead_to(entries: typing.Iterable[Entry], host: str, port: int, resolved: str) -> bool:
    """Whether an address that the name has led to may be connected to."""
    address = find_address(resolved)
    if address is None:
        return False
    if host == "localhost":
        return address.is_loopback
    is_public = address.is_global and not address.is_multicast and not (address.version == 6 and address in _NAT64)
    return is_public or any(entry.fits(str(address), port) for entry in entries)
