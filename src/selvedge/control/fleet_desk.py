"""The desk of the fleet that this control process publishes: it begins when the release names us.

The publisher tells what PoPs are given; the door of the PoPs asks. What was told is taken up by
the next question, in the door's one thread: the publisher never waits for a desk that waits for
its database, and the desk needs no lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from selvedge.adapters import pop_public_key
from selvedge.control.lease_desk import LeaseDesk
from selvedge.fabric import BadTicket, Key, Release, StoreFailed
from selvedge.ledger import LEASE_MS, GrantStore

Told = tuple[Release, tuple[Key, ...]]

log: Final = logging.getLogger("selvedge.control")


def _now_us() -> int:
    return time.time_ns() // 1000


class FleetDesk:
    """Grants leases while the release names this control process. ``private`` is its X25519 key."""

    def __init__(
        self,
        private: bytes,
        store: GrantStore,
        *,
        clock: Callable[[], int] = _now_us,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self._private = private
        self._public = pop_public_key(private)
        self._store = store
        self._clock = clock
        self._lease_ms = lease_ms
        self._told: Told | None = None
        self._served: Told | None = None
        self._desk: LeaseDesk | None = None

    def hear(self, release: Release, keys: tuple[Key, ...]) -> None:
        """What PoPs are given from now on; from any thread, and never waits."""
        control = release.control
        if control is not None and control.public_key != self._public:
            log.error("the release names another control plane's key; no leases are granted here")
        self._told = (release, keys)

    def answer_all(self, bodies: Sequence[bytes]) -> list[bytes | BadTicket]:
        """The answers to questions that came together; one group at a time. Raises `StoreFailed`
        where nothing can be granted now.
        """
        told = self._told
        if told is None or not self._is_named(told[0]):
            self._desk = self._served = None
            raise StoreFailed(
                "the release does not name this control process; 'selvedge up' makes one that does"
            )
        if self._desk is None:
            # Reads what was granted before; where the database is away the next question tries.
            self._desk = LeaseDesk(
                self._private, told[0], self._store, clock=self._clock, lease_ms=self._lease_ms
            )
            self._served = None
        if told is not self._served:
            self._desk.serve(*told)
            self._served = told
        return self._desk.answer_all(bodies)

    def _is_named(self, release: Release) -> bool:
        return release.control is not None and release.control.public_key == self._public
