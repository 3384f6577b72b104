"""The headline: `fleet-4100` at 0.8 of the knee, reports every second, ten seeds.

`make bench-compare` runs ours, the published policies and the oracle over all seeds (but who is far
behind after three), the others over fewer, then looks for the fewest GPUs with which ours and
`region-local` each keep the scenario's objective at several hours of the day. Runs are kept in
`bench/out/compare` as they end, so that it goes on where it was stopped. Geography is synthetic;
knobs were tuned on seeds from 101. `--scenario` takes another one, into `compare-NAME.json`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from statistics import fmean

import click
import msgspec
from rich.console import Console

from bench.figures import OUT, circumstances
from selvedge.cli.scenario_files import read_scenario
from selvedge.cli.sim_runs import Task, play_all
from selvedge.cli.sim_words import compared_table
from selvedge.cli.tables import console
from selvedge.routing import POLICIES
from selvedge.sim import Description, Summary, headline, lines, policy_names

SCENARIO = "fleet-4100"
OURS, LOCAL = "predictive", "region-local"
HOURS = (1.0, 7.0, 13.0, 19.0)
"""UTC, at which a fleet must hold its objective, for as long as the headline measures."""
GPUS = tuple(range(80, 401, 16))
HEATS = 3
"""Every published policy is played on so many seeds, and on the others only who is not"""
BEHIND = 2.0
"""so many times behind the best of them by then."""


def at(
    found: Description, *, load: float, period_ms: float, gpus: int | None = None, hour: float = -1
) -> Description:
    """The scenario in one cell of the comparison."""
    replace = msgspec.structs.replace
    traffic, signals = found.traffic, found.signals
    found = replace(
        found,
        traffic=replace(traffic, load=load, utc_hour=hour if hour >= 0 else traffic.utc_hour),
        signals=replace(signals, period_ms=period_ms),
    )
    if gpus is not None:
        assert found.fleet.cities is not None
        sites = min(found.fleet.cities.gpu_sites, gpus)
        cities = replace(found.fleet.cities, gpus=gpus, gpu_sites=sites)
        found = replace(found, fleet=replace(found.fleet, cities=cities))
    return found


def played(tasks: Sequence[Task], workers: int) -> list[Summary]:
    """Run them, or take them from the store."""
    error = Console(stderr=True)

    def told(one: Summary) -> None:
        error.print(f"{one.policy}, seed {one.seed}, {one.gpus} GPUs: p95 {one.ttft_ms_p95:.0f} ms")

    return play_all(tasks, OUT / "compare" / f"{tasks[0].name}.jsonl", workers, told)


def tasks_of(found: Description, names: Sequence[str], seeds: Sequence[int]) -> list[Task]:
    """All of these policies on each of these seeds."""
    return [Task(found.scenario, found, name, seed) for seed in seeds for name in names]


def is_out(runs: Sequence[Summary], published: Sequence[str], name: str) -> bool:
    """Whether a published policy was so far behind in the heats that it cannot be the best."""
    mean = {one: fmean(run.ttft_ms_p95 for run in runs if run.policy == one) for one in published}
    return name in mean and mean[name] > BEHIND * min(mean.values())


def fewest_gpus(found: Description, policy: str, workers: int) -> int:
    """The fewest GPUs with which the objective holds at every hour, by bisection; 0 for none."""

    def holds(gpus: int) -> bool:
        tasks = [
            Task(
                found.scenario,
                at(found, load=0.8, period_ms=1000, gpus=gpus, hour=hour),
                policy,
                1,
            )
            for hour in HOURS
        ]
        return all(one.goodput >= found.slo.goodput for one in played(tasks, workers))

    low, high = 0, len(GPUS)
    while low < high:
        middle = (low + high) // 2
        if holds(GPUS[middle]):
            high = middle
        else:
            low = middle + 1
    return GPUS[low] if low < len(GPUS) else 0


@click.command()
@click.option("--scenario", "name", default=SCENARIO, show_default=True)
@click.option("--seeds", type=int, default=10, show_default=True)
@click.option("--others", type=int, default=1, show_default=True, help="Seeds of other policies.")
@click.option("--workers", type=int, default=os.cpu_count() or 1)
@click.option("--load", type=float, default=0.8, show_default=True)
@click.option("--staleness-ms", type=float, default=1000.0, show_default=True)
@click.option("--gpus/--no-gpus", "searched", default=True, help="Whether to look for fewer GPUs.")
def main(
    *,
    name: str,
    seeds: int,
    others: int,
    workers: int,
    load: float,
    staleness_ms: float,
    searched: bool,
) -> None:
    """Run the headline cell, or another."""
    scenario = read_scenario(name)
    found = at(scenario, load=load, period_ms=staleness_ms)
    published = [row.name for row in POLICIES.values() if row.published]
    first = [OURS, *published, "oracle"]
    heats = min(HEATS, seeds)
    runs = played(tasks_of(found, first, range(1, heats + 1)), workers)
    left = [one for one in first if not is_out(runs, published, one)]
    runs += played(tasks_of(found, left, range(heats + 1, seeds + 1)), workers)
    rest = [one for one in policy_names() if one not in first]
    runs += played(tasks_of(found, rest, range(1, others + 1)), workers)
    head = headline(runs, OURS, published)
    assert head is not None
    gpus = {one: fewest_gpus(scenario, one, workers) if searched else 0 for one in (OURS, LOCAL)}
    figures = {
        **circumstances(),
        "load": load,
        "staleness_ms": staleness_ms,
        "seeds": seeds,
        "best_published": head.best_published,
        "p95_ttft_ratio_best_published": head.p95_ttft_ratio_best_published.mean,
        "p95_ttft_ratio_of_means": head.p95_ttft_ratio_of_means,
        "p95_ttft_ratio_oracle": head.p95_ttft_ratio_oracle.mean,
        "oracle_gap_closed": head.oracle_gap_closed,
        "gpus_ours": gpus[OURS],
        "gpus_region_local": gpus[LOCAL],
        "gpus_ratio_region_local": gpus[OURS] / gpus[LOCAL] if gpus[LOCAL] else None,
        "out_of_zone": head.out_of_zone,
        "headline": head,
        "policies": lines(runs),
        "runs": runs,
    }
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / ("compare.json" if name == SCENARIO else f"compare-{found.scenario}.json")
    file.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1))
    console().print(compared_table(f"{found.scenario} at {load:g} of the knee", runs))
    ratio = head.p95_ttft_ratio_best_published
    click.echo(
        f"p95 of TTFT over {head.best_published}'s: {ratio.mean:.3f} ({ratio.low:.3f} to"
        f" {ratio.high:.3f}); of the gap to the oracle closed: {head.oracle_gap_closed:.0%};"
        f" GPUs {gpus[OURS]} against {gpus[LOCAL]}; out of zone {head.out_of_zone}"
    )


if __name__ == "__main__":
    main()
