"""``selvedge sla``: what service levels promised, what was kept, and what burns now."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import write_atomically
from selvedge.cli.home_option import collected_option, home_option, json_option
from selvedge.cli.sla_page import render_page
from selvedge.cli.sla_words import budget_words, chart_line, milli_words, share_words, verdict_words
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.cli.usage import Moment
from selvedge.control import (
    Home,
    ServiceSources,
    book_of,
    burn_now,
    read_maintenance,
    report_month,
)
from selvedge.ledger import BurnRate, ServiceMonth

EXIT_PAGE: Final = 3
EXIT_TICKET: Final = 4
_FILE = click.Path(path_type=Path, dir_okay=False)
F = TypeVar("F", bound=Callable[..., None])


def source_options(command: F) -> F:
    """Which book, which windows, which receipts."""
    for option in (
        home_option,
        json_option,
        collected_option,
        click.option(
            "--maintenance", type=_FILE, help="Announced windows. Default: HOME/maintenance.yaml."
        ),
        click.option(
            "--prices",
            type=_FILE,
            envvar="SELVEDGE_PRICES",
            help="A price book that names service levels. Default: the newest published.",
        ),
    ):
        command = option(command)
    return command


def sources_of(
    home: Path, prices: Path | None, maintenance: Path | None, collected: tuple[Path, ...]
) -> ServiceSources:
    """What the options name. Raises `SelvedgeError`."""
    windows = maintenance or home / "maintenance.yaml"
    known = windows if maintenance is not None or windows.exists() else None
    book = book_of(Home(home), prices)
    return ServiceSources(Home(home), collected, book, read_maintenance(known))


@click.group()
def sla() -> None:
    """Service levels: reports, credits, and budgets that burn."""


@sla.command()
@click.argument("tenant", required=False)
@click.option("--month", required=True, metavar="YYYY-MM", help="The UTC month, as 2026-11.")
@click.option("--html", type=_FILE, help="Write the report as one self-contained page.")
@source_options
def report(
    *,
    tenant: str | None,
    month: str,
    html: Path | None,
    home: Path,
    prices: Path | None,
    maintenance: Path | None,
    collected: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Tell what was promised to TENANT (all, without one) and kept in a month, and its credits."""
    found = report_month(sources_of(home, prices, maintenance, collected), month, tenant)
    if html is not None:
        write_atomically(html, render_page(month, found).encode())
    if as_json:
        click.echo(printable(msgspec.json.encode(list(map(facts_of, found))).decode()))
    elif html is None:
        _show(month, found)


def facts_of(one: ServiceMonth) -> dict[str, object]:
    """A model's month as JSON has it: with what is derived."""
    facts = msgspec.to_builtins(one)
    facts["availability_ppm"] = one.availability_ppm
    if one.budget is not None:
        facts["budget"]["left_ppm"] = one.budget.left_ppm
    return dict(facts)


def _show(month: str, found: list[ServiceMonth]) -> None:
    out = console()
    if not found:
        out.print(f"no model has a service level in {month}")
        return
    table = Table(box=None, pad_edge=False)
    names = ("tenant", "model", "sla", "days", "good", "bad", "excluded", "objective")
    for name in (*names, "promised", "measured", "kept", "budget spent", "credit"):
        right = name in ("good", "bad", "excluded", "promised", "measured", "budget spent")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for one in found:
        for number, verdict in enumerate(one.verdicts):
            kind, promised, measured, kept = verdict_words(verdict)
            first = (
                *(one.tenant, one.model, one.sla, f"{one.days[0].day} to {one.days[-1].day[-2:]}"),
                *(f"{one.good:,}", f"{one.bad:,}", f"{one.excluded:,}"),
            )
            cells = first if number == 0 else ("",) * len(first)
            spent = budget_words(one) if verdict.kind == "availability" else ""
            credit = share_words(one.credit.ppm) if one.credit and number == 0 else ""
            table.add_row(
                *map(escape, map(printable, cells)),
                kind,
                promised,
                measured,
                kept,
                spent,
                credit,
            )
    out.print(table)
    for one in found:
        _show_days(one)


def _show_days(one: ServiceMonth) -> None:
    out = console()
    who = f"{one.tenant} {one.model}"
    out.print(escape(printable(f"\n{who}: a day a sign, from {one.since}")))
    for name, line in chart_line(one):
        out.print(f"  {name:<13}{line}")
    rules = ", ".join(f"{rule} {count:,}" for rule, count in one.rules.items())
    out.print(escape(printable(f"  by rule: {rules or 'nothing'}")))
    if one.probes:
        out.print(f"  of these, {one.probes:,} are probes: there were few requests")
    if one.credit is not None:
        words = f"credit {share_words(one.credit.ppm)} of its charges: {one.credit.why}"
        out.print(escape(printable(f"  {words}")))


@sla.command()
@click.argument("tenant", required=False)
@click.option("--at", type=Moment(), default=None, help="As of this UTC moment. Default: now.")
@click.option("--prometheus", is_flag=True, help="Print gauges in Prometheus' text format.")
@source_options
def burn(
    *,
    tenant: str | None,
    at: int | None,
    prometheus: bool,
    home: Path,
    prices: Path | None,
    maintenance: Path | None,
    collected: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Tell how fast error budgets burn; exit code 3: somebody must come, 4: somebody must look."""
    now_us = time.time_ns() // 1_000 if at is None else at
    found = burn_now(sources_of(home, prices, maintenance, collected), now_us, tenant)
    if as_json:
        click.echo(printable(msgspec.json.encode(found).decode()))
    elif prometheus:
        click.echo(gauges(found), nl=False)
    else:
        _show_burn(found)
    firing = {one.severity for one in found if one.firing}
    sys.exit(EXIT_PAGE if "page" in firing else EXIT_TICKET if firing else 0)


def _show_burn(found: list[BurnRate]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("tenant", "model", "sla", "windows", "from", "long", "short", "requests", "alarm"):
        table.add_column(name, no_wrap=True)
    for one in found:
        table.add_row(
            *map(escape, map(printable, (one.tenant, one.model, one.sla))),
            one.rule,
            milli_words(one.threshold_milli),
            milli_words(one.long_milli),
            milli_words(one.short_milli),
            f"{one.requests:,}",
            one.severity if one.firing else "",
        )
    console().print(table)


def gauges(found: list[BurnRate]) -> str:
    """Burn rates in Prometheus' text format, for a node exporter's textfile collector."""
    lines = [
        "# HELP selvedge_sla_burn_rate How fast an error budget burns; 1 spends it in its time.",
        "# TYPE selvedge_sla_burn_rate gauge",
    ]
    for one in found:
        names = f'tenant="{one.tenant}",model="{one.model}",windows="{one.rule}"'
        for window, milli in (("long", one.long_milli), ("short", one.short_milli)):
            if milli is not None:
                value = f"{milli // 1000}.{milli % 1000:03}"
                lines.append(f'selvedge_sla_burn_rate{{{names},window="{window}"}} {value}')
    lines.append("# HELP selvedge_sla_burn_firing 1 where both windows are over the threshold.")
    lines.append("# TYPE selvedge_sla_burn_firing gauge")
    for one in found:
        names = f'tenant="{one.tenant}",model="{one.model}",windows="{one.rule}"'
        labels = f'{names},severity="{one.severity}"'
        lines.append(f"selvedge_sla_burn_firing{{{labels}}} {int(one.firing)}")
    return "\n".join(lines) + "\n"
