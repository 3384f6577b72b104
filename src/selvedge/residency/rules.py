"""Rules compiled to bitsets: which PoPs may process a tenant's data of one class.

A rule is (tenant, data class) -> a set of countries, an ingress mode and, where the class names
one, a row of the release's policy. Compiled once per release to integers with one bit per site, in
the release's order (PoPs, then providers); the hot path is a dictionary look-up, a look at the
clock and a bitwise AND.
Default is deny: what has no rule has no PoP, and there is no default region.
This module refuses to know engines and load: it says where a request *may* go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from selvedge.fabric import (
    HANDLINGS,
    UNKNOWN_COUNTRY,
    CacheRule,
    DataClass,
    Handling,
    Place,
    PoP,
    Refused,
    Release,
)
from selvedge.fabric.value import Value
from selvedge.residency.rows import FOREVER_US, Row, nothing, rows_of

MEMBERS_MAX: Final = 4096
"""Bitsets that are kept unfolded."""
DOORS_MAX: Final = 3
"""Base URLs that a refusal names."""
NARROWED_MAX: Final = 1024
"""Rules kept as narrowed by keys; more than those of all kinds of keys."""


class Rule(Value, frozen=True):
    """One compiled rule, from one moment to another.

    ``allowed`` has bit *i* set where ``Release.sites[i]`` may process; ``enter``, where a request
    may come in (at PoPs alone); ``cache``, where its answer or its prefix may be kept.
    """

    name: str
    zone: str
    countries: frozenset[str]
    ingress_in_zone: bool
    allowed: int
    pops: tuple[str, ...]
    """Ids of the allowed PoPs that have engines, in the release's order: what a ticket names."""
    enter: int
    cache: int
    narrowed: tuple[str, ...] = ()
    """Zones of the key to which the rule is narrowed."""
    asked: str = ""
    """The zone to which the request narrows it further."""
    policy: str | None = None
    """Version of the policy that decided inside the zone; None: the zone alone did."""
    policy_rule: str | None = None
    """Which rule of that policy."""
    handling: tuple[Handling, ...] = ()
    """What every engine that processes it must honour."""
    caching: CacheRule | None = None
    """What may be answered from the cache, where ``cache`` lets this PoP keep anything."""
    from_us: int = 0
    until_us: int = FOREVER_US


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
    """All rules of a release, and the PoPs they count over.

    What holds changes with the clock alone (a policy's rows), and by `stop`, which only takes away.
    A clock that is moved back behind a moment of change gives nothing back that the change took.
    """

    __slots__ = (
        "_asked",
        "_behind",
        "_classes",
        "_everywhere",
        "_hosts",
        "_in_countries",
        "_index",
        "_members",
        "_narrowed",
        "_passed_us",
        "_pops",
        "_rows",
        "_rules",
        "_sites",
        "_stopped",
        "_version",
        "_with_engines",
        "_zones",
    )

    def __init__(self, release: Release) -> None:
        self._sites: tuple[Place, ...] = release.sites
        self._pops = (1 << len(release.pops)) - 1
        """Those of the sites that are PoPs: nothing enters at a provider."""
        self._index: Mapping[str, int] = {one.id: bit for bit, one in enumerate(self._sites)}
        self._zones = {zone.id: frozenset(zone.countries) for zone in release.zones}
        self._in_countries: dict[str, int] = {}
        self._with_engines = 0
        for bit, pop in enumerate(self._sites):
            self._in_countries[pop.country] = self._in_countries.get(pop.country, 0) | 1 << bit
            self._with_engines |= (1 << bit) if pop.engines else 0
        # Where a site lies in a country that nobody knows, nothing enters either.
        self._everywhere = self._within(self._in_countries.keys() - {UNKNOWN_COUNTRY})
        policy = release.policy
        self._version: str | None = policy.version if policy is not None else None
        self._rows: Mapping[str, tuple[Row, ...]] = rows_of(policy) if policy is not None else {}
        self._hosts: dict[tuple[int, int], str] = {}
        self._stopped: set[str] = set()
        self._narrowed: dict[tuple[str, tuple[str, ...]], tuple[Rule, Rule]] = {}
        self._asked: dict[
            tuple[str, tuple[str, ...], str | None, tuple[Handling, ...]], tuple[Rule, Rule]
        ] = {}
        self._passed_us = 0
        """The latest moment of change that the clock has passed, at publication or since."""
        self._behind: dict[tuple[str, str], Rule] = {}
        """Rules as they hold at moments before that one, to which the clock was moved back."""
        self._members: dict[int, tuple[Place, ...]] = {}
        self._classes = {
            (tenant.id, one.id): one for tenant in release.tenants for one in tenant.classes
        }
        self._rules: dict[tuple[str, str], Rule] = {}
        made: dict[tuple[object, ...], Rule] = {}
        for (tenant, data_class), one in self._classes.items():
            name = f"{tenant}/{data_class}"
            self._rules[tenant, data_class] = self._compile(name, one, release.made_us, made)
        self._passed_us = max([one.from_us for one in self._rules.values()], default=0)

    def allowed(
        self,
        tenant: str,
        data_class: str,
        ingress: str,
        at_us: int,
        zones: tuple[str, ...] = (),
    ) -> Allowed | Refused:
        """Where this tenant's data of this class may be processed when it enters at ``ingress``.

        ``zones`` are those that its key is narrowed to, none: all.
        """
        rule = self.rule(tenant, data_class, at_us)
        if rule is None:
            name = f"{tenant}/{data_class}"
            return Refused("residency_no_allowed_pop", f"No rule {name!r} exists.", rule=name)
        if not rule.allowed:
            return self._nowhere(rule)
        if zones:
            rule = self._narrow(rule, zones)
            if not rule.allowed:
                words = f"The key is for zones {', '.join(zones)} alone, where rule {rule.name!r} "
                return Refused("key_scope", words + "allows no PoP; use another key.")
        bit = self._index.get(ingress)
        if bit is None or not rule.enter >> bit & 1:
            return self._wrong_ingress(rule, ingress)
        return Allowed(rule, rule.allowed, self._sites[bit].country not in rule.countries)

    def rule(self, tenant: str, data_class: str, at_us: int) -> Rule | None:
        """The rule of this class as it holds then; None where there is none."""
        rule = self._rules.get((tenant, data_class))
        if rule is None:
            return None
        if at_us >= rule.until_us or at_us < rule.from_us or at_us < self._passed_us:
            rule = self._at(rule, tenant, data_class, at_us)
        return rule

    def stop(self, policy_rule: str) -> None:
        """From now on this rule of the policy allows nothing, until another release."""
        self._stopped.add(policy_rule)
        self._narrowed.clear()
        self._asked.clear()
        self._behind.clear()
        for (tenant, data_class), rule in list(self._rules.items()):
            if rule.policy_rule == policy_rule:
                name, one = rule.name, self._classes[tenant, data_class]
                self._rules[tenant, data_class] = self._compile(name, one, rule.from_us, {})

    @property
    def stopped(self) -> frozenset[str]:
        """The rules of the policy that `stop` was asked for."""
        return frozenset(self._stopped)

    def row(self, policy_rule: str, at_us: int) -> Row:
        """What the policy's rule says then, whatever zones say; nothing where it has no row."""
        for row in self._rows.get(policy_rule, ()):
            if row.from_us <= at_us < row.until_us:
                return row
        rows = self._rows.get(policy_rule)
        return nothing(0, rows[0].from_us if rows else FOREVER_US)

    def _row_and_later(self, policy_rule: str, at_us: int) -> Row:
        """The row of a moment, without what rows took since that the clock has passed already."""
        row = self.row(policy_rule, at_us)
        for later in self._rows.get(policy_rule, ()):
            if row.from_us < later.from_us <= self._passed_us:
                row = row.both(later)
        return row

    def _at(self, rule: Rule, tenant: str, data_class: str, at_us: int) -> Rule:
        """The same rule at another moment."""
        one = self._classes[tenant, data_class]
        if one.policy is None:
            return rule
        if at_us < self._passed_us:
            known = self._behind.get((tenant, data_class))
            if known is None or not known.from_us <= at_us < known.until_us:
                known = self._compile(rule.name, one, at_us, {})
                self._behind[tenant, data_class] = known
            return known
        found = self._compile(rule.name, one, at_us, {})
        if found.from_us > rule.from_us:
            self._rules[tenant, data_class] = found
        if found.from_us > self._passed_us:
            self._passed_us = found.from_us
            self._behind.clear()
        return found

    def _nowhere(self, rule: Rule) -> Refused:
        words = f"Rule {rule.name!r} (zone {rule.zone!r}) allows no PoP of this fleet."
        if rule.policy_rule is not None:
            words = f"{words[:-1]} by policy {rule.policy_rule!r}, version {rule.policy}."
        return Refused("residency_no_allowed_pop", words, rule=rule.name)

    def _wrong_ingress(self, rule: Rule, ingress: str) -> Refused:
        hosts = self._doors(rule)
        if not hosts:
            words = f"Rule {rule.name!r} lets requests enter at no PoP of this fleet."
            return Refused("residency_no_allowed_pop", words, rule=rule.name)
        where = f"only inside zone {rule.zone!r}" if rule.ingress_in_zone else "only at some PoPs"
        if rule.policy_rule is not None:
            where = f"only where policy {rule.policy_rule!r} permits it"
        return Refused(
            "residency_ingress",
            f"Rule {rule.name!r} lets requests enter {where}; "
            f"PoP {ingress!r} is outside: use {hosts} as base_url.",
            rule=rule.name,
        )

    def _doors(self, rule: Rule) -> str:
        """Where its requests may enter: up to three base URLs, of PoPs with engines if any."""
        found = self._hosts.get((rule.enter, rule.allowed))
        if found is None:
            enter = rule.enter & rule.allowed or rule.enter
            pops = islice(self._unfold(enter & self._with_engines or enter), DOORS_MAX)
            found = self._hosts[rule.enter, rule.allowed] = " or ".join(
                f"{pop.url}/v1" for pop in pops if isinstance(pop, PoP)
            )
        return found

    def _narrow(self, rule: Rule, zones: tuple[str, ...]) -> Rule:
        """The rule within these zones; made when first asked for."""
        known = self._narrowed.get((rule.name, zones))
        if known is not None and known[0] is rule:
            return known[1]
        inside: frozenset[str] = frozenset()
        for zone in zones:
            inside |= self._zones.get(zone, frozenset())
        within = self._within(inside)
        allowed = rule.allowed & within
        found = Rule(
            name=rule.name,
            zone=rule.zone,
            countries=rule.countries & inside,
            ingress_in_zone=rule.ingress_in_zone,
            allowed=allowed,
            pops=self._serving(allowed),
            enter=rule.enter & within if rule.ingress_in_zone else rule.enter,
            cache=rule.cache & within,
            narrowed=zones,
            policy=rule.policy,
            policy_rule=rule.policy_rule,
            handling=rule.handling,
            caching=rule.caching,
            from_us=rule.from_us,
            until_us=rule.until_us,
        )
        if len(self._narrowed) >= NARROWED_MAX:
            self._narrowed.clear()
        self._narrowed[rule.name, zones] = (rule, found)
        self._members.setdefault(allowed, tuple(self._unfold(allowed)))
        return found

    def within(
        self, allowed: Allowed, zone: str | None, handling: tuple[Handling, ...]
    ) -> Allowed | Refused:
        """The allowed set as a request narrows it: to a zone, and to who honours more."""
        rule = allowed.rule
        known = self._asked.get((rule.name, rule.narrowed, zone, handling))
        if known is not None and known[0] is rule:
            found = known[1]
        else:
            if zone is not None and zone not in self._zones:
                words = f"Field 'zone': {zone!r} is not a zone of this fleet."
                return Refused("invalid_value", words, param="zone")
            found = self._ask_within(rule, zone, handling)
            if len(self._asked) >= NARROWED_MAX:
                self._asked.clear()
            self._asked[rule.name, rule.narrowed, zone, handling] = (rule, found)
        if not found.allowed:
            words = f"Zone {zone!r} has no site where rule {rule.name!r} allows processing; leave "
            return Refused("no_provider_left", words + "'zone' out or name another.", param="zone")
        return Allowed(found, found.allowed, allowed.transit)

    def _ask_within(self, rule: Rule, zone: str | None, handling: tuple[Handling, ...]) -> Rule:
        inside = self._zones[zone] if zone is not None else rule.countries
        within = self._within(inside) if zone is not None else -1
        allowed = rule.allowed & within
        both = [one for one in HANDLINGS if one in rule.handling or one in handling]
        self._members.setdefault(allowed, tuple(self._unfold(allowed)))
        return Rule(
            name=rule.name,
            zone=rule.zone,
            countries=rule.countries & inside,
            ingress_in_zone=rule.ingress_in_zone,
            allowed=allowed,
            pops=self._serving(allowed),
            enter=rule.enter,
            cache=rule.cache & within,
            narrowed=rule.narrowed,
            asked=zone or "",
            policy=rule.policy,
            policy_rule=rule.policy_rule,
            handling=tuple(both),
            caching=rule.caching,
            from_us=rule.from_us,
            until_us=rule.until_us,
        )

    def all(self) -> Iterator[Rule]:
        """Every rule, in the release's order, as it held when last asked for."""
        return iter(self._rules.values())

    def bits(self, pop_ids: Iterable[str]) -> int:
        """The bitset of these PoPs; ids that the release does not know are left out."""
        return sum(1 << self._index[one] for one in set(pop_ids) if one in self._index)

    def holds(self, bits: int, pop_id: str) -> bool:
        """Whether a PoP is in a bitset; one that the release does not know is in none."""
        bit = self._index.get(pop_id)
        return bit is not None and bool(bits >> bit & 1)

    def members_kept(self, bits: int) -> Iterable[Place]:
        """The same as `members`, of a bitset that will be asked for again."""
        known = self._members.get(bits)
        if known is None:
            if len(self._members) >= MEMBERS_MAX:
                return self._unfold(bits)
            known = self._members[bits] = tuple(self._unfold(bits))
        return known

    def members(self, bits: int) -> Iterable[Place]:
        """The sites of a bitset, in the release's order."""
        known = self._members.get(bits)
        return known if known is not None else self._unfold(bits)

    def has_engines(self, bits: int) -> bool:
        """Whether any site of a bitset could process something."""
        return bool(bits & self._with_engines)

    def _unfold(self, bits: int) -> Iterator[Place]:
        while bits:
            lowest = bits & -bits
            yield self._sites[lowest.bit_length() - 1]
            bits ^= lowest

    def _serving(self, bits: int) -> tuple[str, ...]:
        return tuple(pop.id for pop in self._unfold(bits & self._with_engines & self._pops))

    def _within(self, countries: Iterable[str]) -> int:
        found = 0
        for country in countries:
            found |= self._in_countries.get(country, 0)
        return found

    def _compile(
        self, name: str, one: DataClass, at_us: int, made: dict[tuple[object, ...], Rule]
    ) -> Rule:
        """The rule of a class at a moment. ``made`` has those of like classes."""
        alike = (one.zone, one.ingress, one.policy, one.handling, one.cache)
        known = made.get(alike)
        if known is not None:
            return _renamed(known, name)
        countries = self._zones[one.zone]
        in_zone = one.ingress == "in-zone"
        within = self._within(countries)
        enter = (within if in_zone else self._everywhere) & self._pops
        allowed, cache = within, within
        from_us, until_us = 0, FOREVER_US
        if one.policy is not None:
            row = self._row_and_later(one.policy, at_us)
            from_us, until_us = row.from_us, row.until_us
            if one.policy in self._stopped:
                row = nothing(from_us, until_us)
            allowed, enter, cache = allowed & row.process, enter & row.entry, cache & row.cache
        if allowed not in self._members:  # rules share few sets: each is unfolded once
            self._members[allowed] = tuple(self._unfold(allowed))
        rule = Rule(
            name=name,
            zone=one.zone,
            countries=countries,
            ingress_in_zone=in_zone,
            allowed=allowed,
            pops=self._serving(allowed),
            enter=enter,
            cache=cache,
            policy=self._version if one.policy is not None else None,
            policy_rule=one.policy,
            handling=one.handling,
            caching=one.cache,
            from_us=from_us,
            until_us=until_us,
        )
        made[alike] = rule
        return rule


def _renamed(rule: Rule, name: str) -> Rule:
    return Rule(
        name=name,
        zone=rule.zone,
        countries=rule.countries,
        ingress_in_zone=rule.ingress_in_zone,
        allowed=rule.allowed,
        pops=rule.pops,
        enter=rule.enter,
        cache=rule.cache,
        policy=rule.policy,
        policy_rule=rule.policy_rule,
        handling=rule.handling,
        caching=rule.caching,
        from_us=rule.from_us,
        until_us=rule.until_us,
    )
