"""Where a request of ours goes and what it says, and the limits of the client that sends it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import msgspec

from selvedge.wire import HeadLimits


class ClientSettings(msgspec.Struct, frozen=True):
    """Limits of a client; milliseconds and seconds."""

    connect_ms_max: int = 2_000
    idle_s: float = 60.0
    idle_per_host_max: int = 1_024
    connections_per_host_max: int = 4_096
    limits: HeadLimits = HeadLimits()


class Outgoing(msgspec.Struct, frozen=True):
    """One request: where it goes and what it says. Host and length are written for it."""

    host: str
    port: int
    method: str
    target: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    tls: ssl.SSLContext | None = None
    plain_outside: bool = True
    """Whether plaintext may leave loopback and private networks."""


class Origin(msgspec.Struct, frozen=True):
    """A server: where it is, and the identity it is asked under."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    plain_outside: bool = True
