"""The report's definitions once more, slowly: lists, dicts and `zoneinfo`, a sample at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from typing import Any
from zoneinfo import ZoneInfo

from selvedge.headroom import best_window
from selvedge.plan.history import RESOURCES, STEP_S, PopSite
from tests.plan.made_histories import Row

Cells = dict[str, Any]


def ranked(values: Iterable[Any], percent: int) -> Any:
    """The order statistic by which links are billed."""
    found = sorted(values)
    return found[len(found) - len(found) * (100 - percent) // 100 - 1] if found else None


def thousandths(part: int, whole: int) -> int:
    """A share in thousandths, rounded up."""
    return ceil(Fraction(part * 1000, whole))


class Pop:
    """What counts of one PoP."""

    def __init__(self, site: PopSite, rows: Sequence[Row], billing: str) -> None:
        self.site = site
        self.rows = self._once([row for row in rows if row.at_s % STEP_S == 0])
        self.sent: dict[int, int] = {}
        self.capacity: dict[int, int] = {}
        for row in self.rows:
            capacity = row.capacity or site.nic_bps
            if capacity:
                self.capacity[row.at_s] = capacity
            sent = self._billed(row, capacity, billing)
            if sent is not None:
                self.sent[row.at_s] = sent

    @staticmethod
    def _once(rows: Sequence[Row]) -> list[Row]:
        found: dict[int, Row] = {}

        def rank(row: Row) -> tuple[Any, ...]:
            values = [-1 if value is None else value for value in row[2:-1]]
            return (row.flags == 0, *values)

        for row in rows:
            if row.at_s not in found or rank(row) > rank(found[row.at_s]):
                found[row.at_s] = row
        return [found[at] for at in sorted(found)]

    @staticmethod
    def _billed(row: Row, capacity: int | None, billing: str) -> int | None:
        parts = {"out": [row.out], "in": [row.into]}.get(billing, [row.out, row.into])
        for part in parts:
            most = 4 * 10**13 if capacity is None else Fraction(capacity * STEP_S * 51, 400)
            if part is None or part > most:
                return None
        known = [part for part in parts if part is not None]
        return max(known) if billing == "max" else sum(known)

    def local_hour(self, at: int) -> int:
        """Of the week, Monday 00:00 first."""
        here = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(self.site.timezone))
        return here.weekday() * 24 + here.hour

    @property
    def judged(self) -> list[int]:
        """Moments with bytes and a capacity to hold them against."""
        return [at for at in self.sent if at in self.capacity]

    def use(self, moments: Iterable[int]) -> float | None:
        """Of the moments together."""
        some = list(moments)
        whole = sum(self.capacity[at] for at in some)
        return sum(self.sent[at] for at in some) * 8 / STEP_S / whole if whole else None

    def surges(self, moments: Sequence[int]) -> Surges:
        """The rises from sample to sample; none over a change of capacity."""
        uses: list[float | None] = []
        last = None
        for at in moments:
            use = None
            if at in self.sent and at in self.capacity:
                use = self.sent[at] / (self.capacity[at] * (STEP_S / 8))
                if last is not None and self.capacity.get(last) != self.capacity[at]:
                    uses.append(None)
            uses.append(use)
            last = at if use is not None else None
        usual = [
            thousandths(self.sent[at] * 8, self.capacity[at] * STEP_S) / 1000 for at in self.judged
        ]
        return Surges(uses, usual)


class Surges:
    """The rises of a PoP that are no returns, and how many are. `usual` is its use, in shares."""

    def __init__(self, uses: Sequence[float | None], usual: Sequence[float]) -> None:
        self.away = max(0.005, ranked(usual, 25) / 4)
        back = 1.5 * ranked(usual, 95)
        self.rises: list[float] = []
        self.returns = 0
        leap_from: float | None = None
        for before, use in pairwise(uses):
            began, leap_from = leap_from, None
            if before is None or use is None:
                continue
            if use > 4 * before:
                began = leap_from = before
            if use > before and began is not None and began < self.away and use <= back:
                self.returns += 1
            else:
                self.rises.append(max(0.0, use - before))
        self.rises.sort(reverse=True)

    def reserve(self, one_in: int) -> float:
        """The largest but one in so many, rounded up to a thousandth; a tenth in the first week."""
        rise = self.rises[len(self.rises) // one_in] if self.rises else 0.0
        found = (floor(rise * 1000 + 1e-6) + 1) / 1000 if rise >= 0.001 - 1e-12 else 0.0
        return max(found, 0.1) if len(self.rises) < 2016 else found

    def exceeded(self, reserve: float) -> float | None:
        """The share of steps in which use rose by more."""
        least = max(reserve, 0.001)
        more = sum(1 for rise in self.rises if floor(rise * 1000 + 1e-6) >= round(least * 1000, 6))
        return more / len(self.rises) if self.rises else None

    def excess(self, reserve: float) -> float | None:
        """Of those the mean of what they had over the reserve, rounded up to a thousandth."""
        up = [floor(rise * 1000 + 1e-6) + 1 for rise in self.rises]
        more = [
            one / 1000 - reserve for one in up if one - 1 >= round(max(reserve, 0.001) * 1000, 6)
        ]
        return sum(more) / len(more) if more else None


def pop_row(pop: Pop, moments: Sequence[int], kept: float | None = None) -> Cells:
    """Of table `pops`, what is not copied from the fleet file. `kept` is the reserve that is set,
    in place of the usual one."""
    sent, judged = pop.sent, pop.judged
    if not sent:
        return {"pop": pop.site.pop, "samples": 0, "expected": len(moments), "headroom_95": None}
    use = [thousandths(sent[at] * 8, pop.capacity[at] * STEP_S) for at in judged]
    rates = [n * pop.capacity[at] / 1000 for n, at in zip(use, judged, strict=True)]
    zone = pop.site.timezone
    hours = {at: pop.local_hour(at) for at in judged} if zone else {}
    night = [at for at in hours if hours[at] % 24 in (23, 0, 1, 2, 3)]
    days = [pop.use(at for at in hours if hours[at] % 24 == hour) for hour in range(24)]
    best = best_window(days)
    found = {
        "pop": pop.site.pop,
        "samples": len(sent),
        "expected": len(moments),
        "mean_bps": sum(sent.values()) * 8 / STEP_S / len(sent),
        "p50_bps": ranked(rates, 50),
        "p95_bps": ranked(rates, 95),
        "peak_bps": max(sent.values()) * 8 / STEP_S,
        "capacity_bps": pop.capacity[max(judged)],
        "mean_use": pop.use(judged),
        "p50_use": ranked(use, 50) / 1000,
        "p95_use": ranked(use, 95) / 1000,
        "peak_use": max(sent[at] * 8 / STEP_S / pop.capacity[at] for at in judged),
        "night_use": pop.use(night),
        "night_samples": len(night),
        "best_start": best.start if best else None,
        "best_use": best.use if best else None,
    }
    surges = pop.surges(moments)
    largest, usual = surges.reserve(100_000), surges.reserve(1000)
    found |= {
        "surge_reserve": usual if kept is None else kept,
        "reserve_largest": largest,
        "reserve_usual": usual,
        "away_below": surges.away,
        "returns": surges.returns,
    }
    for name, reserve in (("largest", largest), ("usual", usual)):
        free = headrooms(pop, reserve)
        found |= {f"headroom_{part}_{name}": free[f"headroom_{part}"] for part in (95, 99)}
    return found | headrooms(pop, found["surge_reserve"])


def resource_uses(pop: Pop) -> dict[str, list[int]]:
    """Of each resource its use in thousandths, rounded up."""
    use = [thousandths(pop.sent[at] * 8, pop.capacity[at] * STEP_S) for at in pop.judged]
    return {
        "nic": use,
        **{
            name: [
                ceil(value / 10) for row in pop.rows if (value := getattr(row, name)) is not None
            ]
            for name in ("cpu", "memory", "gpu", "power")
        },
    }


def headrooms(pop: Pop, reserve: float) -> Cells:
    """What is free of each resource, and of the one that binds."""
    shares = resource_uses(pop)
    found: Cells = {}
    for percent in (95, 99):
        free = {}
        for name in RESOURCES:
            if shares[name]:
                kept = reserve if name in ("nic", "cpu") else 0.0
                free[name] = max(0.0, 1 - ranked(shares[name], percent) / 1000 - kept)
            found[f"headroom_{name}_{percent}"] = free.get(name)
        least = min(free, key=lambda name: round(free[name], 6))
        found |= {f"headroom_{percent}": free[least], f"binding_{percent}": least}
    return found


def reserve_row(pop: Pop, moments: Sequence[int], reserve: float) -> Cells:
    """Of table `reserves`, for one reserve."""
    surges, free, shares = pop.surges(moments), headrooms(pop, reserve), resource_uses(pop)
    found: Cells = {
        "reserve": reserve,
        "steps": len(surges.rises),
        "exceeded": surges.exceeded(reserve),
        "excess": surges.excess(reserve),
    }
    for part in (95, 99):
        headroom, use = free[f"headroom_{part}"], shares[free[f"binding_{part}"]]
        more = sum(1 for one in use if one > round((1 - headroom) * 1000, 6))
        found |= {name: free[name] for name in (f"headroom_{part}", f"binding_{part}")}
        found[f"over_{part}"] = more / len(use)
    return found


def month_row(pop: Pop, span: tuple[int, int]) -> Cells | None:
    """Of table `months`."""
    sent = [value for at, value in pop.sent.items() if span[0] <= at < span[1]]
    if not sent:
        return None
    return {
        "samples": len(sent),
        "expected": (span[1] - span[0]) // STEP_S,
        "mean_bps": sum(sent) * 8 / STEP_S / len(sent),
        "p50_bps": ranked(sent, 50) * 8 / STEP_S,
        "p95_bps": ranked(sent, 95) * 8 / STEP_S,
        "peak_bps": max(sent) * 8 / STEP_S,
        "mean_use": pop.use(at for at in pop.judged if span[0] <= at < span[1]),
    }


def slots_of(pops: Sequence[Pop]) -> dict[int, tuple[int, int]]:
    """Bytes and capacity of who was measured, by moment."""
    found: dict[int, tuple[int, int]] = {}
    for pop in pops:
        for at in pop.judged:
            sent, capacity = found.get(at, (0, 0))
            found[at] = (sent + pop.sent[at], capacity + pop.capacity[at])
    return found


def group_row(pops: Sequence[Pop], moments: Sequence[int]) -> Cells:
    """Of table `groups`."""
    slots = slots_of(pops)
    sent = [one for one, _ in slots.values()]
    use = [one * 8 / (capacity * STEP_S) for one, capacity in slots.values()]
    nights = [
        (pop, at)
        for pop in pops
        if pop.site.timezone
        for at in pop.judged
        if pop.local_hour(at) % 24 in (23, 0, 1, 2, 3)
    ]
    carried = sum(pop.capacity[at] for pop, at in nights)
    return {
        "pops": len(pops),
        "samples": sum(len(pop.sent) for pop in pops),
        "expected": len(moments) * len(pops),
        "mean_bps": sum(sent) * 8 / STEP_S / len(sent),
        "p50_bps": ranked(sent, 50) * 8 / STEP_S,
        "p95_bps": ranked(sent, 95) * 8 / STEP_S,
        "peak_bps": max(sent) * 8 / STEP_S,
        "capacity_bps": sum(pop.capacity[max(pop.judged)] for pop in pops if pop.judged),
        "mean_use": sum(sent) * 8 / STEP_S / sum(capacity for _, capacity in slots.values()),
        "p50_use": ranked(use, 50),
        "p95_use": ranked(use, 95),
        "peak_use": max(use),
        "night_use": (
            sum(pop.sent[at] for pop, at in nights) * 8 / STEP_S / carried if carried else None
        ),
    }


def week_rows(pops: Sequence[Pop]) -> dict[int, Cells]:
    """Of table `hours_of_week`, by hour; p95 of one PoP alone."""
    moments: dict[int, list[tuple[Pop, int]]] = defaultdict(list)
    means: dict[int, list[float]] = defaultdict(list)
    for pop in pops:
        if not pop.site.timezone:
            continue
        hours: dict[int, list[int]] = defaultdict(list)
        for at in pop.judged:
            moments[pop.local_hour(at)].append((pop, at))
            hours[at - at % 3_600].append(at)
        for hour, some in hours.items():
            use = pop.use(some)
            if use is not None:
                means[pop.local_hour(hour)].append(use)
    return {
        hour: {
            "samples": len(some),
            "mean_use": sum(pop.sent[at] for pop, at in some)
            * 8
            / STEP_S
            / sum(pop.capacity[at] for pop, at in some),
            "p95_use": ranked(means[hour], 95) if len(pops) == 1 else None,
        }
        for hour, some in moments.items()
    }
