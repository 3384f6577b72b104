"""``selvedge price compare|propose``: our prices beside those that others publish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from rich.table import Table

from selvedge.adapters import read_prices
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.price_words import dollars, on_option, percent
from selvedge.cli.tables import console
from selvedge.control import Home
from selvedge.fabric import SelvedgeError
from selvedge.ledger import PriceBook
from selvedge.plan import (
    Compared,
    Market,
    Ours,
    Proposed,
    ours_of,
    read_cost,
    read_costs,
    read_market,
    read_mix,
    read_price_map,
    read_rule,
)
from selvedge.plan import compare as compare_prices
from selvedge.plan import propose as propose_prices

F = TypeVar("F", bound=Callable[..., None])


def _market_options(command: F) -> F:
    for option in (
        click.argument("book", type=click.Path(path_type=Path), required=False),
        click.option(
            "--map",
            "price_map",
            type=click.Path(path_type=Path),
            help="A price map in LiteLLM's form; its figures go before the table's.",
        ),
        click.option(
            "--as",
            "names",
            multiple=True,
            metavar="OURS=THEIRS",
            help="Our model is theirs: a name in the table, or a key of the map.",
        ),
        click.option("--zone", help="Our prices of this zone."),
        click.option(
            "--mix", default="3:1", show_default=True, help="Tokens in to tokens out, for one sum."
        ),
        on_option,
        home_option,
        json_option,
    ):
        command = option(command)
    return command


@click.command()
@_market_options
def compare(
    *,
    book: Path | None,
    price_map: Path | None,
    names: tuple[str, ...],
    zone: str | None,
    mix: str,
    day: str,
    home: Path,
    as_json: bool,
) -> None:
    """Compare our list prices (of BOOK, or as published) with others' for the same model."""
    ours = _ours(book, home, day, zone)
    market = _market(price_map, names)
    found, alone = compare_prices(ours, market, read_mix(mix))
    if as_json:
        facts = {"compiled": market.compiled, "caution": market.caution, "compared": found}
        click.echo(msgspec.json.encode({**facts, "without": alone, "mix": mix}))
        return
    out = console()
    out.print(_comparison(found, mix))
    out.print(f"\n{_caution(market)}; *: second-hand")
    for vendor, source in dict.fromkeys((one.theirs.vendor, one.source) for one in found):
        click.echo(f"  {vendor}: {source}")
    _say_alone(alone, market)


@click.command()
@click.option(
    "--below", "vendors", multiple=True, help="Whose prices; the lowest of them (default: all)."
)
@click.option("--by", default="7-12", show_default=True, help="How far below, in percent.")
@click.option(
    "--cost", "given", multiple=True, metavar="MODEL=IN/OUT", help="Dollars per million tokens."
)
@click.option("--costs", type=click.Path(path_type=Path), help="The same, as a YAML file.")
@click.option(
    "--step",
    default=1_000,
    show_default=True,
    type=click.IntRange(1),
    help="Round prices to so many micro-dollars where the band allows.",
)
@_market_options
def propose(
    *,
    vendors: tuple[str, ...],
    by: str,
    given: tuple[str, ...],
    costs: Path | None,
    step: int,
    book: Path | None,
    price_map: Path | None,
    names: tuple[str, ...],
    zone: str | None,
    mix: str,
    day: str,
    home: Path,
    as_json: bool,
) -> None:
    """Propose prices so far below others', and say the margin that is left.

    Models are those of BOOK, or as published, and those that have a cost.
    """
    known = read_costs(costs) if costs is not None else {}
    known |= dict(read_cost(text) for text in given)
    ours = () if book is None and known else _ours(book, home, day, zone)
    market = _market(price_map, names)
    rule = read_rule(by, vendors, step)
    found, alone = propose_prices(ours, market, rule, known, read_mix(mix))
    if as_json:
        facts = {"compiled": market.compiled, "caution": market.caution, "rule": rule}
        click.echo(msgspec.json.encode({**facts, "proposed": found, "without": alone}))
        return
    out = console()
    out.print(_proposal(found, mix))
    out.print(f"\n{_caution(market)}")
    _say_alone(alone, market)
    if not found:
        return
    out.print("\nprices:")
    for one in found:
        prices = f"input: {dollars(one.input)}, output: {dollars(one.output)}"
        click.echo(f"  - {{ model: {one.model}, {prices} }}")


