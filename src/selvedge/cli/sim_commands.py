"""``selvedge sim run``, ``compare``, ``explain`` and ``list``: scenarios in virtual time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from selvedge.cli.charts import draw
from selvedge.cli.home_option import json_option
from selvedge.cli.scenario_files import names, read_scenario
from selvedge.cli.sim_runs import Task, play, play_all
from selvedge.cli.sim_words import account_words, compared_table, run_table
from selvedge.cli.tables import console
from selvedge.fabric import BadScenario, BadSetting
from selvedge.routing import POLICIES
from selvedge.sim import Description, Line, Summary, headline, lines, policy_names

GEOGRAPHY = "Geography is synthetic: populations of cities, market weights, clocks of API clients."
_OUT = Path(".selvedge") / "sim"
_policy = click.option("--policy", default=None, help="The policy (default: the scenario's).")
_load = click.option("--load", type=float, default=None, help="Share of the knee, as 0.8.")
_staleness = click.option(
    "--staleness-ms", type=float, default=None, help="Period of the load reports."
)
_knob = click.option("--knob", "knobs", multiple=True, help="A knob of the policy, as tau_us=0.")
_data = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Folder of public traces."
)
_requests = click.option(
    "--requests",
    type=click.IntRange(min=1),
    default=None,
    help="So many requests, in place of the scenario's window.",
)


@click.command("list")
def list_scenarios() -> None:
    """Print the scenarios that come with the package, and the policies."""
    for name in names():
        click.echo(f"{name:24} {read_scenario(name).about}")
    click.echo(f"policies: {', '.join(policy_names())}")


@click.command("run")
@click.argument("scenario")
@_policy
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True)
@click.option("--seed", "first", type=int, default=1, show_default=True, help="The first seed.")
@_load
@_staleness
@_requests
@_knob
@_data
@json_option
def run_scenario(
    scenario: str,
    policy: str | None,
    seeds: int,
    first: int,
    **more: object,
) -> None:
    """Run SCENARIO, a name or a file, and print what came of it."""
    found = _described(scenario, more)
    settings = _knobs(more["knobs"])
    name = _known_policy(policy or found.policy)
    limit = more["requests"]
    assert limit is None or isinstance(limit, int)
    summaries = [
        play(Task(scenario, found, name, seed, settings, limit, _folder(more))).summary
        for seed in range(first, first + seeds)
    ]
    if more["as_json"]:
        click.echo(msgspec.json.encode(summaries).decode())
        return
    console().print(run_table(summaries))
    console().print(GEOGRAPHY)


@click.command()
@click.argument("scenario")
@click.option("--policies", default=None, help="Names with commas (default: all).")
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True)
@click.option("--seed", "first", type=int, default=1, show_default=True, help="The first seed.")
@click.option("--loads", default=None, help="Shares of the knee with commas, as 0.5,0.8,0.95.")
@_staleness
@_requests
@_data
@click.option("--workers", type=click.IntRange(1, 256), default=None, help="Processes.")
@click.option("--out", type=click.Path(path_type=Path), default=_OUT, help="Where runs are kept.")
@click.option("--chart", type=click.Path(path_type=Path), default=None, help="A PNG to write.")
@json_option
def compare(
    scenario: str,
    policies: str | None,
    seeds: int,
    first: int,
    **more: object,
) -> None:
    """Run SCENARIO under every policy, with the same arrivals, and print them side by side.

    Runs are kept as they end: the same command goes on where it was stopped.
    """
    chosen = policies.split(",") if policies else policy_names()
    found = _described(scenario, more)
    loads = _numbers("--loads", more["loads"]) or [found.traffic.load]
    tasks = {
        load: [
            _task(scenario, _at_load(found, load), name, seed, more)
            for seed in range(first, first + seeds)
            for name in chosen
        ]
        for load in loads
    }
    out, workers = more["out"], more["workers"]
    assert isinstance(out, Path)
    assert workers is None or isinstance(workers, int)
    store = out / f"{found.scenario}.jsonl"
    runs = _played(tasks, store, workers or os.cpu_count() or 1)
    _show(found, runs, as_json=bool(more["as_json"]))
    chart = more["chart"]
    if isinstance(chart, Path):
        _draw(chart, found, runs)


@click.command()
@click.argument("number", type=click.IntRange(min=1), metavar="ID")
@click.option("--scenario", default="fleet-4100", show_default=True)
@_policy
@click.option("--seed", type=int, default=1, show_default=True)
@_load
@_staleness
@json_option
def explain(number: int, scenario: str, policy: str | None, seed: int, **more: object) -> None:
    """Say why request ID, counted from 1, went where it went."""
    found = _described(scenario, more)
    name = _known_policy(policy or found.policy)
    outcome = play(Task(scenario, found, name, seed, {}, number), explains=number)
    account = outcome.account
    assert account is not None
    if account.ask is None:
        raise BadScenario(scenario, f"has no request {number} with seed {seed}; give a lower one")
    if more["as_json"]:
        click.echo(msgspec.json.encode(account).decode())
        return
    for line in account_words(account):
        click.echo(line)


def _described(scenario: str, more: Mapping[str, object]) -> Description:
    found = read_scenario(scenario)
    load, period_ms = more.get("load"), more.get("staleness_ms")
    if isinstance(load, float):
        found = _at_load(found, load)
    if isinstance(period_ms, float):
        if period_ms <= 0:
            raise BadSetting("--staleness-ms", "must be above 0")
        signals = msgspec.structs.replace(found.signals, period_ms=period_ms)
        found = msgspec.structs.replace(found, signals=signals)
    return found


def _at_load(found: Description, load: float) -> Description:
    if not 0 < load <= 10:
        raise BadSetting("--load", f"{load:g} is not a share of the knee: above 0, at most 10")
    traffic = msgspec.structs.replace(found.traffic, load=load)
    return msgspec.structs.replace(found, traffic=traffic)


def _known_policy(name: str) -> str:
    if name not in policy_names():
        raise BadSetting("--policy", f"{name!r} is not one of {', '.join(policy_names())}")
    return name


def _numbers(option: str, text: object) -> list[float]:
    try:
        return [float(one) for one in str(text).split(",")] if text is not None else []
    except ValueError as error:
        raise BadSetting(option, f"{text!r} is not numbers with commas") from error


def _knobs(given: object) -> dict[str, float]:
    assert isinstance(given, tuple)
    found = {}
    for one in given:
        name, _, value = str(one).partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise BadSetting("--knob", f"{one!r} is not name=number") from error
    return found


def _task(
    scenario: str, found: Description, name: str, seed: int, more: Mapping[str, object]
) -> Task:
    policy = _known_policy(name)
    return Task(scenario, found, policy, seed, {}, _limit(more), _folder(more))


def _folder(more: Mapping[str, object]) -> str | None:
    data = more.get("data")
    return None if data is None else str(data)


def _limit(more: Mapping[str, object]) -> int | None:
    limit = more["requests"]
    assert limit is None or isinstance(limit, int)
    return limit


def _played(
    tasks: Mapping[float, list[Task]], store: Path, workers: int
) -> dict[float, list[Summary]]:
    every = [task for found in tasks.values() for task in found]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("runs", total=len(every))
        left = len(every)

        def told(one: Summary) -> None:
            progress.update(bar, advance=1, description=f"{one.policy}, seed {one.seed}")

        found = iter(play_all(every, store, workers, told))
        progress.update(bar, completed=left)
    return {load: [next(found) for _ in of_load] for load, of_load in tasks.items()}


def _show(found: Description, runs: Mapping[float, list[Summary]], *, as_json: bool) -> None:
    published = [row.name for row in POLICIES.values() if row.published]
    if as_json:
        cells = [
            {
                "load": load,
                "requests_per_s": found.traffic.knee_requests_per_s * load,
                "staleness_ms": found.signals.period_ms,
                "headline": headline(of_load, "predictive", published),
                "policies": lines(of_load),
                "runs": of_load,
            }
            for load, of_load in runs.items()
        ]
        whole = {"scenario": found.scenario, "note": GEOGRAPHY, "cells": cells}
        click.echo(msgspec.json.encode(whole).decode())
        return
    for load, of_load in runs.items():
        console().print(compared_table(f"{found.scenario} at {load:g} of the knee", of_load))
    console().print(GEOGRAPHY)


def _draw(chart: Path, found: Description, runs: Mapping[float, list[Summary]]) -> None:
    by_load: dict[float, list[Line]] = {load: lines(of_load) for load, of_load in runs.items()}
    policies = [line.policy for line in next(iter(by_load.values()))]
    policies.sort(key=lambda name: name != "predictive")
    points = {
        policy: [
            (load, line.metrics["ttft_ms_p95"].mean)
            for load, of_load in sorted(by_load.items())
            for line in of_load
            if line.policy == policy
        ]
        for policy in policies
    }
    title = f"{found.scenario}: p95 of time to first token by policy"
    draw(chart, title, ("load, as a share of the knee", "ms"), points)
