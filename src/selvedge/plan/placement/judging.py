"""Choices of sites judged by the simulator: queues, batches and routing, which a median ignores.

Every choice has as many engines and the same clients, seed by seed (common random numbers), so that
differences are taken in pairs; each figure has its interval. What is compared is the time to first
token, and the fewest GPUs with which the objective is kept. A routed request is not sent to the
nearest site but to where its first token is expected first, which is why round trips to the site
that served stand beside: what routing makes of a choice is seen there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Final

import msgspec

from selvedge.plan.placement.differences import Difference, compare_pairs
from selvedge.plan.placement.neighbours import Flags
from selvedge.plan.placement.question import Question
from selvedge.plan.placement.worlds import Stage, Trial, describe, set_stage
from selvedge.sim import Atlas, Course, Description, Interval, Outcome, build, interval, run

STEPS: Final = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5)
"""Engines a site that are tried for the fewest that keep the objective."""
_SEARCHED: Final = 3.0
"""Runs a seed and choice: bisection over these."""
_BUDGET_S: Final = 240.0
_REQUEST_S: Final = 0.002
"""Of a processor, for a request that is simulated by the interpreter."""
_SEEDS: Final = (3, 10)
FIGURES: Final = ("ttft_ms_p50", "ttft_ms_p95", "gpus_needed")
"""By which rivals are compared with ours."""

Tell = Callable[[str], None]


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What the simulator says of a choice: means over seeds, each with its 95 % interval."""

    name: str
    engines: int
    seeds: int
    requests: int
    """Measured, in all runs together."""
    slo_ms: float
    ttft_ms_p50: Interval
    ttft_ms_p95: Interval
    ttft_ms_mean: Interval
    goodput: Interval
    """Share with its first token within the objective and a whole answer."""
    rtt_ms: Interval
    """Mean round trip between ingress and the site that served; no last mile."""
    gpus_needed: Interval
    """The fewest GPUs of those tried with which 95 of 100 requests kept the objective."""
    gpus_short: int
    """Seeds in which the most that was tried was too few; they count as the most."""
    against_ours: tuple[Difference, ...]
    """Empty for ours, the first."""


class Played(msgspec.Struct, frozen=True):
    """One choice under one seed."""

    requests: int
    ttft_ms_p50: float
    ttft_ms_p95: float
    ttft_ms_mean: float
    goodput: float
    rtt_ms: float
    gpus_needed: float
    is_short: bool


class _Task(msgspec.Struct, frozen=True):
    """What a process is handed: descriptions by number of engines, as JSON would have them."""

    worlds: Mapping[int, bytes]
    steps: tuple[int, ...]
    engines: int
    goodput: float
    gpus_per_engine: float
    seed: int


def judge(
    question: Question, choices: Sequence[tuple[str, Flags]], trial: Trial, tell: Tell
) -> list[Judged]:
    """Every choice with the same engines and the same clients; the first is ours."""
    flags = {is_open.tobytes(): is_open for _, is_open in choices}
    stage = set_stage(question, list(flags.values()), trial)
    seeds = trial.seeds or seeds_within(stage, len(flags))
    tasks = [
        (key, one)
        for key, is_open in flags.items()
        for one in _tasks(question, is_open, (stage, trial), seeds)
    ]
    runs: dict[bytes, dict[int, Played]] = {key: {} for key in flags}
    for at, (number, played) in enumerate(_finished([one for _, one in tasks], trial.workers), 1):
        key, task = tasks[number]
        runs[key][task.seed] = played
        tell(f"{at} of {len(tasks)}")
    ours = _in_order(runs[choices[0][1].tobytes()])
    found = []
    for number, (name, is_open) in enumerate(choices):
        theirs = _in_order(runs[is_open.tobytes()])
        against = _differences(ours, theirs) if number else ()
        found.append(_judged(name, theirs, against, (stage, trial)))
    return found


def seeds_within(stage: Stage, choices: int) -> int:
    """How many seeds take some two minutes on two cores, from 3 to 10: by the requests, not by a
    clock, so that the same question is judged the same everywhere."""
    requests = stage.rate * (stage.warmup_s + stage.measured_s)
    low, high = _SEEDS
    return int(min(high, max(low, _BUDGET_S / (choices * _SEARCHED * requests * _REQUEST_S))))


