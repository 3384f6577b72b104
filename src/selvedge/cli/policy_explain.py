"""``selvedge policy explain``: why a class may, or may not, be treated so at a site on a day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.policy_place import FILE, Day, class_of, place, site_of, today
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.plan import Asking, Explained, Why
from selvedge.plan import explain as explain_all
from selvedge.residency import ASKED, day_at

REACH_SHOWN = 12
WIDTH = 100


@click.command()
@click.argument("data_class", metavar="TENANT/CLASS")
@click.argument("site", metavar="POP")
@click.option("--act", type=click.Choice(ASKED), help="One act. Default: all.")
@click.option("--day", type=Day(), help="On this UTC day. Default: today.")
@click.option("--fleet", type=FILE, help="A fleet file, or a signed release. Default: --home's.")
@click.option("--published", type=Day(), help="As if published on this day. Default: today.")
@home_option
@json_option
def explain(
    *,
    data_class: str,
    site: str,
    act: str | None,
    day: date | None,
    fleet: Path | None,
    published: date | None,
    home: Path,
    as_json: bool,
) -> None:
    """Tell why data of TENANT/CLASS may, or may not, be treated so at POP."""
    asked = day or today()
    placed = place(fleet, home, min(published or today(), asked))
    release = placed.release
    if fleet is None and asked < day_at(release.made_us):
        asked = day_at(release.made_us) if day is None else asked
    asking = Asking(class_of(release, data_class), site_of(release, site), asked)
    found = explain_all(release, placed.lists, asking)
    acts = tuple(one for one in found.acts if act in (None, one.act))
    found = msgspec.structs.replace(found, acts=acts)
    if as_json:
        click.echo(printable(msgspec.json.encode(found).decode()))
        return
    out = console()
    out.print(escape(printable(f"{data_class} at {site} ({found.country}) on {found.day}")))
    out.print(escape(printable(f"by {placed.name}")))
    for line in _site(found):
        out.print(escape(printable(f"  {line}")))
    out.print(_table(found))
    if found.rows:
        out.print("rows of the list that are about it")
        out.print(_rows(found))


def _site(found: Explained) -> Iterator[str]:
    yield f"zone {found.zone}, ingress {found.ingress}, policy {found.policy or 'none'}"
    seen = found.seen
    if seen is None:
        return
    yield f"policy version {found.version}"
    yield f"operated by {seen.entity} ({seen.entity_country})"
    if len(seen.reach) > REACH_SHOWN:
        yield "nobody under entities operates it: it counts as reached from everywhere"
        return
    if seen.parents:
        owners = f"{', '.join(seen.parents)} ({', '.join(seen.parent_countries)})"
        yield f"owned by {owners}"
    yield f"reached from {', '.join(seen.reach)}"
    yield f"in groups {', '.join(seen.groups) or 'none'}"
    yield f"transfers {', '.join(seen.transfers) or 'none'}"


def _table(found: Explained) -> Table:
    table = Table(box=None, pad_edge=False, width=WIDTH)
    for name in ("act", "answer", "why"):
        table.add_column(name, overflow="fold")
    for one in found.acts:
        why = "; ".join(_why(one))
        cells = (one.act, "yes" if one.allowed else "no", why)
        table.add_row(*(escape(printable(cell)) for cell in cells))
    return table


def _why(one: Why) -> Iterator[str]:
    for fence in one.fences:
        yield fence.why
    clauses = one.clauses
    if clauses is None:
        return
    if clauses.permits:
        yield f"permitted by {', '.join(clauses.permits)}"
    if clauses.forbids:
        yield f"forbidden by {', '.join(clauses.forbids)}"
    if not clauses.permits and not clauses.forbids:
        yield "no clause permits it"
    if clauses.on_the_day and not clauses.at_publication:
        yield "it is allowed on that day, but was not at publication: publish again then"


def _rows(found: Explained) -> Table:
    table = Table(box=None, pad_edge=False, width=WIDTH)
    for name in ("what", "from", "until", "source"):
        table.add_column(name, overflow="fold")
    for one in found.rows:
        cells = (one.what, one.since, one.until, one.source)
        table.add_row(*(escape(printable(cell)) for cell in cells))
    return table
