"""What a policy can see of a site: where it is, who operates it, who can reach it, and by which
instruments data may come to all of those.

What is not known is treated as the worst: a site whose entity nobody named can be reached from
every country, by every entity there is, and no instrument holds for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Final

import msgspec

from selvedge.fabric import COUNTRIES, UNKNOWN_COUNTRY, Entity, Place
from selvedge.residency.jurisdictions import Jurisdictions, Party, named_groups

NO_ENTITY: Final = "unknown"


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The attributes of a `Site` in a policy, by the same names; sets are sorted."""

    country: str
    groups: tuple[str, ...]
    """Of the country, on the day."""
    entity: str
    entity_country: str
    parents: tuple[str, ...]
    """Who owns the entity, and who owns those, all the way up."""
    parent_countries: tuple[str, ...]
    reach: tuple[str, ...]
    """Countries from which the site can be reached: the entity's, its parents', and those from
    which their people have remote access.
    """
    transfers: tuple[str, ...]
    """Instruments that hold for the site and for all in reach alike, as ``gdpr/art45``."""
    certificates: tuple[str, ...]


class Sites:
    """The sites of a fleet as policies see them, on one day or another."""

    def __init__(
        self, sites: tuple[Place, ...], entities: tuple[Entity, ...], lists: Jurisdictions
    ) -> None:
        self._sites = sites
        self._entities = {one.id: one for one in entities}
        self._lists = lists

    @property
    def names(self) -> list[str]:
        """The sites, in order."""
        return [one.id for one in self._sites]

    @property
    def strays(self) -> list[str]:
        """The sites whose entity is not among the entities, in order."""
        return [one.id for one in self._sites if one.entity not in self._entities]

    def on(self, day: date) -> list[Site]:
        """Every site on a day, in the order of the release; like sites are the same object."""
        groups = self._lists.groups_on(day)
        made: dict[tuple[str, str], Site] = {}
        found: list[Site] = []
        for one in self._sites:
            alike = (one.country, one.entity)
            if alike not in made:
                made[alike] = self._see(alike, groups, day)
            found.append(made[alike])
        return found

    def _see(self, alike: tuple[str, str], groups: Mapping[str, frozenset[str]], day: date) -> Site:
        country, name = alike
        inside = tuple(named_groups(groups, country))
        entity = self._entities.get(name)
        if entity is None:
            everywhere = tuple(sorted({*COUNTRIES, UNKNOWN_COUNTRY}))
            return Site(
                country=country,
                groups=inside,
                entity=name,
                entity_country=UNKNOWN_COUNTRY,
                parents=tuple(sorted({*self._entities, NO_ENTITY})),
                parent_countries=everywhere,
                reach=everywhere,
                transfers=(),
                certificates=(),
            )
        above = list(self._above(entity))
        parties = [
            Party(country, entity.id, entity.certificates, entity.sectors),
            *(party for one in (entity, *above) for party in _parties(one)),
        ]
        return Site(
            country=country,
            groups=inside,
            entity=name,
            entity_country=entity.country,
            parents=tuple(sorted(one.id for one in above)),
            parent_countries=tuple(sorted({one.country for one in above})),
            reach=tuple(sorted({party.country for party in parties[1:]})),
            transfers=tuple(sorted(self._lists.instruments(parties, day))),
            certificates=tuple(sorted(entity.certificates)),
        )

    def _above(self, entity: Entity) -> Iterator[Entity]:
        parent = entity.parent
        while parent is not None:  # a release has no circle of owners
            yield self._entities[parent]
            parent = self._entities[parent].parent


def _parties(one: Entity) -> Iterator[Party]:
    for country in (one.country, *one.remote_access):
        yield Party(country, one.id, one.certificates, one.sectors)
