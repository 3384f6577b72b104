"""Where a place lies on a flat map.

Equal Earth (Savric, Patterson and Jenny, "The Equal Earth map projection", International Journal of
Geographical Information Science 33(3), 2019): areas are true, so that a dot a PoP says as much in
Norway as in Kenya.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import asin, atan2, cos, degrees, pi, radians, sin, sqrt
from typing import Final

_A1: Final = 1.340264
_A2: Final = -0.081106
_A3: Final = 0.000893
_A4: Final = 0.003796

Spot = tuple[float, float]


def project(longitude: float, latitude: float, centre: float = 0.0) -> Spot:
    """Degrees to a plane of about 5.41 by 2.64, north up; `centre` is the middle meridian."""
    turned = (longitude - centre + 180.0) % 360.0 - 180.0 if centre else longitude
    theta = asin(sqrt(3.0) / 2.0 * sin(radians(latitude)))
    square = theta * theta
    sixth = square**3
    slope = _A1 + 3 * _A2 * square + sixth * (7 * _A3 + 9 * _A4 * square)
    x = 2.0 * sqrt(3.0) / 3.0 * radians(turned) * cos(theta) / slope
    y = theta * (_A1 + _A2 * square + sixth * (_A3 + _A4 * square))
    return x, y


def middle_meridian(longitudes: Iterable[float]) -> float:
    """The mean direction: right for a country on both sides of the date line, too. 0 for none."""
    east = north = 0.0
    for longitude in longitudes:
        east += sin(radians(longitude))
        north += cos(radians(longitude))
    return degrees(atan2(east, north)) if abs(east) + abs(north) > 1e-9 else 0.0


class Frame:
    """A window on the plane, and its size in pixels."""

    def __init__(
        self, spots: Iterable[Spot], width: float, height: float, margin: float = 0.12
    ) -> None:
        xs, ys = zip(*spots, strict=True)
        across = max(max(xs) - min(xs), 0.02 * pi) * (1.0 + margin)
        up = max(max(ys) - min(ys), 0.02 * pi) * (1.0 + margin)
        self.scale = min(width / across, height / up)
        self.width, self.height = width, height
        self._x = (max(xs) + min(xs)) / 2
        self._y = (max(ys) + min(ys)) / 2

    def pixel(self, spot: Spot) -> Spot:
        """Pixels from the upper left corner."""
        x = self.width / 2 + (spot[0] - self._x) * self.scale
        return x, self.height / 2 - (spot[1] - self._y) * self.scale

    def shows(self, spots: Iterable[Spot]) -> bool:
        """Whether the box around pixels touches the window."""
        xs, ys = zip(*spots, strict=True)
        return bool(
            max(xs) >= 0 and min(xs) <= self.width and max(ys) >= 0 and min(ys) <= self.height
        )
