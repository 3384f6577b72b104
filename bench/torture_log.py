"""The part of torture that is of the logs: a thousand deaths at writes, and whole processes killed.

Gives its figures, writes them, and says whether every bar was met.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from bench.figures import Figures, circumstances
from bench.kill_loop import KillLoopFailed, Plan
from bench.log_deaths import BARS
from bench.log_deaths import measure as measure_deaths
from bench.log_loop import LogLoop
from bench.log_loop import measure as measure_loop

SHOWN_MAX = 5
DEATHS_EACH = 25
"""Deaths at a write for each round of whole processes."""


def run_log(plan: Plan, keep: Path | None, console: Console) -> tuple[Figures, bool]:
    """The figures, and whether every bar was met."""
    before = circumstances()
    deaths = plan.rounds * DEATHS_EACH
    with Progress(console=console) as progress:
        task = progress.add_task("deaths at a write", total=deaths)
        alone = measure_deaths(deaths, plan.seed, lambda: progress.advance(task))
    met = not any(alone[name] for name in BARS)
    with (
        Progress(console=console) as progress,
        tempfile.TemporaryDirectory(prefix="selvedge-torture-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        task = progress.add_task("rounds of whole processes", total=plan.rounds)
        loop = LogLoop(keep or Path(directory), plan, lambda _: progress.advance(task))
        try:
            figures, all_met = runner.run(measure_loop(loop))
        except KillLoopFailed as error:
            raise click.ClickException(str(error)) from error
        for words in [*loop.watch.contradictions, *loop.watch.inconsistent()][:SHOWN_MAX]:
            console.print(f"[red]log[/red] {escape(words)}")
    at_writes = {f"at_writes_{name}": value for name, value in alone.items()}
    return {**at_writes, **figures, **before}, met and all_met
