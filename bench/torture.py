"""Torture: kill a loaded PoP hundreds of times and audit its books; simulate a million requests.

`kill` runs real processes (`bench.kill_loop`), `sim` the same exchange in virtual time, in batches
of their own seeds, each of which checks its own laws of conservation. `overload` floods one PoP,
`soak` runs three for a long time while engines die. `collect` and `ledger` kill collectors and the
control process as well, `database` is what its database can do. `all` is the first two. Exit code 1
where a bar is missed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from bench import overload, soak
from bench.attack_run import run_attack
from bench.clients import Tally
from bench.collect_loop import CollectLoop
from bench.collect_loop import measure as measure_collecting
from bench.figures import Figures, as_json, bar, circumstances, print_table, write_figures
from bench.kill_loop import KillLoop, KillLoopFailed, Plan, Result
from bench.ledger_loop import BARS as LEDGER_BARS
from bench.soak import Plan as SoakPlan
from bench.soak_clients import Score
from bench.torture_ledger import run_database, run_ledger
from bench.torture_log import run_log
from bench.torture_residency import run_residency
from selvedge.sim import example_release, example_scenario, simulate

SIM_BATCH = 50_000
SIM_REQUESTS = 1_000_000
RESIDENCY_REQUESTS = 10_000_000
SHOWN_MAX = 5
KILL_BARS = (
    "lost",
    "double",
    "gaps",
    "unsettled",
    "contradicted",
    "damaged",
    "failed",
    "faults",
    "stuck",
    "reconcile_difference",
    "log_lost",
    "log_double",
    "log_contradictions",
    "log_inconsistent",
    "log_untold",
    *LEDGER_BARS,
)
SIMULATED = ("torture-sim", "torture-residency")
SIM_BARS = ("out_of_zone", "laws_broken")  # Engines fail there, as the scenario says.


async def kill(plan: Plan, directory: Path, console: Console) -> Result:
    """The kill loop, with its progress shown."""
    with Progress(console=console) as progress:
        task = progress.add_task("rounds", total=plan.rounds)

        def on_round(tally: Tally) -> None:
            words = f"rounds, {len(tally.told.acknowledged):,} acknowledged"
            progress.update(task, advance=1, description=words)

        return await KillLoop(directory, plan, on_round).run()


def run_kill(plan: Plan, keep: Path | None, console: Console) -> tuple[Figures, bool]:
    """The kill part: its figures, and whether every bar was met."""
    with (
        tempfile.TemporaryDirectory(prefix="selvedge-torture-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        result = runner.run(kill(plan, keep or Path(directory), console))
    for kind, items in result.audit.faults.items():
        for item in items[:SHOWN_MAX]:
            console.print(f"[red]{kind}[/red] {item}", markup=True)
    return result.figures(), result.holds


def run_sim(requests: int, seed: int, console: Console) -> tuple[Figures, bool]:
    """The simulated part. A batch that breaks a law raises in `simulate`, and is a missed bar."""
    release, outcomes, broken = example_release(), Counter[str](), 0
    out_of_zone = arrived = 0
    started = time.perf_counter()
    with Progress(console=console) as progress:
        task = progress.add_task("simulated requests", total=requests)
        while arrived < requests and not broken:
            size = min(SIM_BATCH, requests - arrived)
            try:
                found = simulate(release, example_scenario(size), seed + arrived).figures
            except AssertionError as error:
                console.print(f"[red]seed {seed + arrived}[/red]: {error}")
                broken += 1
                break
            outcomes.update({str(one): count for one, count in found.outcomes.items()})
            out_of_zone += found.out_of_zone
            arrived += found.arrived
            progress.update(task, completed=arrived)
    took_s = time.perf_counter() - started
    figures: Figures = {
        "requests": arrived,
        "seed": seed,
        **{str(one): outcomes[one] for one in sorted(outcomes)},
        "out_of_zone": out_of_zone,
        "laws_broken": broken,
        "took_s": round(took_s, 1),
        "requests_per_s": round(arrived / took_s),
    }
    conserved = sum(outcomes.values()) == arrived
    return figures, conserved and not broken and out_of_zone == 0


def run_collect(plan: Plan, keep: Path | None, console: Console, as_json_: bool) -> bool:
    """The collection part: whether every bar was met."""
    before = circumstances()
    with (
        Progress(console=console) as progress,
        tempfile.TemporaryDirectory(prefix="selvedge-torture-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        task = progress.add_task("rounds", total=plan.rounds)
        loop = CollectLoop(keep or Path(directory), plan, lambda _: progress.advance(task))
        try:
            figures, met = runner.run(measure_collecting(loop))
        except KillLoopFailed as error:
            raise click.ClickException(str(error)) from error
    for finding in loop.reconciled.findings[:SHOWN_MAX] if loop.reconciled else ():
        console.print(f"[red]{finding.kind}[/red] {escape(finding.where)}: {escape(finding.what)}")
    _give("torture-collect", "deaths", {**figures, **before, "bars_met": met}, as_json_)
    return met


def run_overload(seconds: float, as_json_: bool) -> bool:
    """The overload part: whether every bar was met."""
    before = circumstances()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            figures = runner.run(overload.measure(seconds)).figures()
        except overload.OverloadFailed as error:
            raise click.ClickException(str(error)) from error
    met = overload.bars(figures)
    return _give_with("overload", "offered load", {**figures, **before}, met, as_json_)


def run_soak(plan: SoakPlan, keep: Path | None, console: Console, as_json_: bool) -> bool:
    """The soak: whether every bar was met."""
    before = circumstances()
    with (
        Progress(console=console) as progress,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        task = progress.add_task("seconds", total=plan.minutes * 60)

        def on_second(score: Score) -> None:
            words = f"seconds, {sum(score.requests.values()):,} requests"
            progress.update(task, advance=1, description=words)

        try:
            result = runner.run(soak.measure(plan, keep, on_second))
        except soak.SoakFailed as error:
            raise click.ClickException(str(error)) from error
    for words in result.score.unexplained:
        console.print(f"[red]unexplained[/red] {escape(words)}")
    figures = result.figures()
    return _give_with("soak", "soak", {**figures, **before}, soak.bars(figures), as_json_)


def _give_with(
    name: str, title: str, figures: Figures, met: Mapping[str, bool], as_json_: bool
) -> bool:
    """Write and show figures whose bars were judged already."""
    all_met = all(met.values())
    path = write_figures(name, {**figures, "bars_met": all_met})
    if as_json_:
        click.echo(as_json(figures), nl=False)
        return all_met
    rows = [
        (key, str(value), bar(met[key], "") if key in met else "") for key, value in figures.items()
    ]
    print_table(title, rows)
    for key, one in met.items():
        if key not in figures:
            click.echo(f"{key}: {'met' if one else 'missed'}")
    click.echo(f"written to {os.path.relpath(path)}", err=True)
    return all_met


def show(title: str, figures: Figures, bars: tuple[str, ...]) -> None:
    """One part's table; figures among ``bars`` must be 0."""
    rows = []
    for name, value in figures.items():
        words = f"{value:,}" if type(value) is int and name != "seed" else str(value)
        rows.append((name, words, bar(value == 0, "0") if name in bars else ""))
    print_table(title, rows)


