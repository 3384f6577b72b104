"""What months add up to: of each PoP its sums, its counts by use, its hours, its rises.

Everything is integers, or numbers that are added in the order of the months: the same history gives
the same bytes. The arrays are of fixed size: about 100 kB a PoP for 18 months.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.headroom import Choice
from selvedge.plan.utilisation.answers import MonthFound
from selvedge.plan.utilisation.places import Places
from selvedge.plan.utilisation.samples import RESOURCES_BP
from selvedge.plan.utilisation.surges import Reserves, SurgeTally
from selvedge.plan.utilisation.sweeps import BINS_MAX
from selvedge.plan.utilisation.tables import HOURS_OF_WEEK
from selvedge.plan.utilisation.totals import Whole, whole
from selvedge.plan.utilisation.zones import HOUR_S

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


class Hourly(msgspec.Struct, frozen=True, kw_only=True):
    """A PoP's hours, one row for each PoP of the manifest."""

    pops: tuple[str, ...]
    first_hour_s: int
    """UTC, a multiple of 3,600."""
    use: npt.NDArray[np.float32]
    """Share of the capacity at the end, PoPs by hours; nan where nothing was measured."""
    samples: npt.NDArray[np.uint8]
    """Measured samples, at most 12; with capacity known."""
    capacity_bps: Reals
    """In force at the end; nan where unknown."""


