"""How far apart two places are, and how long a round trip between them takes.

Distance is the haversine on a sphere of the IUGG's mean radius. The round trip is a model, for
planning and for emulated links, where nothing has been measured yet: light in fibre along a path
longer than the great circle, plus a fixed part for the equipment and the last mile.

- Light in fibre: c divided by the group index of G.652 single-mode fibre, about 1.468 from 1310
  to 1550 nm (ITU-T Recommendation G.652), so 204.2 km per ms.
- Fibre does not follow the great circle. Measured against light in a vacuum, the internet's
  round trips are several times too long (Singla et al., "The Internet at the Speed of Light",
  HotNets 2014), and the physical fibre path explains a factor of up to about two of it (Bozkurt
  et al., "Why Is the Internet so Slow?!", PAM 2017). Between well-connected data centres an
  inflation of 1.6 over the great circle is our default; it is a setting, not a law.

It refuses to know PoPs and releases: places are pairs of degrees.
"""

from __future__ import annotations

import math

from selvedge.fabric.value import Value

EARTH_RADIUS_KM = 6371.0088
"""Mean radius R1 of the Earth, IUGG (Moritz, "Geodetic Reference System 1980")."""

LIGHT_KM_PER_MS = 299.792458
FIBRE_GROUP_INDEX = 1.468

Place = tuple[float, float]
"""Latitude and longitude in degrees, north and east positive."""


def great_circle_km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Shortest distance over the surface, in km, between two places in degrees.

    Raises ValueError for a latitude outside [-90, 90] or a longitude outside [-180, 180].
    """
    _check(lat1, lon1)
    _check(lat2, lon2)
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    half_phi = (phi2 - phi1) / 2
    half_lambda = math.radians(lon2 - lon1) / 2
    haversine = (
        math.sin(half_phi) ** 2 + math.cos(phi1) * math.cos(phi2) * math.sin(half_lambda) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, haversine)))


def _check(latitude: float, longitude: float) -> None:
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise ValueError(f"({latitude}, {longitude}) is not a place on Earth")


class WanModel(Value, frozen=True):
    """What is assumed of the network between sites. Raises ValueError on build."""

    fibre_km_per_ms: float = LIGHT_KM_PER_MS / FIBRE_GROUP_INDEX
    path_inflation: float = 1.6
    fixed_ms: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.fibre_km_per_ms <= LIGHT_KM_PER_MS:
            raise ValueError("fibre_km_per_ms must be above 0 and no faster than light")
        if not 1 <= self.path_inflation < math.inf:
            raise ValueError("path_inflation must be at least 1: no path is shorter than straight")
        if not 0 <= self.fixed_ms < math.inf:
            raise ValueError("fixed_ms must not be negative")

    def rtt_ms(self, a: Place, b: Place) -> float:
        """The assumed round trip between two places, in ms: `fixed_ms` even within one site."""
        path_km = great_circle_km(a[0], a[1], b[0], b[1]) * self.path_inflation
        return 2 * path_km / self.fibre_km_per_ms + self.fixed_ms