def _ours(book: Path | None, home: Path, day: str, zone: str | None) -> tuple[Ours, ...]:
    found: PriceBook
    if book is not None:
        found = read_prices(book)
    else:
        held = Home(home).prices().newest() if home.is_dir() else None
        if held is None:
            words = "name a book, or publish one with 'selvedge price publish'"
            raise SelvedgeError(f"no prices under {home}; {words}")
        found = held.book
    ours = ours_of(found, day, zone)
    if not ours:
        raise SelvedgeError(f"no list price of the book holds on {day}; give another --on")
    return ours


def _market(price_map: Path | None, names: tuple[str, ...]) -> Market:
    means: dict[str, str] = {}
    for text in names:
        ours, _, theirs = text.rpartition("=")
        if not ours or not theirs:
            raise SelvedgeError(f"--as: {text!r} is not OURS=THEIRS")
        means[ours] = theirs
    market = read_market()
    if price_map is not None:
        market = read_price_map(price_map, market, means)
    in_table = {row.model for row in market.rows}
    by_key = {row.map: row.model for row in market.rows if row.map is not None}
    aliases = dict(market.aliases)
    for ours, theirs in means.items():
        named = by_key.get(theirs, market.named(theirs))
        if named not in in_table:
            raise SelvedgeError(
                f"--as: no published price of {theirs!r}; name a model of the table "
                f"({', '.join(sorted(in_table))}), or load a --map that has it"
            )
        aliases[ours] = named
    return msgspec.structs.replace(market, aliases=aliases)


def _comparison(found: tuple[Compared, ...], mix: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "whose", "in/out", "in", "out", mix, "of"):
        right = name in ("in", "out", mix)
        table.add_column(name, no_wrap=True, justify="right" if right else "left")
    shown = None
    for one in found:
        theirs = one.theirs
        if one.ours != shown:
            shown = one.ours
            table.add_row(shown.model, "ours", f"{dollars(shown.input)}/{dollars(shown.output)}")
        table.add_row(
            one.ours.model,
            f"{theirs.vendor}{_variant(one)}",
            f"{dollars(theirs.input)}/{dollars(theirs.output)}",
            percent(one.input_ppm),
            percent(one.output_ppm),
            percent(one.mix_ppm),
            f"{theirs.as_of}{'*' if theirs.basis == 'second-hand' else ''}",
        )
    return table


def _variant(one: Compared) -> str:
    """What else the name of theirs says, where a vendor has several of the same weights."""
    name = one.theirs.name.rpartition("/")[2]
    if one.theirs.vendor != "cloudflare" or name == one.ours.model:
        return ""
    rest = name.removeprefix(one.ours.model)
    return f" {name if rest == name else f'…{rest}'}"


def _proposal(found: tuple[Proposed, ...], mix: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "now in/out", "proposed in/out", "below", "cost in/out", f"margin {mix}"):
        table.add_column(name, no_wrap=True)
    for one in found:
        now = "-"
        if one.input_from is not None and one.output_from is not None:
            now = f"{dollars(one.input_from)}/{dollars(one.output_from)}"
        cost = f"{dollars(one.cost.input)}/{dollars(one.cost.output)}" if one.cost else "-"
        margin = percent(one.margin_ppm).removeprefix("+")
        if one.below_cost:
            margin += f" ({' and '.join(one.below_cost)} below cost)"
        proposed = f"{dollars(one.input)}/{dollars(one.output)}"
        table.add_row(
            one.model, now, proposed if one.changes else "as it is", one.below, cost, margin
        )
    return table


def _caution(market: Market) -> str:
    return f"table of {market.compiled}; {market.caution}"


def _say_alone(models: tuple[str, ...], market: Market) -> None:
    for model in models:
        if market.of(model):
            others = ", ".join(dict.fromkeys(row.vendor for row in market.of(model)))
            click.echo(f"none of those publishes a price of {model}; {others} do")
        else:
            words = f"say which it is with --as {model}=…"
            click.echo(f"no published price is known of {model}; {words}")
