"""One month of a history, asked everything that can be asked of it alone.

Its rows are read five or six times, each time a few columns: once for the wide hours, once for the
bills (exact order statistics of bytes), once for each resource. What leaves this module is small:
sums, counts and the slots of groups. Nothing here knows another month but `before`: the last hour
of the one before it, for the rise over midnight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.history import WHOLE_BP
from selvedge.plan.utilisation.engines import Engine
from selvedge.plan.utilisation.hours import (
    cell_hours,
    group_slots,
    largest_rises,
    local_hours,
    local_quarters,
    narrow_hours,
    rises,
    wide_hours,
)
from selvedge.plan.utilisation.places import NO_ZONE, Places
from selvedge.plan.utilisation.samples import (
    RESOURCES_BP,
    Billing,
    measured,
    once,
    share_bins,
    use_bins,
    within,
    without,
)
from selvedge.plan.utilisation.zones import HOUR_S, QUARTER_S, hours_of_week, is_whole

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query

_FEW: Final = 500
"""PoPs that are named in a filter; more are a table to join with."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a month is asked."""

    places: Places
    billing: Billing
    from_s: int
    """Of the month, or of the part of it that is asked for."""
    until_s: int
    rise_hours: int
    """Hours with the largest rises that are kept of each PoP."""


@dataclass(slots=True)
class MonthFound:
    """The answers. Tables have the columns of the expressions that made them."""

    hours: pa.Table
    bills: pa.Table
    uses: pa.Table
    shares: dict[str, pa.Table]
    profile: pa.Table
    slots: pa.Table
    gpu_slots: pa.Table
    steps: pa.Table
    rises: pa.Table
    last_hour: pa.Table
    excluded: dict[str, int] = field(default_factory=dict)


