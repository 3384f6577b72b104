"""What a PoP makes of releases and key deltas, in whatever order they come.

Three rules. What a delta revokes is revoked, even where the rest of it cannot be used, until a
release serves that was made after it. A key may be added or narrowed, never widened, and added only
to a data class that the release has; limits of tenants and projects may be lowered, never raised.
Where a delta counts from a release newer than the one that serves, keys may be missing here: one
that is unknown is then not refused, but asked to wait.

Refuses to know files, signatures and clocks.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from selvedge.fabric import Key, KeyDelta, Limits, Release, widened
from selvedge.ledger.keys import Keyring


class DeltaOutcome(msgspec.Struct, frozen=True):
    """What a delta came to, for the log and the metrics."""

    serial: int
    revoked: int
    added: int
    narrowed: int
    refused: tuple[str, ...]
    """Ids of keys that do not hold, or would be widened."""
    unread: int = 0
    complete: bool = True
    lowered: int = 0
    """Tenants and projects with lower limits than the release has."""


class KeyChanges:
    """The fold. One per process; `keyring` makes what requests are admitted by."""

    def __init__(self, revoked: Mapping[str, int] | None = None) -> None:
        self.revoked: dict[str, int] = dict(revoked or {})
        """Id -> when; what a PoP keeps on its disk beside the delta."""
        self._delta: KeyDelta | None = None
        self._keys: dict[str, Key] = {}
        self._carried: dict[str, tuple[int, Key]] = {}
        """What deltas before one that is ahead had added since their release, if nothing revoked
        it: it is in the release that this one counts from, which has not come yet.
        """
        self._lowered: dict[tuple[str, str], Limits] = {}
        self._carried_lowered: dict[tuple[str, str], tuple[int, Limits]] = {}
        self._unread = 0
        self._classes: frozenset[tuple[str, str]] = frozenset()
        self._zones: frozenset[str] = frozenset()
        self._version = 0
        self._made_us = 0

    @property
    def serial(self) -> int:
        """Of the newest delta taken; 0 before the first."""
        return self._delta.serial if self._delta is not None else 0

    @property
    def counts_from(self) -> int:
        """The version of the release that it counts from."""
        return self._delta.release if self._delta is not None else 0

    def foreign_to(self, fleet: str) -> bool:
        """Whether the delta held is of another fleet."""
        return self._delta is not None and self._delta.fleet != fleet

    def serve(self, release: Release) -> None:
        """This release serves from now on."""
        self._classes = frozenset(
            (tenant.id, one.id) for tenant in release.tenants for one in tenant.classes
        )
        self._zones = frozenset(zone.id for zone in release.zones)
        self._version = release.version
        self._made_us = release.made_us
        self._carried = {
            name: row for name, row in self._carried.items() if row[0] >= self._version
        }
        self._carried_lowered = {
            name: row for name, row in self._carried_lowered.items() if row[0] >= self._version
        }
        self._forget()

    def take(self, delta: KeyDelta) -> bool:
        """Take a delta; False where it is no newer than the one held, and only revoked."""
        for one in delta.revoked:
            if one.at_us >= self._made_us:
                self.revoked[one.id] = max(one.at_us, self.revoked.get(one.id, 0))
        if self._delta is not None and delta.serial <= self._delta.serial:
            return False
        keys, self._unread = delta.read_keys()
        ahead = delta.release > self._version
        since = self.counts_from
        own = {name: (since, key) for name, key in self._keys.items() if since >= self._version}
        self._carried = self._carried | own if ahead else {}
        self._keys = {key.id: key for key in keys}
        self._take_limits(delta, ahead=ahead)
        self._delta = delta
        return True

    def _take_limits(self, delta: KeyDelta, *, ahead: bool) -> None:
        rows, unread = delta.read_limits()
        self._unread += unread
        since = self.counts_from
        own: dict[tuple[str, str], tuple[int, Limits]] = {}
        if since >= self._version:
            own = {name: (since, limits) for name, limits in self._lowered.items()}
        self._carried_lowered = self._carried_lowered | own if ahead else {}
        self._lowered = {(row.tenant, row.project): row.limits for row in rows}

    def _limits_now(self) -> dict[tuple[str, str], Limits]:
        """What is lower than in the release that serves; one made after the delta knows it all."""
        found = {name: row[1] for name, row in self._carried_lowered.items()}
        return found | self._lowered if self.counts_from >= self._version else found

    def keyring(self, ring: Keyring) -> tuple[Keyring, DeltaOutcome]:
        """The ring of the release that serves, as the delta changes it."""
        changes: dict[str, Key | None] = {}
        refused: list[str] = []
        added = narrowed = 0
        # What an older delta added may have been revoked before this release was made.
        may_add = self.counts_from >= self._version
        carried = {name: row[1] for name, row in self._carried.items()}
        for key in (carried | self._keys).values():
            held = ring.released(key.id)
            if held is None and not may_add:
                continue
            if not self._holds(key) or (held is not None and widened(held, key) is not None):
                if self.counts_from == self._version:
                    refused.append(key.id)
                continue
            changes[key.id] = key
            added += held is None
            narrowed += held is not None
        changes.update(dict.fromkeys(self.revoked))
        complete = self.counts_from <= self._version
        lowered = self._limits_now()
        told = DeltaOutcome(
            self.serial,
            len(self.revoked),
            added,
            narrowed,
            tuple(refused),
            self._unread,
            complete,
            len(lowered),
        )
        return ring.changed(changes, complete=complete, lowered=lowered), told

    def _holds(self, key: Key) -> bool:
        return (key.tenant, key.data_class) in self._classes and self._zones.issuperset(key.zones)

    def _forget(self) -> None:
        """A release has no key that was revoked before it was made."""
        made_us = self._made_us
        self.revoked = {one: at_us for one, at_us in self.revoked.items() if at_us >= made_us}
