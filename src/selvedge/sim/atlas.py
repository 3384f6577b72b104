"""What every run of a world has in common: the compiled release, distances, who is near whom.

Made once and kept between runs: with 4,100 ingresses and 160 PoPs with engines it is most of what a
short run would spend its time on.
"""

from __future__ import annotations

import hashlib
from copy import copy

import msgspec

from selvedge.exchange import compile_release
from selvedge.sim.description import Description
from selvedge.sim.interpreter import PEPPER, with_keys_of_simulation
from selvedge.sim.links import Distances
from selvedge.sim.world import World, regions


class Atlas:
    """A world, ready to be run any number of times."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.release = with_keys_of_simulation(world.release)
        release_hash = hashlib.sha256(msgspec.json.encode(self.release)).hexdigest()
        self.compiled = compile_release(self.release, release_hash, PEPPER)
        self.distances = Distances(self.release, self.compiled.catalogue)
        self.regions = regions(world.places)
        self._near: dict[str, frozenset[str]] = {}
        self._ways: dict[str, dict[str, int]] = {}
        self._serving = [place.id for place in world.places if place.engines]
        country = {pop.id: pop.country for pop in self.release.pops}
        zones = sorted({zone.countries for zone in self.release.zones})
        self._zones = [
            frozenset(pop for pop in self._serving if country[pop] in zone) for zone in zones
        ]

    def with_description(self, description: Description) -> Atlas:
        """The same fleet under another load, window, or period of reports."""
        other = copy(self)
        other.world = msgspec.structs.replace(self.world, description=description)
        if description.signals.digests_from != self.world.description.signals.digests_from:
            other._near = {}
        return other

    def ways_us(self, here: str) -> dict[str, int]:
        """One way from a PoP to every PoP with engines."""
        known = self._ways.get(here)
        if known is None:
            rtt_us = self.distances.rtt_us
            known = self._ways[here] = {pop: rtt_us(here, pop) // 2 for pop in self._serving}
        return known

    def near(self, here: str) -> frozenset[str]:
        """The nearest PoPs with engines of every zone: those whose digests an ingress gets."""
        known = self._near.get(here)
        if known is None:
            most = self.world.description.signals.digests_from
            ways = self.ways_us(here)
            ordered = [pop for _, pop in sorted(zip(ways.values(), ways, strict=True))]
            found: set[str] = set()
            for zone in self._zones:
                found.update([pop for pop in ordered if pop in zone][:most])
            known = self._near[here] = frozenset(found)
        return known
