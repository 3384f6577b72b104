"""``selvedge invoice``: a month of a tenant, or of all, as a table, JSON, CSV, FOCUS or PDF."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import draw_invoice, write_atomically
from selvedge.cli.home_option import collected_option, home_option, json_option
from selvedge.cli.sla import sources_of
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.control import Home, Invoicing, Receipts, credits_of
from selvedge.fabric import SelvedgeError
from selvedge.ledger import (
    Invoice,
    check_month,
    csv_of,
    decimal_of,
    focus_of,
    grouped,
    rows_of_invoice,
    streams_in_words,
    unit_price,
    write_invoice,
)

SHOWN_MAX = 200
_WHAT_WIDTH = 22
"""A long term takes a second line rather than making every line wider."""
_PER = {1: "", 1_000_000: " / 1M"}
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("tenant", required=False)
@click.option("--month", required=True, help="Of UTC, as 2026-11.")
@click.option("--all", "every", is_flag=True, help="Of every tenant.")
@click.option("--prices", type=_FILE, help="A draft by this price book instead of the published.")
@click.option("--issue", is_flag=True, help="Close the month: the invoice is kept as it is now.")
@click.option("--csv", "as_csv", is_flag=True, help="Print lines as CSV.")
@click.option("--focus", "as_focus", is_flag=True, help="Print lines as FOCUS 1.2, CSV.")
@click.option("--pdf", type=_FILE, help="Write a PDF to this file.")
@click.option("--provider", default="Selvedge", show_default=True, help="Who sends the invoice.")
@collected_option
@click.option(
    "--maintenance",
    type=_FILE,
    help="Announced windows, for credits. Default: HOME/maintenance.yaml.",
)
@home_option
@json_option
def invoice(
    *,
    tenant: str | None,
    month: str,
    every: bool,
    prices: Path | None,
    issue: bool,
    as_csv: bool,
    as_focus: bool,
    pdf: Path | None,
    provider: str,
    collected: tuple[Path, ...],
    maintenance: Path | None,
    home: Path,
    as_json: bool,
) -> None:
    """Invoice a month: fold its receipts, or show what was issued.

    A month that was issued is shown as it was, whatever came since: late receipts are in the
    next month's invoice.
    """
    check_month(month)
    if (tenant is None) != every:
        raise SelvedgeError("name one tenant, or --all")
    if every and pdf is not None:
        raise SelvedgeError("--pdf is of one tenant; name it instead of --all")
    if as_csv + as_focus + as_json > 1:
        raise SelvedgeError("give one of --json, --csv and --focus")
    if issue and prices is not None:
        raise SelvedgeError("--prices is for drafts; 'selvedge price publish' it, then issue")
    sources = sources_of(home, prices, maintenance, collected)
    credits = credits_of(sources, month, tenant)
    desk = Invoicing(Home(home), Receipts.at(Home(home), collected), sources.book, credits)
    found, refused = _invoices(desk, month, tenant, issue=issue)
    if as_csv:
        click.echo(csv_of(found), nl=False)
    elif as_focus:
        click.echo(focus_of(found, provider), nl=False)
    elif as_json:
        for one in found:
            click.echo(write_invoice(one).decode(), nl=False)
    elif pdf is None:
        for one in found:
            _show(one)
    if pdf is not None:
        write_atomically(pdf, draw_invoice(found[0], provider))
    for words in refused:
        click.echo(f"selvedge: {words}", err=True)
    sys.exit(1 if refused else 0)


def _invoices(
    desk: Invoicing, month: str, tenant: str | None, *, issue: bool
) -> tuple[list[Invoice], list[str]]:
    """Invoices; and, of all tenants, why some have none."""
    if tenant is not None:
        own = _invoice(desk, tenant, month, issue=issue, alone=True)
        is_empty = not (own.bill.receipts or own.bill.lines or own.adjustments)
        if is_empty and not own.number:
            words = f"tenant {tenant}: no receipts and no contract in {month}; is it its name?"
            click.echo(f"selvedge: {words}", err=True)
        return [own], []
    found, refused = [], []
    for one in desk.tenants(month):
        try:
            found.append(_invoice(desk, one, month, issue=issue, alone=False))
        except SelvedgeError as error:
            refused.append(f"{one}: {error}")
    return found, refused


def _invoice(desk: Invoicing, tenant: str, month: str, *, issue: bool, alone: bool) -> Invoice:
    issued = desk.store.read(tenant, month)
    if issued is not None:
        return issued
    if issue:
        return desk.issue(tenant, month, time.time_ns() // 1_000, alone=alone)
    return desk.draft(tenant, month, alone=alone)


def _show(one: Invoice) -> None:
    out = console()
    out.print(escape(printable(_title(one))))
    for note in one.notes:
        out.print(escape(printable(note)))
    table = Table(box=None, pad_edge=False, show_footer=True)
    for name in ("project", "model", "zone", "sort", "what"):
        width = _WHAT_WIDTH if name == "what" else None
        table.add_column(name, footer="total" if name == "project" else "", max_width=width)
    for name in ("quantity", "price", "receipts"):
        table.add_column(name, justify="right")
    total = grouped(decimal_of(one.total_micro_dollars, 6, 6))
    table.add_column(f"amount, {one.currency}", footer=total, justify="right")
    table.add_column("folds")
    lines = list(_lines(one))
    for cells in lines[:SHOWN_MAX]:
        table.add_row(*(escape(printable(cell)) for cell in cells))
    out.print(table)
    if len(lines) > SHOWN_MAX:
        out.print(f"and {len(lines) - SHOWN_MAX} lines more; see --csv or --json")


def _title(one: Invoice) -> str:
    state = f"invoice {one.number}, issued {one.issued}" if one.number else "draft"
    bill = one.bill
    return (
        f"{one.tenant}, {bill.month}: {state}; {bill.receipts:,} receipts, {bill.billed:,} billed; "
        f"price book {one.prices_version} ({one.prices_hash[:19]})"
    )


def _lines(one: Invoice) -> Iterator[tuple[str, ...]]:
    for row in rows_of_invoice(one):
        line, group = row.line, row.group
        amount = grouped(decimal_of(line.amount_micro_dollars, 6, 6))
        if group is None:
            yield ("", "", "", "", line.words, "", "", "", amount, "")
            continue
        what = f"late for {row.bill.month}: {line.kind}" if row.adjusts else line.kind
        price = unit_price(line) + _PER.get(line.per or 1, f" / {line.per:,}")
        quantity = grouped(line.quantity or "0")
        where = (group.project, group.model, group.zone, group.sort)
        folds = streams_in_words(group)
        if len(group.streams) > 3:
            folds = f"{len(group.streams)} journals, {folds.partition(' ')[0]} ..."
        yield (*where, what, quantity, price, f"{group.receipts:,}", amount, folds)
