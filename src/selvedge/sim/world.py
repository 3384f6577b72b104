"""A description made into a fleet: PoPs, engines, zones, and who lives where.

Geography is synthetic: people are the populations of cities, traffic is people times a market
weight per region, and engines stand where the most traffic is. A report must say so.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from selvedge.fabric import (
    GROUPS,
    BadRelease,
    BadScenario,
    DataClass,
    Engine,
    Key,
    Model,
    PoP,
    Release,
    Served,
    Tenant,
    Wan,
    Zone,
)
from selvedge.sim.batching import BatchingModel
from selvedge.sim.description import Cities, Description, Site
from selvedge.sim.engines import SECOND_US
from selvedge.sim.hardware import HARDWARE

MADE_US: Final = 1_782_864_000_000_000
"""1 July 2026, 00:00 UTC: the day on which scenarios play; the city list's clocks are of it."""
_NO_HASH: Final = "0" * 64
_NO_KEY: Final = base64.b64encode(bytes(32)).decode()
DATA_CLASS: Final = "default"


class Place(msgspec.Struct, frozen=True):
    """A PoP with what the release does not say: its region, its people, its clock."""

    id: str
    site: Site
    traffic: float
    """People times the market weight of the region."""

    @property
    def engines(self) -> int:
        """How many engines it has."""
        return self.site.engines


class World(msgspec.Struct, frozen=True):
    """A fleet that can be run."""

    description: Description
    places: tuple[Place, ...]
    release: Release


def engine_of(description: Description) -> BatchingModel:
    """The engine of a description, with what it says of it. Raises `BadScenario`."""
    hardware = description.hardware
    if hardware.engine is not None:
        return hardware.engine
    preset = HARDWARE.get(hardware.preset or "")
    if preset is None:
        words = f"{hardware.preset!r} is not one of {', '.join(HARDWARE)}"
        raise BadScenario("hardware.preset", words)
    return preset.engine


def read_cities(text: str) -> list[tuple[str, Site]]:
    """The city list: id -> site without engines, in order of population."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = []
    for line in lines[1:]:
        name, city, latitude, longitude, country, region, people, minutes = line.split(",")
        site = Site(
            city=city,
            country=country,
            latitude=float(latitude),
            longitude=float(longitude),
            region=region,
            population=int(people),
            utc_minutes=int(minutes),
        )
        found.append((name, site))
    return found


def build(description: Description, cities: Sequence[tuple[str, Site]]) -> World:
    """The fleet of a description. Raises `BadScenario` with the field that does not hold."""
    prefill_tokens_per_s = engine_of(description).prefill_tokens_per_s
    chosen = description.fleet.cities
    sited = list(description.fleet.sites.items())
    if chosen is not None:
        if len(cities) < chosen.count:
            words = f"exceeds the {len(cities)} cities of the list; lower it"
            raise BadScenario("fleet.cities.count", words)
        sited = _with_engines(cities[: chosen.count], chosen)
    market = chosen.market if chosen is not None else {}
    places = tuple(
        Place(name, site, site.population * market.get(site.region, 1.0)) for name, site in sited
    )
    _check_failures(description, places)
    try:
        release = _release(description, places, prefill_tokens_per_s)
    except BadRelease as error:
        raise BadScenario(error.field, str(error).partition(": ")[2]) from error
    return World(description, places, release)


def _with_engines(cities: Sequence[tuple[str, Site]], chosen: Cities) -> list[tuple[str, Site]]:
    """Engines to the cities with the most traffic: one each, the rest by largest remainder."""
    traffic = {name: site.population * chosen.market.get(site.region, 1.0) for name, site in cities}
    best = sorted(traffic, key=lambda name: (-traffic[name], name))[: chosen.gpu_sites]
    whole = sum(traffic[name] for name in best)
    rest = chosen.gpus - len(best)
    exact = {name: traffic[name] / whole * rest if whole else 0.0 for name in best}
    engines = {name: 1 + int(exact[name]) for name in best}
    left = chosen.gpus - sum(engines.values())
    for name in sorted(best, key=lambda name: (int(exact[name]) - exact[name], name))[:left]:
        engines[name] += 1
    return [
        (name, msgspec.structs.replace(site, engines=engines.get(name, 0))) for name, site in cities
    ]


def _check_failures(description: Description, places: Sequence[Place]) -> None:
    engines = {place.id: place.engines for place in places}
    for number, failure in enumerate(description.failures):
        field = f"failures.{number}"
        if failure.pop not in engines:
            raise BadScenario(f"{field}.pop", f"{failure.pop!r} is no PoP of this fleet")
        if failure.engine is not None and not 0 <= failure.engine < engines[failure.pop]:
            words = f"{failure.pop!r} has {engines[failure.pop]} engines, counted from 0"
            raise BadScenario(f"{field}.engine", words)


def start_us_of(description: Description) -> int:
    """The moment at which a scenario begins."""
    return MADE_US + int(description.traffic.utc_hour * 3600 * SECOND_US)


def engine_id(number: int) -> str:
    """The name of a PoP's engine, counted from 0."""
    return f"gpu{number}"


def _release(
    description: Description, places: Sequence[Place], prefill_tokens_per_s: int
) -> Release:
    hardware, fleet = description.hardware, description.fleet
    engines = tuple(
        Engine(
            id=engine_id(number),
            url="http://127.0.0.1:8000",
            profile="openai",
            serves=(Served(hardware.model, hardware.model),),
            in_flight_max=1_000_000,
            prefill_tokens_per_s=prefill_tokens_per_s,
        )
        for number in range(max(place.engines for place in places))
    )
    digest = hashlib.sha256(hardware.model.encode()).hexdigest()
    model = Model(
        hardware.model, "chat", f"sha256:{digest}", "simulated", hardware.context_tokens_max
    )
    tenants = description.tenants.items()
    return Release(
        fleet=description.scenario,
        version=1,
        made_us=MADE_US,
        models=(model,),
        pops=tuple(_pop(place, engines[: place.engines]) for place in places),
        zones=tuple(
            Zone(name, zone_countries(description, name, places)) for name in description.zones
        ),
        tenants=tuple(
            Tenant(name, (DataClass(DATA_CLASS, one.zone, one.ingress),)) for name, one in tenants
        ),
        keys=tuple(Key(name, name, DATA_CLASS, _NO_HASH) for name, _ in tenants),
        wan=Wan(fleet.path_inflation, fleet.fixed_ms),
    )


def zone_countries(description: Description, name: str, places: Sequence[Place]) -> tuple[str, ...]:
    """The countries of a zone, sorted. Raises `BadScenario`."""
    zone = description.zones[name]
    found = set(zone.countries)
    if zone.everywhere:
        found |= {place.site.country for place in places}
    for group in zone.groups:
        if group not in GROUPS:
            known = ", ".join(sorted(GROUPS))
            raise BadScenario(f"zones.{name}.groups", f"{group!r} is not one of {known}")
        found |= GROUPS[group]
    return tuple(sorted(found))


def _pop(place: Place, engines: tuple[Engine, ...]) -> PoP:
    site = place.site
    return PoP(
        id=place.id,
        city=site.city,
        country=site.country,
        latitude=site.latitude,
        longitude=site.longitude,
        url=f"https://{place.id}.example.net",
        peer=f"{place.id}.example.net:7443",
        public_key=_NO_KEY,
        engines=engines,
    )


def regions(places: Sequence[Place]) -> Mapping[str, str]:
    """The region of each PoP."""
    return {place.id: place.site.region for place in places}
