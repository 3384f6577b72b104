"""Tables of groups: what their PoPs carried at the same moment, added up before anything is ranked.

The 95th percentile of a sum is not the sum of 95th percentiles, and what is free at one moment is
not what is free at each PoP's own best. So these are asked of the slots that were set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from selvedge.plan.history import STEP_S, WHOLE_BP
from selvedge.plan.utilisation.engines import RANKS
from selvedge.plan.utilisation.places import Group, Places
from selvedge.plan.utilisation.pop_tables import night_uses
from selvedge.plan.utilisation.slots import Slots, Stored
from selvedge.plan.utilisation.sweeps import BYTES_A_BPS
from selvedge.plan.utilisation.tables import LEVELS, TABLES
from selvedge.plan.utilisation.tally import Tally
from selvedge.plan.utilisation.together import free_tables
from selvedge.plan.utilisation.totals import total, totals_between
from selvedge.plan.utilisation.zones import HOUR_S

_BILLION: Final = 10**9
_DAY_HOURS: Final = 24
_ABOVE: Final = ("jurisdiction", "fleet")

Ints = npt.NDArray[np.int64]
Nights = dict[tuple[str, str], float | None]
Row = dict[str, Any]  # a cell is text, a number or None


def group_tables(
    places: Places,
    tables: dict[str, pa.Table],
    stored: Sequence[Stored],
    tally: Tally,
) -> dict[str, pa.Table]:
    """`groups`, `utc_hours`, `together`, `hourly`, and `months` with those of groups.

    `tables` are those of PoPs.
    """
    pops = {row["pop"]: row for row in tables["pops"].to_pylist()}
    asked = _Asked(places, pops, stored)
    steps = sum(one.until_s - one.from_s for one in stored) // STEP_S
    months = [asked.months(one, tables["months"]) for one in stored]
    return {
        "groups": asked.groups(night_uses(places, tally), steps),
        "months": pa.concat_tables([tables["months"], *months, asked.single_months(tables)]),
        **free_tables(places, tally, asked.gpus_free()),
        "hourly": asked.hourly(),
    }


class _Asked:
    def __init__(self, places: Places, pops: dict[str, Row], stored: Sequence[Stored]) -> None:
        self._places = places
        self._groups = places.groups
        self._pops = pops
        self._stored = stored

    def _slots(self, group: int) -> Slots:
        """Of all months."""
        months = [one.slots(group) for one in self._stored]
        return Slots(
            *(
                np.concatenate([getattr(month, name) for month in months])
                for name in ("at_s", "bytes", "capacity")
            )
        )

    def groups(self, nights: Nights, steps: int) -> pa.Table:
        """Of every group over the whole time. A metro of one PoP is that PoP."""
        rows = []
        for number, group in enumerate(self._groups):
            slots = self._slots(number)
            if len(slots.at_s):
                night = {"night_use": nights.get((group.level, group.name))}
                rows.append(self._group_row(group, slots, steps) | night)
        rows += self._single_metros()
        rows.sort(key=lambda row: (LEVELS.index(row["level"]), row["name"]))
        return pa.Table.from_pylist(rows, schema=TABLES["groups"])

    def _group_row(self, group: Group, slots: Slots, steps: int) -> Row:
        capacities = [self._pop(pop)["capacity_bps"] for pop in group.pops]
        use = slots.bytes * (8.0 * _BILLION) / (slots.capacity * float(STEP_S))
        use_p50, use_p95 = _ranks(np.floor(use).astype(np.int64))
        return {
            "level": group.level,
            "name": group.name,
            "pops": len(group.pops),
            "samples": sum(self._pop(pop)["samples"] for pop in group.pops),
            "expected": len(group.pops) * steps,
            **_loads(slots),
            "capacity_bps": sum(one for one in capacities if one is not None),
            "p50_use": use_p50 / _BILLION,
            "p95_use": use_p95 / _BILLION,
            "peak_use": int(np.floor(use).max()) / _BILLION,
        }

    def _pop(self, number: int) -> Row:
        return self._pops[self._places.names[number]]

    def _single_metros(self) -> list[Row]:
        several = {group.name for group in self._groups if group.level == "metro"}
        alike = [name for name in TABLES["groups"].names if name not in ("level", "name", "pops")]
        return [
            {"level": "metro", "name": row["metro"], "pops": 1}
            | {name: row[name] for name in alike}
            for row in self._pops.values()
            if row["metro"] and row["metro"] not in several and row["samples"]
        ]

    def months(self, one: Stored, months: pa.Table) -> pa.Table:
        """The groups of a month: of UTC, since a group may be in several zones."""
        of_pops = months.filter(pc.equal(months["month"], one.month))
        columns = (of_pops[name].to_pylist() for name in ("name", "samples"))
        by_name = dict(zip(*columns, strict=True))
        seen = {pop: by_name.get(name, 0) for pop, name in enumerate(self._places.names)}
        steps = (one.until_s - one.from_s) // STEP_S
        rows = []
        for number, group in enumerate(self._groups):
            slots = one.slots(number)
            if len(slots.at_s):
                row = {
                    "level": group.level,
                    "name": group.name,
                    "month": one.month,
                    "samples": sum(seen.get(pop, 0) for pop in group.pops),
                    "expected": len(group.pops) * steps,
                }
                rows.append(row | _loads(slots))
        return pa.Table.from_pylist(rows, schema=TABLES["months"])

    def single_months(self, tables: dict[str, pa.Table]) -> pa.Table:
        """Months of the metros of one PoP."""
        metro_of = {row["name"]: row for row in self._single_metros()}
        names = {
            row["pop"]: row["metro"] for row in self._pops.values() if row["metro"] in metro_of
        }
        months = tables["months"]
        rows = months.filter(pc.is_in(months["name"], pa.array(list(names), pa.string())))
        metros = pa.array([names[pop] for pop in rows["name"].to_pylist()], pa.string())
        rows = rows.set_column(0, "level", pa.array(["metro"] * rows.num_rows, pa.string()))
        return rows.set_column(1, "name", metros)

    def gpus_free(self) -> dict[tuple[int, int], float]:
        """GPUs free in 95 of 100 moments, by group and hour of the day, UTC."""
        found = {}
        for group in self._stored[0].free_of:
            months = [one.free(group) for one in self._stored]
            at, free = (np.concatenate(column) for column in zip(*months, strict=True))
            hours = at // HOUR_S % _DAY_HOURS
            for hour in np.unique(hours).tolist():
                taken = _ranks(-free[hours == hour])[1]
                found[group, hour] = -taken / WHOLE_BP
        return found

    def hourly(self) -> pa.Table:
        """Hours of jurisdictions and the fleet, and of countries that share a jurisdiction."""
        laws = {group.pops for group in self._groups if group.level == "jurisdiction"}
        chosen = [
            number
            for number, group in enumerate(self._groups)
            if group.level in _ABOVE or (group.level == "country" and group.pops not in laws)
        ]
        found: dict[str, list[Any]] = {name: [] for name in TABLES["hourly"].names}
        for number in chosen:
            slots, group = self._slots(number), self._groups[number]
            hours = slots.at_s // HOUR_S
            begins = np.flatnonzero(np.diff(hours, prepend=-1))
            if not len(begins):
                continue
            sums = (totals_between(one, begins) for one in (slots.bytes, slots.capacity))
            sent, carried = (one.astype(np.float64) for one in sums)
            moments = np.diff(begins, append=len(hours))
            found["level"] += [group.level] * len(begins)
            found["name"] += [group.name] * len(begins)
            found["hour_s"].append(hours[begins] * HOUR_S)
            found["mean_use"].append(sent / BYTES_A_BPS / carried)
            found["mean_bps"].append(sent / BYTES_A_BPS / moments)
            found["samples"].append(moments)
        columns = {
            name: column if name in ("level", "name") else np.concatenate(column)
            for name, column in found.items()
        }
        return pa.table(columns, schema=TABLES["hourly"])


def _ranks(values: Ints) -> list[int]:
    """The order statistics `RANKS`."""
    n = len(values)
    places = [n - n * (100 - percent) // 100 - 1 for percent in RANKS]
    found: list[int] = np.partition(values, places)[places].tolist()
    return found


def _loads(slots: Slots) -> Row:
    """What a row of `groups` and one of `months` have in common."""
    p50, p95 = _ranks(slots.bytes)
    sent = total(slots.bytes)
    return {
        "mean_bps": sent / BYTES_A_BPS / len(slots.bytes),
        "p50_bps": p50 / BYTES_A_BPS,
        "p95_bps": p95 / BYTES_A_BPS,
        "peak_bps": int(slots.bytes.max()) / BYTES_A_BPS,
        "mean_use": sent / BYTES_A_BPS / total(slots.capacity),
    }
