"""The operator's questions: how fast, how sure, how true.

    make bench-plan                                 all parts, the report over 3 of 18 months
    make bench-plan ARGS="--only report,median"     some
    make bench-plan ARGS="--full"                   the report over all 18 months, 648 million rows

Parts: `report` (utilisation, against the truth of a made fleet), `median` (placement of GPUs with
its bounds), `ingest` (rows a second from files), `forecast` (backtests); and, when it is named,
`distributed` (the same report on ClickHouse and Spark, cell by cell). Writes
`bench/out/plan.json`; parts that are not run keep the figures that they had there.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from bench.figures import OUT, Figures, circumstances, print_table, write_figures

PARTS: Final[Mapping[str, Callable[[Any, argparse.Namespace], Figures]]] = MappingProxyType(
    {
        "report": lambda module, asked: module.measure(full=asked.full, rounds=asked.rounds),
        "median": lambda module, asked: module.measure(full=asked.full),
        "ingest": lambda module, asked: module.measure(full=asked.full),
        "forecast": lambda module, asked: module.measure(full=asked.full),
        "distributed": lambda module, asked: module.measure(full=asked.full),
    }
)
"""What to ask of the module of that name."""
APART: Final = {"distributed"}
"""Only when named: it needs an environment of its own (`scripts/distributed.sh`)."""


def run_part(name: str, asked: argparse.Namespace) -> Figures:
    """Measure one part and show its figures."""
    module = importlib.import_module(f"bench.plan_{name}")
    figures = PARTS[name](module, asked)
    show = getattr(module, "show", None)
    if show is not None:
        show(figures)
    else:
        print_table(name, [(key, str(value), "") for key, value in figures.items()])
    return figures


def merged() -> Figures:
    """What the parts found when they were last run."""
    found: Figures = {}
    for name in PARTS:
        path = OUT / f"plan-{name}.json"
        found |= json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, and write after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    usual = ",".join(name for name in PARTS if name not in APART)
    parser.add_argument("--only", default=usual, help=f"parts with commas: {', '.join(PARTS)}")
    parser.add_argument("--full", action="store_true", help="all 18 months")
    parser.add_argument("--rounds", type=int, default=0, help="of the report (3, with --full 1)")
    options = parser.parse_args(arguments)
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only {','.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    for name in parts:
        if importlib.util.find_spec(f"bench.plan_{name}") is None:
            print(f"{name}: there is no bench/plan_{name}.py; left out")
            continue
        write_figures(f"plan-{name}", run_part(name, options))
        write_figures("plan", circumstances() | merged())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
