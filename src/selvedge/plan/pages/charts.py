"""Heat maps, bars and lines as SVG, plain enough to be read on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10

from markupsafe import Markup, escape

from selvedge.plan.pages.colours import NOTHING, STEPS, step_of

_LEFT, _TOP, _BOTTOM, _CAPTION = 96, 8, 26, 18


def legend(low: float, high: float, words: str, *, has_holes: bool = False) -> Markup:
    """What the colours mean, in percent; with the grey of what was not measured, if any is."""
    swatches = "".join(
        f'<rect x="{24 * at}" y="0" width="24" height="12" fill="{colour}"/>'
        for at, colour in enumerate(STEPS)
    )
    wide = 24 * len(STEPS)
    hole = Markup(
        f'<svg width="24" height="12"><rect width="24" height="12" fill="{NOTHING}"/></svg>'
        "<span>not measured</span>"
    )
    return Markup(
        '<div class="legend"><span>{}</span><svg width="{}" height="12">{}</svg>'
        "<span>{}</span><span>{}</span>{}</div>"
    ).format(f"{low:.0%}", wide, Markup(swatches), f"{high:.0%}", words, hole if has_holes else "")


def heat_map(
    rows: Mapping[str, Sequence[float | None]],
    columns: Sequence[str],
    bounds: tuple[float, float],
    *,
    width: float = 1060,
    cell: float = 20,
    left: float = _LEFT,
    told: bool = True,
    axis: str = "",
) -> Markup:
    """A row a name, a cell a value; a column's word stands below where it is not empty.

    `told`: each cell says its value to the mouse. `axis`: what the columns are.
    """
    across = (width - left) / max(1, len(columns))
    foot = _TOP + cell * len(rows) + _BOTTOM
    height = foot + (_CAPTION if axis else 0)
    parts = [f'<svg class="heat" viewBox="0 0 {width:g} {height:g}" role="img">']
    for line, (name, values) in enumerate(rows.items()):
        y = _TOP + line * cell
        parts.append(
            f'<text x="{left - 6:g}" y="{y + cell - 6:g}" class="end">{escape(name)}</text>'
        )
        steps = [step_of(value, *bounds) for value in values]
        at = 0
        while at < len(steps):
            # What has no words of its own is drawn with its like.
            after = at + 1
            while not told and after < len(steps) and steps[after] == steps[at]:
                after += 1
            colour = STEPS[steps[at]] if steps[at] >= 0 else NOTHING
            words = "not measured" if steps[at] < 0 else f"{values[at]:.1%}"
            title = f"<title>{escape(name)}, {escape(columns[at]) or at}: {words}</title>"
            parts.append(
                f'<rect x="{left + at * across:.1f}" y="{y:g}" width="{(after - at) * across:.1f}"'
                f' height="{cell - 1:g}" fill="{colour}">{title if told else ""}</rect>'
            )
            at = after
    for at, word in enumerate(columns):
        if word:
            x = left + at * across
            parts.append(f'<text x="{x:.1f}" y="{foot - 8:g}">{escape(word)}</text>')
    if axis:
        middle = (width + left) / 2
        parts.append(
            f'<text x="{middle:g}" y="{height - 6:g}" class="mid axis">{escape(axis)}</text>'
        )
    parts.append("</svg>")
    return Markup("".join(parts))


def bars(
    counts: Sequence[int],
    words: Sequence[str],
    axis: str,
    *,
    width: float = 520,
    height: float = 220,
) -> Markup:
    """How many PoPs have how much: a bar a class, its count on top."""
    most = max(counts, default=0) or 1
    floor_y, across = height - 40, (width - 20) / max(1, len(counts))
    parts = [f'<svg class="bars" viewBox="0 0 {width:g} {height:g}" role="img">']
    for at, (count, word) in enumerate(zip(counts, words, strict=True)):
        x, tall = 10 + at * across, (floor_y - 24) * count / most
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{floor_y - tall:.1f}" width="{across - 2:.1f}"'
            f' height="{tall:.1f}"><title>{escape(word)}: {count:,}</title></rect>'
        )
        middle = x + across / 2
        if count:
            top = floor_y - tall - 4
            parts.append(f'<text x="{middle:.1f}" y="{top:.1f}" class="mid">{count:,}</text>')
        parts.append(f'<text x="{middle:.1f}" y="{floor_y + 14}" class="mid">{escape(word)}</text>')
    middle = width / 2
    parts.append(
        f'<text x="{middle}" y="{height - 6}" class="mid axis">{escape(axis)}</text></svg>'
    )
    return Markup("".join(parts))


def spans(
    rows: Mapping[str, tuple[float, float, float]],
    axis: str,
    *,
    width: float = 520,
    left: float = 190,
) -> Markup:
    """A row a name: from the lower to the upper share, the middle one marked and told."""
    height = _TOP + 26 * len(rows) + 40
    across = width - 50 - left
    parts = [f'<svg class="spans" viewBox="0 0 {width:g} {height:g}" role="img">']
    for at in range(5):
        x = left + across * at / 4
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - 40:g}"/>'
            f'<text x="{x:.1f}" y="{height - 26:g}" class="mid">{25 * at} %</text>'
        )
    for line, (name, (low, middle, high)) in enumerate(rows.items()):
        y = _TOP + 26 * line
        begin, mark, end = (left + across * one for one in (low, middle, high))
        words = f"{name}: {low:.1%}, {middle:.1%}, {high:.1%}"
        parts.append(
            f'<text x="{left - 8:g}" y="{y + 16}" class="end">{escape(name)}</text>'
            f'<rect x="{begin:.1f}" y="{y + 6}" width="{max(1.0, end - begin):.1f}" height="12">'
            f"<title>{escape(words)}</title></rect>"
            f'<line class="middle" x1="{mark:.1f}" x2="{mark:.1f}" y1="{y + 2}" y2="{y + 22}"/>'
            f'<text x="{max(end, mark) + 6:.1f}" y="{y + 16}">{middle:.1%}</text>'
        )
    parts.append(
        f'<text x="{width / 2:g}" y="{height - 6:g}" class="mid axis">{escape(axis)}</text></svg>'
    )
    return Markup("".join(parts))


Band = tuple[float, float, float, float]
"""A step of time and its lower, middle and upper value."""


def lines(
    seen: Mapping[str, Sequence[tuple[float, float]]],
    ticks: Sequence[tuple[float, str]],
    *,
    band: Sequence[Band] = (),
    width: float = 1060,
    height: float = 260,
    right: float = 100,
) -> Markup:
    """Values over time, and what is expected with its interval; each line's name at its end.

    `right`: pixels kept for those names.
    """
    values = [y for line in seen.values() for _, y in line] + [step[3] for step in band]
    times = [x for line in seen.values() for x, _ in line] + [step[0] for step in band]
    if not times:
        return Markup("<p>Nothing was measured.</p>")
    unit, name = _unit(max(values, default=0.0))
    top = _round_up(max(values) / unit)
    plot = _Plot((min(times), max(times)), top * unit, width - right, height)
    parts = [f'<svg class="lines" viewBox="0 0 {width:g} {height:g}" role="img">']
    for at in range(5):
        y = plot.y(top * unit * at / 4)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{width - right:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        words = f"{top * at / 4:g} {name}"
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" class="end">{words}</text>')
    floor_y = height - _BOTTOM
    for x, word in ticks:
        at_x, side = plot.x(x), "mid" if x > min(times) else "start"
        if x == max(times) and right < _LEFT / 2:
            side = "end"
        parts.append(
            f'<path class="grid" d="M{at_x:.1f} {floor_y}v5"/>'
            f'<text x="{at_x:.1f}" y="{height - 8:g}" class="{side}">{escape(word)}</text>'
        )
    if band:
        around = [plot.pixel(step[0], step[3]) for step in band]
        around += [plot.pixel(step[0], step[1]) for step in reversed(band)]
        parts.append(f'<polygon class="band" points="{" ".join(around)}"/>')
        middle = " ".join(plot.pixel(step[0], step[2]) for step in band)
        parts.append(f'<polyline class="expected" points="{middle}"/>')
    for at, (word, line) in enumerate(seen.items()):
        spots = " ".join(plot.pixel(x, y) for x, y in line)
        x, y = line[-1]
        parts.append(f'<polyline class="line{at}" points="{spots}"/>')
        for spot in spots.split(" "):
            left, top_y = spot.split(",")
            parts.append(f'<circle class="spot{at}" cx="{left}" cy="{top_y}" r="2.5"/>')
        parts.append(
            f'<text x="{plot.x(x) + 6:.1f}" y="{plot.y(y) + 4:.1f}" class="name{at}">'
            f"{escape(word)}</text>"
        )
    return Markup("".join([*parts, "</svg>"]))


class _Plot:
    def __init__(self, times: tuple[float, float], top: float, right: float, height: float) -> None:
        self._first, last = times
        self._across = (right - _LEFT) / ((last - self._first) or 1.0)
        self._floor = height - _BOTTOM
        self._up = (self._floor - _TOP) / (top or 1.0)

    def x(self, time: float) -> float:
        return _LEFT + (time - self._first) * self._across

    def y(self, value: float) -> float:
        return self._floor - value * self._up

    def pixel(self, time: float, value: float) -> str:
        return f"{self.x(time):.1f},{self.y(value):.1f}"


def _unit(most: float) -> tuple[float, str]:
    for power, name in ((1e15, "Pbit/s"), (1e12, "Tbit/s"), (1e9, "Gbit/s"), (1e6, "Mbit/s")):
        if most >= power:
            return power, name
    return (0.01, "%") if most <= 2.0 else (1.0, "bit/s")


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return float(
        next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value * 0.999)
    )


def bits(value: float | None) -> str:
    """A rate in words: 3 figures and a unit of powers of 10."""
    if value is None:
        return "–"
    unit, name = _unit(value) if value > 2.0 else (1.0, "bit/s")
    scaled = value / unit
    places = max(0, 2 - floor(log10(scaled))) if scaled > 0 else 0
    return f"{scaled:.{min(places, 2)}f} {name}"


def histogram(values: Sequence[float | None], classes: int = 10) -> tuple[list[int], list[str]]:
    """How many shares lie in each tenth, and its words; unknown ones are left out."""
    counts = [0] * classes
    for value in values:
        if value is not None and value == value:
            counts[min(classes - 1, max(0, ceil(value * classes) - 1))] += 1
    edges = [f"{100 * at // classes}–{100 * (at + 1) // classes}" for at in range(classes)]
    return counts, edges
