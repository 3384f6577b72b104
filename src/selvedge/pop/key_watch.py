"""Keys between releases: watches the key delta beside the release and admits by it at once.

A look is one stat(2). What is revoked is on this PoP's disk before anything else of a delta is, and
it stays revoked when the file is gone, old or broken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from selvedge.adapters import HeldDelta, KeyDeltaStore
from selvedge.fabric import BadRelease, Release, StoreFailed
from selvedge.ledger import DeltaOutcome, KeyChanges
from selvedge.pop.state import PopState

KEYS_POLL_S: Final = 0.25

log: Final = logging.getLogger("selvedge.pop")


class KeyWatch:
    """One per process. ``look_for_release`` is asked where a delta is ahead of the release."""

    def __init__(
        self, state: PopState, store: KeyDeltaStore, look_for_release: Callable[[], None]
    ) -> None:
        self._state = state
        self._store = store
        self._look_for_release = look_for_release
        self._changes = KeyChanges()
        self._kept: dict[str, int] = {}
        self._told: DeltaOutcome | None = None

    def load(self) -> None:
        """Start with what was kept from before; the watched file is for `look`, when there is a
        release to tell whose it is.
        """
        try:
            self._kept = self._store.load_revoked()
            self._changes = KeyChanges(self._kept)
        except BadRelease as error:
            self._refuse(f"{error}")
        try:
            held = self._store.load()
            if held is not None:
                self._changes.take(held.delta)
        except BadRelease as error:
            self._refuse(f"the kept key delta: {error}")

    def serve(self, release: Release) -> None:
        """A release was swapped in: its keys are admitted as the delta changes them."""
        if self._changes.foreign_to(release.fleet):
            self._changes = KeyChanges(self._changes.revoked)
        self._changes.serve(release)
        self._admit()

    def look(self) -> None:
        """Take the watched file, where it has changed."""
        if not self._store.changed():
            return
        try:
            held = self._store.take()
            self._take(held)
        except BadRelease as error:
            self._refuse(f"{error}")

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(KEYS_POLL_S)
            try:
                self.look()
            except Exception:  # nobody else would look again, and keys would not be revoked
                self._state.metrics.faults.inc()
                log.exception("a fault of ours: key deltas")

    def _take(self, held: HeldDelta) -> None:
        view = self._state.view
        if view is not None and held.delta.fleet != view.release.fleet:
            raise BadRelease("fleet", f"{held.delta.fleet!r} is not {view.release.fleet!r}")
        before = self._changes.serial
        newer = self._changes.take(held.delta)
        self._admit()
        self._keep(held if newer else None)
        if not newer and held.delta.serial < before:
            raise BadRelease("serial", f"{held.delta.serial} is older than {before}")
        if self._told is not None and not self._told.complete:
            self._look_for_release()

    def _admit(self) -> None:
        view = self._state.view
        if view is None:
            return
        ring, told = self._changes.keyring(view.keyring)
        self._state.admit_by(ring)
        if told == self._told:
            return
        self._told = told
        log.info(
            "keys by delta %d: %d revoked, %d added, %d narrowed; limits of %d lowered",
            told.serial,
            told.revoked,
            told.added,
            told.narrowed,
            told.lowered,
        )
        if told.refused or told.unread:
            names = ", ".join(told.refused[:5])
            self._refuse(f"{len(told.refused) + told.unread} keys of it do not hold: {names}")

    def _keep(self, held: HeldDelta | None) -> None:
        try:
            if self._changes.revoked != self._kept:
                self._kept = dict(self._changes.revoked)
                self._store.keep_revoked(self._kept)
            if held is not None:
                self._store.keep(held)
        except StoreFailed as error:
            self._state.metrics.store_failures.inc()
            log.error("the key delta is in use, but not kept: %s", error)

    def _refuse(self, why: str) -> None:
        self._state.metrics.key_deltas_refused.inc()
        log.error("key delta refused, what holds of it or was before is in use: %s", why)
