"""``selvedge receipts``: what a PoP wrote down, read from its disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import find_sealed, journal_of, journals_of, read_segments
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.control import Home
from selvedge.fabric import Receipt, SelvedgeError
from selvedge.ledger import Sealed, receipts_of
from selvedge.pop import write_access

FOLLOW_S = 0.3


@click.group()
def receipts() -> None:
    """Read the receipts of the PoPs on this machine."""


@receipts.command()
@click.option("--pop", "pop_id", default=None, help="One PoP (default: all).")
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many of the last ones.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on as they are written; Ctrl-C ends it.")
@home_option
@json_option
def tail(pop_id: str | None, count: int, follow: bool, home: Path, as_json: bool) -> None:
    """Show the last receipts, oldest first."""
    pops = _pops(Home(home), pop_id)
    _note_access(Home(home), pops, "selvedge receipts tail", f"the last {count}")
    found = [sealed.decode() for one in pops for sealed in _read(one)]
    found.sort(key=lambda receipt: receipt.ended_us)
    _show(found[-count:] if count else [], as_json=as_json)
    seen = {receipt.id for receipt in found}
    while follow:
        time.sleep(FOLLOW_S)
        new = [
            receipt
            for one in pops
            for receipt in (sealed.decode() for sealed in _read(one))
            if receipt.id not in seen
        ]
        seen.update(receipt.id for receipt in new)
        _show(new, as_json=as_json, header=False)


@receipts.command()
@click.argument("receipt_id", metavar="ID")
@home_option
@json_option
def show(receipt_id: str, home: Path, as_json: bool) -> None:
    """Show one receipt whole, with its salt and its leaf."""
    for directory in _pops(Home(home), None):
        sealed = find_sealed(directory, receipt_id)
        if sealed is not None:
            _note_access(Home(home), [directory], "selvedge receipts show", receipt_id)
            facts = {
                "receipt": sealed.receipt,
                "salt": sealed.salt,
                "leaf": sealed.leaf().hex(),
                "personal": sealed.personal,
            }
            text = msgspec.json.encode(facts)
            click.echo(printable((text if as_json else msgspec.json.format(text)).decode()))
            return
    raise SelvedgeError(f"no receipt {receipt_id!r} under {home}; see 'selvedge receipts tail'")


def _pops(home: Home, pop_id: str | None) -> list[Path]:
    """The journals of one PoP or all: one for each worker that ran at once."""
    root = home.directory / "pops"
    found = [
        journal_of(one, number) / "receipts"
        for one in sorted(root.glob("*"))
        if one.is_dir() and (pop_id is None or one.name == pop_id)
        for number in journals_of(one)
    ]
    if not found:
        which = f"PoP {pop_id!r}" if pop_id else "PoP"
        raise SelvedgeError(f"no receipts of any {which} under {home.directory}")
    return found


def _note_access(home: Home, journals: list[Path], what: str, of: str) -> None:
    """Write down that receipts are read, at each PoP whose they are. Raises `StoreFailed`."""
    root = home.directory / "pops"
    for pop in sorted({one.relative_to(root).parts[0] for one in journals}):
        write_access(root / pop, what, of)


def _read(directory: Path) -> Iterator[Sealed]:
    return iter(receipts_of(read_segments(directory)))


def _show(found: list[Receipt], *, as_json: bool, header: bool = True) -> None:
    if as_json:
        for receipt in found:
            click.echo(printable(msgspec.json.encode(receipt).decode()))
        return
    if not found and not header:
        return
    table = Table(show_header=header, box=None, pad_edge=False)
    for name in ("time", "id", "tenant", "in", "served by", "country", "tokens", "outcome"):
        table.add_column(name, no_wrap=True)
    for receipt in found:
        table.add_row(*(escape(printable(one)) for one in _row(receipt)))
    console().print(table)


def _outcome(receipt: Receipt) -> str:
    why = "from the cache" if receipt.cache == "hit" else receipt.code
    return receipt.outcome.value + (f" ({why})" if why else "")


def _row(receipt: Receipt) -> tuple[str, ...]:
    when = datetime.fromtimestamp(receipt.ended_us / 1e6, UTC).strftime("%H:%M:%S.%f")[:-3]
    used = receipt.usage
    served = f"{receipt.served_pop}/{receipt.served_engine or '*'}" if receipt.served_pop else "-"
    return (
        when,
        receipt.id,
        receipt.tenant,
        receipt.ingress_pop,
        served,
        receipt.processed_in or "-",
        f"{used.input}+{used.generated}" if used else "-",
        _outcome(receipt),
    )
