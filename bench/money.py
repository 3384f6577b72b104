"""How long the invoice of ten million receipts takes, and how much memory.

    make bench-money

One tenant's month: 10^7 receipts of forty PoPs in four zones, in parts of the size that collectors
write, made once under `bench/out/` (not timed; the receipts' own bytes are left out of the parts:
invoices do not read them). Each invoice is made in a process of its own, as `selvedge invoice`
does; between two of them, also in a process of its own, a bare DuckDB groups and sums the same
files: the least that any fold over them costs. `invoice_1e7_s` and `invoice_1e7_gib` are medians of
wall-clock time and of the largest memory of the process. Writes `bench/out/money.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Final

from bench.figures import OUT, Figures, bar, circumstances, print_table, write_figures
from selvedge.adapters import (
    PARTITIONS,
    as_table,
    connect,
    find_parts,
    fold_parts,
    part_name,
    quoted,
)
from selvedge.ledger import (
    Contract,
    FoldAsked,
    Neurons,
    Objective,
    PriceBook,
    PriceRow,
    Sla,
    Tier,
    Unit,
    bill_month,
    make_invoice,
    month_bounds,
    starts_of,
    write_invoice,
)

TENANT: Final = "acme"
MONTH: Final = "2026-11"
DAYS: Final = 30
ZONES: Final = ("asean", "eea", "uk", "us")
POPS: Final = 10
"""In each zone, with two workers each."""
PARTS: Final = 3
"""Of a zone and day: a collector's segment holds some 30,000 receipts."""
RECEIPTS: Final = 10_000_000
SECONDS_MAX: Final = 10.0
GIB_MAX: Final = 2.0
MODELS: Final = (
    "falcon-40b-instruct",
    "legal-7b",
    "llama-2-70b-chat",
    "medical-7b",
    "mistral-7b-instruct",
    "mixtral-8x7b-instruct",
    "support-7b",
)


def book(unit: Unit = "tokens") -> PriceBook:
    """Prices that change in mid-month, one row of a zone's own, and a contract with every term."""
    rows = []
    for at, model in enumerate(MODELS):
        price = {"input": 150_000 + 37_001 * at, "output": 600_000 + 91_003 * at, "cached": 15_001}
        neurons = {"neurons_input": 13_637 + at, "neurons_output": 54_546 + at}
        facts = {"cache_hit": 3, "batch_discount_ppm": 500_000, **price, **neurons}
        rows.append(PriceRow(model=model, until="2026-11-16", **facts))
        rows.append(PriceRow(model=model, since="2026-11-16", **facts | {"input": 140_001}))
    of_uk = {"neurons_input": 14_001, "neurons_output": 55_001}
    rows.append(PriceRow(model=MODELS[0], zone="uk", input=190_007, output=700_001, **of_uk))
    contract = Contract(
        tenant=TENANT,
        unit=unit,
        discount_ppm=70_000,
        tiers=(Tier(1_000_000_000, 50_000), Tier(5_000_000_000, 100_000)),
        committed_micro_dollars=2_000_000_000,
        sla="gold",
        sla_fee_micro_dollars=500_000_000,
    )
    gold = Sla("gold", (Objective(availability_ppm=999_000),))
    return PriceBook(
        version=1,
        prices=tuple(rows),
        neurons=Neurons(11_000, 10_000),
        contracts=(contract,),
        slas=(gold,),
    )


