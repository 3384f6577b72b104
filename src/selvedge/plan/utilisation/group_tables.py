"""Tables of groups: what their PoPs carried at the same moment, added up before anything is ranked.

The 95th percentile of a sum is not the sum of 95th percentiles, and what is free at one moment is
not what is free at each PoP's own best. So these are asked of the slots that were set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from selvedge.plan.history import STEP_S, WHOLE_BP
from selvedge.plan.utilisation.engines import Engine
from selvedge.plan.utilisation.places import Group, Places
from selvedge.plan.utilisation.pop_tables import night_uses, nullable
from selvedge.plan.utilisation.tables import LEVELS, TABLES
from selvedge.plan.utilisation.tally import BYTES_A_BPS, Tally
from selvedge.plan.utilisation.together import free_tables
from selvedge.plan.utilisation.zones import HOUR_S

_BILLION: Final = 10**9
_DAY_HOURS: Final = 24
_ABOVE: Final = ("jurisdiction", "fleet")
_HALF: Final = 2**24

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query
Nights = dict[tuple[str, str], float | None]
Row = dict[str, Any]  # a cell is text, a number or None


class Stored(Protocol):
    """Where the sums of groups of one month were set aside."""

    @property
    def month(self) -> str:
        """As `2026-01`."""

    @property
    def from_s(self) -> int:
        """Of what was asked for of it."""

    @property
    def until_s(self) -> int:
        """The second after."""

    @property
    def slots(self) -> Path:
        """`group`, `at_s`, `bytes`, `capacity`, `n`."""

    @property
    def gpus(self) -> Path:
        """`group`, `at_s`, `free`."""


def group_tables(
    engine: Engine,
    places: Places,
    tables: dict[str, pa.Table],
    stored: Sequence[Stored],
    tally: Tally,
) -> dict[str, pa.Table]:
    """`groups`, `utc_hours`, `together`, `hourly`, and `months` with those of groups.

    `tables` are those of PoPs.
    """
    pops = {row["pop"]: row for row in tables["pops"].to_pylist()}
    slots = engine.scan([one.slots for one in stored])
    asked = _Asked(engine, places, pops, slots)
    steps = sum(one.until_s - one.from_s for one in stored) // STEP_S
    months = [asked.months(one, tables["months"]) for one in stored]
    return {
        "groups": asked.groups(night_uses(places, tally), steps),
        "months": pa.concat_tables([tables["months"], *months, asked.single_months(tables)]),
        **free_tables(places, tally, asked.gpus_free([one.gpus for one in stored])),
        "hourly": asked.hourly(),
    }


class _Asked:
    def __init__(self, engine: Engine, places: Places, pops: dict[str, Row], slots: Expr) -> None:
        self._engine = engine
        self._places = places
        self._groups = places.groups
        self._pops = pops
        self._slots = slots

    def groups(self, nights: Nights, steps: int) -> pa.Table:
        """Of every group over the whole time. A metro of one PoP is that PoP."""
        measured = self._slots
        use = (measured.bytes * (8.0 * _BILLION) / (measured.capacity * float(STEP_S))).floor()
        asked = measured.mutate(use=use.cast("int64")).group_by("group")
        found = self._engine.fetch(
            asked.agg(
                **_halves("bytes", measured.bytes),
                **_halves("carried", measured.capacity),
                peak=lambda t: t.bytes.max(),
                peak_use=lambda t: t.use.max(),
                moments=lambda t: t.count(),
                ranks=lambda t: self._engine.ranked(t.bytes),
                use_ranks=lambda t: self._engine.ranked(t.use),
            )
        )
        by_number = {row["group"]: row for row in found.to_pylist()}
        rows = [
            self._group_row(group, by_number[number], steps)
            | {"night_use": nights.get((group.level, group.name))}
            for number, group in enumerate(self._groups)
            if number in by_number
        ]
        rows += self._single_metros()
        rows.sort(key=lambda row: (LEVELS.index(row["level"]), row["name"]))
        return pa.Table.from_pylist(rows, schema=TABLES["groups"])

    def _group_row(self, group: Group, row: Row, steps: int) -> Row:
        capacities = [self._pop(pop)["capacity_bps"] for pop in group.pops]
        return {
            "level": group.level,
            "name": group.name,
            "pops": len(group.pops),
            "samples": sum(self._pop(pop)["samples"] for pop in group.pops),
            "expected": len(group.pops) * steps,
            "mean_bps": _whole("bytes", row) / BYTES_A_BPS / row["moments"],
            "p50_bps": row["ranks"][0] / BYTES_A_BPS,
            "p95_bps": row["ranks"][1] / BYTES_A_BPS,
            "peak_bps": row["peak"] / BYTES_A_BPS,
            "capacity_bps": sum(one for one in capacities if one is not None),
            "mean_use": _whole("bytes", row) / BYTES_A_BPS / _whole("carried", row),
            "p50_use": row["use_ranks"][0] / _BILLION,
            "p95_use": row["use_ranks"][1] / _BILLION,
            "peak_use": row["peak_use"] / _BILLION,
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
        slots = self._engine.scan([one.slots])
        asked = slots.group_by("group").agg(
            **_halves("bytes", slots.bytes),
            **_halves("carried", slots.capacity),
            peak=slots.bytes.max(),
            moments=slots.count(),
            ranks=self._engine.ranked(slots.bytes),
        )
        rows = [
            {
                "level": self._groups[row["group"]].level,
                "name": self._groups[row["group"]].name,
                "month": one.month,
                "samples": sum(seen.get(pop, 0) for pop in self._groups[row["group"]].pops),
                "expected": len(self._groups[row["group"]].pops)
                * ((one.until_s - one.from_s) // STEP_S),
                "mean_bps": _whole("bytes", row) / BYTES_A_BPS / row["moments"],
                "p50_bps": row["ranks"][0] / BYTES_A_BPS,
                "p95_bps": row["ranks"][1] / BYTES_A_BPS,
                "peak_bps": row["peak"] / BYTES_A_BPS,
                "mean_use": _whole("bytes", row) / BYTES_A_BPS / _whole("carried", row),
            }
            for row in sorted(self._engine.fetch(asked).to_pylist(), key=lambda row: row["group"])
        ]
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

    def gpus_free(self, gpus: Sequence[Path]) -> dict[tuple[int, int], float]:
        """GPUs free in 95 of 100 moments, by group and hour of the day, UTC."""
        slots = self._engine.scan(gpus)
        hour = ((slots.at_s % (_DAY_HOURS * HOUR_S)) / HOUR_S).floor().cast("int32")
        slots = slots.mutate(hour=hour, taken=-slots.free)
        asked = slots.group_by("group", "hour").agg(ranks=self._engine.ranked(slots.taken))
        return {
            (row["group"], row["hour"]): -row["ranks"][1] / WHOLE_BP
            for row in self._engine.fetch(asked).to_pylist()
        }

    def hourly(self) -> pa.Table:
        """Hours of jurisdictions and the fleet, and of countries that share a jurisdiction."""
        laws = {group.pops for group in self._groups if group.level == "jurisdiction"}
        chosen = [
            number
            for number, group in enumerate(self._groups)
            if group.level in _ABOVE or (group.level == "country" and group.pops not in laws)
        ]
        slots = self._slots.filter(self._slots.group.isin(chosen))
        hour = slots.at_s - slots.at_s % HOUR_S
        asked = slots.group_by("group", hour_s=hour).agg(
            bytes=slots.bytes.sum().cast("int64"),
            carried=slots.capacity.sum().cast("int64"),
            moments=slots.count(),
        )
        found = self._engine.fetch(asked.order_by("group", "hour_s"))
        sent, carried, moments = (
            found[name].to_numpy() for name in ("bytes", "carried", "moments")
        )
        place = found["group"].combine_chunks()
        columns = {
            "level": pa.array([group.level for group in self._groups], pa.string()).take(place),
            "name": pa.array([group.name for group in self._groups], pa.string()).take(place),
            "hour_s": found["hour_s"],
            "mean_use": nullable(sent / BYTES_A_BPS / carried),
            "mean_bps": nullable(sent / BYTES_A_BPS / moments),
            "samples": found["moments"],
        }
        return pa.table(columns, schema=TABLES["hourly"])


def _halves(name: str, column: Expr) -> dict[str, Expr]:
    """A sum that may pass 64 bits, in two that do not."""
    low = column % _HALF
    high = ((column - low) / _HALF).cast("int64")
    return {f"{name}_high": high.sum().cast("int64"), f"{name}_low": low.sum().cast("int64")}


def _whole(name: str, row: Row) -> int:
    found: int = row[f"{name}_high"] * _HALF + row[f"{name}_low"]
    return found
