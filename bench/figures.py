"""Figures of a measurement: quantiles, bootstrap intervals, and the file they are written to. Pure
but for `write_figures` and the clock and machine that `circumstances` reads."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import Random
from statistics import median

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"

Value = float | int | str | bool
Figures = dict[str, Value]


def quantile(values: Sequence[float], part: float) -> float:
    """The nearest-rank quantile; ``part`` is above 0 and at most 1."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * part // 1) - 1)]


def median_interval(
    values: Sequence[float], seed: int, draws: int = 5000, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of the median (Efron and Tibshirani 1993, chapter 13)."""
    rng = Random(seed)
    medians = sorted(median(rng.choices(values, k=len(values))) for _ in range(draws))
    cut = (1 - level) / 2
    return medians[int(cut * draws)], medians[min(draws - 1, int((1 - cut) * draws))]


def difference_interval(
    a: Sequence[float], b: Sequence[float], seed: int, draws: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of median(a) - median(b), of independent samples."""
    rng = Random(seed)
    found = sorted(
        median(rng.choices(a, k=len(a))) - median(rng.choices(b, k=len(b))) for _ in range(draws)
    )
    cut = (1 - level) / 2
    return found[int(cut * draws)], found[min(draws - 1, int((1 - cut) * draws))]


def rss_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def circumstances() -> Figures:
    """What was compared, where and when."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "selvedge_version": version("selvedge"),
        "python_version": platform.python_version(),
        "uvloop_version": version("uvloop"),
        "cpu_count": os.cpu_count() or 0,
        "load_1m": round(os.getloadavg()[0], 2),
    }


def write_figures(name: str, figures: Mapping[str, Value], out: Path = OUT) -> Path:
    """Write flat figures as JSON; the file's path."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.json"
    path.write_text(as_json(figures), encoding="utf-8")
    return path


def as_json(figures: Mapping[str, Value]) -> str:
    """Flat figures as JSON with a line end."""
    return json.dumps(figures, indent=2) + "\n"


def print_table(title: str, rows: Sequence[tuple[str, str, str]]) -> None:
    """Rows of name, value and bar, to stdout; a bar's sign says whether it was met."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("bar")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def bar(met: bool, words: str) -> str:
    """A bar as the table shows it."""
    return f"[green]✓[/green] {words}" if met else f"[red]✗[/red] {words}"