@click.command()
@click.argument(
    "part",
    type=click.Choice(
        [
            "all",
            "kill",
            "collect",
            "ledger",
            "log",
            "database",
            "sim",
            "residency",
            "attack",
            "overload",
            "soak",
        ]
    ),
    default="all",
)
@click.option("--rounds", default=200, show_default=True, help="Deaths of the PoP.")
@click.option("--clients", default=12, show_default=True, help="Clients at once.")
@click.option(
    "--requests",
    type=int,
    default=None,
    help="Requests to simulate (default: 1,000,000; 'residency' 10,000,000).",
)
@click.option("--minutes", default=15.0, show_default=True, help="Length of the soak.")
@click.option(
    "--seconds",
    default=5.0,
    show_default=True,
    help="Of each point of overload, and of each slice of database.",
)
@click.option("--seed", default=1, show_default=True, help="Of everything random.")
@click.option("--workers", default=1, show_default=True, help="Workers of the PoP; all die.")
@click.option(
    "--store",
    type=click.Choice(["sqlite", "postgresql"]),
    default="sqlite",
    show_default=True,
    help="Of the control process, in 'ledger'.",
)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the fleet's files here.")
@click.option("--json", "as_json_", is_flag=True, help="Print the figures as JSON.")
def main(
    part: str,
    rounds: int,
    clients: int,
    requests: int | None,
    seed: int,
    *,
    workers: int,
    minutes: float,
    seconds: float,
    store: str,
    keep: Path | None,
    as_json_: bool,
) -> None:
    """Kill, restart and audit a PoP, and simulate; PART is all (kill and sim), kill, collect
    (collectors die as well), ledger (the control process too), log (logs and a witness), database
    (stopped, slow, full), sim, residency (4,100 PoPs amid a rollout), attack, overload, soak."""
    console = Console(stderr=True, highlight=False)
    plan = Plan(rounds=rounds, clients=clients, seed=seed, workers=workers)
    holds = True
    if part == "overload":
        sys.exit(0 if run_overload(seconds, as_json_) else 1)
    if part == "database":
        figures, judged = run_database(seconds, seed, keep, console)
        met = _give_with("torture-database", "a database at fault", figures, judged, as_json_)
        sys.exit(0 if met else 1)
    if part == "residency":
        sys.exit(0 if _residency(requests or RESIDENCY_REQUESTS, seed, console, as_json_) else 1)
    if part == "soak":
        soaked = SoakPlan(minutes=minutes, clients=2 * clients, seed=seed)
        sys.exit(0 if run_soak(soaked, keep, console, as_json_) else 1)
    if part == "collect":
        sys.exit(0 if run_collect(plan, keep, console, as_json_) else 1)
    if part == "ledger":
        name, figures, met = run_ledger(replace(plan, goal_max=500), store, keep, console)
        _give(name, "deaths", figures, as_json_)
        sys.exit(0 if met else 1)
    if part == "log":
        sys.exit(0 if _log(plan, keep, console, as_json_) else 1)
    if part in ("all", "kill"):
        before = circumstances()
        try:
            figures, met = run_kill(plan, keep, console)
        except KillLoopFailed as error:
            raise click.ClickException(str(error)) from error
        holds &= met
        _give("torture", f"{rounds} deaths", {**figures, **before, "bars_met": met}, as_json_)
    if part in ("all", "sim"):
        before = circumstances()
        figures, met = run_sim(requests or SIM_REQUESTS, seed, console)
        holds &= met
        words = "simulated requests"
        _give("torture-sim", words, {**figures, **before, "bars_met": met}, as_json_)
    if part == "attack":
        holds &= _attack(console, as_json_)
    sys.exit(0 if holds else 1)


def _attack(console: Console, as_json_: bool) -> bool:
    before = circumstances()
    figures, met = run_attack(console, show=not as_json_)
    path = write_figures("attack", {**figures, **before, "bars_met": met})
    click.echo(path.read_text() if as_json_ else f"written to {os.path.relpath(path)}")
    return met


def _residency(requests: int, seed: int, console: Console, as_json_: bool) -> bool:
    before = circumstances()
    figures, met = run_residency(requests, seed, console)
    _give("torture-residency", "residency", {**figures, **before, "bars_met": met}, as_json_)
    return met


def _log(plan: Plan, keep: Path | None, console: Console, as_json_: bool) -> bool:
    figures, met = run_log(plan, keep, console)
    _give("torture-log", "deaths", {**figures, "bars_met": met}, as_json_)
    return met


def _give(name: str, title: str, figures: Figures, as_json_: bool) -> None:
    path = write_figures(name, figures)
    if as_json_:
        click.echo(as_json(figures), nl=False)
    else:
        show(title, figures, SIM_BARS if name in SIMULATED else KILL_BARS)
        click.echo(f"written to {os.path.relpath(path)}", err=True)


if __name__ == "__main__":
    main()
