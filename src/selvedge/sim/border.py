"""A second opinion on residency: where bytes went, against the rules as the operator wrote them.

The router sees only the allowed set it is given, and the allowed set is compiled to bitsets. A law
that is checked by what it should check is no law: this witness reads zones, data classes, handlings
and policies itself, with sets of names, and stands where the simulated bytes pass. Releases may
differ between PoPs: what either forbids is outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from selvedge.fabric import DataClass, Key, Release

_NOWHERE: Final[frozenset[str]] = frozenset()
_ENTRY: Final = ("enter", "receipts", "keys", "log")
"""Who lets a request in writes its receipt, holds its subject's keys and writes about it."""
_WORDS_MAX: Final = 5

Permits: TypeAlias = Mapping[tuple[str, str], tuple[tuple[int, frozenset[str]], ...]]
"""By rule of a policy and act: from which moment on which PoPs, latest first."""


class Law:
    """One release, read as it is written. ``permits`` is what its policy says, from elsewhere."""

    __slots__ = ("_classes", "_countries", "_honours", "_keys", "_permits", "_pops", "_zones")

    def __init__(self, release: Release, permits: Permits | None = None) -> None:
        self._zones = {zone.id: frozenset(zone.countries) for zone in release.zones}
        classes = {(tenant.id, one.id): one for tenant in release.tenants for one in tenant.classes}
        self._keys: dict[str, Key] = {key.id: key for key in release.keys}
        self._classes: dict[str, DataClass] = {
            key.id: classes[key.tenant, key.data_class] for key in release.keys
        }
        self._pops = frozenset(pop.id for pop in release.pops)
        self._countries = {site.id: site.country for site in release.sites}
        self._honours: dict[str, dict[str, frozenset[str]]] = {
            site.id: {one.id: frozenset(one.honours) for one in site.engines}
            for site in release.sites
        }
        self._permits: Permits = permits or {}

    def may_enter(self, key: str, pop: str, at_us: int) -> bool:
        """Whether a request of this key may be let in at a PoP."""
        one = self._classes.get(key)
        if one is None or pop not in self._pops:
            return False  # nothing enters at a provider
        if one.ingress == "in-zone" and not self._is_inside(key, one, pop):
            return False
        return all(self._is_permitted(one, act, pop, at_us) for act in _ENTRY)

    def may_process(self, key: str, pop: str, at_us: int) -> bool:
        """Whether a PoP may process a request of this key. Of an unknown one none may."""
        one = self._classes.get(key)
        if one is None or not self._is_inside(key, one, pop):
            return False
        return self._is_permitted(one, "process", pop, at_us)

    def handling(self, key: str) -> frozenset[str]:
        """What its data class asks of engines."""
        one = self._classes.get(key)
        return frozenset(one.handling) if one is not None else _NOWHERE

    def is_honoured(self, handling: frozenset[str], pop: str, engine: str | None) -> bool:
        """Whether an engine keeps to it; without a name, whether any of the PoP does."""
        if not handling:
            return True
        honours = self._honours.get(pop, {})
        if engine is not None:
            return handling <= honours.get(engine, _NOWHERE)
        return any(handling <= each for each in honours.values())

    def _is_inside(self, key: str, one: DataClass, pop: str) -> bool:
        country = self._countries[pop]
        if country not in self._zones.get(one.zone, _NOWHERE):
            return False
        narrowed = self._keys[key].zones
        return not narrowed or any(country in self._zones[zone] for zone in narrowed)

    def _is_permitted(self, one: DataClass, act: str, pop: str, at_us: int) -> bool:
        if one.policy is None:
            return True
        for from_us, pops in self._permits.get((one.policy, act), ()):
            if at_us >= from_us:
                return pop in pops
        return False


class Border:
    """Counts crossings; ``outside`` must stay 0."""

    __slots__ = ("_laws", "_only", "crossings", "outside", "wrongs")

    def __init__(self, release: Release, laws: Mapping[str, Law] | None = None) -> None:
        """``laws`` are by the hash of their release; without them there is one release."""
        self._laws: Mapping[str, Law] = laws or {}
        self._only: Law | None = None if laws else Law(release)
        self.crossings = 0
        self.outside = 0
        self.wrongs: list[str] = []
        """The first few, in words."""

    def cross(
        self,
        key: str,
        ingress: str,
        pop: str,
        engine: str | None = None,
        *,
        asked: tuple[str, int] = ("", 0),
        served: tuple[str, int] = ("", 0),
    ) -> None:
        """A request of this key, which entered at ``ingress``, has bytes on their way to ``pop``.

        ``asked`` is by which release, and when, it was let in; ``served`` the same of who sends
        the bytes on: the ingress, or the serving PoP to its ``engine``.
        """
        self.crossings += 1
        wrong = self._wrong(key, ingress, pop, asked)
        if not wrong and served != asked:
            wrong = self._wrong(key, ingress, pop, served)
        if not wrong:
            wrong = self._unkept(key, pop, engine, asked[0], served[0])
        if wrong:
            self.outside += 1
            if len(self.wrongs) < _WORDS_MAX:
                self.wrongs.append(f"{key} from {ingress} to {pop}/{engine or '*'}: {wrong}")

    def _wrong(self, key: str, ingress: str, pop: str, by: tuple[str, int]) -> str:
        """What one release has against it; empty: nothing."""
        law = self._only or self._laws.get(by[0])
        if law is None:
            return "the release is not known"
        if not law.may_enter(key, ingress, by[1]):
            return "it may not enter there"
        return "" if law.may_process(key, pop, by[1]) else "it may not be processed there"

    def _unkept(self, key: str, pop: str, engine: str | None, asked: str, served: str) -> str:
        """What of its handling nobody keeps to: of both releases at an engine, by its own PoP's."""
        first, last = self._only or self._laws[asked], self._only or self._laws[served]
        handling = first.handling(key)
        if engine is not None:
            handling |= last.handling(key)
        return "" if last.is_honoured(handling, pop, engine) else "its handling is not honoured"
