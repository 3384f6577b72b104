"""What a month is asked, and what comes of it: sums that sheets of hours are added to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from selvedge.headroom import BINS, LEAPS_MAX
from selvedge.plan.utilisation.engines import RANKS
from selvedge.plan.utilisation.places import Places
from selvedge.plan.utilisation.samples import RESOURCES_BP, Billing
from selvedge.plan.utilisation.sheets import Sheet
from selvedge.plan.utilisation.sweeps import (
    BINS_MAX,
    SLOTS,
    Edge,
    Hours,
    Leaps,
    Profile,
    Rises,
    Sums,
    add_hours,
    add_profile,
    add_rises,
    add_slots,
    add_uses,
)
from selvedge.plan.utilisation.tables import HOURS_OF_WEEK
from selvedge.plan.utilisation.zones import HOUR_S, QUARTER_S, hours_of_week

Ints = npt.NDArray[np.int64]
Edges = Edge


@dataclass(frozen=True, slots=True)
class Question:
    """What a month is asked."""

    places: Places
    billing: Billing
    from_s: int
    """Of the month, or of the part of it that is asked for."""
    until_s: int
    lacks_capacity: bool
    """Whether rows may have none of their own."""

    @property
    def first_hour_s(self) -> int:
        """The hour in which it begins."""
        return self.from_s - self.from_s % HOUR_S

    @property
    def hours(self) -> int:
        """That it touches."""
        return -(-(self.until_s - self.first_hour_s) // HOUR_S)


@dataclass(slots=True)
class MonthFound:
    """The answers, without PoPs that have no site. Arrays are by the numbers of PoPs."""

    question: Question
    sums: Sums
    hours: Hours
    profile: Profile
    rises: Rises
    ranks: Ints
    """`RANKS` of the bytes of its samples."""
    uses: npt.NDArray[np.int16]
    """Samples by use in thousandths, a row for each PoP and capacity: see `pairs`."""
    shares: dict[str, npt.NDArray[np.int16]]
    """Of each resource the same by PoPs. A month has less than 10,000 samples."""
    cells: Ints
    """Bytes and capacity of each cell of groups, by moment."""
    free: Ints
    """What is free of the GPUs of jurisdictions, by moment; -1 where nobody knows."""
    cell_of: npt.NDArray[np.int32]
    laws: npt.NDArray[np.int32]
    """Of each PoP its row of `free`."""
    pairs: dict[tuple[int, int], int] = field(default_factory=dict)
    changes: list[tuple[int, int, int]] = field(default_factory=list)
    """PoP, hour and capacity from then on; of a PoP in order."""
    doubled: list[int] = field(default_factory=list)
    """PoPs that have a moment more than once."""
    excluded: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def empty(asked: Question, before: Edge | None) -> MonthFound:
        """Nothing yet."""
        places, hours = asked.places, asked.hours
        pops, cells = len(places.names), places.cells()
        laws = places.laws()
        return MonthFound(
            question=asked,
            sums=_sums(pops),
            hours=Hours(
                np.full((pops, hours), np.nan, np.float32), np.zeros((pops, hours), np.uint8)
            ),
            profile=_profile(asked),
            rises=_rises(pops, before),
            ranks=np.zeros((pops, len(RANKS)), np.int64),
            uses=np.zeros((pops + pops // 8 + 1, BINS_MAX + 1), np.int16),
            shares={one: np.zeros((pops, BINS_MAX + 1), np.int16) for one in RESOURCES_BP},
            cells=np.zeros((2, int(cells.max()) + 1, hours * SLOTS), np.int64),
            free=np.full((int(laws.max()) + 1, hours * SLOTS), -1, np.int64),
            cell_of=cells,
            laws=laws,
            excluded={"over_capacity": 0, "unknown_pop": 0},
        )

    def add(self, sheet: Sheet) -> None:
        """The hours of some PoPs."""
        wide = sheet.wide
        counts = np.zeros(len(wide.pop), np.int64)
        add_hours(wide, self.sums, self.hours, counts)
        add_profile(wide, self.profile)
        add_slots(wide, self.cell_of, self.cells[0], self.cells[1])
        add_rises(wide, self.question.first_hour_s // HOUR_S, self.rises)
        self._add_uses(sheet)
        self._add_ranks(sheet)
        self._add_changes(sheet, counts)
        self.excluded["over_capacity"] += int(sheet.over.sum())

    def _add_uses(self, sheet: Sheet) -> None:
        wide = sheet.wide
        some = np.flatnonzero((wide.mask != 0) & (wide.capacity > 0))
        if not len(some):
            return
        pop, capacity = wide.pop[some], wide.capacity[some]
        begins = np.flatnonzero(_differ(pop, capacity))
        rows = self._rows_of(zip(pop[begins].tolist(), capacity[begins].tolist(), strict=True))
        pair = np.zeros(len(wide.pop), np.int64)
        pair[some] = np.repeat(rows, np.diff(begins, append=len(some)))
        add_uses(wide, pair, self.uses)

    def put_uses(self, pairs: Iterable[tuple[int, int]], uses: npt.NDArray[np.int16]) -> None:
        """Counts by use that were made elsewhere, of pairs that are there once."""
        rows = self._rows_of(pairs)
        self.uses[rows] += uses

    def _rows_of(self, pairs: Iterable[tuple[int, int]]) -> list[int]:
        """Rows of `uses`, which grows where it must."""
        rows = [self.pairs.setdefault(pair, len(self.pairs)) for pair in pairs]
        if len(self.pairs) > len(self.uses):
            more = max(len(self.pairs) - len(self.uses), len(self.uses) // 4)
            empty = np.zeros((more, BINS_MAX + 1), np.int16)
            self.uses = np.concatenate([self.uses, empty])
        return rows

    def _add_ranks(self, sheet: Sheet) -> None:
        """Order statistics, exactly: what was not measured is below everything that was."""
        wide = sheet.wide
        pops = np.flatnonzero(sheet.rows) + sheet.first_pop
        bounds = (np.searchsorted(wide.pop, pops + more).tolist() for more in (0, 1))
        for pop, begin, end in zip(pops.tolist(), *bounds, strict=True):
            if n := int(self.sums.samples[pop]):
                values = wide.bytes[begin:end].reshape(-1)
                places = [len(values) - n * (100 - one) // 100 - 1 for one in RANKS]
                self.ranks[pop] = np.partition(values, places)[places]

    def _add_changes(self, sheet: Sheet, counts: Ints) -> None:
        wide = sheet.wide
        some = np.flatnonzero((counts > 0) & (wide.capacity > 0))
        if not sheet.sorted:
            # Of an hour in which it changed, the larger one comes last.
            some = some[np.lexsort((wide.capacity[some], wide.hour[some], wide.pop[some]))]
        pop, capacity = wide.pop[some], wide.capacity[some]
        begins = np.flatnonzero(_differ(pop, capacity))
        columns = (pop[begins], wide.hour[some][begins], capacity[begins])
        self.changes += zip(*(column.tolist() for column in columns), strict=True)


def _differ(*columns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which rows are not as the one before."""
    found = np.zeros(len(columns[0]), bool)
    found[:1] = True
    for column in columns:
        found[1:] |= column[1:] != column[:-1]
    return found


