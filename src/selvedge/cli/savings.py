"""``selvedge savings``: what answers out of the cache have saved, from receipts alone."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.cli.home_option import collected_option, home_option, json_option
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.cli.usage import Moment
from selvedge.control import Home, Receipts, saved_of
from selvedge.ledger import Saved, grouped, in_currency, percent_of

_COLUMNS = ("asked", "calls saved", "hit rate", "input tokens", "output tokens", "billed less")
_MORE = ("cost less", "time saved", "untimed", "judgements", "their cost")


@click.command()
@click.option("--since", type=Moment(), default=0, help="UTC day or time, included.")
@click.option("--until", type=Moment(), default=2**62, help="UTC day or time, not included.")
@click.option("--tenant", default=None, help="Of one tenant.")
@collected_option
@home_option
@json_option
def savings(
    *,
    since: int,
    until: int,
    tenant: str | None,
    collected: tuple[Path, ...],
    home: Path,
    as_json: bool,
) -> None:
    """Show calls, tokens, money and time that kept answers saved, by tenant, model and month;

    and what judging them cost.
    """
    files = Home(home)
    rows = saved_of(files, Receipts.at(files, collected), (since, until), tenant)
    if as_json:
        facts = [msgspec.structs.asdict(one) | {"hit_ppm": one.hit_ppm} for one in rows]
        click.echo(printable(msgspec.json.encode(facts).decode()))
        return
    _show(rows)


def _show(rows: list[Saved]) -> None:
    if not rows:
        console().print("no class of these receipts has a cache")
        return
    table = Table(box=None, pad_edge=False, show_footer=len(rows) > 1)
    whole = _cells(_all(rows))
    for name, footer in zip(("tenant", "model", "month"), ("all", "", ""), strict=True):
        table.add_column(name, footer=footer, no_wrap=True)
    for name, footer in zip((*_COLUMNS, *_MORE), whole, strict=True):
        table.add_column(name, footer=footer, justify="right")
    for one in rows:
        words = [escape(printable(word)) for word in (one.tenant, one.model, one.month)]
        table.add_row(*words, *_cells(one))
    console().print(table)


def _cells(one: Saved) -> list[str]:
    return [
        f"{one.asked:,}",
        f"{one.hits:,}",
        percent_of(one.hit_ppm // 100 * 100),
        f"{one.input_tokens:,}",
        f"{one.output_tokens:,}",
        _money(one.micro_dollars),
        _money(one.cost_micro_dollars),
        f"{one.latency_us / 1e6:,.1f} s",
        f"{one.untimed:,}",
        f"{one.judgements:,}",
        _money(one.judge_cost_micro_dollars),
    ]


def _money(micro_dollars: int | None) -> str:
    return "-" if micro_dollars is None else grouped(in_currency(micro_dollars))


def _all(rows: list[Saved]) -> Saved:
    """All together; where one amount is not known, neither is the sum."""
    billed = [one.micro_dollars for one in rows]
    costs = [one.cost_micro_dollars for one in rows]
    return Saved(
        tenant="",
        model="",
        month="",
        asked=sum(one.asked for one in rows),
        hits=sum(one.hits for one in rows),
        input_tokens=sum(one.input_tokens for one in rows),
        output_tokens=sum(one.output_tokens for one in rows),
        micro_dollars=_sum(billed),
        cost_micro_dollars=_sum(costs),
        latency_us=sum(one.latency_us for one in rows),
        untimed=sum(one.untimed for one in rows),
        judgements=sum(one.judgements for one in rows),
        judge_tokens=sum(one.judge_tokens for one in rows),
        judge_cost_micro_dollars=_sum([one.judge_cost_micro_dollars for one in rows]),
    )


def _sum(amounts: list[int | None]) -> int | None:
    known = [one for one in amounts if one is not None]
    return sum(known) if len(known) == len(amounts) else None
