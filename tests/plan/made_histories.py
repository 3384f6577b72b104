"""Small histories with everything in them that a report has to stand, and their rows as tuples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pyarrow as pa

from selvedge.plan.history import SAMPLES, STEP_S, History, Manifest, PopSite
from selvedge.plan.utilisation.zones import month_span

GBIT = 10**9


class Row(NamedTuple):
    """A row of `SAMPLES`."""

    pop: int
    at_s: int
    out: int | None
    into: int | None
    capacity: int | None
    cpu: int | None
    memory: int | None
    gpu: int | None
    power: int | None
    flags: int = 0


SITES = (
    PopSite(pop="ber1", country="DE", metro="Berlin", timezone="Europe/Berlin", gpus=8, gpu="L40S"),
    PopSite(pop="ber2", country="DE", metro="Berlin", timezone="Europe/Berlin"),
    PopSite(pop="par", country="FR", metro="Paris", timezone="Europe/Paris", nic_bps=40 * GBIT),
    PopSite(pop="del", country="IN", metro="Delhi", timezone="Asia/Kolkata", gpus=4, gpu="H100"),
    PopSite(pop="adl", country="AU", metro="Adelaide", timezone="Australia/Adelaide"),
    PopSite(pop="nyc", country="US", metro="Paris", timezone="America/New_York"),
    PopSite(pop="nowhere", country="BR", metro=""),
    PopSite(pop="silent", country="BR", metro="Belem", timezone="America/Belem"),
)
STRANGER = "stranger"
"""A PoP of the history that no fleet file names; it comes first."""
NAMES = (STRANGER, *(site.pop for site in SITES))
CAPACITY = (10, 100, 40, 40, 20, 10, 400, 20, 10)


def draw(months: Sequence[str], seed: int = 1, every: int = 1) -> list[Row]:
    """Rows of all PoPs but `silent`; of each hour-long run of samples one in `every`."""
    random = Random(seed)
    rows = []
    for month in months:
        begin, end = month_span(month)
        for pop, gbit in enumerate(CAPACITY[:-1]):
            for at in range(begin, end, STEP_S):
                if (at // 3_600) % every:
                    continue
                phase = ((at / 3_600 + 5 * pop) % 24) / 24
                use = 0.1 + 0.5 * abs(phase - 0.5) + 0.1 * random.random()
                capacity = gbit * GBIT
                # An upgrade in the middle of an hour.
                if pop == 4 and at >= begin + 36_000_000 // 30 + 900:
                    capacity *= 2
                sent = int(use * capacity / 8 * STEP_S)
                known = None if pop == 3 else capacity
                share = int(use * 7_000)
                gpu = int(random.random() * 10_400) if NAMES[pop] in ("ber1", "del") else None
                rows.append(
                    Row(
                        pop, at, sent, sent // 9, known, share, 5_000, gpu, None if pop % 2 else 900
                    )
                )
    return rows


def damage(rows: list[Row], seed: int = 2) -> list[Row]:
    """The same with gaps, doubles, conflicts, wraps, outages and nulls."""
    random = Random(seed)
    found = []
    for row in rows:
        chance = random.random()
        if chance < 0.01:
            continue
        if chance < 0.012:
            found += [row, row]
        elif chance < 0.014:
            less = row._replace(out=(row.out or 0) // 2, cpu=1)
            found += [less, row, row._replace(flags=2)]
        elif chance < 0.016:
            found.append(row._replace(out=2**64 - 5 * 10**12))
        elif chance < 0.018:
            found.append(row._replace(out=(row.out or 0) * 20))
        elif chance < 0.020:
            found.append(row._replace(out=None, cpu=None))
        elif chance < 0.022:
            found.append(row._replace(out=0, into=0))
        elif chance < 0.023:
            found.append(row._replace(at_s=row.at_s + 17))
        else:
            found.append(row)
    return found


def store(folder: Path, rows: Iterable[Row], parts: int = 2) -> History:
    """Write them as a history, its months in several parts."""
    history = History.create(folder)
    history.write_manifest(Manifest(pops=NAMES))
    by_month: dict[str, list[Row]] = {}
    for row in rows:
        month = next(name for name in _MONTHS if month_span(name)[1] > row.at_s)
        by_month.setdefault(month, []).append(row)
    for month, some in by_month.items():
        for part in range(parts):
            chosen = sorted(
                (row for row in some if row.pop % parts == part), key=lambda row: (row[0], row[1])
            )
            columns = list(zip(*chosen, strict=True)) or [()] * len(SAMPLES)
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, SAMPLES, strict=True)
            ]
            history.write_part(month, f"part{part}", pa.table(arrays, schema=SAMPLES))
    return history


_MONTHS = tuple(f"{year}-{month:02d}" for year in (2024, 2025, 2026) for month in range(1, 13))
