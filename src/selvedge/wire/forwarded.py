"""Whose request a proxy brings: ``X-Forwarded-For`` and ``Forwarded`` (RFC 7239), not believed.

Whoever sends a request may write these headers; each proxy only adds to the right of what it was
given. So only the rightmost entries can be true, as many as proxies of ours stand in front, and
only where the socket's other end is one of them. One header is read, the one that our proxies
write: the other passes them untouched, and would be the client's own word. Whatever cannot be
read leaves the address of the socket, never a guess further left.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal

from selvedge.fabric.value import Value

ForwardedHeader = Literal["x-forwarded-for", "forwarded"]
Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

HOPS_MAX: Final = 32
"""How many trusted proxies are walked over, from the right."""

_TOKEN: Final = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_PAIR: Final = re.compile(rf'[ \t]*({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*')
_PORT: Final = re.compile(r"[0-9]{1,5}|_[A-Za-z0-9._-]{1,32}")
_ZONE: Final = re.compile(r"[A-Za-z0-9._~-]{1,32}")
_BRACKETED: Final = re.compile(r"\[([^\]]*)\](?::(.*))?")


class TrustedProxies(Value, frozen=True):
    """Which proxies in front are ours: so many of them, or those in these networks, or both.

    With ``networks`` the other end of the socket must be in one of them. With ``hops`` the client
    is that many entries from the right; without, the first from the right outside ``networks``.
    """

    hops: int = 0
    networks: tuple[Network, ...] = ()
    header: ForwardedHeader = "x-forwarded-for"

    @property
    def any(self) -> bool:
        """Whether there are proxies at all; else no header is to be read."""
        return self.hops > 0 or bool(self.networks)

    def holds(self, address: Address) -> bool:
        """Whether this address is in one of the networks."""
        return any(address in network for network in self.networks)


def client_address(peer: str, written: str | None, proxies: TrustedProxies) -> str:
    """The client's address; ``peer`` is the socket's, ``written`` the header's whole value."""
    near = read_address(peer)
    if near is None:
        return peer
    here = str(near)
    if written is None or not proxies.any or (proxies.networks and not proxies.holds(near)):
        return here
    nodes = _READERS[proxies.header](written)
    found = _counted(nodes, proxies.hops) if proxies.hops else _walked(nodes, proxies)
    return here if found is None else str(found)


def _counted(nodes: list[str], hops: int) -> Address | None:
    return read_address(nodes[-hops]) if len(nodes) >= hops else None


def _walked(nodes: list[str], proxies: TrustedProxies) -> Address | None:
    """The first that is none of ours; where all are ours, the request began at the leftmost."""
    if not nodes:
        return None
    for node in reversed(nodes[-HOPS_MAX:]):
        address = read_address(node)
        if address is None or not proxies.holds(address):
            return address
    return address if len(nodes) <= HOPS_MAX else None


def _x_forwarded_for(written: str) -> list[str]:
    return written.split(",")


def _forwarded(written: str) -> list[str]:
    """The ``for`` of each element, "" where it has none; no elements where the grammar breaks."""
    nodes: list[str] = []
    at, node = 0, ""
    while True:
        pair = _PAIR.match(written, at)
        if pair is None:
            return []
        if pair[1].lower() == "for":
            if node:
                return []
            node = _unquoted(pair[2])
        at = pair.end()
        ends = at == len(written)
        if ends or written[at] == ",":
            nodes.append(node)
            node = ""
        elif written[at] != ";":
            return []
        if ends:
            return nodes
        at += 1


_READERS: Final = {"x-forwarded-for": _x_forwarded_for, "forwarded": _forwarded}


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def read_address(text: str) -> Address | None:
    """An address, with or without port, brackets and zone; None for anything else.

    The zone is dropped, for it means nothing elsewhere; an IPv4 address in IPv6 form is IPv4.
    """
    text = text.strip(" \t")
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed is not None:
        host, port = bracketed[1], bracketed[2]
        if ":" not in host:
            return None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, None
    if port is not None and not _is_port(port):
        return None
    host, percent, zone = host.partition("%")
    if percent and (":" not in host or not _ZONE.fullmatch(zone)):
        return None
    try:
        if ":" not in host:
            return IPv4Address(host)
        wide = IPv6Address(host)
    except ValueError:
        return None
    return wide.ipv4_mapped or wide


def _is_port(text: str) -> bool:
    if not _PORT.fullmatch(text):
        return False
    return text.startswith("_") or int(text) <= 65535
