"""What months add up to: of each PoP its sums, its counts by use, its hours, its largest rises.

Everything is integers, or numbers that are added in the order of the months: the same history gives
the same bytes. The arrays are of fixed size: about 100 kB a PoP for 18 months.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.headroom import BINS, bin_of, reserve_of_counts
from selvedge.plan.history import STEP_S
from selvedge.plan.utilisation.month import MonthFound
from selvedge.plan.utilisation.places import NO_ZONE, Places
from selvedge.plan.utilisation.samples import BINS_MAX, RESOURCES_BP
from selvedge.plan.utilisation.tables import HOURS_OF_WEEK
from selvedge.plan.utilisation.zones import HOUR_S, QUARTER_S, hours_of_week

SLOTS: Final = HOUR_S // STEP_S
BYTES_A_BPS: Final = STEP_S / 8
"""Bytes of a sample that are one bit per second."""

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

    def __init__(self, places: Places, from_s: int, until_s: int) -> None:
        pops = len(places.names)
        self.first_hour_s = from_s - from_s % HOUR_S
        hours = -(-(until_s - self.first_hour_s) // HOUR_S)
        self._places = places
        self.samples: Ints = np.zeros(pops, np.int64)
        self.bytes: Ints = np.zeros(pops, np.int64)
        """Of all measured samples."""
        self.judged: Ints = np.zeros(pops, np.int64)
        """Bytes of samples whose capacity is known."""
        self.carried: Ints = np.zeros(pops, np.int64)
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
        self.shares: dict[str, npt.NDArray[np.int32]] = {}
        self._pairs: dict[tuple[int, int], int] = {}
        self._uses = np.zeros((pops, BINS_MAX + 1), np.int32)
        self.steps: Ints = np.zeros(pops, np.int64)
        self._rises: list[tuple[Ints, Reals]] = []
        self.excluded: dict[str, int] = {}

    def add(self, found: MonthFound) -> None:
        """The next month."""
        self._add_hours(found.hours)
        for uses in found.uses:
            self._add_uses(uses)
        for resource in RESOURCES_BP:
            for shares in found.shares[resource]:
                self._add_shares(resource, shares)
        self._add_profile(found)
        self.steps[found.steps["pop"].to_numpy()] += found.steps["steps"].to_numpy()
        for slot in range(SLOTS):
            rises = found.rises[f"rise{slot}"].fill_null(0.0).to_numpy()
            some = rises > 0
            self._rises.append((found.rises["pop"].to_numpy()[some], rises[some]))
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

    def reserves(self) -> Reals:
        """The surge reserve of each PoP, as a share of capacity; nan where nothing was measured."""
        found = np.full(len(self._places.names), np.nan)
        by_pop: dict[int, list[float]] = {}
        for pops, rises in self._rises:
            for pop, rise in zip(pops.tolist(), rises.tolist(), strict=True):
                by_pop.setdefault(pop, []).append(rise)
        for pop in np.flatnonzero(self.steps).tolist():
            counts = [0] * BINS
            for rise in by_pop.get(pop, ()):
                counts[bin_of(rise)] += 1
            # The other steps are smaller than those: which bin they are in does not matter.
            counts[0] += int(self.steps[pop]) - sum(counts)
            found[pop] = reserve_of_counts(counts).share
        return found

    def _add_hours(self, hours: pa.Table) -> None:
        pop, hour, n, sent = (hours[name].to_numpy() for name in ("pop", "hour", "n", "bytes"))
        known = ~hours["capacity"].is_null().to_numpy()
        capacity = hours["capacity"].fill_null(0).to_numpy()
        peak = hours["peak"].to_numpy()
        np.add.at(self.samples, pop, n)
        np.add.at(self.bytes, pop, sent)
        np.maximum.at(self.peak_bytes, pop, peak)
        over = int(hours["over"].to_numpy().sum())
        self.excluded["over_capacity"] = self.excluded.get("over_capacity", 0) + over
        known &= n > 0
        pop, n, sent, capacity = pop[known], n[known], sent[known], capacity[known]
        if not len(pop):
            return
        np.add.at(self.judged, pop, sent)
        np.add.at(self.carried, pop, capacity * n)
        np.fmax.at(self.peak_use, pop, peak[known] / BYTES_A_BPS / capacity)
        at = (hour[known] - self.first_hour_s) // HOUR_S
        self._fill(pop, at, n, sent, capacity)
        self._follow(pop, at, capacity)

    def _follow(self, pop: Any, at: Any, capacity: Any) -> None:  # Any: arrays
        """Note from which hour on a PoP had another capacity."""
        changed = np.zeros(len(self.samples), bool)
        changed[pop[self.capacity[pop] != capacity]] = True
        some = np.flatnonzero(changed[pop])
        # Of an hour in which it changed, the larger one comes last.
        order = some[np.lexsort((capacity[some], at[some], pop[some]))]
        for number, hour, limit in zip(
            pop[order].tolist(), at[order].tolist(), capacity[order].tolist(), strict=True
        ):
            changes = self._changes.setdefault(number, [])
            if not changes or changes[-1][1] != limit:
                changes.append((hour, limit))
        for number in np.flatnonzero(changed).tolist():
            self.capacity[number] = self._changes[number][-1][1]

    def capacity_by_hour(self, pop: int) -> Reals:
        """In force in each hour; 0 before it was first measured, and after it was last."""
        found = np.zeros(self.use.shape[1])
        for hour, limit in self._changes.get(pop, ()):
            found[hour:] = limit
        there = np.flatnonzero(self._seen[pop])
        found[there[-1] + 1 if len(there) else 0 :] = 0.0
        return found

    def _fill(self, pop: Any, at: Any, n: Any, sent: Any, capacity: Any) -> None:  # Any: arrays
        """Enter hours; where the capacity changed inside one, its rows are added up."""
        self.use[pop, at] = sent / BYTES_A_BPS / (capacity * n)
        self._seen[pop, at] = n
        first, span = at.min(), np.ptp(at) + 1
        key = pop.astype(np.int64) * span + at - first
        for one in np.flatnonzero(np.bincount(key) > 1).tolist():
            rows = np.flatnonzero(key == one)
            place = (one // span, one % span + first)
            carried = (capacity[rows] * n[rows]).sum()
            self.use[place] = sent[rows].sum() / BYTES_A_BPS / carried
            self._seen[place] = n[rows].sum()

    def _add_profile(self, found: MonthFound) -> None:
        """Sums by local hour of the week: by hours, or by quarters where zones are off."""
        asked = found.question
        odd = np.zeros(len(self.samples), bool)
        odd[self._places.odd_pops(asked.from_s, asked.until_s)] = True
        zones = self._places.zone_numbers()
        for table, column, step in (
            (found.hours, "hour", HOUR_S),
            (found.quarters, "at_s", QUARTER_S),
        ):
            pop, at, n, sent = (table[name].to_numpy() for name in ("pop", column, "n", "bytes"))
            capacity = table["capacity"].fill_null(0).to_numpy()
            some = (capacity > 0) & (zones[pop] != NO_ZONE) & (odd[pop] == (step == QUARTER_S))
            pop, at, n, sent, capacity = (one[some] for one in (pop, at, n, sent, capacity))
            moments = np.arange(asked.first_hour_s, asked.until_s, step, dtype=np.int64)
            local = np.stack(
                [hours_of_week(zone, moments) for zone in self._places.zones or ["UTC"]]
            )
            hour = local[zones[pop], (at - asked.first_hour_s) // step]
            place = pop.astype(np.int64) * HOURS_OF_WEEK + hour
            for name, values in (("n", n), ("bytes", sent), ("carried", capacity * n)):
                np.add.at(self.profile[name].reshape(-1), place, values)

    def _add_uses(self, uses: pa.Table) -> None:
        pop, capacity, share, n = (
            uses[name].to_numpy() for name in ("pop", "capacity", "bin", "n")
        )
        limits, which = np.unique(capacity, return_inverse=True)
        pair = pop.astype(np.int64) * len(limits) + which
        pairs, place = np.unique(pair, return_inverse=True)
        rows = np.empty(len(pairs), np.int64)
        for number, one in enumerate(pairs.tolist()):
            name = (one // len(limits), int(limits[one % len(limits)]))
            rows[number] = self._pairs.setdefault(name, len(self._pairs))
        if len(self._pairs) > len(self._uses):
            more = max(len(self._pairs) - len(self._uses), len(self._uses) // 4)
            self._uses = np.concatenate([self._uses, np.zeros((more, BINS_MAX + 1), np.int32)])
        self._uses[rows[place], share] += n.astype(np.int32)

    def _add_shares(self, resource: str, shares: pa.Table) -> None:
        if not shares.num_rows:
            return
        if resource not in self.shares:
            self.shares[resource] = np.zeros((len(self.samples), BINS_MAX + 1), np.int32)
        place = (shares["pop"].to_numpy(), np.minimum(shares["bin"].to_numpy(), BINS_MAX))
        np.add.at(self.shares[resource], place, shares["n"].to_numpy().astype(np.int32))


def ranked_bins(counts: npt.NDArray[Any], percent: int) -> Reals:
    """Of each row of counts by bin the order statistic, as a bin; nan for a row of none."""
    total = counts.sum(axis=1, dtype=np.int64)
    rank = total - total * (100 - percent) // 100
    passed = np.cumsum(counts, axis=1, dtype=np.int64) >= rank[:, None]
    return np.where(total > 0, passed.argmax(axis=1), np.nan)
