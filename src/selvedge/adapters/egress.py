"""Where connections to engines and peers may go: names are resolved here, and judged, and dialled.

The address that was judged is the address that is dialled. A name that resolves to an engine today
and to a cloud's metadata service tomorrow (DNS rebinding) is refused tomorrow, before a byte of a
request, and even a TCP handshake, has left.

Refuses to know: what is sent, pools, releases.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from errno import EACCES
from typing import Final, Protocol, TypeVar

from selvedge.fabric import is_inside, read_address, why_forbidden

ADDRESSES_TRIED_MAX: Final = 4

P = TypeVar("P", bound=asyncio.BaseProtocol)


class EgressRefused(OSError):
    """Nothing may be sent there; ``strerror`` says why and what would help."""

    def __init__(self, words: str) -> None:
        super().__init__(EACCES, words)


async def dial(
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None,
    plain_outside: bool = True,
) -> P:
    """Connect to the first of a host's addresses that accepts; every address must be allowed.

    Plaintext leaves loopback and private networks only with ``plain_outside``. Raises
    `EgressRefused`, or `OSError` where no address accepts.
    """
    loop = asyncio.get_running_loop()
    refused = OSError("no address")
    found = await resolve(host, port)
    for address in found:
        judge(host, address, plain_outside or tls is not None)
    for address in found[:ADDRESSES_TRIED_MAX]:
        try:
            _, protocol = await loop.create_connection(
                factory, address, port, ssl=tls, server_hostname=host if tls else None
            )
        except OSError as error:
            refused = error
        else:
            return protocol
    raise refused


class Place(Protocol):
    """A server to connect to, and what its connections may be."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    plain_outside: bool


async def dial_place(factory: Callable[[], P], to: Place) -> P:
    """`dial`, as a place says."""
    return await dial(factory, to.host, to.port, tls=to.tls, plain_outside=to.plain_outside)


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the resolver's order; digits need no resolver."""
    if read_address(host) is not None:
        return [host.strip("[]")]
    loop = asyncio.get_running_loop()
    try:
        rows = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # an empty label, or one of more than 63 letters
        raise OSError(f"{host[:80]} is no name of a host") from error
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def judge(host: str, address: str, outside: bool) -> None:
    """Raises `EgressRefused` where this address of this host may not be dialled."""
    found = read_address(address)
    if found is None:
        raise EgressRefused(f"{host} resolves to {address!r}, which is no IP address")
    why = why_forbidden(found)
    if why is not None:
        raise EgressRefused(f"{host} is {address}: {why}")
    if not outside and not is_inside(found):
        raise EgressRefused(
            f"{host} is {address}, outside this network: plaintext would be readable on its way; "
            "use https, or say plain_http_outside at the engine"
        )
