"""Network addresses that nothing here may be pointed at, and those that plaintext may reach.

An engine's URL and a picture's URL are places that a machine inside the operator's network will
connect to. Link-local addresses are where clouds keep their metadata services; unspecified,
multicast and reserved ones are no engine's. Addresses in disguise (IPv4 in IPv6) are undressed.

Refuses to know: names (a resolver answers those, when the connection is made), sockets.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address

_METADATA: Final = frozenset(
    map(
        ip_address,
        ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
"""Metadata services that are not link-local: Azure, Alibaba, Oracle, AWS and Google on IPv6."""
_INSIDE: Final = tuple(
    map(
        ip_network,
        ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"),
    )
)
"""Loopback, and what RFC 1918 and RFC 4193 keep private."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_TRANSLATED: Final = IPv6Network("::ffff:0:0:0/96")  # RFC 2765; older than the mapped form
_COMPATIBLE: Final = IPv6Network("::/96")


def read_address(host: str) -> Address | None:
    """The address that a host is written as, or None for a name. A zone index is dropped."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def why_forbidden(address: Address) -> str | None:
    """Why nothing may connect there, as words that follow 'is'; None where it may."""
    inner = _undressed(address)
    if inner in _METADATA:
        return "a cloud's metadata service"
    if inner.is_unspecified or (isinstance(inner, IPv4Address) and int(inner) < 2**24):
        return "the unspecified address; write 127.0.0.1 for this machine"
    if inner.is_link_local:
        return "a link-local address, where clouds keep their metadata services"
    if inner.is_multicast:
        return "a multicast address"
    if inner.is_reserved and not inner.is_loopback:
        return "a reserved address"
    return None


def is_inside(address: Address) -> bool:
    """Whether it is this machine's or a private network's: plaintext stays in the house."""
    inner = _undressed(address)
    return any(inner in network for network in _INSIDE)


def is_public(address: Address) -> bool:
    """Whether it is a place of the internet that anybody may be sent to."""
    inner = _undressed(address)
    old = isinstance(inner, IPv6Address) and inner.is_site_local  # RFC 3879: still routed inside
    return inner.is_global and not old and not is_inside(inner)


def _undressed(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where one is (RFC 4291, 6052, 3056)."""
    if isinstance(address, IPv4Address):
        return address
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped or address in _NAT64 or address in _TRANSLATED:
        return low
    if address in _COMPATIBLE and int(low) > 1:  # :: and ::1 are themselves
        return low
    return address.sixtofour or address
