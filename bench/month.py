"""A month of receipts, played through the exchange and collected: `python -m bench.month`.

A million requests and more in ServeGen's shape, of 20 tenants in three zones, with two outages and
a slow week, as the Parquet partitions of three collectors below `bench/out/month`, beside the price
book (`prices.json`) and the facts of the run (`facts.json`). Without the public trace nothing is
made, and that is said. The same seed gives the same receipts.
"""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bench.figures import OUT, Figures, bar, circumstances, print_table, write_figures
from bench.month_books import Books
from bench.month_traffic import arrivals, read_shapes
from bench.month_world import (
    DAYS,
    FAULTS,
    MONTH,
    PERMITS,
    SERVES,
    START_US,
    TENANTS,
    make_buyers,
    make_price_book,
    make_release,
    make_scenario,
)
from selvedge.adapters import DataMissing, find_data, find_parts, usage_of_parts
from selvedge.ledger import Sums, UsageAsked, join
from selvedge.sim import Arrival, Report, play

DIRECTORY = OUT / "month"
REQUESTS = 1_060_000
"""How many are expected: bursts make it a few more or less."""
REQUESTS_MIN = 1_000_000
S_MAX, GIB_MAX = 600.0, 4.0
_STEP = 2_000


def play_month(traffic: Iterator[Arrival], seed: int, books: Books, console: Console) -> Report:
    """All of it."""
    words = TextColumn("[progress.description]{task.description}")
    with Progress(words, BarColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(MONTH, total=DAYS * 86_400.0)

        def watched() -> Iterator[Arrival]:
            for number, arrival in enumerate(traffic):
                if number % _STEP == 0:
                    done_s = (arrival.at_us - START_US) / 1e6
                    progress.update(task, completed=done_s, description=f"{number:,} requests")
                yield arrival

        release, scenario = make_release(), make_scenario()
        return play(release, scenario, seed, watched(), books.take, permits=PERMITS)


def check(books: Books, report: Report) -> dict[tuple[str, ...], Sums]:
    """What lies in the partitions is what was handed over, by tenant; usage by tenant."""
    wish = UsageAsked(by=("tenant",))
    found = join(usage_of_parts(find_parts(one), wish) for one in books.directories)
    handed = {(tenant,): sums for tenant, sums in books.sums.items()}
    assert found == handed, "partitions bill other tokens than the simulated PoPs handed over"
    assert sum(one.receipts for one in found.values()) == books.receipts
    unknown = report.figures.unauthenticated
    assert books.receipts == report.figures.arrived - unknown, "a request has one receipt"
    return found


def facts_of(report: Report, usage: dict[tuple[str, ...], Sums]) -> dict[str, object]:
    """What is known of the month without reading a receipt."""
    return {
        "month": MONTH,
        "outcomes": dict(sorted(report.figures.outcomes.items())),
        "codes": dict(sorted(report.figures.codes.items())),
        "faults": [
            {
                "kind": kind,
                "zone": zone,
                "models": SERVES[engine],
                "from_us": from_us,
                "until_us": until_us,
            }
            for kind, zone, engine, from_us, until_us in FAULTS
        ],
        "usage": {key[0]: msgspec.structs.asdict(sums) for key, sums in sorted(usage.items())},
    }


def make_month(data: Path, requests: int, seed: int, console: Console) -> Figures:
    """Play, collect, check, write. Raises `DataMissing`; what was made before is there still."""
    started, cpu = time.perf_counter(), time.process_time()
    shapes = read_shapes(data, TENANTS)
    traffic = arrivals(make_buyers(), shapes, requests, seed, (START_US, DAYS))
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    books = Books(DIRECTORY)
    report = play_month(traffic, seed, books, console)
    books.close()
    usage = check(books, report)
    (DIRECTORY / "prices.json").write_bytes(msgspec.json.encode(make_price_book()))
    facts = msgspec.json.format(msgspec.json.encode(facts_of(report, usage)), indent=2)
    (DIRECTORY / "facts.json").write_bytes(facts)
    parts = [path for one in books.directories for path in find_parts(one)]
    return {
        "month_receipts": books.receipts,
        "month_tenants": len(usage),
        "month_zones": len(books.directories),
        "month_parts": len(parts),
        "month_parquet_mib": round(sum(path.stat().st_size for path in parts) / 2**20, 1),
        "month_tokens": sum(
            one.input_uncached + one.cache_read + one.output for one in usage.values()
        ),
        "month_complete": report.figures.outcomes["complete"],
        "month_s": round(time.perf_counter() - started, 1),
        "month_cpu_s": round(time.process_time() - cpu, 1),
        "month_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder of traces.")
@click.option("--requests", type=click.IntRange(1), default=REQUESTS, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def main(data: Path | None, requests: int, seed: int) -> None:
    """Make the month."""
    console = Console(stderr=True)
    try:
        folder = find_data(data)
        figures = make_month(folder, requests, seed, console)
    except DataMissing as error:
        console.print(f"skipped: no month is made. {error}")
        sys.exit(0)
    met = {
        "month_receipts": int(figures["month_receipts"]) >= REQUESTS_MIN,
        "month_cpu_s": float(figures["month_cpu_s"]) <= S_MAX,
        "month_gib": float(figures["month_gib"]) <= GIB_MAX,
    }
    words = {
        "month_receipts": f"at least {REQUESTS_MIN:,}",
        "month_cpu_s": f"at most {S_MAX:g}",
        "month_gib": f"at most {GIB_MAX:g}",
    }
    write_figures("month", {**figures, **circumstances(), "seed": seed})
    rows = [
        (name, f"{value:,}", bar(met[name], words[name]) if name in met else "")
        for name, value in figures.items()
    ]
    print_table("month", rows)
    sys.exit(0 if all(met.values()) or requests < REQUESTS_MIN else 1)


if __name__ == "__main__":
    main()
