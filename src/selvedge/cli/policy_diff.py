"""``selvedge policy diff``: what two fleets, or releases, allow otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.policy_place import FILE, Day, place, today
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.residency import Changed, Verdicts, day_us, differences

ROWS_SHOWN: Final = 60
POPS_SHOWN: Final = 4
_SIDES: Final = {True: "allowed now", False: "not any more"}


class Group(msgspec.Struct, frozen=True):
    """Classes that change alike."""

    classes: tuple[str, ...]
    act: str
    country: str
    now: bool
    pops: tuple[str, ...]


@click.command()
@click.argument("before", type=FILE)
@click.argument("after", type=FILE, required=False)
@click.option("--day", type=Day(), help="What holds on this UTC day. Default: today.")
@home_option
@json_option
def diff(*, before: Path, after: Path | None, day: date | None, home: Path, as_json: bool) -> None:
    """Tell which classes may be treated otherwise, where, by AFTER instead of BEFORE.

    Both are fleet files or signed releases. With one alone: by it instead of the serving release.
    """
    asked = day or today()
    first = place(before if after is not None else None, home, min(asked, today()))
    second = place(after or before, home, min(asked, today()))
    made_us = max(first.release.made_us, second.release.made_us)
    at_us = max(day_us(asked), made_us) if day is None else day_us(asked)
    found = list(differences(Verdicts(first.release), Verdicts(second.release), at_us))
    groups = grouped(found)
    if as_json:
        facts = {"day": asked, "changes": groups}
        click.echo(printable(msgspec.json.encode(facts).decode()))
        return
    out = console()
    for words in (f"from {first.name}", f"to {second.name}, on {asked}"):
        out.print(escape(printable(words)))
    if not groups:
        out.print("nothing is allowed otherwise")
        return
    out.print(_table(groups))
    if len(groups) > ROWS_SHOWN:
        out.print(f"and {len(groups) - ROWS_SHOWN} rows more; see --json")


def grouped(found: Iterable[Changed]) -> list[Group]:
    """Changes by act and country, classes that change alike in one row; what closes comes first."""
    classes: dict[tuple[str, str, bool, tuple[str, ...]], list[str]] = {}
    for one in found:
        key = (one.act, one.country, one.now, one.pops)
        classes.setdefault(key, []).append(f"{one.tenant}/{one.data_class}")
    made = [Group(tuple(sorted(names)), *key) for key, names in classes.items()]
    return sorted(made, key=lambda one: (one.now, one.classes, one.act, one.country))


def _table(groups: list[Group]) -> Table:
    table = Table(box=None, pad_edge=False, width=100)
    for name in ("class", "act", "country", "change", "PoPs", "which"):
        table.add_column(name, justify="right" if name == "PoPs" else "left", overflow="fold")
    for one in groups[:ROWS_SHOWN]:
        more = len(one.classes) - 1
        classes = one.classes[0] + (f" and {more} more" if more else "")
        pops = ", ".join(one.pops[:POPS_SHOWN])
        pops += ", ..." if len(one.pops) > POPS_SHOWN else ""
        cells = (classes, one.act, one.country, _SIDES[one.now], str(len(one.pops)), pops)
        table.add_row(*(escape(printable(cell)) for cell in cells))
    return table
