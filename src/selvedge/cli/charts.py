"""A line chart as PNG: a quantity against load, one line per policy, names at the ends of lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10
from pathlib import Path

from selvedge.fabric import StoreFailed

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1800, 1100, 160, 380, 110, 120
_INK, _GRID = "#374151", "#e5e7eb"
_OURS, _LIMIT = "#0b6e99", "#c2410c"
_OTHERS = ("#6b7280", "#4d7c0f", "#7c3aed", "#b45309", "#0f766e", "#9d174d", "#475569", "#a16207")
_GAP = 30
Points = Sequence[tuple[float, float]]


def draw(path: Path, title: str, axes: tuple[str, str], lines: Mapping[str, Points]) -> None:
    """Write a chart with a logarithmic y axis; the first line is ours. Raises `StoreFailed`."""
    try:
        from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415
    except ImportError as error:
        raise StoreFailed("charts need Pillow: pip install 'selvedge[charts]'") from error
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    small, large = ImageFont.load_default(26), ImageFont.load_default(34)
    scale = _Scale([point for points in lines.values() for point in points])
    pen.text((LEFT, 30), title, fill=_INK, font=large)
    for value in scale.ticks():
        y = scale.y(value)
        pen.line((LEFT, y, WIDTH - RIGHT, y), fill=_GRID, width=2)
        pen.text((LEFT - 16, y), f"{value:g}", fill=_INK, font=small, anchor="rm")
    for value in sorted({x for points in lines.values() for x, _ in points}):
        pen.text((scale.x(value), HEIGHT - BOTTOM + 16), f"{value:g}", _INK, small, anchor="ma")
    middle = LEFT + (WIDTH - RIGHT - LEFT) / 2
    pen.text((middle, HEIGHT - 44), axes[0], fill=_INK, font=small, anchor="ma")
    pen.text((LEFT - 130, TOP - 36), axes[1], fill=_INK, font=small)
    ends = []
    for number, (name, points) in enumerate(lines.items()):
        colour = _colour(number, name)
        spots = [(scale.x(x), scale.y(y)) for x, y in points]
        pen.line(spots, fill=colour, width=8 if number == 0 else 4, joint="curve")
        for x, y in spots:
            pen.ellipse((x - 6, y - 6, x + 6, y + 6), fill=colour)
        ends.append((spots[-1][1], name, colour))
    for y, name, colour in _apart(ends):
        pen.text((WIDTH - RIGHT + 24, y), name, fill=colour, font=small, anchor="lm")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, "PNG", optimize=True)
    except OSError as error:
        raise StoreFailed(f"cannot write {path}: {error.strerror}") from error


def _colour(number: int, name: str) -> str:
    if number == 0:
        return _OURS
    return _LIMIT if name == "oracle" else _OTHERS[number % len(_OTHERS)]


def _apart(ends: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Names that do not lie on each other, in the order of their lines."""
    found: list[tuple[float, str, str]] = []
    low = -float(HEIGHT)
    for y, name, colour in sorted(ends):
        low = max(y, low + _GAP)
        found.append((low, name, colour))
    over = max(0.0, low - (HEIGHT - BOTTOM))
    return [(y - over, name, colour) for y, name, colour in found]


class _Scale:
    """From values to pixels; y is logarithmic."""

    def __init__(self, points: Points) -> None:
        xs = [x for x, _ in points]
        ys = [max(y, 1e-9) for _, y in points]
        self._left, self._right = min(xs), max(xs)
        self._low, self._high = floor(log10(min(ys)) * 4) / 4, -floor(-log10(max(ys)) * 4) / 4
        if self._high <= self._low:
            self._high = self._low + 0.25

    def x(self, value: float) -> float:
        width = self._right - self._left
        part = (value - self._left) / width if width else 0.5
        return LEFT + part * (WIDTH - RIGHT - LEFT)

    def y(self, value: float) -> float:
        part = (log10(max(value, 1e-9)) - self._low) / (self._high - self._low)
        return HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)

    def ticks(self) -> list[float]:
        powers = range(floor(self._low), -floor(-self._high) + 1)
        values = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        return [one for one in values if self._low <= log10(one) <= self._high]
