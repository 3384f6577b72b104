"""Fleets for the torture of residency: `fleet-4100` under rules drawn by lot, as two releases.

The second release is what an operator might publish next: zones with other countries, classes that
moved, engines that honour something else, another policy. Policies are kept twice: as the bitsets
that PoPs go by, and as sets of names for the witness, which never sees a bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from random import Random

import msgspec

from bench.torture_policies import PoliciesDrawn, compile_drawn, draw_policies
from selvedge.cli.scenario_files import make_atlas, read_scenario
from selvedge.fabric import (
    HANDLINGS,
    DataClass,
    Engine,
    Key,
    PoP,
    Provider,
    Release,
    Tenant,
    Zone,
)
from selvedge.sim import Law

TENANTS = 48
CLASSES = 3
ENTITIES = 14
NO_HASH = "0" * 64
PROVIDERS = 60
Parts = tuple[tuple[Zone, ...], tuple[Tenant, ...], tuple[PoP, ...], tuple[Provider, ...]]


class Drawn(msgspec.Struct, frozen=True):
    """One release, and what it says, for the witness."""

    release: Release
    policies: PoliciesDrawn

    def law(self) -> Law:
        """The witness's reading."""
        return Law(self.release, self.policies.permits)


def base() -> Release:
    """The fleet as the scenario has it, with third parties' regions beside some of its PoPs."""
    fleet = make_atlas("fleet-4100", read_scenario("fleet-4100")).world.release
    rng = Random("providers")
    beside = rng.sample([pop for pop in fleet.pops if pop.engines], PROVIDERS)
    return msgspec.structs.replace(
        fleet, providers=tuple(_provider(rng, number, pop) for number, pop in enumerate(beside))
    )


def _provider(rng: Random, number: int, beside: PoP) -> Provider:
    return Provider(
        id=f"provider-{number}",
        country=beside.country,
        latitude=beside.latitude,
        longitude=beside.longitude,
        engines=beside.engines[:1],
        handicap_ms=rng.choice((0, 0, 20, 200)),
    )


def draw(fleet: Release, seed: int, lapse_us: int) -> tuple[Drawn, Drawn]:
    """Two releases of one fleet; each has a policy that changes at ``lapse_us``."""
    rng = Random(f"residency/{seed}")
    zones, pops = _zones(rng, fleet.pops), _pops(rng, fleet.pops, again=False)
    abroad = _operated(rng, fleet.providers)
    tenants = _tenants(rng, zones)
    keys = _keys(rng, tenants, zones)
    parts: list[Parts] = [(zones, tenants, pops, abroad)]
    later = tuple(_moved(rng, zone, fleet.pops) for zone in zones)
    changed, last = _changed(rng, tenants, zones), _pops(rng, pops, again=True)
    parts.append((later, changed, last, _operated(rng, abroad)))
    found = []
    for version, (own_zones, own_tenants, own_pops, own_abroad) in enumerate(parts, 1):
        sites = (*own_pops, *own_abroad)
        drawn = draw_policies(rng, sites, lapse_us)
        release = msgspec.structs.replace(
            fleet,
            version=version,
            zones=own_zones,
            tenants=own_tenants,
            keys=keys,
            pops=own_pops,
            providers=own_abroad,
            policy=compile_drawn(drawn, sites),
        )
        found.append(Drawn(release, drawn))
    return found[0], found[1]


def _zones(rng: Random, pops: Sequence[PoP]) -> tuple[Zone, ...]:
    """Single countries, groups of them, and all."""
    every = sorted({pop.country for pop in pops})
    serving = sorted({pop.country for pop in pops if pop.engines})
    found = [Zone("world", tuple(every))]
    found += [Zone(f"country-{at}", (one,)) for at, one in enumerate(rng.sample(serving, 6))]
    for at in range(12):
        inside = rng.sample(serving, rng.randint(2, min(12, len(serving))))
        more = rng.sample(every, rng.randint(0, 12))
        found.append(Zone(f"group-{at}", tuple(sorted({*inside, *more}))))
    return tuple(found)


