"""The tornado as SVG: what a figure comes to at the two ends of each input, the widest on top."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import msgspec

from selvedge.plan.economics.sensitivity import Swing
from selvedge.plan.economics.words import figure, plain

BARS: Final = 12
WIDTH: Final = 960
_LEFT, _RIGHT, _TOP, _ROW = 300, 90, 64, 30
_LOW, _HIGH, _INK, _GRID = "#b45309", "#0b6e99", "#374151", "#e5e7eb"


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One input, placed: pixels from the left, and what is written beside its ends."""

    name: str
    y: float
    low_x: float
    high_x: float
    low_words: str
    high_words: str


class Tornado(msgspec.Struct, frozen=True, kw_only=True):
    """A chart, placed: whoever draws it has nothing to reckon."""

    title: str
    middle_x: float
    middle_words: str
    width: float
    height: float
    bars: tuple[Bar, ...]


def place(title: str, middle: float, swings: Sequence[Swing]) -> Tornado:
    """Place the widest swings around the middle."""
    shown = list(swings[:BARS])
    ends = [middle, *(one.at_low for one in shown), *(one.at_high for one in shown)]
    least, most = min(ends), max(ends)
    scale = (WIDTH - _LEFT - _RIGHT - 150) / ((most - least) or 1.0)

    def x(value: float) -> float:
        return _LEFT + 75 + (value - least) * scale

    bars = tuple(
        Bar(
            name=one.input,
            y=_TOP + _ROW * number,
            low_x=x(one.at_low),
            high_x=x(one.at_high),
            low_words=plain(one.low),
            high_words=plain(one.high),
        )
        for number, one in enumerate(shown)
    )
    return Tornado(
        title=title,
        middle_x=x(middle),
        middle_words=figure(title, middle),
        width=WIDTH,
        height=_TOP + _ROW * len(bars) + 40,
        bars=bars,
    )


def draw_svg(chart: Tornado) -> str:
    """The chart as an SVG element."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {chart.width:.0f}'
        f' {chart.height:.0f}" role="img" font-family="sans-serif" font-size="13">'
    )
    parts = [head, f"<title>{escape(chart.title)}</title>"]
    parts.append(_text(16, 24, chart.title, "start", 15))
    bottom = chart.height - 26
    parts.append(
        f'<line x1="{chart.middle_x:.1f}" x2="{chart.middle_x:.1f}" y1="{_TOP - 16}"'
        f' y2="{bottom:.0f}" stroke="{_INK}" stroke-dasharray="3 3"/>'
    )
    parts.append(_text(chart.middle_x, bottom + 18, chart.middle_words, "middle"))
    for bar in chart.bars:
        parts += _bar(bar, chart.middle_x)
    parts.append(
        _text(16, bottom + 18, "at the low end: brown; at the high end: blue", "start", 12)
    )
    return "".join([*parts, "</svg>"])


def _bar(bar: Bar, middle: float) -> list[str]:
    parts = [_text(_LEFT - 8, bar.y + 5, bar.name, "end")]
    for x, colour, words in (
        (bar.low_x, _LOW, bar.low_words),
        (bar.high_x, _HIGH, bar.high_words),
    ):
        left, width = min(x, middle), max(1.0, abs(x - middle))
        parts.append(
            f'<rect x="{left:.1f}" y="{bar.y - 9:.1f}" width="{width:.1f}" height="18"'
            f' fill="{colour}"/>'
        )
        anchor, beside = ("end", left - 5) if x < middle else ("start", left + width + 5)
        parts.append(_text(beside, bar.y + 5, words, anchor, 11))
    return parts


def _text(x: float, y: float, words: str, anchor: str, size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        f' fill="{_INK}">{escape(words)}</text>'
    )
