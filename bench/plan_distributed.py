"""The utilisation report on another engine: the same queries, and whether the answers are the same.

    python -m bench.plan_distributed

ClickHouse (chdb) is installed into an environment of its own, build/distributed/, by
scripts/distributed.sh. A made history with planted faults is reported on twice in that environment,
by DuckDB and by ClickHouse, and the tables are compared cell by cell: all of them are integers, or
quotients of the same integers, so that equal means equal.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from bench.figures import OUT, Figures

ROOT: Final = Path(__file__).parent.parent
PYTHON: Final = ROOT / "build" / "distributed" / "bin" / "python"
ENGINES: Final = ("duckdb", "chdb", "spark")


def measure(full: bool = False) -> Figures:
    """Install what is needed, make data, report twice, compare."""
    subprocess.run([ROOT / "scripts" / "distributed.sh"], check=True)
    folder = OUT / "plan-distributed"
    shutil.rmtree(folder, ignore_errors=True)
    pops, months = (400, 3) if full else (60, 2)
    make = ["-m", "selvedge", "plan", "synth", str(folder), f"--pops={pops}", f"--months={months}"]
    subprocess.run([sys.executable, *make, "--faults=0.4"], check=True, stdout=subprocess.DEVNULL)
    try:
        return compare_there(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare_there(folder: Path) -> Figures:
    """Run `compare` in the environment that has both engines."""
    argv = [PYTHON, "-m", "bench.plan_distributed", str(folder)]
    found = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True)
    figures: Figures = json.loads(found.stdout.splitlines()[-1])
    return figures


def compare(folder: Path) -> Figures:
    """Report on a history by both engines, and compare every table."""
    from selvedge.plan.history import History, read_sites  # noqa: PLC0415 (the plan extra)
    from selvedge.plan.utilisation import TABLES, Asked, report  # noqa: PLC0415 (the plan extra)

    sites, _ = read_sites(folder / "fleet.csv")
    figures: Figures = {}
    found: dict[str, Any] = {}
    for engine in ENGINES:
        asked = Asked(engine=engine, faults=False, outlook=False)
        began = perf_counter()
        found[engine] = report(History.open(folder), sites, asked)
        figures[f"distributed_{engine}_s"] = round(perf_counter() - began, 2)
    ours, theirs = (found[engine] for engine in ENGINES)
    differ = [name for name in TABLES if not ours.tables[name].equals(theirs.tables[name])]
    figures["distributed_rows"] = ours.facts.samples
    figures["distributed_cells"] = sum(
        table.num_rows * table.num_columns for table in ours.tables.values()
    )
    figures["distributed_equal"] = not differ and ours.facts.excluded == theirs.facts.excluded
    figures["distributed_different_tables"] = ", ".join(differ)
    return figures


if __name__ == "__main__":
    print(json.dumps(compare(Path(sys.argv[1])) if len(sys.argv) > 1 else measure()))