def _sums(pops: int) -> Sums:
    zeros = [np.zeros(pops, np.int64) for _ in Sums._fields]
    words = (np.zeros((pops, 2), np.int64) for _ in range(2))
    sums = Sums(*zeros)._replace(peak_use=np.full(pops, np.nan))
    return sums._replace(bytes=next(words), judged=next(words))


def _rises(pops: int, before: Edge | None) -> Rises:
    nothing = np.full(pops, np.nan)
    edge = before or Edge(np.full(pops, -1, np.int64), np.zeros(pops, np.int64), nothing, nothing)
    # Places by PoPs: few have more than some, and what is not touched takes no memory.
    places = (np.zeros((LEAPS_MAX, pops)) for _ in range(3))
    return Rises(
        Edge(*(column.copy() for column in edge)),
        np.zeros((pops, BINS), np.int16),
        Leaps(np.zeros(pops, np.int64), *places),
    )


def _profile(asked: Question) -> Profile:
    places = asked.places
    moments = np.arange(
        asked.first_hour_s, asked.first_hour_s + asked.hours * HOUR_S, QUARTER_S, dtype=np.int64
    )
    local = np.stack([hours_of_week(zone, moments) for zone in places.zones or ["UTC"]])
    shape = (len(places.names), HOURS_OF_WEEK)
    sums = (np.zeros(shape, np.int64) for _ in range(3))
    return Profile(places.zone_numbers(), local.astype(np.int64), *sums)