def make_receipts(directory: Path, count: int) -> None:
    """Parts as collectors write them, with made-up receipts; nothing where they are there."""
    done = directory / f"made-{count}"
    if done.exists():
        return
    shutil.rmtree(directory, ignore_errors=True)
    per_cell = -(-count // (DAYS * len(ZONES) * POPS * 2))
    with connect(2, "2GB") as database:
        for at, zone in enumerate(ZONES):
            for day in range(DAYS):
                _make_day(database, directory, (at, zone), (day, per_cell))
    done.touch()


def _make_day(
    database: object, directory: Path, zone: tuple[int, str], day: tuple[int, int]
) -> None:
    date = f"{MONTH}-{day[0] + 1:02d}"
    place = directory / PARTITIONS / f"zone={zone[1]}" / f"day={date}"
    place.mkdir(parents=True)
    for part in range(PARTS):
        number = (zone[0] * DAYS + day[0]) * PARTS + part + 1
        query = _QUERY.format(
            day=day[0],
            date=date,
            zone=zone[1],
            at=zone[0],
            count=day[1],
            first=day[1] * part // PARTS,
            after=day[1] * (part + 1) // PARTS,
            start=month_bounds(MONTH)[0] + day[0] * 86_400_000_000,
            models="[" + ", ".join(f"'{one}'" for one in MODELS) + "]",
            pops=POPS,
            tenant=TENANT,
        )
        target = f"{quoted(place / part_name(number))} (FORMAT parquet, COMPRESSION zstd)"
        database.execute(f"COPY ({query}) TO {target}")  # type: ignore[attr-defined]  # DuckDB's


_QUERY: Final = """
WITH numbered AS (
    SELECT p, w, n, {day} * {count} + n + 1 AS seq,
        hash(p, w, {day}, n, {at}) AS h, hash(n, p, w, {at}, {day}, 7) AS g
    FROM range({pops}) AS a(p), range(2) AS b(w), range({first}, {after}) AS c(n)
), ended AS (
    SELECT *, CASE WHEN h % 100 < 88 THEN 'complete' WHEN h % 100 < 91 THEN 'cache_hit'
        WHEN h % 100 < 95 THEN 'batch_line' WHEN h % 100 < 97 THEN 'gone_after'
        WHEN h % 100 < 99 THEN 'refused_capacity' ELSE 'failed_before' END AS settled_by
    FROM numbered
), told AS (
    SELECT *, settled_by IN ('complete', 'batch_line', 'gone_after') AS bills FROM ended
)
SELECT '{date}' AS day, '{zone}' AS zone, '{tenant}' AS tenant,
    'project-' || (h // 1000 % 4)::VARCHAR AS project, 'key-' || (h // 5000 % 20)::VARCHAR AS key,
    'default' AS data_class, '{zone}-' || p::VARCHAR AS pop, w::BIGINT AS worker,
    seq::BIGINT AS seq, 'rcpt_' || md5(seq::VARCHAR || p::VARCHAR || w::VARCHAR || '{zone}') AS id,
    '/v1/chat/completions' AS route, {models}[(h // 100000 % 7 + 1)::INT] AS model,
    CASE WHEN bills OR settled_by = 'cache_hit' THEN 'complete' ELSE 'refused' END AS outcome,
    NULL::VARCHAR AS code, CASE WHEN bills THEN 200 ELSE 503 END::BIGINT AS status,
    '{zone}-' || p::VARCHAR AS served_pop, 'gpu-' || (h % 3)::VARCHAR AS served_engine,
    'SG' AS processed_in,
    {start} + (n * 86400000000 // {count}) + (h % 1000)::BIGINT AS received_us,
    {start} + (n * 86400000000 // {count}) + 900000 AS ended_us, settled_by,
    CASE WHEN bills THEN g % 3000 + 1 ELSE 0 END::BIGINT AS input_uncached,
    CASE WHEN bills AND g % 5 = 0 THEN g // 3000 % 2000 ELSE 0 END::BIGINT AS cache_read,
    0::BIGINT AS cache_write, CASE WHEN bills THEN g // 7000 % 700 ELSE 0 END::BIGINT AS output,
    CASE WHEN bills AND g % 9 = 0 THEN g // 90000 % 400 ELSE 0 END::BIGINT AS reasoning,
    0::BIGINT AS exact, false AS conflict, md5(h::VARCHAR) AS digest, '' AS receipt,
    md5(g::VARCHAR) AS salt
FROM told ORDER BY tenant, pop, worker, seq
"""


def invoice_once(directory: Path, unit: Unit = "tokens") -> dict[str, float]:
    """Make the invoice; seconds, CPU and memory of it."""
    began, cpu = perf_counter(), process_time()
    prices = book(unit)
    wish = FoldAsked(*month_bounds(MONTH), TENANT, starts=starts_of(prices, MONTH, TENANT))
    folded = fold_parts(find_parts(directory), wish)
    folded_s = perf_counter() - began
    bill = bill_month(TENANT, MONTH, folded[TENANT], prices)
    data = write_invoice(make_invoice(TENANT, prices, bill))
    found = {"s": perf_counter() - began, "fold_s": folded_s, "cpu_s": process_time() - cpu}
    found["gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    facts = {"receipts": bill.receipts, "lines": len(bill.lines), "bytes": len(data)}
    return found | facts | {"total_micro_dollars": bill.total_micro_dollars}


def group_once(directory: Path) -> dict[str, float]:
    """A bare group-by of the same files, on as many threads."""
    began, cpu = perf_counter(), process_time()
    query = (
        "SELECT project, model, zone, day, settled_by, count(*), sum(input_uncached), "
        "sum(cache_read), sum(cache_write), sum(output + reasoning) "
        f"FROM {as_table(find_parts(directory))} GROUP BY ALL"
    )
    with connect(2, "1GB") as database:
        rows = database.execute(query).fetchall()
    found = {"s": perf_counter() - began, "cpu_s": process_time() - cpu, "groups": len(rows)}
    return found | {"gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def _once(what: str, directory: Path) -> dict[str, float]:
    if what == "group":
        return group_once(directory)
    return invoice_once(directory, "neurons" if what == "neurons" else "tokens")


def ask(what: str, directory: Path) -> dict[str, float]:
    """Do one of them in a process of its own."""
    argv = [sys.executable, "-m", "bench.money", "--once", what, "--directory", str(directory)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(directory: Path, rounds: int) -> Figures:
    """Invoices and bare group-bys in turns."""
    invoices, neurons, groups = [], [], []
    for _ in range(rounds):
        groups.append(ask("group", directory))
        invoices.append(ask("invoice", directory))
        neurons.append(ask("neurons", directory))

    def middle(of: Sequence[dict[str, float]], name: str) -> float:
        return round(median(one[name] for one in of), 3)

    return {
        **circumstances(),
        "rounds": rounds,
        "receipts": int(invoices[0]["receipts"]),
        "lines": int(invoices[0]["lines"]),
        "invoice_bytes": int(invoices[0]["bytes"]),
        "total_micro_dollars": int(invoices[0]["total_micro_dollars"]),
        "same_total": len({one["total_micro_dollars"] for one in invoices}) == 1,
        "invoice_1e7_s": middle(invoices, "s"),
        "invoice_1e7_s_worst": round(max(one["s"] for one in invoices), 3),
        "invoice_1e7_fold_s": middle(invoices, "fold_s"),
        "invoice_1e7_cpu_s": middle(invoices, "cpu_s"),
        "invoice_1e7_gib": middle(invoices, "gib"),
        "neurons_1e7_s": middle(neurons, "s"),
        "neurons_1e7_cpu_s": middle(neurons, "cpu_s"),
        "neurons_1e7_gib": middle(neurons, "gib"),
        "bare_group_by_s": middle(groups, "s"),
        "bare_group_by_cpu_s": middle(groups, "cpu_s"),
        "bare_group_by_gib": middle(groups, "gib"),
        "invoice_over_group_by": round(middle(invoices, "s") / middle(groups, "s"), 2),
        "invoice_over_group_by_cpu": round(middle(invoices, "cpu_s") / middle(groups, "cpu_s"), 2),
    }


def show(figures: Figures) -> None:
    """Figures as a table."""
    seconds, gib = float(figures["invoice_1e7_s"]), float(figures["invoice_1e7_gib"])
    bars = {
        "invoice_1e7_s": bar(seconds <= SECONDS_MAX, f"at most {SECONDS_MAX:g} s"),
        "invoice_1e7_gib": bar(gib <= GIB_MAX, f"at most {GIB_MAX:g} GiB"),
    }
    rows = [(name, str(value), bars.get(name, "")) for name, value in figures.items()]
    print_table("Money", rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make receipts where they are missing, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--receipts", type=int, default=RECEIPTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=OUT / "money")
    parser.add_argument("--once", choices=["invoice", "neurons", "group"])
    options = parser.parse_args(arguments)
    if options.once is not None:
        print(json.dumps(_once(options.once, options.directory)))
        return 0
    make_receipts(options.directory, options.receipts)
    figures = measure(options.directory, options.rounds)
    show(figures)
    if options.receipts == RECEIPTS:
        write_figures("money", figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
