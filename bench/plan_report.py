"""The utilisation report over a made fleet: time, memory, and whether what it says is true.

    make bench-plan ARGS="--only report"            3 of 18 months, 109 million rows
    make bench-plan ARGS="--only report --full"     all 18, 648 million rows, 3.7 GB

The history is made once under `bench/out/plan-data/` (`selvedge plan synth`, a month at a time;
free disk is looked at before). Each report is made by the command line in a process of its own;
before each, also in a process of its own and with as many threads, a bare DuckDB sums the bytes by
PoP: the least that any reading of these files costs. The result is held against the truth file:
night use, planted faults found, and the billed 95th percentile of one PoP-month in a hundred
against a slow reading in plain Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Any, Final

from bench.figures import OUT, Figures, bar, print_table

POPS: Final = 4_100
MONTHS: Final = 18
SHORT_MONTHS: Final = 3
ROW_BYTES: Final = 6.2
"""Of a made row on disk, with room to spare."""
SPARE_BYTES: Final = 4 * 10**9
THREADS: Final = 2
SECONDS_MAX: Final = 180.0
GIB_MAX: Final = 3.0
SAMPLED: Final = 0.01
Table = list[dict[str, Any]]


def ask(argv: Sequence[str]) -> dict[str, float]:
    """Run Python in a process of its own: seconds, CPU and the largest memory of it."""
    began = perf_counter()
    child = subprocess.Popen([sys.executable, *argv], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with {child.returncode}")
    seconds = perf_counter() - began
    return {"s": seconds, "cpu_s": used.ru_utime + used.ru_stime, "gib": used.ru_maxrss / 2**20}


def make_data(folder: Path, months: int, pops: int) -> dict[str, float]:
    """The history, or what is missing of it; how long it took where nothing of it was there."""
    from selvedge.plan.synth import Asked  # noqa: PLC0415 (the plan extra)

    if Asked.read(folder) not in (None, Asked(pops=pops, months=months)):
        shutil.rmtree(folder)
    whole, some = (folder / "truth.json").exists(), folder.exists()
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed = int(pops * months * 30.5 * 288 * ROW_BYTES) + SPARE_BYTES
    free = shutil.disk_usage(folder.parent).free
    if free < needed and not whole:
        words = f"{free / 1e9:.1f} GB are free in {folder.parent}, {needed / 1e9:.1f} are needed"
        raise SystemExit(f"{words}; run the short form, or make room.")
    asked = [f"--pops={pops}", f"--months={months}", f"--threads={THREADS}"]
    took = ask(["-m", "selvedge", "plan", "synth", str(folder), *asked])
    return {} if some else took


def view(folder: Path, months: int) -> Path:
    """The same history with its first months only, as links."""
    found = folder.parent / f"{folder.name}-{months}"
    shutil.rmtree(found, ignore_errors=True)
    (found / "samples").mkdir(parents=True)
    for name in ("history.json", "fleet.csv"):
        shutil.copy(folder / name, found / name)
    for month in sorted((folder / "samples").iterdir())[:months]:
        (found / "samples" / month.name).symlink_to(month.resolve(), target_is_directory=True)
    return found


def report(folder: Path, result: Path) -> dict[str, float]:
    """Make the report of a history as Parquet."""
    shutil.rmtree(result, ignore_errors=True)
    argv = ["-m", "selvedge", "plan", "utilisation", str(folder)]
    return ask([*argv, "--fleet", str(folder / "fleet.csv"), "--parquet", str(result)])


def digest(result: Path) -> str:
    """Of all files of a report."""
    found = hashlib.sha256()
    for path in sorted(result.rglob("*")):
        if path.is_file():
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def bare_sum(folder: Path) -> dict[str, float]:
    """DuckDB's sum of bytes by PoP, in a process of its own."""
    return ask(["-m", "bench.plan_report", "--sum", str(folder)])


def _sum(folder: str) -> None:
    import duckdb  # noqa: PLC0415 (the plan extra)

    with duckdb.connect(config={"threads": THREADS}) as database:
        parts = f"read_parquet('{folder}/samples/*/*.parquet')"
        query = f"SELECT pop, sum(out_bytes) FROM {parts} GROUP BY pop"
        print(len(database.execute(query).fetchall()))