def _tasks(
    question: Question, is_open: Flags, how: tuple[Stage, Trial], seeds: int
) -> Iterator[_Task]:
    stage, trial = how
    sites = int(is_open.sum())
    most = stage.engines / trial.engines_per_site
    steps = tuple(max(sites, round(step * most)) for step in STEPS)
    worlds = {
        engines: msgspec.json.encode(describe(question, is_open, engines, stage, trial))
        for engines in {*steps, stage.engines}
    }
    each = question.server.gpus / question.server.engines
    for seed in range(1, seeds + 1):
        yield _Task(worlds, steps, stage.engines, trial.goodput, each, seed)


def _finished(tasks: Sequence[_Task], workers: int) -> Iterator[tuple[int, Played]]:
    """By number, as they end."""
    if min(workers, len(tasks)) <= 1:
        for number, task in enumerate(tasks):
            yield number, _play(task)
        return
    with ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn")) as pool:
        futures = {pool.submit(_play, task): number for number, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _play(task: _Task) -> Played:
    """A seed: the figures with the engines asked for, and the fewest that keep the objective."""
    known: dict[int, tuple[Outcome, Atlas]] = {}

    def goodput(engines: int) -> float:
        if engines not in known:
            description = msgspec.json.decode(task.worlds[engines], type=Description)
            atlas = Atlas(build(description, []))
            known[engines] = run(Course(atlas, [], description.policy, task.seed)), atlas
        return known[engines][0].summary.goodput

    goodput(task.engines)
    low, high = 0, len(task.steps)
    while low < high:
        middle = (low + high) // 2
        if goodput(task.steps[middle]) >= task.goodput:
            high = middle
        else:
            low = middle + 1
    outcome, atlas = known[task.engines]
    found = outcome.summary
    return Played(
        requests=found.arrived,
        ttft_ms_p50=found.ttft_ms_p50,
        ttft_ms_p95=found.ttft_ms_p95,
        ttft_ms_mean=found.ttft_ms_mean,
        goodput=found.goodput,
        rtt_ms=_rtt_ms(outcome, atlas),
        gpus_needed=task.steps[min(low, len(task.steps) - 1)] * task.gpus_per_engine,
        is_short=low == len(task.steps),
    )


def _rtt_ms(outcome: Outcome, atlas: Atlas) -> float:
    """Mean round trip between ingress and the site that served, over answers of the whole run."""
    rows, rtt_us = outcome.rows, atlas.distances.rtt_us
    ways = Counter(
        (rows.ingress[at], rows.served[at]) for at, ended in enumerate(rows.outcome) if ended == 0
    )
    total = sum(
        count * rtt_us(rows.ingresses.names[here], rows.pops.names[there])
        for (here, there), count in ways.items()
    )
    return total / max(1, ways.total()) / 1000


def _in_order(runs: Mapping[int, Played]) -> list[Played]:
    return [runs[seed] for seed in sorted(runs)]


def _differences(ours: Sequence[Played], theirs: Sequence[Played]) -> tuple[Difference, ...]:
    return tuple(
        compare_pairs(
            name, [getattr(one, name) for one in ours], [getattr(one, name) for one in theirs]
        )
        for name in FIGURES
    )


def _judged(
    name: str,
    runs: Sequence[Played],
    against: tuple[Difference, ...],
    how: tuple[Stage, Trial],
) -> Judged:
    stage, trial = how

    def over(figure: str) -> Interval:
        return interval([getattr(one, figure) for one in runs])

    return Judged(
        name=name,
        engines=stage.engines,
        seeds=len(runs),
        requests=sum(one.requests for one in runs),
        slo_ms=trial.slo_ms,
        ttft_ms_p50=over("ttft_ms_p50"),
        ttft_ms_p95=over("ttft_ms_p95"),
        ttft_ms_mean=over("ttft_ms_mean"),
        goodput=over("goodput"),
        rtt_ms=over("rtt_ms"),
        gpus_needed=over("gpus_needed"),
        gpus_short=sum(one.is_short for one in runs),
        against_ours=against,
    )
