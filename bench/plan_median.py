"""The p-median: OR-Library's instances against their optima, and 4,100 cities with 200 sites.

`python -m bench.plan_median` does both, `--rounds` times in turn, each 4,100-city run in a process
of its own so that its peak memory is its own. Gaps are the checker's (`placement.verify`), not the
solver's; costs of the busiest and greedy choices are over ours on the same instance.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from statistics import median

import click
import numpy as np

from bench.figures import Figures, bar, circumstances, print_table, write_figures
from selvedge.fabric import WanModel
from selvedge.plan.history import PopSite
from selvedge.plan.placement import (
    Effort,
    Median,
    choose_greedy,
    make_median,
    model_ms,
    read_pmed,
    say_nothing,
    solve,
    verify,
)
from selvedge.sim import read_cities

P = 200
PMED = 20
SECONDS = 60.0


def city_median(p: int = P, spare: float | None = None) -> Median:
    """The package's 4,100 cities: weights are people, costs round trips by `fabric.WanModel`.

    With `spare` each site has room for that many `p`-ths of all people.
    """
    table = resources.files("selvedge.sim") / "scenarios" / "cities.csv"
    sites = [
        PopSite(pop=name, country=site.country, lat=site.latitude, lon=site.longitude,
                population=site.population)
        for name, site in read_cities(table.read_text("utf-8"))
    ]  # fmt: skip
    people = np.array([float(site.population or 0) for site in sites])
    room = None if spare is None else np.full(len(sites), spare * people.sum() / p)
    return make_median(model_ms(sites, WanModel()), people, p, room=room)


def run_cities(p: int = P, seconds: float = SECONDS, spare: float | None = None) -> Figures:
    """One run, checked, with the rules of thumb beside it (as if they had room for all); to be
    asked of a process of its own."""
    instance = city_median(p, spare)
    before = time.process_time()
    begun = time.perf_counter()
    answer = solve(instance, Effort(seconds=seconds), say_nothing)
    took, cpu = time.perf_counter() - begun, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    verdict = verify(instance, answer.sites, answer.certificate)
    busiest = instance.cost_of(range(p))  # The list is in order of population.
    greedy = instance.cost_of(choose_greedy(instance))
    return {
        "gap_pct": 100 * verdict.gap,
        "s": took,
        "cpu_s": cpu,
        "gib": peak,
        "cost": verdict.cost,
        "bound": verdict.bound,
        "nodes": verdict.nodes,
        "busiest_k_cost_ratio": busiest / verdict.cost,
        "greedy_cost_ratio": greedy / verdict.cost,
    }


def run_apart(p: int, seconds: float) -> Figures:
    """`run_cities` in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "bench.plan_median",
        "--one",
        str(p),
        "--seconds",
        str(seconds),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def pmed_folder() -> Path | None:
    """Where OR-Library's instances lie, if they do."""
    given = os.environ.get("SELVEDGE_DATA")
    tops = [Path(given)] if given else []
    tops += [one / "shared" / "data" for one in Path(__file__).resolve().parents]
    return next((top / "orlib-pmed" for top in tops if (top / "orlib-pmed").is_dir()), None)


def run_pmed(folder: Path, count: int = PMED) -> list[Figures]:
    """Every instance: cost, bound, both by the checker, and whether it is the published optimum."""
    rows = (folder / "optima-1-20.txt").read_text("ascii").splitlines()[1:]
    optima = {name: float(value) for name, value in (row.split() for row in rows if row.strip())}
    found: list[Figures] = []
    for number in range(1, count + 1):
        name = f"pmed{number}"
        instance = read_pmed(folder / f"{name}.txt")
        begun = time.perf_counter()
        answer = solve(instance, Effort(seconds=SECONDS), say_nothing)
        took = time.perf_counter() - begun
        verdict = verify(instance, answer.sites, answer.certificate)
        found.append(
            {
                "name": name,
                "nodes": instance.sites,
                "p": instance.p,
                "optimum": optima[name],
                "cost": verdict.cost,
                "bound": verdict.bound,
                "tree": verdict.nodes,
                "s": took,
                "is_optimal": verdict.cost == optima[name] and verdict.bound >= optima[name],
            }
        )
    return found


def measure(*, full: bool = False, rounds: int = 3, seconds: float = SECONDS) -> Figures:
    """All figures: rounds of cities and instances in turn, medians of them. It is always full."""
    rounds = max(rounds, 5) if full else rounds
    folder = pmed_folder()
    runs, tables = [], []
    for _ in range(rounds):
        runs.append(run_apart(P, seconds))
        if folder is not None:
            tables.append(run_pmed(folder))

    def middle(name: str) -> float:
        return median(float(run[name]) for run in runs)

    figures: Figures = {
        "p200_gap_pct": max(float(run["gap_pct"]) for run in runs),
        "p200_s": middle("s"),
        "p200_cpu_s": middle("cpu_s"),
        "p200_gib": max(float(run["gib"]) for run in runs),
        "p200_cost": runs[0]["cost"],
        "p200_bound": runs[0]["bound"],
        "busiest_k_cost_ratio": middle("busiest_k_cost_ratio"),
        "greedy_cost_ratio": middle("greedy_cost_ratio"),
    }
    if folder is not None:
        figures["pmed_optimal_of_20"] = min(
            sum(bool(row["is_optimal"]) for row in table) for table in tables
        )
        figures["pmed_s_max"] = max(float(row["s"]) for table in tables for row in table)
        show_pmed(tables[-1])
    return figures


def show_pmed(table: list[Figures]) -> None:
    """The instances, one a row."""
    rows = [
        (
            f"{row['name']} (n {row['nodes']}, p {row['p']})",
            f"{row['cost']:,.0f}",
            bar(bool(row["is_optimal"]), f"{row['optimum']:,.0f}, {row['tree']} nodes,"
                f" {float(row['s']):.2f} s"),
        )
        for row in table
    ]  # fmt: skip
    print_table("OR-Library", rows)


def show(figures: Figures) -> None:
    """The figures against their bars."""
    gap, took, gib = (float(figures[f"p200_{name}"]) for name in ("gap_pct", "s", "gib"))
    rows = [
        ("p200_gap_pct", f"{gap:.6f}", bar(gap <= 0.1, "at most 0.1")),
        ("p200_s", f"{took:.1f}", bar(took <= 60, "at most 60")),
        ("p200_gib", f"{gib:.2f}", bar(gib <= 4, "at most 4")),
        ("busiest_k_cost_ratio", f"{float(figures['busiest_k_cost_ratio']):.4f}", ""),
        ("greedy_cost_ratio", f"{float(figures['greedy_cost_ratio']):.4f}", ""),
    ]
    if "pmed_optimal_of_20" in figures:
        count = int(figures["pmed_optimal_of_20"])
        rows.append(("pmed_optimal_of_20", f"{count}", bar(count == PMED, "20")))
    print_table("p-median", rows)


@click.command()
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--seconds", type=float, default=SECONDS, show_default=True)
@click.option("--one", type=int, help="One run with so many sites, in this process.")
@click.option("--spare", type=float, help="With --one: room of all sites together, over demand.")
def main(rounds: int, seconds: float, one: int | None, spare: float | None) -> None:
    """Measure, print, and write `bench/out/plan-median.json`."""
    if one is not None:
        click.echo(json.dumps(run_cities(one, seconds, spare)))
        return
    figures = measure(rounds=rounds, seconds=seconds)
    show(figures)
    write_figures("plan-median", {**circumstances(), **figures})


if __name__ == "__main__":
    main()
