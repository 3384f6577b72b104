"""The report of a month as one page: no script, nothing loaded from elsewhere; charts are SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from selvedge.cli.sla_words import (
    budget_words,
    share_words,
    time_words,
    verdict_words,
    worst_day,
)
from selvedge.ledger import PPM, DayMark, ServiceMonth, Verdict

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#1f2937;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2.2rem}"
    "table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.2rem .9rem .2rem 0;"
    "text-align:left;vertical-align:top}th{font-weight:600;border-bottom:1px solid #d1d5db}"
    ".n{text-align:right;font-variant-numeric:tabular-nums}.missed{color:#b91c1c;font-weight:600}"
    "figure{margin:.8rem 0}figcaption{color:#4b5563;font-size:.85rem}small{color:#4b5563}"
)
_WIDTH, _HEIGHT = 760, 90
_BAR: Final = "#0b6e99"
_OVER: Final = "#b91c1c"


def render_page(month: str, found: Sequence[ServiceMonth]) -> str:
    """The page."""
    parts = [_section(one) for one in found] or ["<p>No model has a service level.</p>"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>Service levels, {escape(month)}</title><style>{_STYLE}</style>"
        f"<h1>Service levels, {escape(month)}</h1>"
        "<p><small>Every figure is a fold over receipts, UTC. Percentiles are exact, shown rounded "
        "up to the next 1 ms (first token) or 0.1 ms (between tokens).</small></p>"
        f"{''.join(parts)}</html>\n"
    )


def _section(one: ServiceMonth) -> str:
    name = f"{one.tenant}: {one.model}"
    head = f"<h2>{escape(name)}</h2><p>Service level {escape(one.sla)}, {one.since} to {one.until}."
    words = f" {one.good:,} good, {one.bad:,} bad, {one.excluded:,} not counted."
    if one.probes:
        words += f" {one.probes:,} of these are probes: there were few requests."
    return f"{head}{words}</p>{_verdicts(one)}{_credit(one)}{_charts(one)}{_rules(one)}"


def _verdicts(one: ServiceMonth) -> str:
    rows = "".join(map(_verdict, one.verdicts))
    budget = f"<p>Error budget spent: {escape(budget_words(one))} requests.</p>"
    return (
        '<table><tr><th>objective<th class="n">promised<th class="n">measured<th></tr>'
        f"{rows}</table>{budget if one.budget is not None else ''}"
    )


def _verdict(verdict: Verdict) -> str:
    kind, promised, measured, kept = verdict_words(verdict)
    missed = ' class="missed"' if verdict.met is False else ""
    return f'<tr><td>{kind}<td class="n">{promised}<td class="n">{measured}<td{missed}>{kept}</tr>'


def _credit(one: ServiceMonth) -> str:
    if one.credit is None:
        return "<p>No credit.</p>"
    words = f"Credit: {share_words(one.credit.ppm)} of the model's charges; {one.credit.why}."
    return f"<p><strong>{escape(words)}</strong></p>"


def _charts(one: ServiceMonth) -> str:
    limits: dict[str, int] = {verdict.kind: verdict.promised for verdict in one.verdicts}
    failed = [None if d.availability_ppm is None else PPM - d.availability_ppm for d in one.days]
    may = PPM - limits["availability"] if "availability" in limits else None
    worst = worst_day(one.days)
    said = f"; worst {worst.day}: {share_words(worst.availability_ppm)} good" if worst else ""
    charts = [_chart(f"Failed, share a day{said}", one.days, failed, may)]
    for kind, name in (("ttft_p95", "First token, p95 a day"), ("itl_p95", "Between tokens, p95")):
        values: list[int | None] = [getattr(day, f"{kind}_us") for day in one.days]
        known = [value for value in values if value is not None]
        if known:
            words = f"{name}; worst {time_words(max(known))}"
            charts.append(_chart(words, one.days, values, limits.get(kind)))
    return "".join(charts)


def _chart(
    name: str, days: Sequence[DayMark], values: Sequence[int | None], limit: int | None
) -> str:
    most = max([value for value in values if value is not None] + [limit or 0, 1])
    step = _WIDTH / max(1, len(days))
    bars = []
    for number, (day, value) in enumerate(zip(days, values, strict=True)):
        if value is None:
            continue
        height = value * _HEIGHT / most
        colour = _OVER if limit is not None and value > limit else _BAR
        bars.append(
            f'<rect x="{number * step:.1f}" y="{_HEIGHT - height:.1f}" width="{step * 0.8:.1f}" '
            f'height="{height:.1f}" fill="{colour}"><title>{day.day}</title></rect>'
        )
    line = ""
    if limit is not None:
        y = _HEIGHT - limit * _HEIGHT / most
        line = f'<path d="M0 {y:.1f}H{_WIDTH}" stroke="#6b7280" stroke-dasharray="4 4"/>'
    base = f'<path d="M0 {_HEIGHT}H{_WIDTH}" stroke="#9ca3af"/>'
    view = f"0 -2 {_WIDTH} {_HEIGHT + 4}"
    svg = f'<svg role="img" viewBox="{view}" width="100%">{"".join(bars)}{line}{base}</svg>'
    promised = "" if limit is None else "; dashed: promised"
    ends = f" {days[0].day} to {days[-1].day}." if days else ""
    return f"<figure>{svg}<figcaption>{escape(name)}{promised}.{ends}</figcaption></figure>"


def _rules(one: ServiceMonth) -> str:
    rows = "".join(
        f'<tr><td>{escape(rule)}<td class="n">{count:,}</tr>' for rule, count in one.rules.items()
    )
    return f'<table><tr><th>rule<th class="n">receipts</tr>{rows}</table>'
