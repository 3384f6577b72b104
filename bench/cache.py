"""What the answer cache is worth and what it costs: `make bench-cache`, bench/out/cache.json.

    make bench-cache
    make bench-cache ARGS="--full"
    make bench-cache ARGS="--only quality"

`quality` replays labelled questions (`cache_quality`) and a help desk (`cache_faq`); `speed` times
look-ups, embedding and memory beside GPTCache (`cache_speed`), and hits at a PoP (`cache_exact`).
Each writes its figures into the one file; what a run leaves out stays from the last.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.console import Console
from rich.table import Table

from bench.cache_exact import exact
from bench.cache_faq import LAWS, REQUESTS, desk, middle, served
from bench.cache_quality import (
    AUDIT_ONE_IN,
    FIRST,
    MODES,
    SEEDS,
    TARGETS,
    Run,
    Start,
    all_stages,
    curves,
    hindsight,
    points_of,
    prior_of,
    quality,
    rates_at,
    start_charts,
    starts,
    swept,
)
from bench.cache_questions import Questions
from bench.cache_replay import Stage
from bench.charts import render
from bench.figures import OUT, Figures, circumstances, write_figures
from selvedge.adapters import DataMissing, find_data
from selvedge.cache import Decider
from selvedge.cache.bounded import Bounded
from selvedge.cache.static import Static

NAME = "cache"


def main() -> int:
    """Takes what is asked for; 1 where the data is not there."""
    given = _arguments()
    figures: Figures = {}
    if given.only in (None, "quality"):
        try:
            figures.update(_quality(find_data(given.data), full=given.full))
        except (DataMissing, OSError) as error:
            print(f"bench-cache: {error}", file=sys.stderr)
            return 1
    if given.only in (None, "speed"):
        figures.update(_speed(full=given.full))
    merge(figures)
    return 0


def merge(figures: Figures) -> Path:
    """Writes the figures over those of earlier runs."""
    path = OUT / f"{NAME}.json"
    kept: Figures = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return write_figures(NAME, {**kept, **circumstances(), **figures})


def _quality(data: Path, *, full: bool) -> Figures:
    began = perf_counter()
    seeds = SEEDS if full else SEEDS[:3]
    stages, other, missing = all_stages(data)
    figures: Figures = {}
    charts = []
    for number, stage in enumerate(stages):
        for gates in (False, True):
            runs = swept(stage, seeds, gates=gates, short=not full)
            title = f"{stage.questions.name}, gates {'on' if gates else 'off'}"
            _show_rates(title, len(stage.questions.texts), runs)
            _show_points(title, runs)
            found = quality(runs)
            if number == 0 and not gates:
                figures.update(found)
            else:
                prefix = ("", "held_out_", "quora_")[number] + ("gated_" if gates else "")
                figures.update({prefix + key: value for key, value in found.items()})
            charts += curves(runs, title) if number == 0 else []
    for gates in (False, True):
        begun = starts(stages[1], other, seeds, gates=gates)
        _show_starts(gates, begun)
        charts += [] if gates else start_charts(begun)
        for one in begun:
            key = one.name.replace(" %", "pct").replace(", ", "_").replace(" ", "_")
            figures[f"{'gated_' if gates else ''}first_hit_{key}"] = one.first
    figures.update(_faq(stages[1].questions, other, full=full))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "cache-quality.svg").write_text(render(charts), encoding="utf-8")
    for words in missing:
        print(words)
    figures["quality_s"] = round(perf_counter() - began, 1)
    return figures


def _faq(questions: Questions, other: Stage, *, full: bool) -> Figures:
    """The help desk, on held-out intents; ``other`` is the tenant's other route."""
    figures: Figures = {}
    table = Table(title="a help desk: hit rates (Fastly claims 25-40 %)", title_justify="left")
    for word in ("law", "gates", "decides", "could", "hits", "identical alone", "wrong of hits"):
        table.add_column(word, justify="left" if word == "law" else "right")
    for law in LAWS if full else LAWS[1:2]:
        desks = [desk(questions, law, REQUESTS, seed) for seed in ((11, 12, 13) if full else (11,))]
        for gates in (True, False):
            learned = {target: prior_of(other, target, gates=gates) for target in TARGETS}
            ways: dict[str, Callable[[], Decider]] = {
                "bounded 1 %": lambda: Bounded(0.01),
                "bounded 1 %, prior": lambda kept=learned[0.01]: Bounded(0.01, prior=kept),
                "bounded 3 %, prior": lambda kept=learned[0.03]: Bounded(0.03, prior=kept),
                "static 0.95": lambda: Static(0.95),
            }
            for name, make in ways.items():
                audits = AUDIT_ONE_IN if name.startswith("bounded") else 0
                courses = [served(one, make(), gates=gates, audit_one_in=audits) for one in desks]
                rate, identical, wrong = middle(courses)
                table.add_row(
                    law.name,
                    "on" if gates else "off",
                    name,
                    f"{median(one.shareable for one in desks):.1%}",
                    f"{rate:.1%}",
                    f"{identical:.1%}",
                    f"{wrong:.2%} (at most {max(c.wrong_at_most for c in courses):.2%})",
                )
                if law is LAWS[1] and gates and name == "bounded 1 %, prior":
                    figures["faq_hit_rate"] = round(rate, 4)
                    figures["faq_identical_hit_rate"] = round(identical, 4)
                    figures["faq_wrong_hit_rate"] = round(wrong, 5)
                if law is LAWS[1] and gates and name == "bounded 1 %":
                    figures["faq_cold_hit_rate"] = round(rate, 4)
    Console(highlight=False, width=116).print(table)
    return figures


