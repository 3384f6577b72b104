"""Torture of residency: requests on `fleet-4100` while PoPs, links, engines and releases fail.

Each batch has its own seed: two releases drawn by lot (`torture_world`), of which every PoP takes
the second at a moment of its own, so that both are in flight; a policy that narrows by the clock;
engines that go down, PoPs and links that are cut, clients that leave. The witness at the border
reads zones, classes, handlings and policies by itself and counts what is outside: 0 is the bar.

Batches are kept in a file as they end, with a hash of the code: what was run is not run again, and
a run that was interrupted goes on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.figures import OUT, Figures
from bench.torture_world import Drawn, base, digest, draw, ingresses
from selvedge.cli.sim_runs import code_hash
from selvedge.fabric import Ask, Release, Route
from selvedge.sim import Arrival, Cut, EngineModel, Outage, Rollout, Scenario, Work, play_rollout

BATCH = 100_000
PER_S = 4_000
SECOND_US = 1_000_000
START_US = 1_782_864_000 * SECOND_US
FILE = OUT / "torture-residency.jsonl"
OUTAGES_PER_S = 4
CUTS_PER_S = 4
FAILED_S = (1, 12)


class Batch(msgspec.Struct, frozen=True):
    """What became of one seed."""

    seed: int
    code: str
    requests: int
    crossings: int
    forwarded: int
    moved_on: int
    abroad: int
    """Complete answers of providers."""
    out_of_zone: int
    outcomes: Mapping[str, int]
    codes: Mapping[str, int]
    releases: tuple[str, str]
    cpu_s: float
    broken: str | None = None


def run_batch(fleet: Release, seed: int, requests: int, code: str) -> Batch:
    """One seed, from its draws to its figures. A broken law is one of them."""
    started = time.process_time()
    length_us = requests * SECOND_US // PER_S
    first, last = draw(fleet, seed, START_US + length_us // 2)
    rng = Random(f"failures/{seed}")
    scenario = Scenario(
        start_us=START_US,
        engines=_engines(rng, fleet),
        outages=tuple(_outages(rng, fleet, length_us)),
        jitter_us=2_000,
        keeps=False,
        sealed_every=50,
    )
    swaps = [
        (START_US + rng.randrange(length_us // 10, length_us * 9 // 10), pop.id)
        for pop in fleet.pops
    ]
    rollout = Rollout(
        first.release,
        last.release,
        (first.law(), last.law()),
        sorted(swaps),
        tuple(_cuts(rng, fleet, length_us)),
    )
    names = digest(first), digest(last)
    try:
        report = play_rollout(rollout, scenario, seed, _traffic(first, seed, requests))
    except AssertionError as error:
        spent = time.process_time() - started
        return Batch(seed, code, requests, 0, 0, 0, 0, -1, {}, {}, names, spent, str(error))
    found = report.figures
    return Batch(
        seed=seed,
        code=code,
        requests=found.arrived,
        crossings=found.crossings,
        forwarded=found.forwarded,
        moved_on=found.moved_on,
        abroad=sum(found.served.get(one.id, 0) for one in fleet.providers),
        out_of_zone=found.out_of_zone,
        outcomes={str(one): count for one, count in found.outcomes.items()},
        codes=dict(found.codes),
        releases=names,
        cpu_s=round(time.process_time() - started, 2),
    )


def _traffic(first: Drawn, seed: int, requests: int) -> Iterator[Arrival]:
    """Requests under every key, most of them where its zone is, some anywhere."""
    rng = Random(f"traffic/{seed}")
    inside = ingresses(first)
    keys = sorted(inside)
    everywhere = [pop.id for pop in first.release.pops]
    model = first.release.models[0].id
    asks = [
        Ask(Route.CHAT, model, stream=bool(at % 4), prompt_bytes=200 + at, prefix=_prefix(at))
        for at in range(64)
    ]
    works = [Work(20 + at % 5, 1 + at % 3) for at in range(16)]
    at_us = START_US
    draw_one, choose = rng.random, rng.choice
    for _ in range(requests):
        at_us += int(rng.expovariate(PER_S / SECOND_US)) + 1
        key = choose(keys)
        leaves = draw_one()
        yield Arrival(
            at_us=at_us,
            ingress=choose(inside[key] if draw_one() < 0.75 else everywhere),
            key=key,
            body=b"",
            work=choose(works),
            ask=choose(asks),
            leaves_after_us=rng.randrange(SECOND_US) if leaves < 0.02 else None,
            deadline_after_us=rng.randrange(1, SECOND_US) if leaves > 0.98 else 60 * SECOND_US,
        )


def _prefix(at: int) -> tuple[int, ...]:
    """Two of three prompts share a beginning with others."""
    return tuple(range(at % 7 + 1, at % 7 + 4)) if at % 3 else ()


def _engines(rng: Random, fleet: Release) -> dict[str, EngineModel]:
    """Quick ones; one in four is soon full."""
    quick = EngineModel(64, 100_000, 200_000, 2_000, 20_000)
    small = EngineModel(2, 3, 200_000, 400, 400)
    return {
        f"{pop.id}/{one.id}": small if rng.random() < 0.25 else quick
        for pop in fleet.sites
        for one in pop.engines
    }


def _outages(rng: Random, fleet: Release, length_us: int) -> Iterator[Outage]:
    serving = [site for site in fleet.sites if site.engines]
    for from_us, until_us in _spans(rng, length_us, OUTAGES_PER_S):
        pop = rng.choice(serving)
        for one in pop.engines:
            yield Outage(pop.id, one.id, from_us, until_us)


def _cuts(rng: Random, fleet: Release, length_us: int) -> Iterator[Cut]:
    """Of PoPs with engines, mostly: a cut ingress only loses its own."""
    serving = [site.id for site in fleet.sites if site.engines]
    every = [pop.id for pop in fleet.pops]
    for from_us, until_us in _spans(rng, length_us, CUTS_PER_S):
        yield Cut(rng.choice(serving if rng.random() < 0.7 else every), from_us, until_us)


def _spans(rng: Random, length_us: int, per_s: int) -> Iterator[tuple[int, int]]:
    for _ in range(max(1, length_us * per_s // SECOND_US)):
        from_us = START_US + rng.randrange(length_us)
        yield from_us, from_us + rng.randint(*FAILED_S) * SECOND_US


def run_residency(
    requests: int, seed: int, console: Console, file: Path = FILE, size: int = BATCH
) -> tuple[Figures, bool]:
    """As many batches as make up ``requests``, but for those that the file has."""
    code = code_hash()
    file.parent.mkdir(parents=True, exist_ok=True)
    seeds = range(seed, seed + -(-requests // size))
    known = {one.seed: one for one in read_batches(file) if one.code == code}
    done = [known[one] for one in seeds if one in known and known[one].requests == size]
    left = [one for one in seeds if one not in {each.seed for each in done}]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("requests", total=len(seeds) * size, completed=len(done) * size)
        fleet = base() if left else None
        for one in left:
            assert fleet is not None
            batch = run_batch(fleet, one, size, code)
            done.append(batch)
            with file.open("ab") as kept:
                kept.write(msgspec.json.encode(batch) + b"\n")
            words = f"requests, {batch.requests / batch.cpu_s:,.0f}/s of CPU"
            progress.update(task, advance=size, description=words)
            if batch.broken is not None or batch.out_of_zone:
                console.print(f"[red]seed {one}[/red]: {batch.broken}", markup=True)
                break
    return figures_of(done, seed)


def read_batches(file: Path) -> list[Batch]:
    """The batches of a file; a line that was cut off is none."""
    found = []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            found.append(msgspec.json.decode(line, type=Batch))
        except msgspec.MsgspecError:
            continue
    return found


def figures_of(batches: Sequence[Batch], seed: int) -> tuple[Figures, bool]:
    """The sums, and whether the bars are met."""
    outcomes: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for one in batches:
        outcomes.update(one.outcomes)
        codes.update(one.codes)
    cpu_s = sum(one.cpu_s for one in batches)
    arrived = sum(one.requests for one in batches)
    broken = sum(one.broken is not None for one in batches)
    outside = sum(one.out_of_zone for one in batches if one.broken is None)
    figures: Figures = {
        "requests": arrived,
        "batches": len(batches),
        "seed": seed,
        "releases": 2 * len(batches),
        **{one: outcomes[one] for one in sorted(outcomes)},
        **{f"code_{one}": codes[one] for one in sorted(codes)},
        "crossings": sum(one.crossings for one in batches),
        "forwarded": sum(one.forwarded for one in batches),
        "moved_on": sum(one.moved_on for one in batches),
        "served_by_providers": sum(one.abroad for one in batches),
        "out_of_zone": outside,
        "laws_broken": broken,
        "cpu_s": round(cpu_s, 1),
        "requests_per_cpu_s": round(arrived / cpu_s) if cpu_s else 0,
    }
    return figures, bool(batches) and not broken and not outside
