"""Knobs for a scenario: every policy gets the same number of trials, on seeds from 101.

    python -m bench.tune --scenario chat-1000 --policies predictive,gorgo

Successive halving: of each policy's grid so many trials are drawn (its first one has the defaults),
all of it where it has fewer; each is played on one seed and a short window, the best quarter of
them on two other seeds and a longer one. Best is the least mean p95 of TTFT, in which a request
that got no first token counts as one that took the whole deadline. Runs are kept in
`bench/out/tune` as they end, so that it goes on where it was stopped. Prints the `knobs:` of the
scenario; writes nothing into it. Seeds that are reported begin at 1 and are never played here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from random import Random
from statistics import fmean

import click
import msgspec

from bench.compare import SCENARIO
from bench.figures import OUT
from selvedge.cli.scenario_files import read_scenario
from selvedge.cli.sim_runs import Task, play_all
from selvedge.fabric.value import Value
from selvedge.routing import POLICIES
from selvedge.sim import Description, Summary
from selvedge.sim.description import Window

FIRST = Window(120, 90), (101,)
LAST = Window(150, 240), (102, 103)
KEPT = 4
"""One of so many is played again."""
Knobs = Mapping[str, float]


def trials(policy: str, count: int) -> list[dict[str, float]]:
    """The defaults, then points of the grid by lot; every point where these are no more."""
    row = POLICIES[policy]
    grid = [_as_numbers(one) for one in row.tuned()]
    defaults = _as_numbers(row.knobs())
    others = [one for one in grid if one != defaults]
    drawn = others if len(others) < count else Random(policy).sample(others, count - 1)
    return [defaults, *drawn]


def _as_numbers(knobs: Value) -> dict[str, float]:
    return {name: float(getattr(knobs, name)) for name in knobs.__struct_fields__}


def tasks_of(
    found: Description, policy: str, knobs: Knobs, rung: tuple[Window, Sequence[int]]
) -> list[Task]:
    """One trial: its seeds."""
    window, seeds = rung
    described = msgspec.structs.replace(found, window=window, knobs={})
    return [Task(found.scenario, described, policy, seed, knobs) for seed in seeds]


def ranked(
    found: Description,
    left: Mapping[str, Sequence[Knobs]],
    rung: tuple[Window, Sequence[int]],
    workers: int,
) -> dict[str, list[tuple[float, Knobs]]]:
    """Of every policy, its trials with their mean p95, the least first."""
    pairs = [(name, knobs) for name, many in left.items() for knobs in many]
    groups = [tasks_of(found, name, knobs, rung) for name, knobs in pairs]

    def told(one: Summary) -> None:
        click.echo(f"{one.policy}, seed {one.seed}: p95 {one.ttft_ms_p95:.0f} ms", err=True)

    flat = [task for group in groups for task in group]
    runs = iter(play_all(flat, OUT / "tune" / f"{found.scenario}.jsonl", workers, told))
    scored: dict[str, list[tuple[float, Knobs]]] = {name: [] for name in left}
    for (name, knobs), group in zip(pairs, groups, strict=True):
        p95 = fmean([next(runs).ttft_ms_p95 for _ in group])
        scored[name].append((p95, knobs))
    for many in scored.values():
        many.sort(key=lambda pair: pair[0])
    return scored


def said(policy: str, knobs: Knobs) -> str:
    """A line of the scenario's `knobs:`, without what is the default anyway."""
    defaults = _as_numbers(POLICIES[policy].knobs())
    changed = {name: value for name, value in knobs.items() if value != defaults[name]}
    return f"  {policy}: {{{', '.join(f'{name}: {value:g}' for name, value in changed.items())}}}"


@click.command()
@click.option("--scenario", "name", default=SCENARIO, show_default=True)
@click.option("--policies", default=None, help="Names with commas (default: all with knobs).")
@click.option("--count", default=12, show_default=True, help="Trials of each policy.")
@click.option("--load", type=float, default=0.8, show_default=True)
@click.option("--workers", type=int, default=os.cpu_count() or 1)
def main(name: str, policies: str | None, count: int, load: float, workers: int) -> None:
    """Tune and print."""
    names = policies.split(",") if policies else [row.name for row in POLICIES.values() if row.grid]
    scenario = read_scenario(name)
    traffic = msgspec.structs.replace(scenario.traffic, load=load)
    found = msgspec.structs.replace(scenario, traffic=traffic)
    first = ranked(found, {name: trials(name, count) for name in names}, FIRST, workers)
    left = {
        name: [knobs for _, knobs in many[: max(1, -(-len(many) // KEPT))]]
        for name, many in first.items()
    }
    last = ranked(found, left, LAST, workers)
    click.echo("knobs:")
    for name, many in last.items():
        p95, knobs = many[0]
        click.echo(f"{said(name, knobs)}  # p95 {p95:.0f} ms, {len(first[name])} trials")


if __name__ == "__main__":
    main()
