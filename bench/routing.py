"""What one routing decision costs with 160 allowed GPU PoPs, and a prompt's fingerprints.

    make bench-routing

Every decision is `FleetMap.rank` with the default policy, as the story calls it: a prompt with a
prefix of up to 64 blocks, reports of all PoPs (one comes in between two decisions), digests of the
nearest 16, and more work from this ingress than all near PoPs can do, so that some 60 of the 160
are looked at. Timed one by one on one core, after a warm-up, in
rounds; the median over rounds of each quantile is reported. Writes `bench/out/routing.json`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from random import Random
from statistics import median
from time import perf_counter_ns

import selvedge.routing.rank
from bench.figures import Figures, bar, circumstances, print_table, quantile, write_figures
from selvedge.fabric import Ask, Engine, Model, PoP, Refused, Release, Route, Served
from selvedge.routing import (
    NEAREST_MAX,
    Board,
    FleetMap,
    LoadBook,
    ModelReport,
    Publisher,
    Report,
    make_policy,
)
from selvedge.wire import fingerprint, prefix_salt

GPU_POPS = 160
DECISIONS = 4_000
ROUNDS = 9
MODEL = "chat"
BARS = {"decision_us_p50": 40.0, "decision_us_p99": 100.0}
SECOND_US = 1_000_000
START_US = 1_800_000_000 * SECOND_US


def release_of(random: Random) -> Release:
    """160 GPU PoPs about the inhabited latitudes, and one ingress without engines."""
    engine = Engine(
        "e", "http://127.0.0.1:1", "vllm", (Served(MODEL, MODEL),), prefill_tokens_per_s=20_000
    )
    pops = [pop_of("here", 1.3, 103.8, ())]
    for at in range(GPU_POPS):
        latitude, longitude = random.uniform(-40, 60), random.uniform(-180, 180)
        pops.append(pop_of(f"gpu-{at:03}", latitude, longitude, (engine,)))
    return Release(
        fleet="bench",
        version=1,
        made_us=0,
        models=(Model(MODEL, "chat", "unknown", "F16", 131_072),),
        pops=tuple(pops),
        zones=(),
        tenants=(),
        keys=(),
    )


def pop_of(name: str, latitude: float, longitude: float, engines: tuple[Engine, ...]) -> PoP:
    """A PoP at a place."""
    address, key = f"{name}.example.net:1", "A" * 43 + "="
    return PoP(
        name, name, "SG", latitude, longitude, f"https://{name}", address, key, engines=engines
    )


def report_of(pop: str, random: Random, now_us: int) -> Report:
    """Four of five PoPs have something that waits."""
    waiting = int(random.expovariate(1 / 4_000)) if random.random() < 0.8 else 0
    running = min(64, int(random.expovariate(1 / 24)))
    of_model = ModelReport(waiting, running, 64, random.uniform(0.05, 1.0), 20_000)
    at_us = now_us - random.randrange(SECOND_US)
    return Report(pop, at_us, random.uniform(0.05, 1), {MODEL: of_model})


def asks_of(random: Random, sessions: list[tuple[int, ...]], decisions: int) -> list[Ask]:
    """Half go on with a conversation, half begin one."""
    asks = []
    for _ in range(decisions):
        begun = random.choice(sessions)[: random.randrange(1, 60)] if random.random() < 0.5 else ()
        more = (random.getrandbits(64) for _ in range(random.randrange(1, 5)))
        prefix = (*begun, *more)
        asks.append(Ask(Route.CHAT, MODEL, prompt_bytes=1024 * len(prefix) + 300, prefix=prefix))
    return asks


def play(policy: str, seed: int, decisions: int = DECISIONS) -> list[int]:
    """Nanoseconds of each decision of one round."""
    random = Random(seed)
    release, book = release_of(random), LoadBook()
    board = Board(frozenset({"world"}))
    routes = FleetMap(release, "here", make_policy(policy, "here"))
    sessions = [tuple(random.getrandbits(64) for _ in range(64)) for _ in range(400)]
    by_distance = sorted((pop.id for pop in release.pops[1:]), key=routes.rtt_us)
    for pop in by_distance[:NEAREST_MAX]:
        held = [block for one in random.sample(sessions, 100) for block in one]
        for delta in Publisher(pop, MODEL).begin({"world": held}):
            board.put_delta(delta, START_US)
    asks, allowed, took = asks_of(random, sessions, decisions), release.pops, []
    gc.collect()
    gc.disable()
    for at, ask in enumerate(asks):
        now_us = START_US + at * 2_000
        pop = by_distance[at % GPU_POPS]
        board.put(report_of(pop, random, now_us), 90, now_us)
        begun = perf_counter_ns()
        plan = routes.rank(ask, allowed, book.view, now_us=now_us, signals=board)
        took.append(perf_counter_ns() - begun)
        if isinstance(plan, Refused):
            raise RuntimeError(plan.message)
        book.enter(plan.attempts[0].pop, ask.prompt_bytes // 4, now_us)
    gc.enable()
    return took[decisions // 4 :]  # Reports of all have come by then.


def fingerprint_us(size: int) -> float:
    """Microseconds to fingerprint a body of ``size`` bytes."""
    salt = prefix_salt("acme", b"pepper")
    message = {"role": "user", "content": "x" * (size - 62)}
    body = json.dumps({"model": MODEL, "messages": [message]}).encode()
    took = []
    for _ in range(2_000):
        begun = perf_counter_ns()
        fingerprint(Route.CHAT, MODEL, body, salt)
        took.append(perf_counter_ns() - begun)
    return median(took) / 1000


def measure(policy: str, rounds: int) -> Figures:
    """Quantiles of a decision, in microseconds."""
    play(policy, 0)
    played = [play(policy, seed) for seed in range(1, rounds + 1)]

    def over(part: float) -> float:
        return round(median(quantile(took, part) for took in played) / 1000, 2)

    return {
        "policy": policy,
        "compiled": not (selvedge.routing.rank.__file__ or "").endswith(".py"),
        "numpy_imported": "numpy" in sys.modules,
        "gpu_pops": GPU_POPS,
        "decisions": rounds * DECISIONS * 3 // 4,
        "decision_us_p50": over(0.5),
        "decision_us_p90": over(0.9),
        "decision_us_p99": over(0.99),
        "decision_us_mean": round(sum(map(sum, played)) / sum(map(len, played)) / 1000, 2),
        "fingerprint_us_0k5": round(fingerprint_us(500), 2),
        "fingerprint_us_4k": round(fingerprint_us(4_096), 2),
        "fingerprint_us_64k": round(fingerprint_us(65_536), 2),
    }


def show(figures: Figures) -> None:
    """Print the figures with their bars."""
    rows = [
        (name, str(value), bar(float(value) <= BARS[name], f"<= {BARS[name]}"))
        if name in BARS
        else (name, str(value), "")
        for name, value in figures.items()
    ]
    print_table("One routing decision", rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--policy", default="predictive", help="a row of routing.POLICIES")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = circumstances() | measure(options.policy, options.rounds)
    show(figures)
    if options.policy == "predictive":
        write_figures("routing", figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