def _moved(rng: Random, zone: Zone, pops: Sequence[PoP]) -> Zone:
    """The same zone in the next release: a third of them lose countries, and gain some."""
    if rng.random() > 0.35:
        return zone
    kept = [one for one in zone.countries if rng.random() < 0.6] or [zone.countries[0]]
    gained = {rng.choice(pops).country for _ in range(rng.randint(0, 3))}
    return Zone(zone.id, tuple(sorted({*kept, *gained})))


def _pops(rng: Random, pops: Sequence[PoP], *, again: bool) -> tuple[PoP, ...]:
    """Who operates each, and what its engines honour; in the next release some change."""
    found = []
    for pop in pops:
        if again and rng.random() > 0.2:
            found.append(pop)
            continue
        engines = tuple(_honouring(rng, one) for one in pop.engines)
        entity = f"operator-{rng.randrange(ENTITIES)}"
        found.append(msgspec.structs.replace(pop, entity=entity, engines=engines))
    return tuple(found)


def _operated(rng: Random, providers: Sequence[Provider]) -> tuple[Provider, ...]:
    """The same of third parties, in each release anew."""
    return tuple(
        msgspec.structs.replace(
            one,
            entity=f"operator-{rng.randrange(ENTITIES)}",
            engines=tuple(_honouring(rng, engine) for engine in one.engines),
        )
        for one in providers
    )


def _honouring(rng: Random, engine: Engine) -> Engine:
    honours = tuple(one for one in HANDLINGS if rng.random() < 0.6)
    return msgspec.structs.replace(engine, honours=honours)


def _class(rng: Random, name: str, zones: Sequence[Zone]) -> DataClass:
    handling = tuple(one for one in HANDLINGS if rng.random() < 0.25)
    ingress = "in-zone" if rng.random() < 0.6 else "transit-allowed"
    policy = f"rule-{rng.randrange(10)}" if rng.random() < 0.4 else None
    zone = rng.choice(zones).id
    return DataClass(name, zone, ingress, policy=policy, handling=handling)


def _tenants(rng: Random, zones: Sequence[Zone]) -> tuple[Tenant, ...]:
    return tuple(
        Tenant(f"tenant-{at}", tuple(_class(rng, f"class-{one}", zones) for one in range(CLASSES)))
        for at in range(TENANTS)
    )


def _changed(rng: Random, tenants: Sequence[Tenant], zones: Sequence[Zone]) -> tuple[Tenant, ...]:
    """A quarter of the classes have other rules in the next release."""
    return tuple(
        msgspec.structs.replace(
            tenant,
            classes=tuple(
                _class(rng, one.id, zones) if rng.random() < 0.25 else one for one in tenant.classes
            ),
        )
        for tenant in tenants
    )


def _keys(rng: Random, tenants: Sequence[Tenant], zones: Sequence[Zone]) -> tuple[Key, ...]:
    """One for each class, and for some another that is narrowed to a zone."""
    found = []
    for tenant in tenants:
        for one in tenant.classes:
            name = f"{tenant.id}-{one.id}"
            found.append(Key(name, tenant.id, one.id, NO_HASH))
            if rng.random() < 0.2:
                narrowed = (rng.choice(zones).id,)
                found.append(Key(f"{name}-narrow", tenant.id, one.id, NO_HASH, zones=narrowed))
    return tuple(found)


def ingresses(drawn: Drawn) -> Mapping[str, Sequence[str]]:
    """By key, PoPs in its zone, where there are any."""
    zones = {zone.id: frozenset(zone.countries) for zone in drawn.release.zones}
    classes = {(t.id, one.id): one for t in drawn.release.tenants for one in t.classes}
    inside = {
        name: [pop.id for pop in drawn.release.pops if pop.country in countries]
        for name, countries in zones.items()
    }
    every = [pop.id for pop in drawn.release.pops]
    return {
        key.id: inside[classes[key.tenant, key.data_class].zone] or every
        for key in drawn.release.keys
    }


def digest(drawn: Drawn) -> str:
    """Names a release in figures."""
    return hashlib.sha256(msgspec.json.encode(drawn.release)).hexdigest()[:12]
