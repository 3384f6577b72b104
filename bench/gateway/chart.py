"""The chart as SVG, drawn by hand: rates on a log axis, memory under two thousand streams."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH: Final = 860
LEFT, RIGHT = 110, 30
ROW: Final = 26
INK, FAINT = "#1f2933", "#d5dbe1"
COLOURS: Final = {
    "direct": "#9aa5b1",
    "nginx": "#3e8e41",
    "selvedge": "#b23a48",
    "selvedge-interpreted": "#d98a93",
    "portkey": "#2f6f9f",
    "litellm": "#c58b2b",
}
Curve = Sequence[tuple[float, float]]


def render_chart(
    rates: Mapping[str, Mapping[str, float]], curves: Mapping[str, Curve], caption: str
) -> str:
    """``rates``: title of a panel -> target -> a second; ``curves``: target -> (s, MB)."""
    parts: list[str] = []
    y = 20
    for title, values in rates.items():
        if values:
            drawn, height = _bars(title, values, y)
            parts += drawn
            y += height + 34
    if any(curves.values()):
        drawn, height = _curves(curves, y)
        parts += drawn
        y += height + 30
    parts.append(_text(LEFT, y, caption, size=11))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 16}" '
        f'width="{WIDTH}" height="{y + 16}" font-family="system-ui, sans-serif">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, words: str, *, size: int = 12, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{INK}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{FAINT}" stroke-width="1"/>'
    )


def _bars(title: str, values: Mapping[str, float], top: int) -> tuple[list[str], int]:
    """Bars of one panel on a log axis, the longest first; what was drawn, and its height."""
    ordered = sorted(values.items(), key=lambda one: -one[1])
    positive = [number for _, number in ordered if number > 0] or [1.0]
    low = max(0, math.floor(math.log10(min(positive))) - 1)
    high = max(low + 1, math.ceil(math.log10(max(positive))))
    room = WIDTH - LEFT - RIGHT - 60

    def x_of(number: float) -> float:
        place = (math.log10(max(number, 10**low)) - low) / (high - low)
        return LEFT + max(0.0, place) * room

    parts = [_text(LEFT, top, title, size=14)]
    bottom = top + 12 + ROW * len(ordered)
    for decade in range(low, high + 1):
        x = x_of(10**decade)
        parts.append(_line(x, top + 10, x, bottom))
        parts.append(_text(x, bottom + 14, f"{10**decade:,.0f}", size=10, anchor="middle"))
    for at, (name, number) in enumerate(ordered):
        y = top + 14 + at * ROW
        width = max(1.0, x_of(number) - LEFT)
        colour = COLOURS.get(name, INK)
        parts.append(_text(LEFT - 8, y + 14, name, anchor="end"))
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>'
        )
        parts.append(_text(LEFT + width + 6, y + 14, f"{number:,.0f}"))
    return parts, bottom - top + 14


def _curves(curves: Mapping[str, Curve], top: int) -> tuple[list[str], int]:
    """Memory over time; both axes from zero."""
    height, room = 180, WIDTH - LEFT - RIGHT
    seconds = max((at for curve in curves.values() for at, _ in curve), default=1.0) or 1.0
    most = max((mb for curve in curves.values() for _, mb in curve), default=1.0)
    step = _step(most)
    high = step * math.ceil(most / step)
    bottom = top + 14 + height
    parts = [_text(LEFT, top, "Memory with 2,000 open streams, MB", size=14)]
    for number in range(0, int(high) + 1, step):
        y = bottom - number / high * height
        parts.append(_line(LEFT, y, LEFT + room, y))
        parts.append(_text(LEFT - 8, y + 4, f"{number:,}", size=10, anchor="end"))
    for part in range(5):
        x = LEFT + room * part / 4
        parts.append(
            _text(x, bottom + 16, f"{seconds * part / 4:,.0f} s", size=10, anchor="middle")
        )
    for name, curve in curves.items():
        points = " ".join(
            f"{LEFT + at / seconds * room:.1f},{bottom - mb / high * height:.1f}"
            for at, mb in curve
        )
        colour = COLOURS.get(name, INK)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        if curve:
            y = bottom - curve[-1][1] / high * height
            parts.append(_text(LEFT + room, y - 6, name, anchor="end"))
    return parts, height + 32


def _step(most: float) -> int:
    """A round distance between grid lines, for four to eight of them."""
    for step in (5, 10, 20, 25, 50, 100, 200, 250, 500, 1000):
        if most / step <= 6:
            return step
    return int(10 ** math.ceil(math.log10(most / 6)))
