"""How fast ingest reads, on one core, beside Arrow's bare reading of the same files.

    taskset -c 1 python -m bench.plan_ingest [--rows 6000000]

Rows per second of processor time, from the first byte of the source to the last of the history:
reading, checking, sorting, staging, merging, writing. Medians of several runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from bench.figures import Figures
from selvedge.plan.ingest import FORMS, Ingestion

ROWS = 6_000_000
POPS = 450
CSV_SHARE = 4
"""The CSV files have so many times fewer rows."""
START_S = 1_767_225_600
CAPACITY_BPS = 100_000_000_000


class Unwatched:
    """Is told how far it is, and does nothing."""

    def reading(self, name: str, done: int, total: int) -> None:
        """A file is read."""

    def merging(self, month: str, done: int, total: int) -> None:
        """A month is made."""


SOURCES = {
    "ingest_parquet": ("by_pop.parquet", "parquet"),
    "ingest_parquet_by_time": ("by_time.parquet", "parquet"),
    "ingest_csv": ("plain.csv", "csv"),
    "ingest_snmp_csv": ("polls.csv", "snmp"),
}


def measure(full: bool = False) -> Figures:
    """The figures, of a process of its own on one core; ``full`` takes twice the rows."""
    rows, core = ROWS * (2 if full else 1), max(os.sched_getaffinity(0))
    done = run("--rows", str(rows), "--core", str(core))
    figures: Figures = json.loads(done.splitlines()[-1])
    return figures


def run(*words: str) -> str:
    """This module in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "bench.plan_ingest", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def write_sources(folder: Path, rows: int) -> None:
    """The same history in every form."""
    names = "".join(f"pop{number:04d},DE\n" for number in range(POPS))
    (folder / "fleet.csv").write_text("pop,country\n" + names)
    ticks = rows // POPS
    table = history(POPS, ticks)
    pq.write_table(table, folder / "by_pop.parquet", compression="zstd", row_group_size=1 << 20)
    order = np.arange(len(table)).reshape(POPS, ticks).T.reshape(-1)
    by_time = table.take(pa.array(order))
    pq.write_table(by_time, folder / "by_time.parquet", compression="zstd")
    few = table.slice(0, len(table) // CSV_SHARE)
    csv.write_csv(few, folder / "plain.csv")
    csv.write_csv(polls_of(few), folder / "polls.csv")


def measure_all(folder: Path, rows: int, runs: int) -> Figures:
    """Ingest each source, and read it barely."""
    run("--rows", str(rows), "--write", str(folder))
    whole = pq.ParquetFile(folder / "by_pop.parquet").metadata.num_rows
    figures: Figures = {"ingest_rows": whole, "ingest_csv_rows": whole // CSV_SHARE}
    for name, (file, form) in SOURCES.items():
        path = folder / file
        count = whole // CSV_SHARE if path.suffix == ".csv" else whole
        took = median(timed(lambda p=path, f=form: ingest(folder, p, f)) for _ in range(runs))
        figures[f"{name}_rows_s"] = round(count / took)
        bare = median(timed(lambda p=path: read_barely(p)) for _ in range(runs))
        figures[f"{name}_bare_rows_s"] = round(count / bare)
    figures["ingest_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return figures


def timed(work: Callable[[], object]) -> float:
    """Seconds of processor time, of all threads."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def history(pops: int, ticks: int) -> pa.Table:
    """A history as operators might export it, PoP after PoP."""
    rng = np.random.default_rng(7)
    at_s = START_S + 300 * np.tile(np.arange(ticks), pops)
    day = 0.4 + 0.3 * np.sin(at_s * (2 * np.pi / 86_400))
    out = (day * rng.normal(1, 0.05, len(at_s)) * (CAPACITY_BPS / 8 * 300)).astype(np.int64)
    names = pa.array([f"pop{number:04d}" for number in range(pops)])
    number = pa.array(np.repeat(np.arange(pops, dtype=np.int32), ticks))
    return pa.table(
        {
            "pop": pa.DictionaryArray.from_arrays(number, names).cast(pa.string()),
            "at_s": pa.array(at_s),
            "out_bytes": pa.array(np.maximum(out, 0)),
            "in_bytes": pa.array(np.maximum(out, 0) // 9),
            "capacity_bps": pa.array(np.full(len(at_s), CAPACITY_BPS)),
            "cpu_bp": pa.array((day * 9000).astype(np.int64)),
        }
    )


def polls_of(table: pa.Table) -> pa.Table:
    """The same as running totals, as SNMP gives them."""
    return pa.table(
        {
            "time": table["at_s"],
            "pop": table["pop"],
            "interface": pa.array(["eth0"] * len(table)),
            "ifHCOutOctets": pa.array(np.cumsum(table["out_bytes"].to_numpy())),
            "ifHCInOctets": pa.array(np.cumsum(table["in_bytes"].to_numpy())),
            "ifHighSpeed": pa.array(np.full(len(table), CAPACITY_BPS // 1_000_000)),
            "sysUpTime": pa.array((table["at_s"].to_numpy() - START_S + 1000) * 100),
        }
    )


def ingest(folder: Path, path: Path, form: str) -> None:
    """Into a history that nobody keeps."""
    with tempfile.TemporaryDirectory(dir=folder) as data:
        work = Ingestion(Path(data) / "d", folder / "fleet.csv", FORMS[form], None, Unwatched())
        work.run([path])


def read_barely(path: Path) -> None:
    """What Arrow needs for the same file, and nothing else."""
    if path.suffix == ".csv":
        for _ in csv.open_csv(path, csv.ReadOptions(use_threads=False, block_size=8 << 20)):
            pass
    else:
        for _ in pq.ParquetFile(path).iter_batches(250_000, use_threads=False):
            pass


def main() -> None:
    """Print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--core", type=int, default=None)
    parser.add_argument("--write", type=Path, default=None, help="Only write the sources there.")
    given = parser.parse_args()
    if given.write is not None:
        write_sources(given.write, given.rows)
        return
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure_all(Path(folder), given.rows, given.runs)))


if __name__ == "__main__":
    main()
