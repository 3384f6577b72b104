"""How often a share of capacity was in use: samples by whole percent, as SVG and in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

import msgspec
from markupsafe import Markup

_BUSY: Final = 80
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 22.0, 26.0, 42.0


class Frequency(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a distribution. Percents are of capacity, `above` is a share of samples."""

    chart: Markup
    p50: int
    """Half of the samples were at most so."""
    p95: int
    busy: int
    above: float
    """Of samples, more than `busy`."""


def frequency(
    counts: Sequence[int], *, width: float = 520, height: float = 200
) -> Frequency | None:
    """Of samples by use in whole percent, rounded up, the last one and more; None of none."""
    if not (n := sum(counts)):
        return None
    p50, p95 = (_ranked(counts, percent) for percent in (50, 95))
    return Frequency(
        chart=_draw(counts, (p50, p95), width, height),
        p50=p50,
        p95=p95,
        busy=_BUSY,
        above=sum(counts[_BUSY + 1 :]) / n,
    )


def _ranked(counts: Sequence[int], percent: int) -> int:
    """Of n samples the one in place n - floor(n (100 - p) / 100), by its percent."""
    n = sum(counts)
    left = n - n * (100 - percent) // 100
    for at, count in enumerate(counts):
        left -= count
        if left <= 0:
            return at
    return len(counts) - 1


def _draw(counts: Sequence[int], marks: tuple[int, int], width: float, height: float) -> Markup:
    shares = [100 * count / sum(counts) for count in counts]
    across = (width - _LEFT - _RIGHT) / len(counts)
    floor_y, top = height - _BOTTOM, max(1, ceil(max(shares)))
    up = (floor_y - _TOP) / top
    parts = [f'<svg class="often" viewBox="0 0 {width:g} {height:g}" role="img">']
    for tick in (0, top):
        y = floor_y - tick * up
        parts.append(
            f'<path class="grid" d="M{_LEFT:g} {y:.1f}H{width - _RIGHT:g}"/>'
            f'<text x="{_LEFT - 6:g}" y="{y + 4:.1f}" class="end">{f"{tick} %" if tick else ""}'
            "</text>"
        )
    steps = "".join(f"V{floor_y - share * up:.1f}h{across:.3f}" for share in shares)
    parts.append(f'<path class="bars" d="M{_LEFT:g} {floor_y:g}{steps}V{floor_y:g}Z"/>')
    for mark, words, side in zip(marks, ("half", "95 of 100"), ("end", "start"), strict=True):
        x = _LEFT + (mark + 1) * across
        aside = x + (5 if side == "start" else -5)
        parts.append(
            f'<path class="mark" d="M{x:.1f} {_TOP - 14:g}V{floor_y:g}"/>'
            f'<text x="{aside:.1f}" y="{_TOP - 6:g}" class="{side}">{words} ≤ {mark} %</text>'
        )
    for percent in range(0, 101, 20):
        x = _LEFT + (percent + 0.5) * across
        parts.append(f'<text x="{x:.1f}" y="{floor_y + 14:g}" class="mid">{percent} %</text>')
    middle = (width + _LEFT - _RIGHT) / 2
    words = "of a PoP’s capacity in use; height: share of the samples"
    parts.append(f'<text x="{middle:g}" y="{height - 6:g}" class="mid axis">{words}</text></svg>')
    return Markup("".join(parts))
