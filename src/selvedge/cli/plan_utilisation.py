"""``selvedge plan utilisation``: where a fleet idles, when, and how sure that is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from selvedge.cli.home_option import json_option
from selvedge.cli.numbers import Number
from selvedge.cli.policy_place import Day
from selvedge.cli.sheets import wrapped
from selvedge.cli.tables import console
from selvedge.headroom import Choice, choice_of

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_FOLDER: Final = click.Path(path_type=Path, file_okay=False)
_MEMORY_GIB: Final = 1.3
_JURISDICTIONS: Final = 20
"""Shown on a terminal, beside the fleet; all are in the tables."""
_LEGEND: Final = """\
seen: of the samples that are due; night: mean use, 23:00 to 04:00 local; own free: what each PoP
had free, added up; free at once: what all had free in one moment; GPUs free: at the least hour"""
Tell = Callable[[str, int, int], None]
Row = dict[str, Any]  # a cell is text, a number or None
Found = Any  # a `Utilisation`, whose module needs the extra


class Reserve(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    """`largest`, `usual`, or a share of capacity."""

    name = "reserve"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """As help shows it."""
        return "largest|usual|SHARE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Choice:
        """Or say what is wrong with it."""
        try:
            return choice_of(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


@click.command()
@click.argument("data", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--fleet", type=_FILE, required=True, help="The fleet file: where each PoP is.")
@click.option("--html", type=_FILE, help="Write the report as one page that needs nothing else.")
@click.option("--parquet", type=_FOLDER, help="Write the tables here, a file each.")
@click.option("--from", "since", type=Day(), help="First UTC day. Default: all there is.")
@click.option("--until", type=Day(), help="First UTC day after.")
@click.option(
    "--billing",
    type=click.Choice(["out", "in", "max", "sum"]),
    default="out",
    show_default=True,
    help="What of a sample is billed: bytes out, in, the larger, or both together.",
)
@click.option(
    "--billing-month",
    type=click.Choice(["utc", "local"]),
    default="utc",
    show_default=True,
    help="Whose calendar a PoP's bill follows; groups are billed by UTC.",
)
@click.option(
    "--reserve",
    type=Reserve(),
    default="usual",
    show_default=True,
    help="Kept for surges of content: the largest rise in five minutes, the one that 999 of 1,000 "
    "steps stay within, or a share of capacity such as 0.05.",
)
@click.option(
    "--engine",
    type=click.Choice(["duckdb", "chdb", "spark"]),
    default="duckdb",
    show_default=True,
    help="Where the queries run.",
)
@click.option(
    "--engine-url",
    default="",
    help="Spark's master, as spark://HOST:7077. Default: its own configuration, or this machine.",
)
@click.option("--threads", type=click.IntRange(1, 256), default=None, help="Default: the cores.")
@click.option(
    "--memory",
    "memory_gib",
    type=Number(0.25, 4096),
    default=_MEMORY_GIB,
    show_default=True,
    help="GiB that the engine may hold; the process needs about one beside it.",
)
@click.option("--faults/--no-faults", default=True, help="Look for faults of the data as well.")
@click.option("--outlook/--no-outlook", default=True, help="Forecast and backtest as well.")
@json_option
def utilisation(
    data: Path,
    *,
    fleet: Path,
    html: Path | None,
    parquet: Path | None,
    as_json: bool,
    **more: Any,  # the options by which it is computed, as click checked them
) -> None:
    """Report on the history in DATA: use, nights, headroom and faults, of PoPs up to the fleet.

    DATA is what `selvedge plan ingest` or `selvedge plan synth` made. What is wrong with it is part
    of the answer; the rest is given where it is sound.
    """
    from selvedge.plan.history import History, read_sites  # noqa: PLC0415 (the plan extra)
    from selvedge.plan.pages import write_pages  # noqa: PLC0415 (the plan extra)
    from selvedge.plan.utilisation import Asked, report  # noqa: PLC0415 (the plan extra)

    begin, end = _second(more.pop("since")), _second(more.pop("until"))
    if begin is not None and end is not None and begin >= end:
        raise click.BadParameter("--from is not before --until")
    more["threads"] = more["threads"] or len(os.sched_getaffinity(0))
    sites, strange = read_sites(fleet)
    asked = Asked(from_s=begin, until_s=end, **more)
    with _bar() as tell:
        found = report(History.open(data), sites, asked, findings=strange, progress=tell)
    if as_json:
        click.echo(found.to_json())
    else:
        _show(found)
    if parquet is not None:
        found.save(parquet)
    if html is not None:
        write_pages(found, html)
    for path in (html, parquet):
        if path is not None and not as_json:
            console().print(f"written to {escape(str(path))}")


def _second(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(), UTC).timestamp())


@contextmanager
def _bar() -> Iterator[Tell]:
    """A progress bar on stderr, where that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    to = Console(stderr=True)
    with Progress(*columns, console=to, transient=True, disable=not to.is_terminal) as shown:
        task = shown.add_task("reading", total=None)
        yield lambda what, done, whole: shown.update(
            task, description=what, completed=done, total=whole
        )


