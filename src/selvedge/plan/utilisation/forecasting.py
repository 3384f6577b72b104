"""The report's outlook: seasons, forecasts and backtests, of the fleet down to each PoP.

Every PoP gets seasons and forecasts. Backtests play a whole history at many origins: they are made
for the fleet and the jurisdictions, and for a seeded sample of the PoPs. Metros are left out: what
is true of them is true of their PoPs. A group's hours are of UTC, since it may lie
in several zones; its week is as regular there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from selvedge.plan.utilisation.outlook import Series, outlooks
from selvedge.plan.utilisation.tables import TABLES
from selvedge.plan.utilisation.zones import HOUR_S

GROUPS: Final = ("fleet", "jurisdiction", "country")
"""Levels above the PoPs that have an outlook, in this order."""
JUDGED_POPS: Final = 200
"""PoPs whose forecasts are backtested, drawn at random."""
SEED: Final = 20_26
_WEEK: Final = 168


class Hourly(Protocol):
    """The PoPs' hours, one row a PoP. `use` is of the capacity that is there at the end."""

    @property
    def pops(self) -> Sequence[str]:
        """Their ids."""

    @property
    def first_hour_s(self) -> int:
        """The begin of the first hour, seconds UTC."""

    @property
    def use(self) -> npt.NDArray[np.float32]:
        """Share of capacity by PoP and hour; NaN where nothing was measured."""

    @property
    def capacity_bps(self) -> npt.NDArray[np.float64]:
        """By PoP, in force at the end."""


def forecast(
    hourly: Hourly, groups: pa.Table, zones: Sequence[str], workers: int | None = None
) -> dict[str, pa.Table]:
    """The tables `forecasts`, `backtests` and `seasonality`.

    `groups` is the table `hourly`; `zones` the IANA name of each PoP's zone, empty for UTC;
    `workers` processes share the work, as many as there are processors unless it says so.
    """
    count = len(os.sched_getaffinity(0)) if workers is None else workers
    rows = outlooks(_all(hourly, groups, zones), count)
    return {name: pa.Table.from_pylist(some, TABLES[name]) for name, some in rows.items()}


def _all(hourly: Hourly, groups: pa.Table, zones: Sequence[str]) -> Iterator[Series]:
    yield from group_series(groups)
    judged = judged_pops(hourly.use)
    for place, pop in enumerate(hourly.pops):
        yield Series(
            level="pop",
            name=pop,
            zone=zones[place],
            first_s=hourly.first_hour_s,
            use=hourly.use[place],
            capacity_bps=float(hourly.capacity_bps[place]),
            is_judged=place in judged,
        )


def judged_pops(use: npt.NDArray[np.float32], count: int = JUDGED_POPS) -> set[int]:
    """A sample of the PoPs that were measured for at least half of the time; always the same."""
    half = use.shape[1] / 2
    measured = [place for place, row in enumerate(use) if np.isfinite(row).sum() >= half]
    return set(Random(SEED).sample(measured, min(count, len(measured))))


def group_series(groups: pa.Table) -> Iterator[Series]:
    """The groups' series, by level and name."""
    for level in GROUPS:
        table = groups.filter(pc.equal(groups["level"], level))
        table = table.select(["name", "hour_s", "mean_use", "mean_bps"]).sort_by(
            [("name", "ascending"), ("hour_s", "ascending")]
        )
        if not table.num_rows:
            continue
        names = table["name"].combine_chunks().dictionary_encode()
        codes = names.indices.to_numpy()
        hours = table["hour_s"].to_numpy() // HOUR_S
        use = table["mean_use"].to_numpy().astype(np.float64)
        bps = table["mean_bps"].to_numpy().astype(np.float64)
        first, last = int(hours.min()), int(hours.max())
        ends = np.append(np.flatnonzero(np.diff(codes)) + 1, len(codes))
        begin = 0
        for end in ends.tolist():
            row = np.full(last - first + 1, np.nan, np.float32)
            row[hours[begin:end] - first] = use[begin:end]
            yield Series(
                level=level,
                name=names.dictionary[int(codes[begin])].as_py(),
                zone="",
                first_s=first * HOUR_S,
                use=row,
                capacity_bps=_capacity(use[begin:end], bps[begin:end]),
                is_judged=level != "country",
                is_whole=True,
            )
            begin = end


def _capacity(use: npt.NDArray[np.float64], bps: npt.NDArray[np.float64]) -> float:
    """The last week's, by what was used of it; 0 where nothing was."""
    shares, rates = use[-_WEEK:], bps[-_WEEK:]
    there = np.isfinite(shares) & np.isfinite(rates) & (shares > 0.0)
    return float(np.median(rates[there] / shares[there])) if there.any() else 0.0
