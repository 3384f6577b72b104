"""The page of a retrofit: which sites, how good that is, when, for how much, and how sure.

It shows a `placement.Report` and computes nothing that this does not say, but sums and sorting.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any, Final

import msgspec
from markupsafe import Markup

from selvedge.plan.pages.colours import STEPS
from selvedge.plan.pages.maps import Dot, Glyph, borders_source, world_map
from selvedge.plan.pages.ranges import Bar, Spot, bar_chart, front_chart, gap_chart, short
from selvedge.plan.pages.words import saved

if TYPE_CHECKING:
    from selvedge.plan.placement import Judged, Place, Point, Report

Row = dict[str, Any]  # a cell is text, a number, drawn SVG or None
_DEMAND: Final = "#f2a154"
_THERE: Final = "#111827"
_LEFT_OUT: Final[tuple[tuple[Glyph, str], ...]] = (
    ("cross", "#b42318"),
    ("plus", "#7a5af8"),
    ("bar", "#475467"),
)
"""Of reasons, the most frequent first; the last one is of all others too."""
_NO_ROOM: Final = "no room: "
_SHOWN: Final = 12
_CROWD: Final = 400
"""Marks from which they are drawn smaller."""
_PROVED: Final = 1e-6
_FIGURES: Final = {
    "ttft_ms_p50": "time to first token, median",
    "ttft_ms_p95": "its 95th percentile",
    "gpus_needed": "GPUs needed",
}
_SHORT: Final = {"ttft_ms_p50": "median", "ttft_ms_p95": "p95"}
_PROOFS: Final = {
    "certificate": "The proof is a file (--certificate) that anybody can check with"
    " placement.verify.",
    "certificate with capacity": "The proof is a file (--certificate) that anybody can check with"
    " placement.verify; the room of every site is in it.",
}


def page_of(report: Report) -> Row:
    """What the template fills in."""
    quarters = [step.quarter for step in report.programme if step.sites]
    return {
        "report": report,
        "found": report.measures,
        "gap": gap_figure(report),
        "lead": lead_words(report),
        "proof": proof_words(report),
        "map": world_map(_chosen_dots(report, quarters)),
        "quarters": _quarters(quarters),
        "out": _left_out(report),
        "model": _model(report),
        "judged": _judged(report),
        "by_sites": _front(report, report.front),
        "by_money": _front(report, report.front_budget),
        "steps": _steps(report),
        "fullest": report.loads[:_SHOWN],
        "any_room": 10_000,
        "saved": _saved(report),
        "borders": borders_source(),
        "demand_colour": _DEMAND,
        "there_colour": _THERE,
    }


def lead_words(report: Report) -> str:
    """The answer in a sentence or two."""
    found = report.measures
    ours = report.comparison[0].measures.rtt_ms_mean
    busiest = next(
        (one.measures for one in report.comparison if one.name.startswith("busiest")), None
    )
    words = (
        f"{found.new_sites} of {report.candidates:,} possible sites, beside {report.existing} that"
        f" have GPUs already, for {found.usd:,.0f} USD. The mean round trip between a user and the"
        f" nearest site becomes {found.rtt_ms_mean:.1f} ms, and {found.near_share:.0%} of demand"
        " has one within"
        f" {report.near_ms:g} ms."
    )
    if found.unserved_share > _PROVED:
        words += f" {found.unserved_share:.1%} of demand stays unserved."
    if busiest is not None and busiest.rtt_ms_mean > ours * 1.001:
        words += f" The same number at the busiest PoPs: {busiest.rtt_ms_mean:.1f} ms."
    return words


def proof_words(report: Report) -> str:
    """How far from the best there is, and whose word that is."""
    unit = {"ms": "ms (round trip without the last mile)"}.get(report.unit, report.unit)
    sure = _PROOFS.get(report.proof, f"The bound is by: {report.proof}.")
    if report.gap <= _PROVED:
        return (
            f"No choice under these rules is better: {report.cost:,.4g} {unit} is the least there"
            f" is, proved. {sure}"
        )
    return (
        f"No choice under these rules comes below {report.bound:,.5g} {unit}; this one has"
        f" {report.cost:,.5g}. So it is at most {report.gap:.2%} from the best there is, and may be"
        f" the best. {sure}"
    )


def gap_figure(report: Report) -> tuple[str, str]:
    """The gap as a figure, and what it means."""
    if report.gap <= _PROVED:
        return "proved", "no choice under these rules is better"
    return f"{report.gap:.2%}", "at most from the best choice there is"


def _chosen_dots(report: Report, quarters: Sequence[str]) -> list[Dot]:
    most = max([place.requests_per_s for place in report.places] + [1e-9])
    found = []
    for place in report.places:
        if place.requests_per_s > 0:
            radius = 0.8 + 9 * sqrt(place.requests_per_s / most)
            found.append(Dot(place.lon, place.lat, radius, -1, "", _DEMAND))
        words = f"{place.pop}, {place.metro or place.country}"
        if place.state == "existing":
            words += ": has GPUs already"
            found.append(Dot(place.lon, place.lat, 3.6, -1, words, _THERE, "square", 2))
        elif place.state == "chosen":
            at = quarters.index(place.quarter) if place.quarter in quarters else 0
            words += f": {place.quarter or 'chosen'}"
            colour = _quarter_colour(at, len(quarters))
            found.append(Dot(place.lon, place.lat, 4.2, 0, words, colour, layer=3))
    return found


def _quarter_colour(at: int, count: int) -> str:
    """Dark first: what comes first stands out."""
    steps = STEPS[:1:-1]  # Without yellows: they are too near to what demand is drawn in.
    return steps[0] if count < 2 else steps[round(at * (len(steps) - 1) / (count - 1))]


def _quarters(quarters: Sequence[str]) -> list[Row]:
    return [
        {"name": name, "colour": _quarter_colour(at, len(quarters))}
        for at, name in enumerate(quarters)
    ]


def _left_out(report: Report) -> Row | None:
    """Sites where nothing can be installed, by the reason."""
    reasons: dict[str, list[Place]] = {}
    for place in report.places:
        if place.state.startswith(_NO_ROOM):
            reasons.setdefault(place.state.removeprefix(_NO_ROOM), []).append(place)
    if not reasons:
        return None
    total = sum(place.requests_per_s for place in report.places) or 1.0
    dots, rows = [], []
    size = 4.4 if sum(len(places) for places in reasons.values()) < _CROWD else 2.6
    order = sorted(reasons.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    for at, (reason, places) in enumerate(order):
        glyph, colour = _LEFT_OUT[min(at, len(_LEFT_OUT) - 1)]
        for place in places:
            words = f"{place.pop}, {place.metro or place.country}: short of {reason}"
            dots.append(Dot(place.lon, place.lat, size, -1, words, colour, glyph))
        share = sum(place.requests_per_s for place in places) / total
        sign = {"cross": "×", "plus": "+", "bar": "|"}[glyph]
        row = {"reason": reason, "sites": len(places), "share": share, "sign": sign}
        rows.append({**row, "colour": colour})
    return {"map": world_map(dots), "rows": rows}


def _model(report: Report) -> Row:
    """Ours beside the rules of thumb, by the model: two charts."""
    trips, near = [], []
    for one in report.comparison:
        found, is_ours = one.measures, one.name == "ours"
        words = f"{found.rtt_ms_mean:.2f} ms"
        if not is_ours and one.cost_ratio is not None:
            words += f", cost × {one.cost_ratio:.3f}"
        trips.append(Bar(name=one.name, value=found.rtt_ms_mean, words=words, is_ours=is_ours))
        share = f"{found.near_share:.1%}"
        near.append(Bar(name=one.name, value=100 * found.near_share, words=share, is_ours=is_ours))
    return {
        "trips": bar_chart(trips, "mean round trip from the user, ms: less is better"),
        "near": bar_chart(near, f"percent of demand within {report.near_ms:g} ms: more is better"),
        "broken": [one for one in report.comparison if one.broken],
    }


def _judged(report: Report) -> Row | None:
    if not report.judged:
        return None
    rows = report.judged
    names = [(row, row.name == "ours") for row in rows]
    charts = [
        bar_chart(
            [_bar(row, figure, is_ours) for row, is_ours in names],
            f"{words}: less is better",
            left=96,
        )
        for figure, words in (
            ("ttft_ms_p50", "time to first token, median, ms"),
            ("ttft_ms_p95", "time to first token, 95th percentile, ms"),
            ("gpus_needed", f"GPUs with which 95 of 100 keep {rows[0].slo_ms:g} ms"),
            ("rtt_ms", "mean round trip to the site that served, ms"),
        )
    ]
    gaps = [
        Bar(
            name=f"{row.name}, {_SHORT[one.figure]}",
            value=one.theirs_less_ours.mean,
            low=one.theirs_less_ours.low,
            high=one.theirs_less_ours.high,
            words=one.verdict,
        )
        for row in rows[1:]
        for one in row.against_ours
        if one.figure != "gpus_needed"
    ]
    axis = "ms more than ours; right of the line, ours is better"
    return {
        "charts": charts,
        "gaps": gap_chart(gaps, axis) if gaps and rows[0].seeds > 1 else None,
        "verdicts": _verdicts(report),
        "first": rows[0],
        "figures": list(_FIGURES.values()),
    }


def _bar(row: Judged, figure: str, is_ours: bool) -> Bar:
    found = getattr(row, figure)
    places = 1 if figure == "rtt_ms" else 0
    words = f"{found.mean:,.{places}f}"
    if row.seeds > 1:
        words += f" ({found.low:,.{places}f}–{found.high:,.{places}f})"
    return Bar(
        name=row.name,
        value=found.mean,
        low=found.low if row.seeds > 1 else None,
        high=found.high if row.seeds > 1 else None,
        words=words,
        is_ours=is_ours,
    )


def _verdicts(report: Report) -> list[Row]:
    """A row a rival: of each figure the verdict in words, and the difference it rests on."""
    rows = []
    for row in report.judged[1:]:
        cells = []
        for one in row.against_ours:
            gap, unit = one.theirs_less_ours, "" if one.figure == "gpus_needed" else " ms"
            words = f"{gap.mean:+,.0f}{unit}"
            if one.seeds > 1:
                words += f" ({gap.low:+,.0f} to {gap.high:+,.0f})"
            kind = one.verdict.replace(" ", "-") if one.verdict.startswith("ours") else "none"
            cells.append({"verdict": one.verdict, "kind": kind, "gap": words})
        rows.append({"name": row.name, "cells": cells})
    return rows


def _front(report: Report, points: Sequence[Point]) -> Row | None:
    if not points:
        return None
    has_money = points[0].budget_usd is not None

    def drawn(values: Sequence[float], axis: str) -> Markup:
        spots = [
            Spot(
                x=point.budget_usd or 0.0 if has_money else float(point.new_sites),
                y=value,
                words=f"{value:.3g}",
                is_dominated=point.is_dominated,
            )
            for point, value in zip(points, values, strict=True)
        ]
        return front_chart(spots, ("budget, USD" if has_money else "new sites", axis))

    return {
        "trips": drawn(
            [point.measures.rtt_ms_mean for point in points], "mean round trip, ms (less is better)"
        ),
        "near": drawn(
            [100 * point.measures.near_share for point in points],
            f"percent of demand within {report.near_ms:g} ms (more is better)",
        ),
        "points": points,
        "unit": report.unit,
        "has_money": has_money,
        "is_auto": report.servers == "auto",
        "dominated": sum(point.is_dominated for point in points),
    }


def _steps(report: Report) -> list[Row]:
    """By quarter, with what has been spent until then."""
    metro = {place.pop: place.metro for place in report.places}
    spent, found = 0.0, []
    for step in report.programme:
        spent += step.usd
        names = [f"{pop} {metro[pop]}".strip() for pop in step.sites[:_SHOWN]]
        if len(step.sites) > _SHOWN:
            names.append(f"and {len(step.sites) - _SHOWN} more")
        per_ms = step.usd / step.saved_ms if step.saved_ms > 1e-9 else None
        found.append(
            {
                "step": step,
                "spent": spent,
                "names": ", ".join(names),
                "per_ms": "–" if per_ms is None else short(per_ms),
            }
        )
    return found


def _saved(report: Report) -> list[Row]:
    """Tables that can be saved from the page."""
    tables = {"sites": report.places, "loads": report.loads}
    found = []
    for name, values in tables.items():
        rows = [msgspec.structs.asdict(value) for value in values]
        if rows:
            found.append({"name": name, "rows": len(rows), "address": saved(rows[0], rows)})
    return found
