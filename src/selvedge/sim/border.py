"""A second opinion on residency: where bytes went, against the zones as the operator wrote them.

The router sees only the allowed set it is given, and the allowed set is compiled to bitsets. A law
that is checked by what it should check is no law: this witness reads the release's zones itself,
with sets of countries, and stands where the simulated bytes pass.
"""

from __future__ import annotations

from typing import Final

from selvedge.fabric import Release

_NOWHERE: Final[frozenset[str]] = frozenset()


class Border:
    """Counts crossings; ``outside`` must stay 0."""

    __slots__ = ("_countries", "_in_zone", "_zone_of", "crossings", "outside")

    def __init__(self, release: Release) -> None:
        zones = {zone.id: frozenset(zone.countries) for zone in release.zones}
        classes = {(tenant.id, one.id): one for tenant in release.tenants for one in tenant.classes}
        rules = {key.id: classes[key.tenant, key.data_class] for key in release.keys}
        self._zone_of = {key: zones[rule.zone] for key, rule in rules.items()}
        self._in_zone = {key for key, rule in rules.items() if rule.ingress == "in-zone"}
        self._countries = {pop.id: pop.country for pop in release.pops}
        self.crossings = 0
        self.outside = 0

    def cross(self, key: str, ingress: str, pop: str) -> None:
        """A request of this key, which entered at ``ingress``, has bytes on their way to ``pop``.

        An unknown key has no zone: wherever its bytes go is outside.
        """
        self.crossings += 1
        zone = self._zone_of.get(key, _NOWHERE)
        entered = key not in self._in_zone or self._countries[ingress] in zone
        if not entered or self._countries[pop] not in zone:
            self.outside += 1
