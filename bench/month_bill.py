"""The month, invoiced: 20 tenants in both units, and the sum against a second reckoning.

    python -m bench.month && python -m bench.month_bill

Invoices are made, issued and kept as `selvedge invoice --all --issue` does it, from the collectors'
partitions. The second reckoning reads every receipt one by one and adds fractions; it shares no
code with the invoices but the settlement of a receipt. Both must be the same for each tenant, to
the micro-dollar, and an invoice made again from its cut must have the same bytes.
"""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.figures import OUT, Figures, circumstances, write_figures
from bench.month import DIRECTORY
from bench.month_world import MONTH
from selvedge.adapters import find_parts, rows_of_parts
from selvedge.control import Home
from selvedge.control.invoicing import Invoicing, Receipts, make_again
from selvedge.fabric import Receipt
from selvedge.ledger import Invoice, PriceBook, month_bounds, write_invoice
from tests.support.plain_money import Month

ISSUED_US = month_bounds(MONTH)[1] + 3_600_000_000
"""An hour after the month."""
_STEP = 5_000


def issue_all(receipts: Receipts, home: Home, book: PriceBook) -> dict[str, Invoice]:
    """Everybody's invoice."""
    invoicing = Invoicing(home, receipts, book)
    tenants = invoicing.tenants(MONTH)
    return {one: invoicing.issue(one, MONTH, ISSUED_US, alone=False) for one in tenants}


def reckon(
    directories: list[Path], book: PriceBook, total: int, console: Console
) -> dict[str, int]:
    """What each tenant owes, receipt by receipt, in fractions."""
    months: dict[str, Month] = {one.tenant: Month(book, one.tenant) for one in book.contracts}
    decode = msgspec.json.Decoder(Receipt).decode
    with Progress(console=console) as progress:
        task = progress.add_task("second reckoning", total=total)
        for directory in directories:
            for number, row in enumerate(rows_of_parts(find_parts(directory))):
                months[row.tenant].take(decode(row.receipt))
                if number % _STEP == 0:
                    progress.advance(task, _STEP)
    return {tenant: month.total() for tenant, month in months.items()}


def bill(directory: Path, console: Console) -> tuple[Figures, Mapping[str, Invoice]]:
    """Invoice, reckon again, compare."""
    book = msgspec.json.decode((directory / "prices.json").read_bytes(), type=PriceBook)
    home = Home(directory / "home")
    shutil.rmtree(home.directory, ignore_errors=True)
    home.directory.mkdir()
    named = [one for one in directory.iterdir() if (one / "partitions").is_dir()]
    receipts = Receipts.at(home, sorted(named))
    began, cpu = time.perf_counter(), time.process_time()
    invoices = issue_all(receipts, home, book)
    taken_s, taken_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    count = sum(one.bill.receipts for one in invoices.values())
    found = reckon(sorted(named), book, count, console)
    ours = {tenant: one.total_micro_dollars for tenant, one in invoices.items()}
    wrong = {
        tenant: (ours[tenant], found[tenant]) for tenant in ours if ours[tenant] != found[tenant]
    }
    assert not wrong, f"invoices and receipts differ: {wrong}"
    assert ours.keys() == found.keys()
    store = Invoicing(home, receipts, book).store
    first = next(iter(invoices.values()))
    assert write_invoice(make_again(first, receipts, store)) == write_invoice(first)
    units = {one.tenant: one.unit for one in book.contracts}
    figures: Figures = {
        "month_invoices": len(invoices),
        "month_invoices_in_neurons": sum(units[one] == "neurons" for one in invoices),
        "month_invoiced_receipts": count,
        "month_billed_receipts": sum(one.bill.billed for one in invoices.values()),
        "month_lines": sum(len(one.bill.lines) for one in invoices.values()),
        "month_invoices_micro_dollars": sum(ours.values()),
        "month_fold_micro_dollars": sum(found.values()),
        "month_invoices_s": round(taken_s, 2),
        "month_invoices_cpu_s": round(taken_cpu_s, 2),
        "month_invoices_gib": round(gib, 3),
    }
    return figures, invoices


def show(invoices: Mapping[str, Invoice], figures: Figures, book: PriceBook) -> None:
    """A row a tenant, then the figures."""
    out = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("tenant", "unit", "receipts", "lines", "micro-dollars"):
        table.add_column(name, justify="left" if name in ("tenant", "unit") else "right")
    units = {one.tenant: one.unit for one in book.contracts}
    for tenant, one in invoices.items():
        counts = (one.bill.receipts, len(one.bill.lines), one.total_micro_dollars)
        table.add_row(tenant, units[tenant], *(f"{count:,}" for count in counts))
    out.print(table)
    for name, value in figures.items():
        out.print(f"{name}: {value:,}")


@click.command()
@click.option("--directory", type=click.Path(path_type=Path), default=DIRECTORY)
def main(directory: Path) -> None:
    """Invoice the month that `python -m bench.month` made."""
    console = Console(stderr=True)
    if not (directory / "prices.json").exists():
        console.print("skipped: there is no month; 'python -m bench.month' makes one")
        sys.exit(0)
    figures, invoices = bill(directory, console)
    book = msgspec.json.decode((directory / "prices.json").read_bytes(), type=PriceBook)
    show(invoices, figures, book)
    write_figures("month-bill", {**figures, **circumstances()}, OUT)


if __name__ == "__main__":
    main()
