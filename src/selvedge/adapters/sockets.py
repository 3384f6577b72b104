"""What every TCP connection of ours is told."""

from __future__ import annotations

import asyncio
import socket


def no_delay(transport: asyncio.Transport) -> None:
    """Send small parts at once: a chunk of a stream must not wait for the next."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
