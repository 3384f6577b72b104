"""Connections counted by client address, so that no one address can hold them all.

Of IPv6 a client has at least a /64 (RFC 6177), so the count is by that.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Final

IPV6_CLIENT_BITS: Final = 64


def client_of(address: str) -> str:
    """What is counted as one client: an IPv4 address, or an IPv6 /64."""
    if ":" not in address:
        return address
    parsed = ip_address(address.partition("%")[0])
    assert isinstance(parsed, IPv6Address), "an IPv4 address has no colon"
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> IPV6_CLIENT_BITS << IPV6_CLIENT_BITS)}/64"


class ClientCounts:
    """Open connections by client; a client without one takes no room."""

    __slots__ = ("_counts", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, int] = {}

    def enter(self, address: str) -> bool:
        """Count a connection; False where it is above the limit (and counted all the same)."""
        client = client_of(address)
        count = self._counts[client] = self._counts.get(client, 0) + 1
        return count <= self._most

    def leave(self, address: str) -> None:
        """A connection that was counted is no more."""
        client = client_of(address)
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]

    def __len__(self) -> int:
        return len(self._counts)
