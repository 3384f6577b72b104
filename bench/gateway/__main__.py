"""The command: starts what is compared, measures it in turns, says what it found.

One core for the server under test, one for load and mock; a figure is the median over the rounds.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.figures import OUT, circumstances
from bench.gateway.cases import Sample, long_cases, short_cases
from bench.gateway.install import Tools, install
from bench.gateway.processes import BenchFailed, Cores, choose_cores, stay_off
from bench.gateway.results import Figures, details, errors, fold, met
from bench.gateway.rounds import Plan, Rounds
from bench.gateway.table import show
from bench.gateway.targets import STARTS, open_bench, started

PARTS = ("rps", "open", "sse", "itl", "paced")


def run(plan: Plan, tools: Tools, cores: Cores, console: Console) -> tuple[list[Sample], Figures]:
    """Start every target, measure, stop them."""
    OUT.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="gateway-run-", dir=OUT) as directory,
        contextlib.ExitStack() as stack,
    ):
        bench, direct = stack.enter_context(open_bench(tools, cores, Path(directory)))
        targets = {"direct": direct}
        for name in plan.targets:
            with console.status(f"starting {name}"):
                targets[name] = stack.enter_context(started(bench, name))
        rounds = Rounds(bench, targets, plan.scale)
        rounds.run(plan.cases, plan.rounds, console)
        figures = fold(rounds.samples)
        if "selvedge" in targets:
            figures["rss_mb_idle"] = round(max(targets["selvedge"].rss_idle) / 1e6, 1)
            figures["start_s"] = round(targets["selvedge"].start_s, 3)
        return rounds.samples, figures


def words(_: click.Context, option: click.Parameter, given: str) -> tuple[str, ...]:
    """A comma-separated option. Raises `click.BadParameter` for a word that is none of ours."""
    known = PARTS if option.name == "only" else tuple(STARTS)
    chosen = tuple(filter(None, given.split(",")))
    for one in chosen:
        if one not in known:
            raise click.BadParameter(f"{one!r} is not one of {', '.join(known)}")
    return chosen


@click.command()
@click.option("--only", default=",".join(PARTS), callback=words, help="Parts, by comma.")
@click.option("--targets", default=",".join(STARTS), callback=words, help="Targets, by comma.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; figures are medians.")
@click.option("--scale", default=1.0, show_default=True, help="Stretches every load's time.")
@click.option("--long", "is_long", is_flag=True, help="The whole grid, and streams for longer.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(
    only: tuple[str, ...],
    targets: tuple[str, ...],
    rounds: int,
    scale: float,
    *,
    is_long: bool,
    as_json: bool,
) -> None:
    """What a PoP costs on one core, beside nginx, Portkey and LiteLLM."""
    console = Console(stderr=True, highlight=False)
    before: dict[str, Any] = dict(circumstances())  # Any: what JSON holds
    cases = [one for one in (long_cases() if is_long else short_cases()) if one.part in only]
    plan = Plan(cases, targets, rounds, scale, frozenset(only), is_long)
    try:
        cores = choose_cores()
        tools = install(targets, profile=False, say=console.print)
        stay_off(cores)
        samples, figures = run(plan, tools, cores, console)
    except BenchFailed as error:
        raise click.ClickException(str(error)) from error
    whole = set(only) == set(PARTS) and set(targets) == set(STARTS)
    document = {
        **figures,
        "bars_met": met(figures),
        "errors": errors(samples),
        "circumstances": {**before, "load_1m_end": round(os.getloadavg()[0], 2)},
        "details": details(samples),
    }
    path = OUT / ("gateway.json" if whole else "gateway-partial.json")
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if as_json:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        show(Console(highlight=False, width=max(110, console.width)), samples, figures)
        console.print(f"written to {os.path.relpath(path)}")


if __name__ == "__main__":
    main()
