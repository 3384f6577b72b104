"""``selvedge usage`` and ``selvedge reconcile``: folds over receipts, and whether they agree."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import write_parquet
from selvedge.cli.home_option import collected_option, home_option, json_option
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.control import Home, Reconciled, usage_of
from selvedge.control import reconcile as reconcile_all
from selvedge.fabric import SelvedgeError
from selvedge.ledger import GROUPS, Sums, UsageAsked, UsageTable

SHOWN_MAX = 50
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COUNTS = Sums.__struct_fields__
_DIRECTORY = click.Path(path_type=Path, file_okay=False, exists=True)


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    """A day or a moment of UTC, as microseconds."""

    name = "time"

    def convert(self, value: object, param: object, ctx: object) -> int:
        """Microseconds since 1970."""
        if isinstance(value, int):
            return value
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError as error:
            raise click.BadParameter(
                f"{value!r} is no time; write 2026-01-31 or 2026-01-31T12:00:00"
            ) from error
        found = found.replace(tzinfo=found.tzinfo or UTC)
        return (found - EPOCH) // timedelta(microseconds=1)


@click.command()
@click.option("--by", default="tenant,model", show_default=True, help=f"Of {', '.join(GROUPS)}.")
@click.option("--since", type=Moment(), default=0, help="UTC day or time, included.")
@click.option("--until", type=Moment(), default=2**62, help="UTC day or time, not included.")
@click.option("--tenant", default=None, help="Of one tenant.")
@click.option("--parquet", type=click.Path(path_type=Path), help="Write the table to this file.")
@collected_option
@home_option
@json_option
def usage(
    *,
    by: str,
    since: int,
    until: int,
    tenant: str | None,
    parquet: Path | None,
    collected: tuple[Path, ...],
    home: Path,
    as_json: bool,
) -> None:
    """Show what was used and is billed, settled receipt by receipt."""
    names = tuple(filter(None, by.split(",")))
    for name in names:
        if name not in GROUPS:
            raise SelvedgeError(f"--by {name}: it is one of {', '.join(GROUPS)}")
    found = usage_of(Home(home), collected, UsageAsked(names, since, until, tenant))
    rows = [_row(names, key, sums) for key, sums in sorted(found.items())]
    if parquet is not None:
        types = dict.fromkeys(names, "VARCHAR") | dict.fromkeys(COUNTS, "BIGINT")
        write_parquet(parquet, types, rows)
    if as_json:
        click.echo(printable(msgspec.json.encode(rows).decode()))
    elif parquet is None:
        _show(names, found)


def _row(names: Sequence[str], key: Sequence[str], sums: Sums) -> dict[str, str | int]:
    counts = {name: getattr(sums, name) for name in COUNTS}
    return dict(zip(names, key, strict=True)) | counts


def _show(names: Sequence[str], found: UsageTable) -> None:
    table = Table(box=None, pad_edge=False, show_footer=True)
    total = sum(found.values(), Sums())
    for name in names:
        table.add_column(name, footer="all" if name == names[0] else "", no_wrap=True)
    for name in COUNTS:
        table.add_column(name, footer=f"{getattr(total, name):,}", justify="right")
    for key, sums in sorted(found.items()):
        words = [escape(printable(one)) for one in key]
        table.add_row(*words, *(f"{getattr(sums, name):,}" for name in COUNTS))
    console().print(table)


@click.command()
@click.option(
    "--collected",
    multiple=True,
    type=_DIRECTORY,
    help="A collector's directory; may be repeated. Default: all under --home.",
)
@click.option(
    "--engine-metrics",
    "metrics",
    multiple=True,
    metavar="POP/ENGINE=FILE",
    help="An engine's own counters: its /metrics page since its start (llama.cpp).",
)
@home_option
@json_option
def reconcile(
    *, collected: tuple[Path, ...], metrics: tuple[str, ...], home: Path, as_json: bool
) -> None:
    """Hold receipts, usage, invoices and engines' totals together; exit code 1 if any differs."""
    found = reconcile_all(Home(home), collected, dict(map(_page, metrics)))
    if as_json:
        facts = {"difference": found.difference, **msgspec.structs.asdict(found)}
        click.echo(printable(msgspec.json.encode(facts).decode()))
    else:
        _show_reconciled(found)
    sys.exit(1 if found.difference else 0)


def _page(given: str) -> tuple[str, str]:
    place, _, path = given.partition("=")
    if "/" not in place or not path:
        raise SelvedgeError(f"--engine-metrics {given!r} is not POP/ENGINE=FILE")
    try:
        return place, Path(path).read_text("utf-8", errors="replace")
    except OSError as error:
        raise SelvedgeError(f"--engine-metrics: {path} cannot be read: {error.strerror}") from error


def _show_reconciled(found: Reconciled) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in (
        ("receipts in journals", found.journalled),
        ("receipts collected", found.collected),
        ("of no zone, or of one without a collector here", found.waiting),
        ("came again, kept once", found.doubles),
        ("attestations", found.attested),
        ("invoices made again", found.invoices),
        ("invoices whose receipts are gone", found.invoices_unchecked),
        ("difference", found.difference),
    ):
        table.add_row(name, f"{value:,}")
    out = console()
    out.print(table)
    for one in found.findings[:SHOWN_MAX]:
        out.print(escape(printable(f"{one.kind}: {one.where}: {one.what}")))
    if len(found.findings) > SHOWN_MAX:
        out.print(f"and {len(found.findings) - SHOWN_MAX} more; see --json")
