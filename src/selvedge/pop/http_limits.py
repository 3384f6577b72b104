"""The limits of a server, as values; `pop.limits` fills them in from the settings."""

from __future__ import annotations

from typing import Final

import msgspec

from selvedge.wire import HeadLimits

ACCEPTS_A_TURN: Final = 16
"""libuv accepts one connection a turn of the loop for each listening handle: with long turns, new
clients would wait for seconds. So the one socket is listened on through so many handles."""


class ServerSettings(msgspec.Struct, frozen=True):
    """Limits of a server; seconds and bytes."""

    limits: HeadLimits = HeadLimits()
    idle_s: float = 75.0
    head_s: float = 10.0
    body_s: float = 60.0
    connections_max: int = 10_000
    write_high_water: int = 256 * 1024
    write_s: float = 60.0
    handshake_s: float = 5.0
    connections_per_client_max: int = 5_000
