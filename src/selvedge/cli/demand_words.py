"""Observed demand for people: the busiest rows, zones, what counts, and what to be careful of."""

from __future__ import annotations

from typing import Final

from rich.markup import escape

from selvedge.cli.sheets import print_sheet, wrapped
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.plan import ObservedDemand

ROWS_SHOWN: Final = 20


def show(told: ObservedDemand) -> None:
    """Print it."""
    out = console()
    for line in summary(told):
        out.print(escape(wrapped(printable(line), out)))
    columns = ("ingress", "zone", ">requests/s", ">share", ">busy hour", ">requests in it")
    rows = [
        (
            row.ingress,
            row.zone,
            _rate(row.requests_per_s),
            f"{row.requests_per_s / told.requests_per_s:.1%}",
            _hour(row.busy_hour_utc),
            f"{row.requests:,}",
        )
        for row in told.rows[:ROWS_SHOWN]
    ]
    left = len(told.rows) - ROWS_SHOWN
    notes = [f"and {left:,} more rows; see --json or --out"] if left > 0 else []
    print_sheet("", columns, rows, notes)
    zones = [
        (
            one.zone,
            ", ".join(one.classes),
            _rate(one.requests_per_s),
            f"{one.requests_per_s / told.requests_per_s:.1%}",
        )
        for one in told.zones
    ]
    print_sheet("", ("zone", "in receipts", ">requests/s", ">share"), zones, [])
    kinds = [
        (one.kind, f"{one.requests:,}", "yes" if one.is_demand else "no", one.what)
        for one in told.kinds
    ]
    print_sheet("", ("kind", ">requests", "demand", "which"), kinds, [])
    for note in told.notes:
        out.print(escape(wrapped(f"note: {printable(note)}", out)))


def summary(told: ObservedDemand) -> list[str]:
    """Over which time, how much both ways, and how long a request is."""
    lines = [
        f"{told.since} to {told.until} ({told.days:.1f} days): demand of"
        f" {told.requests:,} requests, {_rate(told.requests_per_s_mean)} requests/s on the mean of"
        " all hours.",
        f"In each ingress's own busy hour {_rate(told.requests_per_s_at_own_hours)} requests/s"
        f" together; in the fleet's, {_hour(told.fleet_busy_hour_utc)},"
        f" {_rate(told.requests_per_s_at_fleet_hour)}. Rows are of"
        f" {'the first' if told.busy_hour == 'ingress' else 'the second'} (--busy-hour).",
    ]
    if told.prompt_tokens_mean is not None and told.output_tokens_mean is not None:
        prompt, output = round(told.prompt_tokens_mean), round(told.output_tokens_mean)
        lines.append(
            f"A request answered whole had {prompt:,} + {output:,} tokens on the mean: `plan"
            f" retrofit --prompt-tokens {max(prompt, 1)} --output-tokens {max(output, 1)}`."
        )
    return lines


def _hour(hour: int) -> str:
    return f"{hour:02d}:00-{(hour + 1) % 24:02d}:00 UTC"


def _rate(per_s: float) -> str:
    return f"{per_s:,.4g}" if per_s < 1000 else f"{per_s:,.0f}"
