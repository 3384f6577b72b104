"""``selvedge price``: the price book, checked, shown and published; and beside others' prices."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.table import Table

from selvedge.adapters import HeldPrices, hash_prices, read_config, read_prices
from selvedge.cli.control import load_control
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.price_market import compare, propose
from selvedge.cli.price_words import dollars, on_option, percent
from selvedge.cli.tables import console
from selvedge.control import Home, has_control_extra, publish_prices
from selvedge.fabric import SelvedgeError
from selvedge.ledger import (
    Contract,
    PriceBook,
    PriceList,
    PriceRow,
    check_against,
)


@click.group()
def price() -> None:
    """What is sold at which price: check, show, publish, compare, propose."""


price.add_command(compare)
price.add_command(propose)


@price.command()
@click.argument("book", type=click.Path(path_type=Path))
@click.option(
    "--fleet",
    type=click.Path(path_type=Path),
    help="A fleet file: its tenants and zones are looked for, and its models' prices.",
)
@on_option
@json_option
def check(book: Path, fleet: Path | None, day: str, as_json: bool) -> None:
    """Check a price book; the first thing wrong is one line and exit code 1."""
    found = read_prices(book)
    unpriced = _against_fleet(found, fleet, day) if fleet is not None else []
    if unpriced:
        raise SelvedgeError(
            f"{book}: no list price on {day} of {', '.join(unpriced)}, which {fleet} serves; "
            "give each a row"
        )
    facts = {
        "version": found.version,
        "hash": hash_prices(found),
        "models": len({row.model for row in found.prices}),
        "rows": len(found.prices),
        "contracts": len(found.contracts),
        "next_change": PriceList(found).next_change({row.model for row in found.prices}, day),
    }
    if as_json:
        click.echo(msgspec.json.encode(facts))
        return
    change = f"; the next change is on {facts['next_change']}" if facts["next_change"] else ""
    click.echo(
        f"{book}: version {found.version}, {facts['models']} models, {facts['rows']} rows, "
        f"{facts['contracts']} contracts: it holds{change}"
    )


def _against_fleet(book: PriceBook, fleet: Path, day: str) -> list[str]:
    """The served models without a price there; raises of what never applies there."""
    config = read_config(fleet)
    check_against(book, tenants=config.tenants, zones=config.zones, day=day)
    prices = PriceList(book)
    engines = [engine for pop in config.pops.values() for engine in pop.engines.values()]
    served = {engine.embedded.model for engine in engines if engine.embedded is not None}
    served |= {model for engine in engines for model in engine.serves}
    zones: list[str | None] = [*config.zones] or [None]
    return sorted(
        model for model in served if not all(prices.row(model, zone, day) for zone in zones)
    )


@price.command()
@click.argument("book", type=click.Path(path_type=Path), required=False)
@click.option("--version", type=int, help="A version that was published (default: the newest).")
@click.option("--tenant", help="As this tenant pays: its contract first.")
@click.option("--zone", help="In this zone.")
@on_option
@home_option
@json_option
def show(
    *,
    book: Path | None,
    version: int | None,
    tenant: str | None,
    zone: str | None,
    day: str,
    home: Path,
    as_json: bool,
) -> None:
    """Show the prices that hold on a day, of BOOK or of what was published."""
    held = _held(book, version, Home(home))
    prices = PriceList(held.book)
    contract = prices.contract(tenant, day) if tenant is not None else None
    rows = _rows_on(held.book, contract, prices, (zone, day, tenant))
    if as_json:
        facts = {"hash": held.hash, "book": held.book, "day": day, "rows": rows}
        click.echo(msgspec.json.encode({**facts, "contract": contract}))
        return
    out = console()
    words = f"price book {held.book.version}, {held.book.currency} per million tokens, on {day}"
    out.print(f"{words}\n{held.hash}\n")
    out.print(_table(rows, held.book))
    if tenant is not None and contract is None:
        out.print(f"\ntenant {tenant} has no contract on {day}: it pays the list")
    if contract is not None:
        out.print(f"\n{_words(contract)}")


def _held(book: Path | None, version: int | None, home: Home) -> HeldPrices:
    if book is not None:
        found = read_prices(book)
        return HeldPrices(found, hash_prices(found))
    if not home.directory.is_dir():
        raise SelvedgeError(f"no prices under {home.directory}; name a book, or another --home")
    held = home.prices().newest() if version is None else home.prices().version(version)
    if held is None:
        words = "'selvedge price publish BOOK' makes them; or name a book to show"
        raise SelvedgeError(f"no prices under {home.directory}; {words}")
    return held


def _rows_on(
    book: PriceBook,
    contract: Contract | None,
    prices: PriceList,
    at: tuple[str | None, str, str | None],
) -> list[PriceRow]:
    """The row of each model there, or of all zones where none is named."""
    zone, day, tenant = at
    own = contract.prices if contract is not None else ()
    keys = dict.fromkeys((row.model, zone or row.zone) for row in (*own, *book.prices))
    found = [prices.row(model, place, day, tenant) for model, place in keys]
    return list(dict.fromkeys(row for row in found if row is not None))


def _table(rows: list[PriceRow], book: PriceBook) -> Table:
    """Columns that no row has anything in are left out, so that it fits."""
    table = Table(box=None, pad_edge=False)
    cells = [_cells(row, book) for row in rows]
    always = ("model", "zone", "input", "cached", "output")
    shown = [one for one in _COLUMNS if one in always or any(row[one] != "-" for row in cells)]
    for name in shown:
        left = name in ("model", "zone", "until")
        table.add_column(name, no_wrap=True, justify="left" if left else "right")
    for row in cells:
        table.add_row(*(row[name] for name in shown))
    return table


_COLUMNS = ("model", "zone", "input", "cached", "output", "request", "batch", "neurons", "until")


def _cells(row: PriceRow, book: PriceBook) -> dict[str, str]:
    return {
        "model": row.model,
        "zone": row.zone or "all",
        "input": dollars(row.input),
        "cached": dollars(row.input if row.cached is None else row.cached),
        "output": dollars(row.output),
        "request": dollars(row.request) if row.request else "-",
        "batch": percent(-row.batch_discount_ppm) if row.batch_discount_ppm else "-",
        "neurons": _neurons(row, book),
        "until": row.until or "-",
    }


def _neurons(row: PriceRow, book: PriceBook) -> str:
    """Neurons per million tokens in and out, and what they come to."""
    if row.neurons_input is None or row.neurons_output is None:
        return "-"
    counts = f"{row.neurons_input}/{row.neurons_output}"
    if book.neurons is None:
        return counts
    per = book.neurons.micro_dollars_per_1000
    worth = [dollars(count * per // 1000) for count in (row.neurons_input, row.neurons_output)]
    return f"{counts} = {'/'.join(worth)}"


def _words(contract: Contract) -> str:
    until = f" until {contract.until}" if contract.until else ""
    parts = [f"contract of {contract.tenant} since {contract.since}{until}, in {contract.unit}"]
    if contract.discount_ppm:
        parts.append(f"discount {percent(-contract.discount_ppm)}")
    parts += [
        f"{percent(-tier.discount_ppm)} above {dollars(tier.above_micro_dollars)}"
        for tier in contract.tiers
    ]
    for name, value in (
        ("committed", contract.committed_micro_dollars),
        ("at least", contract.minimum_micro_dollars),
    ):
        if value:
            parts.append(f"{name} {dollars(value)} a month")
    if contract.sla is not None:
        parts.append(f"service level {contract.sla} for {dollars(contract.sla_fee_micro_dollars)}")
    return "; ".join(parts)


@price.command()
@click.argument("book", type=click.Path(path_type=Path))
@home_option
@json_option
def publish(book: Path, home: Path, as_json: bool) -> None:
    """Seal BOOK and sell by it: the next release, at once, has its prices."""
    found = read_prices(book)
    files = Home(home)
    own = load_control(None, home=str(home.resolve())) if has_control_extra() else None
    release = publish_prices(files, own, found)
    facts = {
        "version": found.version,
        "hash": hash_prices(found),
        "release": release.version if release is not None else None,
        "priced": release.priced if release is not None else None,
    }
    if as_json:
        click.echo(msgspec.json.encode(facts))
        return
    click.echo(f"price book {found.version} is published, {facts['hash']}")
    if release is None:
        click.echo("there is no release yet: the first one will be sold by it")
        return
    click.echo(f"release {release.version} is sold by it")
    if release.priced is not None and release.priced.until is not None:
        click.echo(f"its prices change on {release.priced.until}")