class Tally:
    """Takes months in order."""

    def __init__(self, places: Places, from_s: int, until_s: int, reserve: Choice) -> None:
        pops = len(places.names)
        self.first_hour_s = from_s - from_s % HOUR_S
        hours = -(-(until_s - self.first_hour_s) // HOUR_S)
        self._places = places
        self.samples: Ints = np.zeros(pops, np.int64)
        self.bytes: Whole = np.zeros(pops, object)
        """Of all measured samples."""
        self.judged: Whole = np.zeros(pops, object)
        """Bytes of samples whose capacity is known."""
        self.carried: Whole = np.zeros(pops, object)
        """What those samples could have carried at most, as sum of bits per second."""
        self.peak_bytes: Ints = np.zeros(pops, np.int64)
        self.peak_use: Reals = np.full(pops, np.nan)
        self.capacity: Reals = np.full(pops, np.nan)
        """In force at the end."""
        self._changes: dict[int, list[tuple[int, int]]] = {}
        self.use = np.full((pops, hours), np.nan, np.float32)
        self._seen = np.zeros((pops, hours), np.uint8)
        self.profile: dict[str, Ints] = {
            name: np.zeros((pops, HOURS_OF_WEEK), np.int64) for name in ("n", "bytes", "carried")
        }
        self.shares = {name: np.zeros((pops, BINS_MAX + 1), np.int32) for name in RESOURCES_BP}
        self._pairs: dict[tuple[int, int], int] = {}
        self._uses = np.zeros((pops, BINS_MAX + 1), np.int32)
        self._surges = SurgeTally(pops)
        self._reserve = reserve
        self._reserves: Reserves | None = None
        self.excluded: dict[str, int] = {}

    def add(self, found: MonthFound) -> None:
        """The next month."""
        asked, sums = found.question, found.sums
        self._reserves = None
        self.samples += sums.samples
        self.bytes += whole(*sums.bytes.T)
        self.judged += whole(*sums.judged.T)
        self.carried += sums.carried
        np.maximum(self.peak_bytes, sums.peak_bytes, out=self.peak_bytes)
        np.fmax(self.peak_use, sums.peak_use, out=self.peak_use)
        begin = (asked.first_hour_s - self.first_hour_s) // HOUR_S
        self.use[:, begin : begin + asked.hours] = found.hours.use
        self._seen[:, begin : begin + asked.hours] = found.hours.seen
        for name, column in self.profile.items():
            column += getattr(found.profile, name)
        for resource, counts in found.shares.items():
            self.shares[resource] += counts
        self._add_uses(found)
        self._follow(found.changes, begin)
        self._surges.add(found.rises)
        for why, count in found.excluded.items():
            self.excluded[why] = self.excluded.get(why, 0) + count

    def hourly(self) -> Hourly:
        """The hours as shares of the capacity at the end. The tally's own array: ask it last."""
        for pop, changes in self._changes.items():
            if len(changes) > 1:
                self.use[pop] *= self.capacity_by_hour(pop) / self.capacity[pop]
        return Hourly(
            pops=self._places.names,
            first_hour_s=self.first_hour_s,
            use=self.use,
            samples=self._seen,
            capacity_bps=self.capacity,
        )

    def use_counts(self) -> Ints:
        """Samples by use in thousandths, PoPs by bins."""
        found = np.zeros((len(self._places.names), BINS_MAX + 1), np.int64)
        for (pop, _), row in self._pairs.items():
            found[pop] += self._uses[row]
        return found

    def rates(self) -> Iterator[tuple[int, Reals, Ints]]:
        """Of each PoP the bits per second that uses stand for, sorted, and how many samples."""
        by_pop: dict[int, list[tuple[int, int]]] = {}
        for (pop, capacity), row in self._pairs.items():
            by_pop.setdefault(pop, []).append((capacity, row))
        for pop, pairs in sorted(by_pop.items()):
            rates = [capacity * np.arange(BINS_MAX + 1) / 1000 for capacity, _ in pairs]
            counts = [self._uses[row].astype(np.int64) for _, row in pairs]
            rate, count = np.concatenate(rates), np.concatenate(counts)
            order = np.argsort(rate, kind="stable")
            yield pop, rate[order], count[order]

    def resource_counts(self) -> dict[str, npt.NDArray[Any]]:
        """Of each resource the samples by use in thousandths, PoPs by bins."""
        return {"nic": self.use_counts(), **self.shares}

    def reserves(self) -> Reserves:
        """The surge reserve of each PoP, by each choice."""
        if self._reserves is None:
            within = np.cumsum(self.use_counts(), axis=1)
            lower, upper = (ranked_within(within, percent) / 1000 for percent in (25, 95))
            self._reserves = self._surges.judge(lower, upper, self._reserve)
        return self._reserves

    def _add_uses(self, found: MonthFound) -> None:
        rows = [self._pairs.setdefault(pair, len(self._pairs)) for pair in found.pairs]
        if len(self._pairs) > len(self._uses):
            more = max(len(self._pairs) - len(self._uses), len(self._uses) // 4)
            self._uses = np.concatenate([self._uses, np.zeros((more, BINS_MAX + 1), np.int32)])
        for row, counts in zip(rows, found.uses, strict=False):
            self._uses[row] += counts

    def _follow(self, changes: list[tuple[int, int, int]], begin: int) -> None:
        """Note from which hour on a PoP had another capacity."""
        for pop, hour, limit in changes:
            known = self._changes.setdefault(pop, [])
            if not known or known[-1][1] != limit:
                known.append((begin + hour, limit))
                self.capacity[pop] = limit

    def capacity_by_hour(self, pop: int) -> Reals:
        """In force in each hour; 0 before it was first measured, and after it was last."""
        found = np.zeros(self.use.shape[1])
        for hour, limit in self._changes.get(pop, ()):
            found[hour:] = limit
        there = np.flatnonzero(self._seen[pop])
        found[there[-1] + 1 if len(there) else 0 :] = 0.0
        return found


def ranked_bins(counts: npt.NDArray[Any], percent: int) -> Reals:
    """Of each row of counts by bin the order statistic, as a bin; nan for a row of none."""
    return ranked_within(np.cumsum(counts, axis=1, dtype=np.int64), percent)


def ranked_within(within: Ints, percent: int) -> Reals:
    """The same of counts up to each bin."""
    total = within[:, -1]
    rank = total - total * (100 - percent) // 100
    return np.where(total > 0, (within >= rank[:, None]).argmax(axis=1), np.nan)