def _speed(*, full: bool) -> Figures:
    from bench import cache_speed  # noqa: PLC0415 (its dependencies are heavy)

    found: Figures = cache_speed.figures(full=full)
    at_a_pop = exact()
    table = Table("an identical question, at a PoP", "value", title_justify="left")
    for name, value in at_a_pop.items():
        table.add_row(name, f"{value}")
    Console(highlight=False, width=116).print(table)
    return {**found, **at_a_pop}


def _show_rates(title: str, count: int, runs: Sequence[Run]) -> None:
    seeds = sorted({run.seed for run in runs})
    table = Table(title=f"{title}: {count} questions, {len(seeds)} orders", title_justify="left")
    for word in ("wrong of hits, 95 % sure", "decides", "hit rate (median)", "each", "hindsight"):
        table.add_column(word)
    for target in TARGETS:
        for mode in MODES:
            rates = rates_at(runs, mode, target)
            table.add_row(
                f"≤ {target:.0%}",
                mode,
                f"{median(rates):.1%}",
                " ".join(f"{rate:.1%}" for rate in rates),
                f"{hindsight(runs, mode, target):.1%}",
            )
    Console(highlight=False, width=110).print(table)


def _show_points(title: str, runs: Sequence[Run]) -> None:
    table = Table(title=f"{title}: the curves", title_justify="left")
    for word in ("decides", "set to", "hit rate", "wrong of hits", "at most (one order)"):
        table.add_column(word, justify="right")
    for mode in MODES:
        for setting, rate, wrong, bound in points_of(runs, mode):
            table.add_row(mode, f"{setting:g}", f"{rate:.1%}", f"{wrong:.2%}", f"{bound:.2%}")
    Console(highlight=False, width=110).print(table)


def _show_starts(gates: bool, found: Sequence[Start]) -> None:
    words = "on" if gates else "off"
    table = Table(
        title=f"cold start, held-out intents, gates {words}: hits/wrong among the first so many",
        title_justify="left",
    )
    for word in ("decides", "first hit at", *map(str, FIRST)):
        table.add_column(word, justify="left" if word == "decides" else "right")
    for one in found:
        cells = [f"{hit:.0f}/{bad:.1f}" for hit, bad in zip(one.hits, one.wrong, strict=True)]
        table.add_row(one.name, f"{one.first:.0f}", *cells)
    Console(highlight=False, width=120).print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-cache", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all settings and five orders")
    parser.add_argument("--only", choices=("quality", "speed"), help="one of the two parts")
    parser.add_argument("--data", type=Path, help="the folder of public data")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
