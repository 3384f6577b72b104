"""How often a semantic cache answers, and how often wrongly: three ways to decide, replayed.

Every way sees the same embeddings in the same orders, one run after another. A hit is wrong where
the entry's label is another one; "at 1 %" means that the 95 % upper bound (Clopper and Pearson) of
the wrong share of hits is at most 1 %. `static` and `verified` get their best setting in hindsight,
for each order anew; `bounded` is set to what is asked of it and gets no second try: an order in
which its bound lies higher counts as no hits at all.

The constants of `bounded` were chosen on the intents of `TUNED` alone, with orders of other seeds;
`held-out intents` are the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean, median

from bench.cache_questions import Questions, banking77, quora
from bench.cache_replay import Course, Stage, replay, staged
from bench.charts import Chart, Line
from bench.figures import Figures
from selvedge.cache import Decider, pooled
from selvedge.cache.bounded import Bounded
from selvedge.cache.bounds import at_most
from selvedge.cache.static import Static
from selvedge.cache.verified import Verified

TARGETS = (0.01, 0.03)
THRESHOLDS = (
    *(0.84, 0.86, 0.87, 0.88, 0.89, 0.9, 0.91, 0.92, 0.93, 0.94),
    *(0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995),
)
OF_REQUESTS = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
OF_HITS = (0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05)
SHORT = 2
"""The short form takes every so many-th setting of what learns, and the targets."""
AUDIT_ONE_IN = 20
FIRST = (100, 200, 500, 1000, 2000, 3000, 5000)
SEEDS = (1, 2, 3, 4, 5)
MODES: dict[str, tuple[Callable[[float], Decider], Sequence[float]]] = {
    "static": (Static, THRESHOLDS),
    "verified": (Verified, OF_REQUESTS),
    "bounded": (Bounded, OF_HITS),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One replay: which way, how it was set, in which order, and what came of it."""

    mode: str
    setting: float
    seed: int
    course: Course