def _show(found: Found) -> None:
    facts, to = found.facts, console()
    days = (facts.until_s - facts.from_s) / 86_400
    first, last = (datetime.fromtimestamp(at, UTC) for at in (facts.from_s, facts.until_s - 1))
    to.print(
        f"{facts.pops:,} PoPs, {facts.samples:,} samples, {first:%Y-%m-%d} to {last:%Y-%m-%d} "
        f"({days:.0f} days, UTC)"
    )
    left_out = [
        f"{count:,} {why.replace('_', ' ')}" for why, count in facts.excluded.items() if count
    ]
    if left_out:
        to.print(f"left out: {', '.join(left_out)}")
    to.print(groups_table(found))
    to.print(_LEGEND)
    to.print(_bindings_table(found))
    if told := reserve_words(found):
        to.print(wrapped(told, to))
    if counts := found.rows("finding_counts"):
        to.print(_faults_table(counts))
    to.print(
        "PoPs one by one, bills, hours, forecasts and where each fault is: --html or --parquet."
    )


def groups_table(found: Found) -> Table:
    """The jurisdictions with most of it free, and the fleet."""
    rows = [row for row in found.rows("groups") if row["level"] in ("jurisdiction", "fleet")]
    free = {(row["level"], row["name"]): row for row in found.rows("together")}
    rows = [row for row in rows if (row["level"], row["name"]) in free]
    rows.sort(key=lambda row: (row["level"] == "fleet", -_own_free(free, row), row["name"]))
    title = "Use of the interfaces, and what was free in 95 % of intervals"
    if (left := len(rows) - 1 - _JURISDICTIONS) > 0:
        title += f"; {_JURISDICTIONS} jurisdictions with most free, {left} not shown"
        rows = [*rows[:_JURISDICTIONS], rows[-1]]
    shown = Table(box=None, pad_edge=False, title=title)
    shown.add_column("jurisdiction")
    names = (
        "PoPs",
        "seen",
        "mean",
        "p95",
        "night",
        "own free",
        "free at once",
        "GPUs free",
    )
    for name in names:
        shown.add_column(name, justify="right")
    gpus: dict[tuple[str, str], float] = {}
    for row in found.rows("utc_hours"):
        if row["gpus_free_95"] is not None:
            key = (row["level"], row["name"])
            gpus[key] = min(gpus.get(key, row["gpus_free_95"]), row["gpus_free_95"])
    for row in rows:
        key = (row["level"], row["name"])
        own, once = (free[key][name] for name in ("own_sum_bps_95", "simultaneous_bps_95"))
        shown.add_row(
            row["name"] if row["level"] == "jurisdiction" else "fleet, not to be pooled",
            f"{row['pops']:,}",
            _percent(row["samples"] / row["expected"]),
            *(_percent(row[name]) for name in ("mean_use", "p95_use", "night_use")),
            *(_rate(one) for one in (own, once)),
            f"{gpus[key]:,.0f}" if key in gpus else "",
            style="bold" if row["level"] == "fleet" else None,
        )
    return shown


def _own_free(free: dict[tuple[str, str], Row], row: Row) -> float:
    return free[row["level"], row["name"]]["own_sum_bps_95"] or 0.0


def _bindings_table(found: Found) -> Table:
    """Headroom of PoPs by the resource that binds it."""
    shown = Table(box=None, pad_edge=False, title="Headroom of PoPs, free in 95 % of intervals")
    for name in ("bound by", "PoPs", "median free", "best five hours", "use in them"):
        shown.add_column(name, justify="left" if name == "bound by" else "right")
    pops: dict[str, list[Row]] = {}
    for row in found.rows("pops"):
        if row["headroom_95"] is not None:
            pops.setdefault(row["binding_95"], []).append(row)
    for resource, rows in sorted(pops.items(), key=lambda one: -len(one[1])):
        starts = sorted(row["best_start"] for row in rows if row["best_start"] is not None)
        uses = sorted(row["best_use"] for row in rows if row["best_use"] is not None)
        shown.add_row(
            resource,
            f"{len(rows):,}",
            _percent(sorted(row["headroom_95"] for row in rows)[len(rows) // 2]),
            f"from {starts[len(starts) // 2]:02d}:00" if starts else "",
            _percent(uses[len(uses) // 2]) if uses else "",
        )
    return shown


def reserve_words(found: Found) -> str:
    """What is kept for surges of content, how often that was too little, and the other choices."""
    rows = [row for row in found.rows("reserve_choices") if row["level"] == "fleet"]
    rows = [row for row in rows if row["p50_headroom_95"] is not None]
    told = [
        f"{row['choice']} {_percent(row['p50_reserve'])} leaves {_percent(row['p50_headroom_95'])}"
        for row in sorted(rows, key=lambda row: not row["in_force"])
    ]
    if not told:
        return ""
    kept = next(row for row in rows if row["in_force"])
    words = f"Kept for surges, median PoP, and free in 95 % after it: {'; '.join(told)}."
    if kept["exceeded"] is not None:
        words += f" Content rose by more than what is kept in {kept['exceeded']:.3%} of steps"
    if kept["over_95"] is not None:
        words += f"; a constant offer of the headroom was too much in {kept['over_95']:.2%} of "
        words += "intervals"
    return f"{words}." if not words.endswith(".") else words


def _faults_table(counts: list[Row]) -> Table:
    shown = Table(box=None, pad_edge=False, title="Faults of the data")
    for name in ("kind", "PoPs", "findings", "samples"):
        shown.add_column(name, justify="left" if name == "kind" else "right")
    for row in counts:
        cells = (f"{row[name]:,}" for name in ("pops", "findings", "count"))
        shown.add_row(row["kind"].replace("_", " "), *cells)
    return shown


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _rate(bps: float) -> str:
    for unit, size in (("Tbit/s", 1e12), ("Gbit/s", 1e9)):
        if bps >= size:
            return f"{bps / size:,.1f} {unit}"
    return f"{bps / 1e6:,.0f} Mbit/s"
