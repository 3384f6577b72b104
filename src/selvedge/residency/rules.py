"""Rules compiled to bitsets: which PoPs may process a tenant's data of one class.

A rule is (tenant, data class) -> a set of countries and an ingress mode. Compiled once per release
to an integer with one bit per PoP, in the release's order; the hot path is a dictionary look-up and
a bitwise AND. Default is deny: what has no rule has no PoP, and there is no default region.
This module refuses to know engines and load: it says where a request *may* go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from selvedge.fabric import DataClass, Handling, PoP, Refused, Release, Tenant
from selvedge.fabric.value import Value

NARROWED_MAX: Final = 1024
"""Rules kept as narrowed by keys; more than those of all kinds of keys."""


class Rule(Value, frozen=True):
    """One compiled rule. ``allowed`` has bit *i* set where ``Release.pops[i]`` may process."""

    name: str
    zone: str
    countries: frozenset[str]
    ingress_in_zone: bool
    allowed: int
    pops: tuple[str, ...]
    """Ids of the allowed PoPs that have engines, in the release's order: what a ticket names."""
    narrowed: tuple[str, ...] = ()
    """Zones of the key to which the rule is narrowed."""
    policy: str | None = None
    """The version of the policy that decides, where the data class names a rule of one."""
    handling: tuple[Handling, ...] = ()
    """What every engine that processes this class must honour."""

    @property
    def scope(self) -> str:
        """Where what is kept may be found again: its zone, and what a key narrows it to."""
        return "/".join((self.zone, *self.narrowed)) if self.narrowed else self.zone


class Allowed(Value, frozen=True):
    """The allowed set of one request: a non-empty bitset and the rule it comes from."""

    rule: Rule
    bits: int
    transit: bool
    """The ingress lies outside the zone and forwards, as the rule permits."""

    def __post_init__(self) -> None:
        if not self.bits:
            raise ValueError("an allowed set is not empty: that is a refusal")


class Rules:
    """All rules of a release, and the PoPs they count over. Immutable after build."""

    __slots__ = ("_index", "_members", "_narrowed", "_pops", "_rules", "_zones")

    def __init__(self, release: Release) -> None:
        self._pops = release.pops
        self._index: Mapping[str, int] = {pop.id: bit for bit, pop in enumerate(release.pops)}
        zones = {zone.id: frozenset(zone.countries) for zone in release.zones}
        self._zones = zones
        self._narrowed: dict[tuple[str, tuple[str, ...]], Rule] = {}
        self._rules = {
            (tenant.id, one.id): _compile(tenant, one, zones[one.zone], release.pops)
            for tenant in release.tenants
            for one in tenant.classes
        }
        # Rules share few sets: each is unfolded once.
        self._members = {
            rule.allowed: tuple(self._unfold(rule.allowed)) for rule in self._rules.values()
        }

    def allowed(
        self, tenant: str, data_class: str, ingress: str, zones: tuple[str, ...] = ()
    ) -> Allowed | Refused:
        """Where this tenant's data of this class may be processed when it enters at ``ingress``.

        ``zones`` are those that its key is narrowed to, none: all.
        """
        rule = self._rules.get((tenant, data_class))
        if rule is None:
            name = f"{tenant}/{data_class}"
            return Refused("residency_no_allowed_pop", f"No rule {name!r} exists.", rule=name)
        if not rule.allowed:
            return Refused(
                "residency_no_allowed_pop",
                f"Rule {rule.name!r} (zone {rule.zone!r}) allows no PoP of this fleet.",
                rule=rule.name,
            )
        if zones:
            rule = self._narrow(rule, zones)
            if not rule.allowed:
                words = f"The key is for zones {', '.join(zones)} alone, where rule {rule.name!r} "
                return Refused("key_scope", words + "allows no PoP; use another key.")
        inside = self.holds(rule.allowed, ingress)
        if ingress not in self._index or (rule.ingress_in_zone and not inside):
            return self._wrong_ingress(rule, ingress)
        return Allowed(rule, rule.allowed, transit=not inside)

    def _wrong_ingress(self, rule: Rule, ingress: str) -> Refused:
        hosts = [f"{pop.url}/v1" for pop in self.members(rule.allowed) if pop.engines]
        hosts = hosts or [f"{pop.url}/v1" for pop in self.members(rule.allowed)]
        return Refused(
            "residency_ingress",
            f"Rule {rule.name!r} lets requests enter only inside zone {rule.zone!r}; "
            f"PoP {ingress!r} is outside: use {' or '.join(hosts[:3])} as base_url.",
            rule=rule.name,
        )

    def _narrow(self, rule: Rule, zones: tuple[str, ...]) -> Rule:
        """The rule within these zones; made when first asked for."""
        found = self._narrowed.get((rule.name, zones))
        if found is None:
            inside: frozenset[str] = frozenset()
            for zone in zones:
                inside |= self._zones.get(zone, frozenset())
            countries = rule.countries & inside
            found = _rule(
                (rule.name, rule.zone), countries, self._pops, rule.ingress_in_zone, zones
            )
            found = msgspec.structs.replace(found, policy=rule.policy, handling=rule.handling)
            if len(self._narrowed) >= NARROWED_MAX:
                self._narrowed.clear()
            self._narrowed[rule.name, zones] = found
            self._members.setdefault(found.allowed, tuple(self._unfold(found.allowed)))
        return found

    def zone(self, tenant: str, data_class: str) -> str | None:
        """The zone class of this tenant's data; None where no rule exists."""
        rule = self._rules.get((tenant, data_class))
        return rule.zone if rule is not None else None

    def all(self) -> Iterator[Rule]:
        """Every rule, in the release's order."""
        return iter(self._rules.values())

    def bits(self, pop_ids: Iterable[str]) -> int:
        """The bitset of these PoPs; ids that the release does not know are left out."""
        return sum(1 << self._index[one] for one in set(pop_ids) if one in self._index)

    def holds(self, bits: int, pop_id: str) -> bool:
        """Whether a PoP is in a bitset; one that the release does not know is in none."""
        bit = self._index.get(pop_id)
        return bit is not None and bool(bits >> bit & 1)

    def members(self, bits: int) -> Iterable[PoP]:
        """The PoPs of a bitset, in the release's order."""
        known = self._members.get(bits)
        return known if known is not None else self._unfold(bits)

    def _unfold(self, bits: int) -> Iterator[PoP]:
        while bits:
            lowest = bits & -bits
            yield self._pops[lowest.bit_length() - 1]
            bits ^= lowest


def _compile(
    tenant: Tenant, one: DataClass, countries: frozenset[str], pops: tuple[PoP, ...]
) -> Rule:
    name = f"{tenant.id}/{one.id}"
    rule = _rule((name, one.zone), countries, pops, one.ingress == "in-zone")
    return msgspec.structs.replace(rule, handling=one.handling)


def _rule(
    named: tuple[str, str],
    countries: frozenset[str],
    pops: tuple[PoP, ...],
    ingress_in_zone: bool,
    narrowed: tuple[str, ...] = (),
) -> Rule:
    allowed = sum(1 << bit for bit, pop in enumerate(pops) if pop.country in countries)
    return Rule(
        name=named[0],
        zone=named[1],
        countries=countries,
        ingress_in_zone=ingress_in_zone,
        allowed=allowed,
        pops=tuple(pop.id for bit, pop in enumerate(pops) if allowed >> bit & 1 and pop.engines),
        narrowed=narrowed,
    )
