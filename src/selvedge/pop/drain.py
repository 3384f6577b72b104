"""The orderly end of a serving PoP, told once: notice, no new connections, finish, end the rest.

Whoever steers traffic here learns first: `/readyz` says 503 and every answer says that its
connection closes, while the socket still takes who comes. Then the socket closes; what runs may
finish until ``drain_ms``, and an idle connection may still ask for ``drain_idle_ms``. What still
runs then ends in-band, with an error event and a receipt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from selvedge.fabric import Refused
from selvedge.pop.http_server import Server
from selvedge.pop.settings import Settings
from selvedge.pop.state import PopState

LAST_WORDS_S: Final = 2.0
"""Time for receipts and last events of what was ended, and for their bytes to leave."""


async def drain(
    doors: Sequence[Server],
    state: PopState,
    settings: Settings,
    leaves: Callable[[], None] = lambda: None,
) -> None:
    """From the signal to the last connection. ``leaves`` is called when no door is open."""
    state.draining = True
    if state.cache.judges is not None:
        state.cache.judges.forsake()
    for door in doors:
        door.retiring = True
    if settings.drain_notice_ms:
        await asyncio.sleep(settings.drain_notice_ms / 1000)
    for door in doors:
        door.close(settings.drain_idle_ms / 1000)
    leaves()
    await asyncio.gather(*(door.until_left(settings.drain_ms / 1000) for door in doors))
    if state.gate.running:
        words = f"This PoP stops, and drain_ms, {settings.drain_ms}, is over; ask another PoP."
        refused = Refused("shutting_down", words, retry_after_ms=1000)
        state.streams.end_all(refused)
        for one in list(state.reading):
            one.end_reading(refused)
        await state.gate.until_idle(LAST_WORDS_S)
        await asyncio.gather(*(door.until_left(LAST_WORDS_S) for door in doors))
    await asyncio.gather(*(door.drain(0) for door in doors))