class Month:
    """Asks one month, in one order; see `answer`."""

    def __init__(self, engine: Engine, paths: list[Path], question: Question) -> None:
        self._engine = engine
        self._paths = paths
        self._asked = question
        self._places = question.places
        self._excluded: dict[str, int] = {}
        self._capacities: Expr = None

    def answer(self, before: pa.Table | None) -> MonthFound:
        """All of it. `before` is `last_hour` of the month before."""
        engine = self._engine
        raw = within(engine.scan(self._paths), self._asked.from_s, self._asked.until_s)
        self._capacities = self._stand_ins(raw)
        wide = engine.hold("wide", wide_hours(self._measured(raw)))
        hours = engine.fetch(narrow_hours(wide))
        rows, wide, hours = self._only_once(raw, wide, hours)
        found = self._measured(rows)
        shares = {
            name: engine.fetch(share_bins(rows, column)) for name, column in RESOURCES_BP.items()
        }
        steps, largest = self._rises(wide, before)
        return MonthFound(
            hours=hours,
            bills=engine.fetch(self._bills(found)),
            uses=engine.fetch(use_bins(found)),
            shares=shares,
            profile=self._profile(wide),
            slots=self._slots(wide),
            gpu_slots=self._gpu_slots(rows),
            steps=steps,
            rises=largest,
            last_hour=engine.fetch(wide.filter(wide.hour == self._asked.until_s - HOUR_S)),
            excluded=self._excluded,
        )

    def _measured(self, rows: Expr) -> Expr:
        return measured(rows, self._asked.billing, self._capacities)

    def _stand_ins(self, raw: Expr) -> Expr:
        """The fleet file's capacities as a table, if the history has none for some rows."""
        asked = raw.agg(n=raw.capacity_bps.isnull().cast("int32").sum())
        if not self._engine.fetch(asked)["n"][0].as_py():
            return None
        sites = enumerate(self._places.sites)
        rows = [(pop, site.nic_bps) for pop, site in sites if site and site.nic_bps]
        pops = pa.array([pop for pop, _ in rows], pa.uint16())
        given = pa.array([bps for _, bps in rows], pa.int64())
        return self._engine.give("capacities", pa.table({"pop": pops, "nic_bps": given}))

    def _only_once(self, raw: Expr, wide: Expr, hours: pa.Table) -> tuple[Expr, Expr, pa.Table]:
        """Rows, wide hours and hours without unknown PoPs, and with each moment once."""
        strays, strange = self._strays(hours)
        doubled = self._doubled(hours.filter(pa.array(~strange)) if strays else hours)
        if not strays and doubled is None:
            return raw, wide, hours
        engine = self._engine
        if doubled is None:
            rows = self._others(raw, strays)
            kept = self._others(wide, strays)
        else:
            pops = np.unique(doubled["pop"].to_numpy()).tolist()
            held = engine.hold("mended", self._mended(raw, pops, doubled))
            rows = ibis.union(self._others(raw, strays + pops), held)
            kept = ibis.union(
                self._others(wide, strays + pops), wide_hours(self._measured(held))
            )
        wide = engine.hold("wide_once", kept)
        before = sum(hours["rows"].to_numpy()) - self._excluded.get("unknown_pop", 0)
        hours = engine.fetch(narrow_hours(wide))
        self._excluded["twice"] = int(before - hours["rows"].to_numpy().sum())
        return rows, wide, hours

    def _strays(self, hours: pa.Table) -> tuple[list[int], npt.NDArray[np.bool_]]:
        """PoPs without a site, and which of the hours are theirs."""
        pops = hours["pop"].to_numpy()
        known = np.zeros(int(pops.max(initial=0)) + 1, bool)
        numbers = [pop for pop in self._places.known if pop < len(known)]
        known[numbers] = True
        strange = ~known[pops]
        if strange.any():
            self._excluded["unknown_pop"] = int(hours["rows"].to_numpy()[strange].sum())
        return np.unique(pops[strange]).tolist(), strange

    def _doubled(self, hours: pa.Table) -> pa.Table | None:
        """The hours in which a moment is there more than once: `pop` and `hour`."""
        pops, at = hours["pop"].to_numpy().astype(np.int64), hours["hour"].to_numpy()
        count = (self._asked.until_s - self._asked.from_s) // HOUR_S + 1
        first = self._asked.from_s - self._asked.from_s % HOUR_S
        key = pops * count + (at - first) // HOUR_S
        # An hour is two rows where the capacity changed in it: both are looked at as one.
        mask = np.bincount(key, hours["mask"].to_numpy()).astype(np.int64)
        rows = np.bincount(key, hours["rows"].to_numpy()).astype(np.int64)
        wrong = np.flatnonzero(np.bitwise_count(mask) != rows)
        if not len(wrong):
            return None
        where = {
            "pop": pa.array((wrong // count).astype(np.uint16)),
            "hour": pa.array(wrong % count * HOUR_S + first),
        }
        return pa.table(where)

    def _mended(self, raw: Expr, pops: list[int], doubled: pa.Table) -> Expr:
        wanted = self._engine.give("doubled", doubled)
        if len(pops) <= _FEW:
            rows = raw.filter(raw.pop.isin(pops))
        else:
            rows = raw.semi_join(wanted, "pop")
        rows = rows.mutate(hour=rows.at_s.cast("int64") - rows.at_s.cast("int64") % HOUR_S)
        single = rows.anti_join(wanted, ["pop", "hour"])
        double = once(rows.semi_join(wanted, ["pop", "hour"]))
        return ibis.union(single.select(*raw.columns), double.select(*raw.columns))

    def _others(self, rows: Expr, pops: list[int]) -> Expr:
        if len(pops) <= _FEW:
            return without(rows, pops)
        named = pa.table({"pop": pa.array(pops, pa.uint16())})
        return rows.anti_join(self._engine.give("others", named), "pop")

    def _bills(self, found: Expr) -> Expr:
        found = found.filter(found.bytes.notnull())
        return found.group_by("pop").agg(
            n=found.count(), peak=found.bytes.max(), **self._engine.ranked(found.bytes)
        )

    def _profile(self, wide: Expr) -> pa.Table:
        """Sums by PoP and local hour of the week."""
        asked, zones = self._asked, self._places.zones
        whole = [is_whole(zone, asked.from_s, asked.until_s) for zone in zones]
        numbers = self._places.zone_numbers()
        parts = []
        for is_hourly, step, ask in ((True, HOUR_S, local_hours), (False, QUARTER_S, local_quarters)):
            chosen = [n for n, flag in enumerate(whole) if flag == is_hourly]
            if not chosen:
                continue
            name = "hourly" if is_hourly else "quarterly"
            local = self._engine.give(f"local_{name}", self._local(chosen, step))
            pops = np.flatnonzero(np.isin(numbers, chosen) & (numbers != NO_ZONE))
            table = pa.table({"pop": pa.array(pops, pa.uint16()), "zone": numbers[pops]})
            parts.append(self._engine.fetch(ask(wide, self._engine.give(f"pops_{name}", table), local)))
        return pa.concat_tables(parts) if parts else _NO_PROFILE.empty_table()

    def _local(self, zones: list[int], step: int) -> pa.Table:
        first = self._asked.from_s - self._asked.from_s % HOUR_S
        moments = np.arange(first, self._asked.until_s, step, dtype=np.int64)
        found = [hours_of_week(self._places.zones[zone], moments) for zone in zones]
        return pa.table(
            {
                "zone": np.repeat(np.array(zones, np.int32), len(moments)),
                "hour": np.tile(moments, len(zones)),
                "local": np.concatenate(found).astype(np.int32),
            }
        )

    def _slots(self, wide: Expr) -> pa.Table:
        numbers = self._places.known
        cells = self._places.cells()[numbers]
        table = pa.table({"pop": pa.array(numbers, pa.uint16()), "cell": cells})
        sums = self._engine.hold("cell_hours", cell_hours(wide, self._engine.give("cells", table)))
        members = self._engine.give("members", self._places.members())
        return self._engine.fetch(group_slots(sums, members))

    def _gpu_slots(self, rows: Expr) -> pa.Table:
        """What is free of the GPUs of a group at each moment, in hundredths of a percent of one."""
        pairs = [
            (pop, number, self._places.gpus(pop))
            for number, group in enumerate(self._places.groups)
            if group.level in ("jurisdiction", "fleet")
            for pop in group.pops
            if self._places.gpus(pop)
        ]
        columns = list(zip(*pairs, strict=True)) or [(), (), ()]
        types = (("pop", pa.uint16()), ("group", pa.int32()), ("gpus", pa.int64()))
        table = {name: pa.array(one, kind) for (name, kind), one in zip(types, columns, strict=True)}
        rows = rows.filter(rows.gpu_bp.notnull())
        rows = rows.join(self._engine.give("gpus", pa.table(table)), "pop")
        busy = ibis.ifelse(rows.gpu_bp > WHOLE_BP, WHOLE_BP, rows.gpu_bp).cast("int64")
        free = (rows.gpus * (WHOLE_BP - busy)).sum().cast("int64")
        return self._engine.fetch(rows.group_by("group", "at_s").agg(free=free))

    def _rises(self, wide: Expr, before: pa.Table | None) -> tuple[pa.Table, pa.Table]:
        """Steps of each PoP, and the hours with the largest rises with their rises."""
        engine = self._engine
        if before is not None:
            tail = engine.give("before", before.cast(pa.schema(wide.schema().to_pyarrow())))
            wide = ibis.union(wide, tail)
        risen = rises(wide)
        risen = risen.filter(risen.hour >= self._asked.from_s - self._asked.from_s % HOUR_S)
        held = engine.hold("risen", risen.select("pop", "hour", "mask", "steps", "largest"))
        steps = engine.fetch(held.group_by("pop").agg(steps=held.steps.sum().cast("int64")))
        top = engine.hold("risen_most", largest_rises(held, self._asked.rise_hours))
        hours = ibis.union(top.select("pop", "hour"), top.select("pop", hour=top.hour - HOUR_S))
        near = rises(wide.semi_join(hours.distinct(), ["pop", "hour"]))
        return steps, engine.fetch(near.semi_join(top, ["pop", "hour", "mask"]))


_NO_PROFILE: Final = pa.schema(
    [
        ("pop", pa.uint16()),
        ("local", pa.int32()),
        *((name, pa.int64()) for name in ("n", "bytes", "carried")),
    ]
)


def numbers_of(table: pa.Table, *columns: str) -> Iterator[npt.NDArray[Any]]:
    """Columns as arrays."""
    for name in columns:
        yield table[name].to_numpy()
