"""The command: starts what is compared, measures it in turns, says what it found.

One core for the server under test, one for load and mock; a figure is the median over the rounds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.figures import OUT, circumstances
from bench.gateway.cases import long_cases, short_cases
from bench.gateway.chart import render_chart
from bench.gateway.found import Found
from bench.gateway.install import install, versions
from bench.gateway.processes import BenchFailed, choose_cores, stay_off
from bench.gateway.results import JSON_KEYS, SATURATION, details, errors, med, met, others
from bench.gateway.rounds import Plan
from bench.gateway.run import run
from bench.gateway.table import show
from bench.gateway.targets import STARTS

PARTS = ("rps", "open", "sse", "itl", "paced", "stages", "crowd")
ROUNDS_MIN = 3
CHART = Path(__file__).parents[2] / "docs/img/gateway.svg"


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
    """What a PoP costs on one core, beside nginx, Portkey and LiteLLM.

    A whole run (every part and target, three rounds) writes bench/out/gateway.json and the chart,
    and ends with 1 where a bar is missed; anything less writes bench/out/gateway-partial.json.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whatever was started is stopped
    console = Console(stderr=True, highlight=False)
    before: dict[str, Any] = dict(circumstances())  # Any: what JSON holds
    cases = [one for one in (long_cases() if is_long else short_cases()) if one.part in only]
    plan = Plan(cases, targets, rounds, scale, frozenset(only), is_long)
    try:
        cores = choose_cores()
        tools = install(targets, profile="stages" in only, say=console.print)
        stay_off(cores)
        found = run(plan, tools, cores, console)
    except BenchFailed as error:
        raise click.ClickException(str(error)) from error
    before["load_1m_end"] = round(os.getloadavg()[0], 2)
    everything = set(only) == set(PARTS) and set(targets) == set(STARTS)
    whole = everything and rounds >= ROUNDS_MIN and scale >= 1
    path = OUT / ("gateway.json" if whole else "gateway-partial.json")
    path.write_text(json.dumps(document(found, before), indent=2) + "\n", encoding="utf-8")
    if whole:
        CHART.parent.mkdir(parents=True, exist_ok=True)
        CHART.write_text(chart(found, before), encoding="utf-8")
    if as_json:
        click.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        show(Console(highlight=False, width=max(110, console.width)), found)
        console.print(f"written to {os.path.relpath(path)}")
    # A part is looked at while one works; a whole run says whether every bar was met.
    sys.exit(1 if whole and not all(met(found.figures).values()) else 0)


def chart(found: Found, before: dict[str, Any]) -> str:
    """The chart of a whole run. Any: JSON."""

    def by_target(case: str, key: str) -> dict[str, float]:
        names = dict.fromkeys(one.target for one in found.samples if one.case == case)
        return {name: med(found.samples, case, name, key) or 0.0 for name in names}

    rates = {
        "Requests a second: one core, 0.5 KB, 64 connections": by_target(SATURATION, "rps"),
        "Chunks a second: one core, 16 streams, as fast as they come": by_target(
            "sse", "chunks_per_s"
        ),
    }
    curves = {one.target: [(at, size / 1e6) for at, size in one.curve] for one in found.crowds}
    words = f"make bench-gateway, {before['date'][:10]}, Selvedge {before['selvedge_version']}"
    return render_chart(rates, curves, f"{words}; log axis; direct is load and mock alone")


def document(found: Found, before: dict[str, Any]) -> dict[str, Any]:
    """The file: the figures of the bars at its top, everything else below. Any: JSON."""
    details_of = {
        "bars_met": met(found.figures),
        "errors": errors(found.samples),
        "circumstances": before,
        "others_on_server_core": round(others(found.samples), 3),
        "versions": versions(found.targets),
        "starts": {
            name: {"start_s": round(one.start_s, 3), "rss_bytes": list(one.rss_idle)}
            for name, one in found.targets.items()
        },
        "stages_us": found.stages,
        "stages_sampler": found.sampler,
        "crowds": [asdict(one) for one in found.crowds],
        "loads": details(found.samples),
    }
    top = {name: number for name, number in found.figures.items() if name in JSON_KEYS}
    rest = {name: number for name, number in found.figures.items() if name not in JSON_KEYS}
    return {**top, "details": {**rest, **details_of}}


if __name__ == "__main__":
    main()
