"""What changed of the keys since a release: revoked, narrowed, added. Beside it, and signed as it.

A delta is whole since the release it names: who missed one has missed nothing. It can take away
from any key and add keys of tenants and data classes that the release has; it cannot add those, nor
widen a key. Its serial only grows.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from selvedge.fabric.names import check_name
from selvedge.fabric.tenancy import Key, Limits


class Revocation(msgspec.Struct, frozen=True):
    """A key that ended for good, and when: releases made after that do not have it."""

    id: str
    at_us: int


class KeyDelta(msgspec.Struct, frozen=True):
    """The delta. Fields that this version does not know are passed over: revoking comes first."""

    fleet: str
    serial: int
    release: int
    """Version of the release that it counts from."""
    made_us: int
    revoked: tuple[Revocation, ...] = ()
    keys: tuple[msgspec.Raw, ...] = ()
    """Keys, whole, each read by itself: one that does not hold takes no other with it."""

    def __post_init__(self) -> None:
        check_name("fleet", self.fleet)

    def read_keys(self) -> tuple[list[Key], int]:
        """The keys that can be read, and how many cannot."""
        found: list[Key] = []
        for raw in self.keys:
            try:
                found.append(msgspec.json.decode(raw, type=Key))
            except msgspec.MsgspecError:
                continue
        return found, len(self.keys) - len(found)


def widened(before: Key, after: Key) -> str | None:
    """The first field in which ``after`` may do more than ``before``; None where it is narrower."""
    for name in ("id", "tenant", "project", "data_class", "hash"):
        if getattr(before, name) != getattr(after, name):
            return name
    if _more(before.expires_us, after.expires_us):
        return "expires_us"
    for name in ("models", "routes", "zones"):
        old, new = getattr(before, name), getattr(after, name)
        # No names at all are no bound.
        if old and not (new and set(new) <= set(old)):
            return name
    return wider_limit(before.limits, after.limits)


def wider_limit(before: Limits, after: Limits) -> str | None:
    """The first limit that is higher in ``after``, or gone; None where none is."""
    old: Mapping[str, int | None] = msgspec.structs.asdict(before)
    for name, limit in msgspec.structs.asdict(after).items():
        if _more(old[name], limit):
            return f"limits.{name}"
    return None


def _more(before: int | None, after: int | None) -> bool:
    """None is no bound."""
    return before is not None and (after is None or after > before)
