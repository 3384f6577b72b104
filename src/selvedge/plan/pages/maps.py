"""Maps as SVG: countries of Natural Earth, and a dot a PoP."""

from __future__ import annotations

import importlib.resources
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Final, Literal

import msgspec
from markupsafe import Markup

from selvedge.plan.pages.colours import NOTHING, STEPS
from selvedge.plan.pages.projection import Frame, Spot, middle_meridian, project

_LONG_JUMP = 2.0
"""On the plane; a line that is longer goes around the back of the map and is not drawn."""


Glyph = Literal["circle", "square", "cross", "plus", "bar"]
_STROKES: Final = {
    "cross": "M{0:.1f} {1:.1f}L{2:.1f} {3:.1f}M{0:.1f} {3:.1f}L{2:.1f} {1:.1f}",
    "plus": "M{0:.1f} {5:.1f}H{2:.1f}M{4:.1f} {1:.1f}V{3:.1f}",
    "bar": "M{4:.1f} {1:.1f}V{3:.1f}",
}


class Dot(msgspec.Struct, frozen=True):
    """A PoP on a map: degrees, radius in pixels, a colour's step (-1 for none), words."""

    longitude: float
    latitude: float
    radius: float
    step: int
    words: str
    colour: str = ""
    """In place of the step's."""
    glyph: Glyph = "circle"
    layer: int = 0
    """Drawn from the least up; within one, the largest first."""


class _Borders(msgspec.Struct, frozen=True):
    source: str
    names: dict[str, str]
    countries: dict[str, list[list[int]]]


@cache
def _borders() -> _Borders:
    path = importlib.resources.files("selvedge.plan.pages") / "borders.json"
    return msgspec.json.decode(path.read_bytes(), type=_Borders)


def country_name(code: str) -> str:
    """In English; the code where it has none."""
    return _borders().names.get(code.upper(), code)


def borders_source() -> str:
    """Whose borders they are, for the foot of a page."""
    return _borders().source


def world_map(dots: Sequence[Dot], width: float = 1060, height: float = 520) -> Markup:
    """All countries but Antarctica, and the dots upon them."""
    corners = [(-180.0, 0.0), (180.0, 0.0), (0.0, 83.6), (0.0, -56.0)]
    frame = Frame([project(*corner) for corner in corners], width, height, margin=0.0)
    return _draw(frame, dots, lit=(), centre=0.0, finest=1.4)


def region_map(dots: Sequence[Dot], lit: Collection[str], width: float, height: float) -> Markup:
    """The part of the world in which the dots lie, with some countries set off."""
    centre = middle_meridian(dot.longitude for dot in dots)
    spots = [project(dot.longitude, dot.latitude, centre) for dot in dots]
    return _draw(Frame(spots, width, height, margin=0.35), dots, lit=lit, centre=centre, finest=0.8)


def _draw(
    frame: Frame, dots: Sequence[Dot], *, lit: Collection[str], centre: float, finest: float
) -> Markup:
    parts = [
        f'<svg class="map" viewBox="0 0 {frame.width:g} {frame.height:g}" role="img"'
        f' aria-label="a map of {len(dots)} PoPs">'
    ]
    for code, rings in _borders().countries.items():
        path = "".join(_path(ring, frame, centre, finest) for ring in rings)
        if path:
            name = "lit" if code in lit else "land"
            parts.append(f'<path class="{name}" d="{path}"/>')
    for dot in sorted(dots, key=lambda dot: (dot.layer, -dot.radius)):
        x, y = frame.pixel(project(dot.longitude, dot.latitude, centre))
        parts.append(mark(dot, x, y))
    parts.append("</svg>")
    return Markup("".join(parts))


def mark(dot: Dot, x: float, y: float) -> Markup:
    """A dot at a pixel: its glyph, and its words for the mouse."""
    colour = dot.colour or (STEPS[dot.step] if dot.step >= 0 else NOTHING)
    size = dot.radius
    if dot.glyph == "circle":
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" fill="{colour}">'
        end = "</circle>"
    elif dot.glyph == "square":
        corner = f'x="{x - size:.1f}" y="{y - size:.1f}"'
        sides = f'width="{2 * size:.1f}" height="{2 * size:.1f}"'
        shape, end = f'<rect {corner} {sides} fill="{colour}">', "</rect>"
    else:
        way = _STROKES[dot.glyph].format(x - size, y - size, x + size, y + size, x, y)
        shape, end = f'<path class="glyph" d="{way}" stroke="{colour}">', "</path>"
    words = Markup("<title>{}</title>").format(dot.words) if dot.words else Markup("")
    return Markup(shape) + words + Markup(end)


def _path(ring: list[int], frame: Frame, centre: float, finest: float) -> str:
    """Nothing for an island of less than a pixel, and steps of at least the finest."""
    places = zip(ring[::2], ring[1::2], strict=True)
    plane = [project(x / 100, y / 100, centre) for x, y in places]
    pixels = [frame.pixel(spot) for spot in plane]
    xs, ys = zip(*pixels, strict=True)
    if not frame.shows(pixels) or max(xs) - min(xs) + max(ys) - min(ys) < 2.0:
        return ""
    return "".join(_pieces(plane, pixels, finest))


def _pieces(plane: Sequence[Spot], pixels: Sequence[Spot], finest: float) -> Iterable[str]:
    last: Spot | None = None
    before: Spot | None = None
    for spot, (x, y) in zip(plane, pixels, strict=True):
        if before is not None and abs(spot[0] - before[0]) > _LONG_JUMP:
            last = None
        before = spot
        if last is not None and abs(x - last[0]) + abs(y - last[1]) < finest:
            continue
        yield f"{'M' if last is None else 'L'}{x:.1f} {y:.1f}"
        last = (x, y)