def tuned(label: int) -> bool:
    """Whether an intent is one of those that the constants of `bounded` were chosen on."""
    return (label // 2) % 2 == 0


def halves(questions: Questions) -> tuple[Questions, Questions]:
    """The tuned intents, and those held out."""
    return (
        questions.part("tuned intents", tuned),
        questions.part("held-out intents", lambda label: not tuned(label)),
    )


def order_of(stage: Stage, seed: int) -> list[int]:
    """All of the questions, in the order of the seed."""
    order = list(range(len(stage.questions.texts)))
    Random(seed).shuffle(order)
    return order


def swept(stage: Stage, seeds: Sequence[int], *, gates: bool, short: bool) -> list[Run]:
    """Every way at every setting; the ways take turns within an order."""
    runs = []
    for seed in seeds:
        order = order_of(stage, seed)
        for mode, (make, settings) in MODES.items():
            for number, setting in enumerate(settings):
                if not short or mode == "static" or number % SHORT == 1 or setting in TARGETS:
                    audits = AUDIT_ONE_IN if mode == "bounded" else 0
                    course = replay(stage, order, make(setting), gates=gates, audit_one_in=audits)
                    runs.append(Run(mode, setting, seed, course))
    return runs


def rates_at(runs: Sequence[Run], mode: str, target: float) -> list[float]:
    """Hit rates at the target, one for each order, by the rule in this module's head."""
    rates = []
    for seed in sorted({run.seed for run in runs}):
        mine = [run for run in runs if run.mode == mode and run.seed == seed]
        if mode == "bounded":
            mine = [run for run in mine if run.setting == target]
        kept = [run.course.hit_rate for run in mine if run.course.wrong_at_most <= target]
        rates.append(max(kept, default=0.0))
    return rates


def hindsight(runs: Sequence[Run], mode: str, target: float) -> float:
    """The median over orders of the best setting's hit rate, for `bounded` too."""
    rates = []
    for seed in sorted({run.seed for run in runs}):
        mine = [run.course for run in runs if run.mode == mode and run.seed == seed]
        rates.append(max((c.hit_rate for c in mine if c.wrong_at_most <= target), default=0.0))
    return median(rates)


def points_of(runs: Sequence[Run], mode: str) -> list[tuple[float, float, float, float]]:
    """Setting, mean hit rate, wrong share of hits over all orders, and the bound of one order."""
    points = []
    for setting in sorted({run.setting for run in runs if run.mode == mode}):
        mine = [run.course for run in runs if run.mode == mode and run.setting == setting]
        hits, wrong = sum(c.hits for c in mine), sum(c.wrong for c in mine)
        bound = at_most(round(wrong / len(mine)), max(1, round(hits / len(mine))), 0.05)
        points.append((setting, mean(c.hit_rate for c in mine), wrong / max(1, hits), bound))
    return sorted(points, key=lambda point: point[1])


def curves(runs: Sequence[Run], title: str) -> list[Chart]:
    """Hit rate across, wrong share of hits up: as counted, and its 95 % upper bound."""
    shown = {mode: [point for point in points_of(runs, mode) if point[1] > 0.002] for mode in MODES}
    charts = []
    for column, words in ((2, "wrong share of hits"), (3, "its 95 % upper bound")):
        lines = [
            Line(mode, [(point[1] * 100, point[column] * 100) for point in points])
            for mode, points in shown.items()
        ]
        charts.append(Chart(f"{title}: {words}", "hit rate, %", "%", lines, top=6.0))
    return charts


@dataclass(frozen=True, slots=True)
class Start:
    """The first requests of a route, over orders: hits and wrong hits on the average."""

    name: str
    hits: Sequence[float]
    wrong: Sequence[float]
    first: float
    """The median request of the first hit; -1: none."""


def prior_of(other: Stage, target: float, *, gates: bool) -> bytes | None:
    """What a route of the same tenant learned from all of its questions."""
    learned = Bounded(target)
    replay(other, order_of(other, 101), learned, gates=gates, audit_one_in=AUDIT_ONE_IN)
    return pooled([learned.dump()])


def starts(own: Stage, other: Stage, seeds: Sequence[int], *, gates: bool) -> list[Start]:
    """From nothing; and, last, with what ``other``, a route of the same tenant, has learned."""
    priors = {target: prior_of(other, target, gates=gates) for target in TARGETS}
    ways: dict[str, Callable[[], Decider]] = {
        "static 0.95": lambda: Static(0.95),
        "verified 1 %": lambda: Verified(0.01),
        "verified 3 %": lambda: Verified(0.03),
        "bounded 1 %": lambda: Bounded(0.01),
        "bounded 3 %": lambda: Bounded(0.03),
        "bounded 1 %, prior": lambda: Bounded(0.01, prior=priors[0.01]),
        "bounded 3 %, prior": lambda: Bounded(0.03, prior=priors[0.03]),
    }
    found = []
    for name, make in ways.items():
        audits = AUDIT_ONE_IN if name.startswith("bounded") else 0
        courses = [
            replay(own, order_of(own, seed), make(), gates=gates, audit_one_in=audits)
            for seed in seeds
        ]
        counts = [[course.first(count) for course in courses] for count in FIRST]
        firsts = [c.served.index(True) if True in c.served else len(c.served) for c in courses]
        found.append(
            Start(
                name,
                [mean(hits for hits, _ in row) for row in counts],
                [mean(wrong for _, wrong in row) for row in counts],
                median(firsts),
            )
        )
    return found


def start_charts(found: Sequence[Start]) -> list[Chart]:
    """Hits and wrong hits among the first requests."""
    return [
        Chart(
            f"cold start on held-out intents: {words}",
            "requests",
            "",
            [
                Line(one.name, list(zip(FIRST, getattr(one, part), strict=True)))
                for one in found
                if not one.name.endswith("3 %")
            ],
        )
        for part, words in (("hits", "hits so far"), ("wrong", "wrong hits so far"))
    ]


def sets_of(data: Path) -> tuple[list[Questions], list[str]]:
    """What is replayed, and what is left out and why. Raises `OSError`."""
    whole = banking77(data)
    found = [whole, halves(whole)[1]]
    pairs = quora(data)
    if pairs is not None:
        return [*found, pairs], []
    return found, ["Quora's question pairs: SKIPPED, no file quora/… in the data folder"]


def quality(runs: Sequence[Run]) -> Figures:
    """The figures of one set."""
    figures: Figures = {}
    for target in TARGETS:
        for mode in MODES:
            key = f"hit_rate_{round(target * 100)}pct_{mode}"
            figures[key] = round(median(rates_at(runs, mode, target)), 4)
    return figures


def all_stages(data: Path) -> tuple[list[Stage], Stage, list[str]]:
    """The sets' stages, the tuned intents' beside them, and words on what is left out."""
    sets, missing = sets_of(data)
    return [staged(one) for one in sets], staged(halves(sets[0])[0]), missing
