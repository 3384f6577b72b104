"""The parts of torture that are of the ledger: all its processes killed, and its database at fault.

Each gives its figures, writes them, and says whether every bar was met.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from bench import database_faults
from bench.database_rig import RigFailed
from bench.figures import Figures, circumstances
from bench.kill_loop import KillLoopFailed, Plan
from bench.ledger_loop import LedgerLoop, measure_ledger, wrongs
from tests.support.databases import Postgres, find_postgres

SHOWN_MAX = 5


@contextlib.contextmanager
def store_of(kind: str) -> Iterator[str | None]:
    """The URL of an empty store; None: SQLite in the home. Raises `click.ClickException`."""
    if kind == "sqlite":
        yield None
        return
    programs = find_postgres()
    if programs is None:
        raise click.ClickException("PostgreSQL is not installed (apt-get install postgresql)")
    server = Postgres(programs)
    try:
        server.start()
        yield server.make_database()
    finally:
        server.close()


def run_ledger(
    plan: Plan, store: str, keep: Path | None, console: Console
) -> tuple[str, Figures, bool]:
    """The kill loop of the ledger: the name of its figures, these, and whether it holds."""
    before = circumstances()
    with (
        store_of(store) as database,
        Progress(console=console) as progress,
        tempfile.TemporaryDirectory(prefix="selvedge-torture-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        task = progress.add_task("rounds", total=plan.rounds)
        loop = LedgerLoop(keep or Path(directory), plan, lambda _: progress.advance(task))
        loop.database = database
        try:
            figures, met = runner.run(measure_ledger(loop))
        except KillLoopFailed as error:
            raise click.ClickException(str(error)) from error
    for finding in loop.reconciled.findings[:SHOWN_MAX] if loop.reconciled else ():
        console.print(f"[red]{finding.kind}[/red] {escape(finding.where)}: {escape(finding.what)}")
    for kind, words in wrongs(loop).items():
        for one in words[:SHOWN_MAX]:
            console.print(f"[red]{kind}[/red] {escape(one)}")
    name = "torture-ledger" if store == "sqlite" else f"torture-ledger-{store}"
    return name, {**figures, "store": store, **before, "bars_met": met}, met


def run_database(
    seconds: float, seed: int, keep: Path | None, console: Console
) -> tuple[Figures, Mapping[str, bool]]:
    """A database at fault, in every way: the figures, and which bars were met."""
    before = circumstances()
    with (
        Progress(console=console) as progress,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        task = progress.add_task("slices", total=database_faults.SLICES)
        measuring = database_faults.measure(seconds, seed, keep, lambda: progress.advance(task))
        try:
            figures, met = runner.run(measuring)
        except RigFailed as error:
            raise click.ClickException(str(error)) from error
    return {**figures, **before}, met
