"""Bars with intervals, and fronts: one limit against what it buys, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

import msgspec
from markupsafe import Markup, escape

_ROW, _HEAD, _FOOT = 26.0, 6.0, 30.0
_LETTER = 6.2
"""Pixels that a letter takes, at most on average."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A row: its name, its value and, where it has one, the interval; words at its end."""

    name: str
    value: float
    words: str
    low: float | None = None
    high: float | None = None
    is_ours: bool = False


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """A point of a front: a limit, what it buys, and whether another point is as good for less."""

    x: float
    y: float
    words: str
    is_dominated: bool


def bar_chart(rows: Sequence[Bar], axis: str, *, width: float = 520, left: float = 110) -> Markup:
    """A bar a row from 0, each interval as a line across its end; the value stands at the right."""
    left = max(left, _LETTER * max([len(row.name) for row in rows] + [0]) + 12)
    right = max(110.0, _LETTER * max([len(row.words) for row in rows] + [0]) + 14)
    most = max([row.high if row.high is not None else row.value for row in rows] + [1e-9])
    across = (width - left - right) / most
    height = _HEAD + _ROW * len(rows) + _FOOT
    parts = [f'<svg class="ranges" viewBox="0 0 {width:g} {height:g}" role="img">']
    for at, row in enumerate(rows):
        y = _HEAD + at * _ROW
        kind = "ours" if row.is_ours else "other"
        long = max(0.0, row.value) * across
        parts.append(f'<text x="{left - 8:g}" y="{y + 16:g}" class="end">{escape(row.name)}</text>')
        parts.append(
            f'<rect class="{kind}" x="{left:g}" y="{y + 4:g}" width="{long:.1f}" height="16"/>'
        )
        if row.low is not None and row.high is not None:
            low, high = left + max(0.0, row.low) * across, left + row.high * across
            parts.append(_whisker(low, high, y + 12))
        parts.append(
            f'<text x="{width - right + 10:g}" y="{y + 16:g}" class="value">{escape(row.words)}'
            "</text>"
        )
    middle = left + (width - left - right) / 2
    parts.append(f'<text x="{middle:g}" y="{height - 8:g}" class="mid axis">{escape(axis)}</text>')
    return Markup("".join([*parts, "</svg>"]))


def gap_chart(rows: Sequence[Bar], axis: str, *, width: float = 520, left: float = 190) -> Markup:
    """Differences with their intervals about a line at 0: right of it, ours is better."""
    most = max([abs(end) for row in rows for end in (row.low or 0.0, row.high or 0.0)] + [1e-9])
    left = max(left, _LETTER * max([len(row.name) for row in rows] + [0]) + 12)
    right = 20.0
    zero = left + (width - left - right) / 2
    across = (width - left - right) / 2 / most
    height = _HEAD + _ROW * len(rows) + _FOOT
    floor_y = height - _FOOT + 4
    parts = [
        f'<svg class="ranges" viewBox="0 0 {width:g} {height:g}" role="img">',
        f'<line class="zero" x1="{zero:g}" x2="{zero:g}" y1="{_HEAD:g}" y2="{floor_y:g}"/>',
    ]
    for at, row in enumerate(rows):
        y = _HEAD + at * _ROW + 12
        parts.append(f'<text x="{left - 8:g}" y="{y + 4:g}" class="end">{escape(row.name)}</text>')
        low, high = zero + (row.low or 0.0) * across, zero + (row.high or 0.0) * across
        parts.append(_whisker(low, high, y))
        spot = zero + row.value * across
        parts.append(
            f'<circle cx="{spot:.1f}" cy="{y:g}" r="4.5"><title>{escape(row.words)}</title>'
            "</circle>"
        )
    end = width - 4
    parts.append(f'<text x="{end:g}" y="{height - 8:g}" class="end axis">{escape(axis)}</text>')
    return Markup("".join([*parts, "</svg>"]))


def _whisker(low: float, high: float, y: float) -> str:
    ends = "".join(f"M{x:.1f} {y - 4:g}V{y + 4:g}" for x in (low, high))
    return f'<path class="whisker" d="M{low:.1f} {y:g}H{high:.1f}{ends}"/>'


def front_chart(
    spots: Sequence[Spot], axes: tuple[str, str], *, width: float = 520, height: float = 230
) -> Markup:
    """The points in order, joined where none is dominated; a hollow one is. Its words above it."""
    left, top, right, bottom = 52.0, 38.0, 40.0, 44.0
    most_x, step_x = _ticks(max([spot.x for spot in spots] + [1e-9]))
    most_y, step_y = _ticks(max([spot.y for spot in spots] + [1e-9]))
    floor_y = height - bottom

    def pixel(x: float, y: float) -> tuple[float, float]:
        across = (width - left - right) / most_x
        return left + x * across, floor_y - y * (floor_y - top) / most_y

    parts = [f'<svg class="front" viewBox="0 0 {width:g} {height:g}" role="img">']
    for at in range(round(most_y / step_y) + 1):
        _, y = pixel(0, at * step_y)
        parts.append(
            f'<line class="grid" x1="{left:g}" x2="{width - right:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 6:g}" y="{y + 4:.1f}" class="end">{at * step_y:g}</text>'
        )
    for at in range(round(most_x / step_x) + 1):
        x, _ = pixel(at * step_x, 0)
        parts.append(
            f'<text x="{x:.1f}" y="{floor_y + 15:g}" class="mid">{short(at * step_x)}</text>'
        )
    best = [pixel(spot.x, spot.y) for spot in spots if not spot.is_dominated]
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in best)
    parts.append(f'<polyline points="{way}"/>')
    for spot in spots:
        x, y = pixel(spot.x, spot.y)
        kind = "dominated" if spot.is_dominated else "best"
        parts.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
            f'<text x="{x:.1f}" y="{y - 8:.1f}" class="mid value">{escape(spot.words)}</text>'
        )
    middle = left + (width - left - right) / 2
    parts.append(
        f'<text x="{middle:g}" y="{height - 10:g}" class="mid axis">{escape(axes[0])}</text>'
        f'<text x="4" y="13" class="axis">{escape(axes[1])}</text></svg>'
    )
    return Markup("".join(parts))


def _ticks(most: float) -> tuple[float, float]:
    """A round end of an axis, and the distance of its four or five marks."""
    power = 10.0 ** floor(log10(most / 4))
    step = next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= most / 5)
    return step * max(1, ceil(most / step - 1e-9)), step


def short(value: float) -> str:
    """A number in few characters: 1.5 k, 2 M."""
    for power, name in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= power:
            power = 1e3 if name == " k" else power
            return f"{value / power:.3g}{name}"
    return f"{value:,.4g}"
