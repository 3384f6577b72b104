"""From one table of settings to the limits of each part.

`docs/limits.md` lists every limit, with what happens at it and the test that shows it.
"""

from __future__ import annotations

import resource
from typing import Final

from selvedge.adapters import ClientSettings
from selvedge.pop.http_server import ServerSettings
from selvedge.pop.settings import Settings

FILES_SPARE: Final = 128
"""Descriptors beside those of connections: the journal, listeners, what libraries hold."""


def allow_files(settings: Settings) -> str | None:
    """Take as many descriptors as the system allows; words where they are too few.

    Counted are every client and, for every other one, an engine: not all of them ask at once.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = settings.connections_max * 3 // 2 + FILES_SPARE
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return None
    return (
        f"only {hard} files may be open, connections_max {settings.connections_max} may need "
        f"{wanted}; raise RLIMIT_NOFILE or lower connections_max to {(hard - FILES_SPARE) * 2 // 3}"
    )


def server_settings(settings: Settings) -> ServerSettings:
    """Limits of the server."""
    return ServerSettings(
        idle_s=settings.idle_ms_max / 1000,
        head_s=settings.head_ms_max / 1000,
        body_s=settings.body_ms_max / 1000,
        write_s=settings.write_ms_max / 1000,
        write_high_water=settings.client_buffer_bytes_max,
        connections_max=settings.connections_max,
        connections_per_client_max=settings.connections_per_client_max,
        handshake_s=settings.tls_handshake_ms_max / 1000,
    )


def client_settings(settings: Settings) -> ClientSettings:
    """Limits of the client to engines and peers."""
    return ClientSettings(
        connect_ms_max=settings.connect_ms_max,
        connections_per_host_max=settings.engine_connections_max,
    )
