"""The utilisation report on other engines: whether the answers are the same, and what it costs.

    python -m bench.plan_distributed

ClickHouse (chdb) and Spark (pyspark) are installed into an environment of their own,
build/distributed/, by scripts/distributed.sh. A made history with planted faults is reported on by
DuckDB and by each of them, and the tables are compared cell by cell: all of them are integers, or
quotients of the same integers, so that equal means equal. What left the engine is counted: rows
from DuckDB and ClickHouse, sums from Spark's workers.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from bench.figures import OUT, Figures

ROOT: Final = Path(__file__).parent.parent
PYTHON: Final = ROOT / "build" / "distributed" / "bin" / "python"
PACKAGES: Final = {"chdb": "chdb", "spark": "pyspark"}
"""What each engine is in."""
CLUSTER: Final = "local-cluster[2,1,1024]"
"""Spark's master of a cluster of two executors, each a process of its own with one core, 1 GiB."""
MEGABYTE: Final = 10**6


def lacks(engine: str) -> str:
    """Why an engine cannot be tried here; nothing if it can."""
    folder = PYTHON.parent.parent
    if not (folder / ".installed").exists():
        return "no other engine: scripts/distributed.sh makes build/distributed"
    if not any(folder.glob(f"lib/python*/site-packages/{PACKAGES[engine]}")):
        return f"no {PACKAGES[engine]} in build/distributed: run scripts/distributed.sh again"
    if engine == "spark" and shutil.which("java") is None:
        return "Spark needs Java: apt-get install default-jre-headless"
    return ""


def measure(full: bool = False) -> Figures:
    """Install what is needed, make data, report by every engine, compare."""
    subprocess.run([ROOT / "scripts" / "distributed.sh"], check=True)
    folder = OUT / "plan-distributed"
    shutil.rmtree(folder, ignore_errors=True)
    pops, months = (200, 3) if full else (60, 2)
    make = ["-m", "selvedge", "plan", "synth", str(folder), f"--pops={pops}", f"--months={months}"]
    subprocess.run([sys.executable, *make, "--faults=0.4"], check=True, stdout=subprocess.DEVNULL)
    found: Figures = {}
    try:
        for engine, url in (("chdb", ""), ("spark", ""), ("spark", CLUSTER)):
            missing = lacks(engine)
            skipped = {f"distributed_{engine}": missing}
            found |= skipped if missing else compare_there(folder, engine, url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def compare_there(folder: Path, engine: str, url: str = "") -> Figures:
    """Run `compare` in the environment that has the engines."""
    argv = [PYTHON, "-m", "bench.plan_distributed", str(folder), engine, url]
    found = subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    figures: Figures = json.loads(found.stdout.splitlines()[-1])
    return figures


def compare(folder: Path, engine: str, url: str) -> Figures:
    """Report on a history by DuckDB and another engine, and compare every table."""
    from selvedge.plan.history import History, read_sites  # noqa: PLC0415 (the plan extra)
    from selvedge.plan.utilisation import TABLES, Asked, report  # noqa: PLC0415 (the plan extra)

    sites, _ = read_sites(folder / "fleet.csv")
    figures: Figures = {}
    found: list[Any] = []
    named = f"{engine}_cluster" if url else engine
    for name, kind, where in (("duckdb", "duckdb", ""), (named, engine, url)):
        asked = Asked(engine=kind, engine_url=where, faults=False, outlook=False)
        with _counted(kind) as left:
            began = perf_counter()
            found.append(report(History.open(folder), sites, asked))
            figures[f"distributed_{name}_s"] = round(perf_counter() - began, 2)
        figures[f"distributed_{name}_left_mb"] = round(sum(left) / MEGABYTE, 1)
    ours, theirs = found
    differ = [name for name in TABLES if not ours.tables[name].equals(theirs.tables[name])]
    figures["distributed_rows"] = ours.facts.samples
    figures["distributed_cells"] = sum(
        table.num_rows * table.num_columns for table in ours.tables.values()
    )
    alike = ours.facts.excluded == theirs.facts.excluded
    figures[f"distributed_{named}_equal"] = alike and not differ
    figures[f"distributed_{named}_different"] = ", ".join(differ)
    return figures


@contextmanager
def _counted(engine: str) -> Iterator[list[int]]:
    """Bytes of each answer that leaves an engine."""
    from selvedge.plan.utilisation.report import ENGINES  # noqa: PLC0415 (the plan extra)

    kind: Any = ENGINES[engine]
    left: list[int] = []

    def fetch(self: Any, expr: Any) -> Any:
        table = kind.fetch(self, expr)
        left.append(table.nbytes)
        return table

    def gather(self: Any, rows: Any, work: Any) -> Iterator[bytes]:
        for found in kind.gather(self, rows, work):
            left.append(len(found))
            yield found

    more = {"fetch": fetch} | ({"gather": gather} if hasattr(kind, "gather") else {})
    ENGINES[engine] = type(kind.__name__, (kind,), more)
    try:
        yield left
    finally:
        ENGINES[engine] = kind


if __name__ == "__main__":
    done = compare(Path(sys.argv[1]), *sys.argv[2:4]) if len(sys.argv) > 1 else measure()
    print(json.dumps(done))
