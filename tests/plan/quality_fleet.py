"""A small fleet with a natural life, into which faults are put: for the tests of its quality.

Natural, and no fault: growth, weekends, holidays, sports nights, outages with samples of 0, summer
time, a PoP that is opened late, noise of minutes and of days.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.history import SAMPLES, STEP_S, History, Manifest, PopSite

DAY = 288
ZONES = (
    ("DE", "Europe/Berlin"),
    ("US", "America/New_York"),
    ("SG", "Asia/Singapore"),
    ("BR", "America/Sao_Paulo"),
    ("AU", "Australia/Sydney"),
    ("IN", "Asia/Kolkata"),
)
Reals = npt.NDArray[np.float64]


def at(text: str) -> int:
    """Seconds of a moment, UTC, written `2026-03-01` or with `T12:00`."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


class Fleet:
    """Samples by PoP, to be changed before they are written."""

    def __init__(self, seed: int, pops: int, from_s: int, until_s: int) -> None:
        self._random = np.random.default_rng(seed)
        self.at_s = np.arange(from_s, until_s, STEP_S, dtype=np.int64)
        self.sites = [self._site(number) for number in range(pops)]
        self.names = [site.pop for site in self.sites]
        self.out: dict[str, Reals] = {}
        self.capacity: dict[str, Reals] = {}
        self.flags: dict[str, npt.NDArray[np.uint8]] = {}
        self.there: dict[str, npt.NDArray[np.bool_]] = {}
        self.extra: dict[str, list[tuple[int, float, int]]] = {}
        self.moved: dict[str, npt.NDArray[np.int64]] = {}
        for site in self.sites:
            self.add(site)

    def _site(self, number: int) -> PopSite:
        country, zone = ZONES[number % len(ZONES)]
        name = f"pop{number:03d}"
        return PopSite(pop=name, country=country, metro=f"metro{number:03d}", timezone=zone)

    def add(self, site: PopSite) -> None:
        """Give a PoP its natural life."""
        random, size = self._random, len(self.at_s)
        capacity = float(random.choice([10e9, 40e9, 100e9, 400e9]))
        use = self._shape(site.timezone) * random.uniform(0.3, 0.6)
        days = (self.at_s - self.at_s[0]) / 86_400
        use *= 1 + random.uniform(0.0, 0.4) * days / 365
        daily = np.exp(random.normal(0, 0.06, int(days[-1]) + 3))
        use *= np.interp(days, np.arange(len(daily)), daily)
        use *= np.exp(random.normal(0, 0.04, size))
        for _ in range(int(days[-1] / 60) + 1):
            self._happen(use)
        name = site.pop
        full = use > 0.9  # near its limit a link queues: it carries less than is asked, unevenly
        use[full] = 0.9 + 0.1 * np.tanh(use[full] - 0.9) * random.uniform(0.8, 1, full.sum())
        self.out[name] = use * capacity * STEP_S / 8
        self.capacity[name] = np.full(size, capacity)
        self.flags[name] = np.zeros(size, np.uint8)
        self.there[name] = np.ones(size, np.bool_)
        self.extra[name] = []

    def _shape(self, zone: str) -> Reals:
        rules = zoneinfo.ZoneInfo(zone)
        edges = self.at_s[:: DAY // 24]
        ahead = [datetime.fromtimestamp(int(one), rules).utcoffset() for one in edges]
        seconds = np.repeat([one.total_seconds() for one in ahead if one is not None], DAY // 24)
        local = (self.at_s + seconds[: len(self.at_s)]) / 3600
        hour, day = local % 24, (local // 24 + 3) % 7
        evening = np.exp(-0.5 * np.square(((hour - 21 + 12) % 24 - 12) / 3.0))
        noon = np.exp(-0.5 * np.square((hour - 13) / 3.5))
        weekday = 0.25 + evening + 0.5 * noon
        weekend = 0.3 + 0.95 * evening + 0.75 * np.exp(-0.5 * np.square((hour - 15) / 4.0))
        week = np.where(day >= 5, weekend, weekday)
        holidays = self._random.random(int(local[-1] // 24) + 2) < 0.03
        return np.where(holidays[(local // 24).astype(int) % len(holidays)], weekend, week)

    def _happen(self, use: Reals) -> None:
        """One sports night, one outage that was measured, one quiet week."""
        size, random = len(use), self._random
        first = int(random.integers(0, size - 8 * DAY))
        use[first : first + 30] *= random.uniform(1.3, 2.5)
        first = int(random.integers(0, size - 8 * DAY))
        use[first : first + int(random.integers(3, 200))] *= random.choice([0.0, 0.0, 0.4])
        first = int(random.integers(0, size - 8 * DAY))
        use[first : first + 7 * DAY] *= random.uniform(0.7, 0.9)

    def place(self, text: str) -> int:
        """The position of a moment."""
        return int((at(text) - self.at_s[0]) // STEP_S)

    def span(self, begin: str, end: str) -> slice:
        """Positions of a span."""
        return slice(self.place(begin), self.place(end))

    def write(self, folder: Path) -> History:
        """Write it as a history."""
        history = History.create(folder)
        history.write_manifest(Manifest(pops=tuple(self.out)))
        tables = [self._table(number, name) for number, name in enumerate(self.out)]
        table = pa.concat_tables(tables)
        months = table["at_s"].to_numpy().astype("datetime64[s]").astype("datetime64[M]")
        for month in np.unique(months):
            one = table.filter(pa.array(months == month))
            history.write_part(str(month), "a", one)
        return history

    def _table(self, number: int, name: str) -> pa.Table:
        there = self.there[name]
        at_s = self.moved.get(name, self.at_s)[there]
        out, capacity = self.out[name][there], self.capacity[name][there]
        flags = self.flags[name][there]
        more = self.extra[name]
        at_s = np.concatenate([at_s, [one[0] for one in more]]).astype(np.uint32)
        places = np.searchsorted(self.at_s, [one[0] for one in more])
        out = np.concatenate([out, [one[1] for one in more]])
        capacity = np.concatenate([capacity, self.capacity[name][places]])
        flags = np.concatenate([flags, [one[2] for one in more]]).astype(np.uint8)
        order = np.argsort(at_s, kind="stable")
        columns = {
            "pop": np.full(len(order), number, np.uint16),
            "at_s": at_s[order],
            "out_bytes": out[order].astype(np.uint64),
            "in_bytes": (out[order] / 20).astype(np.uint64),
            "capacity_bps": capacity[order].astype(np.uint64),
            "flags": flags[order],
        }
        empty = pa.nulls(len(order), pa.uint16())
        shares = dict.fromkeys(set(SAMPLES.names) - set(columns), empty)
        return pa.table({**columns, **shares}).select(SAMPLES.names)
