"""What changed since a release: keys revoked, narrowed, added, limits lowered. Signed as it is.

A delta is whole since the release it names: who missed one has missed nothing. It can take away
from any key and add keys of tenants and data classes that the release has; it cannot add those, nor
widen a key, nor raise a limit. Its serial only grows.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from selvedge.fabric.errors import BadRelease
from selvedge.fabric.names import check_name
from selvedge.fabric.tenancy import NO_LIMITS, Key, Limits


class Revocation(msgspec.Struct, frozen=True):
    """A key that ended for good, and when: releases made after that do not have it."""

    id: str
    at_us: int


class LoweredLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tenant, or one of its projects, may use at most, whatever the release says."""

    tenant: str
    project: str = ""
    """Empty: the tenant itself."""
    limits: Limits = NO_LIMITS

    def __post_init__(self) -> None:
        check_name("limits.tenant", self.tenant)
        if self.project:
            check_name("limits.project", self.project)
        self.limits.check(f"limits.{self.tenant}/{self.project}")


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
    limits: tuple[msgspec.Raw, ...] = ()
    """`LoweredLimits`, read as keys are."""

    def __post_init__(self) -> None:
        check_name("fleet", self.fleet)

    def read_keys(self) -> tuple[list[Key], int]:
        """The keys that can be read, and how many cannot."""
        found: list[Key] = []
        for raw in self.keys:
            try:
                found.append(msgspec.json.decode(raw, type=Key))
            except (msgspec.MsgspecError, BadRelease):
                continue
        return found, len(self.keys) - len(found)

    def read_limits(self) -> tuple[list[LoweredLimits], int]:
        """The limits that can be read, and how many cannot."""
        found: list[LoweredLimits] = []
        for raw in self.limits:
            try:
                found.append(msgspec.json.decode(raw, type=LoweredLimits))
            except (msgspec.MsgspecError, BadRelease):
                continue
        return found, len(self.limits) - len(found)


def widened(before: Key, after: Key) -> str | None:
    """The first field in which ``after`` may do more than ``before``; None where it is narrower."""
    for name in ("id", "tenant", "project", "data_class", "hash", "passes_to", "falls_back"):
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


def tightest(one: Limits, other: Limits) -> Limits:
    """The lower of both, limit by limit."""
    found: dict[str, int | None] = msgspec.structs.asdict(one)
    for name, limit in msgspec.structs.asdict(other).items():
        if limit is not None and _more(limit, found[name]):
            found[name] = limit
    return Limits(**found)


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
