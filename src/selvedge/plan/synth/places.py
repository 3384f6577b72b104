"""Where the made fleet stands: the busiest cities of the simulator's list, with their time zones.

Traffic of a city is its people times a market weight of its region, as in `fleet-4100`. The list
and the zones are in the package: a history is the same on every machine.
"""

from __future__ import annotations

from importlib.resources import files
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.plan.history import BadPlan
from selvedge.sim import read_cities

POPS_MAX: Final = 4_100
MARKET: Final = MappingProxyType(
    {
        "africa": 0.4,
        "east-asia": 0.6,
        "europe": 2.0,
        "latin-america": 1.0,
        "north-america": 3.5,
        "oceania": 3.0,
        "south-asia": 0.5,
        "southeast-asia": 1.0,
        "west-asia": 0.8,
    }
)
"""Traffic per head, by region: those of the scenario `fleet-4100`."""


class Place(msgspec.Struct, frozen=True):
    """A city with a PoP."""

    pop: str
    city: str
    country: str
    region: str
    timezone: str
    lat: float
    lon: float
    population: int
    traffic: float
    """People times the market weight."""


def read_places(count: int) -> list[Place]:
    """The ``count`` busiest, most traffic first. Raises `BadPlan`."""
    if not 1 <= count <= POPS_MAX:
        raise BadPlan(f"--pops {count} is outside 1 to {POPS_MAX}, the cities of the list.")
    zones = _read_zones()
    text = files("selvedge.sim").joinpath("scenarios/cities.csv").read_text("utf-8")
    found = [
        Place(
            pop=name,
            city=site.city,
            country=site.country,
            region=site.region,
            timezone=zones.get(name) or zones[site.country],
            lat=site.latitude,
            lon=site.longitude,
            population=site.population,
            traffic=site.population * MARKET.get(site.region, 1.0),
        )
        for name, site in read_cities(text)
    ]
    return sorted(found, key=lambda place: (-place.traffic, place.pop))[:count]


def _read_zones() -> dict[str, str]:
    """A country's or a city's id -> IANA name."""
    text = files("selvedge.plan.synth").joinpath("zones.csv").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return dict(line.split(",") for line in lines[1:])
