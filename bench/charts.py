"""Line charts as SVG text: nothing but the marks, in grey and two colours. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 260, 64, 150, 36, 40
COLOURS = ("#0b6e99", "#c2410c", "#6b7280", "#4d7c0f", "#7c3aed")


@dataclass(frozen=True, slots=True)
class Line:
    """A named line of points."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """One panel: title, axis words, lines; ``top`` fixes the upper end of the y axis."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    top: float | None = None


def render(charts: Sequence[Chart]) -> str:
    """The panels one below the other, as one SVG document."""
    height = HEIGHT * len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12" fill="#374151">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, chart in enumerate(charts):
        parts.append(f'<g transform="translate(0 {number * HEIGHT})">')
        parts += _panel(chart)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(chart: Chart) -> list[str]:
    points = [point for line in chart.lines for point in line.points] or [(0.0, 0.0)]
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    top = chart.top or max(y for _, y in points) * 1.1 or 1.0
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        part = (x - low) / (high - low) if high > low else 0.0
        return LEFT + part * wide, TOP + tall - min(y, top) / top * tall

    parts = [f'<text x="{LEFT}" y="20" font-weight="bold">{escape(chart.title)}</text>']
    for step in range(5):
        value = top * step / 4
        _, y = at(low, value)
        parts.append(f'<path d="M{LEFT} {y:.1f}h{wide}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.4g}</text>')
    for step in range(5):
        value = low + (high - low) * step / 4
        x, _ = at(value, 0)
        parts.append(
            f'<text x="{x:.1f}" y="{TOP + tall + 16}" text-anchor="middle">{value:,.4g}</text>'
        )
    parts.append(
        f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(chart.x)}</text>"
    )
    parts.append(f'<text x="{LEFT - 6}" y="{TOP - 8}" text-anchor="end">{escape(chart.y)}</text>')
    for number, line in enumerate(chart.lines):
        if not line.points:
            continue
        colour = COLOURS[number % len(COLOURS)]
        path = "L".join("{:.1f} {:.1f}".format(*at(*point)) for point in line.points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        _, y = at(*line.points[-1])
        parts.append(
            f'<text x="{WIDTH - RIGHT + 6}" y="{TOP + 10 + 16 * number}" fill="{colour}">'
            f"{escape(line.name)}</text>"
        )
    return parts
