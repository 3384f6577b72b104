"""``selvedge plan synth``: a made-up fleet history, to try the reports on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from selvedge.cli.home_option import json_option
from selvedge.cli.tables import console


@click.command()
@click.argument("data", type=click.Path(path_type=Path, file_okay=False))
@click.option("--pops", type=int, default=4_100, show_default=True, help="The busiest cities.")
@click.option("--months", type=int, default=18, show_default=True)
@click.option("--from", "since", default="2025-05", show_default=True, help="The first month.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True)
@click.option(
    "--faults",
    type=float,
    default=0.05,
    show_default=True,
    help="How much is wrong, 0 to 1: expected gaps of a PoP and month, others in proportion.",
)
@click.option("--raw", type=click.IntRange(0), default=0, help="PoPs to write raw SNMP polls of.")
@click.option("--threads", type=click.IntRange(1, 256), default=None, help="Default: the cores.")
@json_option
def synth(data: Path, *, threads: int | None, raw: int, as_json: bool, **more: object) -> None:
    """Make a fleet's history in DATA, with planted faults and DATA/truth.json that lists them.

    The same options make the same bytes. Months that are there are kept: the same command goes on
    where it was stopped. Geography and traffic are synthetic; the docs say how they are drawn.
    """
    from selvedge.plan.history import BadPlan  # noqa: PLC0415 (the plan extra)
    from selvedge.plan.synth import (  # noqa: PLC0415 (the plan extra)
        Asked,
        make_fleet,
        make_history,
        read_truth,
        write_raw,
    )

    asked = msgspec.convert(more, Asked)
    try:
        with _bar() as show:
            make_history(data, asked, threads or len(os.sched_getaffinity(0)), show)
        if raw:
            write_raw(data, make_fleet(asked), raw)
    except OSError as error:
        words = "make room or name another folder; the same command goes on from there"
        where = error.filename or data
        raise BadPlan(f"{where} cannot be written ({error.strerror}); {words}.") from error
    truth = read_truth(data)
    kinds = sorted({one.kind for one in truth.findings})
    faults = {kind: sum(one.kind == kind for one in truth.findings) for kind in kinds}
    if as_json:
        facts = {"rows": truth.rows, "fleet": truth.fleet, "faults": faults, "data": str(data)}
        click.echo(msgspec.json.encode(facts).decode())
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("rows", f"{truth.rows:,}")
    table.add_row("night use, 23:00-04:00 local", f"{truth.fleet.night:.1%}")
    table.add_row("use, all hours", f"{truth.fleet.all_hours:.1%}")
    for kind, count in faults.items():
        table.add_row(f"planted: {kind}", f"{count:,}")
    console().print(table)
    console().print(f"fleet file {data / 'fleet.csv'}, truth {data / 'truth.json'}")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, where that is a terminal."""
    columns = (TextColumn("making"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    to = Console(stderr=True)
    with Progress(*columns, console=to, transient=True, disable=not to.is_terminal) as shown:
        task = shown.add_task("making", total=None)
        yield lambda done, whole: shown.update(task, completed=done, total=whole)
