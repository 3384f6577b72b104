"""``selvedge policy simulate``: what a change would have refused of the receipts of the past."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.cli.home_option import collected_option, home_option, json_option
from selvedge.cli.policy_place import FILE, Day, place, today
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.control import Home, at_stake, book_of, simulate_change, sources_for_report
from selvedge.ledger import BadPriceBook, PriceBook, decimal_of, grouped
from selvedge.plan import Affected, Simulation
from selvedge.residency import day_us

ROWS_SHOWN: Final = 60
_WORDS: Final = {
    "refused": "would have been refused",
    "unserved": "would have found no engine",
    "elsewhere": "would have been served elsewhere",
    "served": "were refused, and would have been served",
    "same": "would have gone as they went",
}


@click.command()
@click.argument("fleet", type=FILE)
@click.option("--days", default=30, show_default=True, help="So many days back from now.")
@click.option("--from", "since", type=Day(), help="First UTC day, instead of --days.")
@click.option("--to", "until", type=Day(), help="First UTC day after. Default: tomorrow.")
@click.option("--tenant", help="Of one tenant.")
@click.option("--prices", type=FILE, help="A price book. Default: the newest published, if any.")
@collected_option
@home_option
@json_option
def simulate(
    *,
    fleet: Path,
    days: int,
    since: date | None,
    until: date | None,
    tenant: str | None,
    prices: Path | None,
    collected: tuple[Path, ...],
    home: Path,
    as_json: bool,
) -> None:
    """Ask FLEET (a file, or a signed release) again about the requests that receipts tell of."""
    end = until or today() + timedelta(days=1)
    begin = since or end - timedelta(days=days)
    if begin >= end:
        raise click.BadParameter(f"--from {begin} is not before --to {end}")
    placed = place(fleet, home, min(begin, today()))
    receipts = sources_for_report(Home(home), collected)
    found = simulate_change(placed.release, receipts, (day_us(begin), day_us(end)), tenant)
    book = _book(Home(home), prices)
    money = at_stake(found, book) if book is not None else {}
    rows = found.affected()
    if as_json:
        facts = {
            "since": begin,
            "until": end,
            "fates": dict(sorted(found.fates.items())),
            "affected": rows,
            "micro_dollars_at_stake": money,
        }
        click.echo(printable(msgspec.json.encode(facts).decode()))
        return
    out = console()
    out.print(escape(printable(f"{placed.name}: receipts of {begin} to before {end}")))
    for line in _fates(found):
        out.print(line)
    if rows:
        out.print(_table(rows[:ROWS_SHOWN]))
    if len(rows) > ROWS_SHOWN:
        out.print(f"and {len(rows) - ROWS_SHOWN} rows more; see --json")
    for line in _money(money, book, {tenant for tenant, _ in found.usage}):
        out.print(escape(printable(line)))


def _book(home: Home, prices: Path | None) -> PriceBook | None:
    try:
        return book_of(home, prices)
    except BadPriceBook:
        if prices is not None:
            raise
        return None


def _fates(found: Simulation) -> list[str]:
    total = sum(found.fates.values())
    lines = [f"{total:,} receipts"]
    return lines + [
        f"  {found.fates[fate]:,} {words}" for fate, words in _WORDS.items() if found.fates[fate]
    ]


def _table(rows: list[Affected]) -> Table:
    table = Table(box=None, pad_edge=False, width=100)
    for name in ("fate", "tenant", "rule", "was at", "why", "receipts", "for example"):
        table.add_column(name, justify="right" if name == "receipts" else "left", overflow="fold")
    for one in rows:
        where = f"{one.country} {one.pop}"
        cells = (one.fate, one.tenant, one.rule, where, one.why, f"{one.receipts:,}")
        table.add_row(*(escape(printable(cell)) for cell in (*cells, one.examples[0])))
    return table


def _money(money: Mapping[str, int], book: PriceBook | None, whose: set[str]) -> list[str]:
    if book is None:
        return ["no price book is published: money at stake is not told; give --prices"]
    total = sum(money.values())
    lines = [f"at stake, before discounts: {_amount(total)} {book.currency}"]
    lines += [f"  {tenant} {_amount(amount)}" for tenant, amount in sorted(money.items())]
    silent = sorted(whose - money.keys())
    if silent:
        lines.append(f"  nothing billed, or a model without a price: {', '.join(silent)}")
    return lines


def _amount(micro_dollars: int) -> str:
    return grouped(decimal_of(micro_dollars, 6, 6))