def load(result: Path, name: str) -> Table:
    """A table of the report."""
    import pyarrow.parquet as pq  # noqa: PLC0415 (the plan extra)

    found: Table = pq.read_table(result / f"{name}.parquet").to_pylist()
    return found


def slow_p95(folder: Path, number: int, month: str) -> float | None:
    """What is billed of a PoP's month, in bits per second, by the rule and nothing but it.

    Of samples of one moment one counts: without flags before with, then the one with more bytes.
    One with over 102 % of what its capacity carries does not count. Of the n that are left, the
    largest floor(n / 20) are dropped and the next is taken.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 (the plan extra)

    best: dict[int, tuple[bool, int, int]] = {}
    for path in sorted((folder / "samples" / f"month={month}").glob("*.parquet")):
        wanted = [("pop", "==", number)]
        names = ["at_s", "out_bytes", "capacity_bps", "flags"]
        table = pq.read_table(path, columns=names, filters=wanted, partitioning=None)
        for row in table.to_pylist():
            one = (row["flags"] == 0, row["out_bytes"], row["capacity_bps"])
            best[row["at_s"]] = max(best.get(row["at_s"], one), one)
    sent = sorted(out for _, out, capacity in best.values() if out * 800 <= capacity * 300 * 102)
    return sent[len(sent) - len(sent) // 20 - 1] * 8 / 300 if sent else None


def check_p95(folder: Path, result: Path) -> Figures:
    """One PoP-month in a hundred against the slow reading."""
    names = json.loads((folder / "history.json").read_text("utf-8"))["pops"]
    numbers = {name: number for number, name in enumerate(names)}
    rows = [row for row in load(result, "months") if row["level"] == "pop"]
    rows.sort(key=lambda row: (row["month"], row["name"]))
    some = Random(1).sample(rows, max(1, round(SAMPLED * len(rows))))
    off = 0
    for row in some:
        true = slow_p95(folder, numbers[row["name"]], row["month"])
        said = row["p95_bps"]
        off += said != true and (said is None or true is None or abs(said / true - 1) > 1e-12)
    return {"p95_pop_months": len(rows), "p95_checked": len(some), "p95_different": off}


def check_night(folder: Path, result: Path) -> Figures:
    """Night use against the truth, of the fleet and of its PoPs; in shares and points.

    Both are bytes over what could have been carried in the local nights. The truth is of what was
    so and the report of what the samples say: they differ by the planted faults, most by clocks
    that were moved, whose nights are other hours. What these alone make of the fleet's difference
    is told; PoPs without a fault are not to differ.
    """
    from selvedge.plan.synth import read_truth  # noqa: PLC0415 (the plan extra)

    truth = read_truth(folder)
    fleet = next(row for row in load(result, "groups") if row["level"] == "fleet")
    pops = {row["pop"]: row for row in load(result, "pops") if row["night_use"] is not None}
    damaged = {one.pop for one in truth.findings if one.kind != "capacity_change"}
    damaged |= {one.series for one in truth.findings if one.kind == "renamed"}
    moved = {one.pop for one in truth.findings if one.kind == "clock_shift"}
    off = {
        name: (pops[name]["night_use"] - true.night_by_capacity) * 100
        for name, true in truth.pops.items()
        if name in pops
    }
    weight = {name: pops[name]["capacity_bps"] * pops[name]["night_samples"] for name in off}
    clocks = sum(off[name] * weight[name] for name in moved & off.keys()) / sum(weight.values())
    whole = [abs(points) for name, points in off.items() if name not in damaged]
    return {
        "night_use": round(fleet["night_use"], 5),
        "night_use_true": round(truth.fleet.night_by_capacity, 5),
        "night_points_off_fleet": round(
            (fleet["night_use"] - truth.fleet.night_by_capacity) * 100, 4
        ),
        "night_points_off_fleet_by_clocks": round(clocks, 4),
        "night_pops": len(off),
        "night_pops_undamaged": len(whole),
        "night_points_off_undamaged_worst": round(max(whole, default=0.0), 6),
        "night_points_off_mean": round(sum(off.values()) / len(off), 4),
        "night_points_off_worst": round(max(map(abs, off.values())), 3),
    }


def check_faults(folder: Path, result: Path) -> Figures:
    """Recall and precision by kind, and of all."""
    from selvedge.plan.history import Finding  # noqa: PLC0415 (the plan extra)
    from selvedge.plan.synth import read_truth, score_findings  # noqa: PLC0415

    found = [Finding(**row) for row in load(result, "findings")]
    scores = score_findings(read_truth(folder).findings, found)
    figures: Figures = {}
    for one in scores:
        figures[f"faults_{one.kind}"] = f"{one.hit}/{one.planted}, {one.found} found"
        figures[f"recall_{one.kind}"] = round(one.recall, 4)
        figures[f"precision_{one.kind}"] = round(one.precision, 4)
    planted, hit = sum(one.planted for one in scores), sum(one.hit for one in scores)
    right = sum(one.right for one in scores)
    judged = sum(one.found - one.excused for one in scores)
    figures["faults_planted"] = planted
    figures["recall"] = round(hit / planted, 4) if planted else 1.0
    figures["precision"] = round(right / judged, 4) if judged else 1.0
    return figures


def lines_of(folder: Path, months: int, result: Path) -> Iterator[tuple[str, float]]:
    """How long parts of the history take: a sixth, a half and all of its months."""
    for part in sorted({max(1, months // 6), max(1, (months + 1) // 2)} - {months}):
        some = view(folder, part)
        try:
            took = report(some, result)
        finally:
            shutil.rmtree(some)
        yield f"report_s_{part}_months", round(took["s"], 2)
        yield f"report_cpu_s_{part}_months", round(took["cpu_s"], 2)
        yield f"report_gib_{part}_months", round(took["gib"], 3)


def measure(full: bool = False, pops: int = POPS, rounds: int = 0) -> Figures:
    """Make the data, reports and sums in turns, and hold the last report against the truth."""
    months = MONTHS if full else SHORT_MONTHS
    folder = OUT / "plan-data" / ("all" if full else "short")
    result = OUT / "plan-report"
    made = make_data(folder, months, pops)
    rows = json.loads((folder / "truth.json").read_text("utf-8"))["rows"]
    size = sum(path.stat().st_size for path in folder.glob("samples/*/*.parquet"))
    bare_sum(folder)  # so that both find the files in memory
    sums, reports, digests = [], [], set()
    for _ in range(rounds or (1 if full else 3)):
        sums.append(bare_sum(folder))
        reports.append(report(folder, result))
        digests.add(digest(result))
    sums.append(bare_sum(folder))

    def middle(of: Sequence[dict[str, float]], name: str) -> float:
        return round(median(one[name] for one in of), 3)

    figures: Figures = {
        "report_rows": rows,
        "report_months": months,
        "report_bytes_a_row": round(size / rows, 3),
        "report_rounds": len(reports),
        "report_s": middle(reports, "s"),
        "report_cpu_s": middle(reports, "cpu_s"),
        "report_gib": round(max(one["gib"] for one in reports), 3),
        "bare_sum_s": middle(sums, "s"),
        "bare_sum_cpu_s": middle(sums, "cpu_s"),
        "bare_sum_gib": middle(sums, "gib"),
        "report_over_sum": round(middle(reports, "s") / middle(sums, "s"), 1),
    }
    if len(reports) > 1:
        figures["report_same_bytes"] = len(digests) == 1
    if made:
        figures["synth_rows_s"] = round(rows / made["s"])
        figures["synth_gib"] = round(made["gib"], 3)
    checks: Sequence[Callable[[Path, Path], Figures]] = (check_night, check_faults, check_p95)
    for check in checks:
        figures |= check(folder, result)
    figures |= dict(lines_of(folder, months, result))
    return figures


def show(figures: Figures) -> None:
    """Figures as a table, with the bars that hold for all 18 months."""
    bars = {}
    if figures["report_months"] == MONTHS:
        met = float(figures["report_s"]) <= SECONDS_MAX
        bars["report_s"] = bar(met, f"at most {SECONDS_MAX:g} s")
    met = float(figures["report_gib"]) <= GIB_MAX
    bars["report_gib"] = bar(met, f"at most {GIB_MAX:g} GiB")
    bars["p95_different"] = bar(figures["p95_different"] == 0, "equal to a slow reading")
    rows = [(name, str(value), bars.get(name, "")) for name, value in figures.items()]
    print_table("Utilisation report", rows)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--sum":
        _sum(sys.argv[2])
    else:
        raise SystemExit("run it as: python -m bench.plan --only report")
