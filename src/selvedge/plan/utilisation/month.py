"""One month of a history, asked everything that can be asked of it alone.

Its rows are read a few times, each time a few columns: for the wide hours, for the bills (exact
order statistics of bytes), for the uses, for each resource. What leaves this module is small: sums,
counts and the slots of groups. Nothing here knows another month but `before`: the last hour of the
one before it, for the rise over midnight.

Rows of one moment are rare. So they are not filtered out of everything that is read: what they are
too many is taken off again where it is counted, and where something is ranked, their PoPs are
ranked from the wide hours, in which each moment is there once.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    narrow_hours,
    quarter_hours,
    rises,
    samples_of,
    wide_hours,
)
from selvedge.plan.utilisation.places import Places
from selvedge.plan.utilisation.samples import (
    RESOURCES_BP,
    Billing,
    measured,
    once,
    share_bins,
    use_bins,
    within,
)
from selvedge.plan.utilisation.zones import HOUR_S

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query
Ints = npt.NDArray[np.int64]
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

    @property
    def first_hour_s(self) -> int:
        """The hour in which it begins."""
        return self.from_s - self.from_s % HOUR_S


@dataclass(frozen=True, slots=True)
class MonthFound:
    """The answers, without PoPs that have no site."""

    question: Question
    hours: pa.Table
    """`narrow_hours`."""
    quarters: pa.Table
    """`quarter_hours` of the PoPs whose zone is not whole hours from UTC."""
    bills: pa.Table
    """`pop`, `n`, `peak` and `ranks` of the bytes of its samples."""
    uses: list[pa.Table]
    """`pop`, `capacity`, `bin`, `n`: to be added up."""
    shares: dict[str, list[pa.Table]]
    """Of each resource `pop`, `bin`, `n`: to be added up; what was twice there is taken off."""
    slots: pa.Table
    """`group_slots`."""
    gpu_slots: pa.Table
    """`group`, `at_s`, `free`: GPUs in hundredths of a percent."""
    steps: pa.Table
    rises: pa.Table
    last_hour: pa.Table
    excluded: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Twice:
    """Rows of moments that are there more than once."""

    pops: list[int]
    hours: Expr
    """`pop` and `hour`."""
    all: Expr
    """All rows of those hours."""
    once: Expr
    """The same with each moment once."""


class Month:
    """Asks one month, in one order; see `answer`."""

    def __init__(self, engine: Engine, paths: list[Path], question: Question) -> None:
        self._engine = engine
        self._paths = paths
        self._asked = question
        self._places = question.places
        self._excluded: dict[str, int] = {}
        self._capacities: Expr = None
        self._strays: list[int] = []
        self._twice: _Twice | None = None

    def answer(self, before: pa.Table | None) -> MonthFound:
        """All of it. `before` is `last_hour` of the month before."""
        engine, asked = self._engine, self._asked
        raw = within(engine.scan(self._paths), asked.from_s, asked.until_s)
        self._capacities = self._stand_ins(raw)
        rows = self._measured(raw)
        wide = engine.hold("wide", wide_hours(rows))
        wide, hours = self._settled(raw, wide, engine.fetch(narrow_hours(wide)))
        special = self._special(hours)
        ranked = samples_of(self._of(wide, special)) if special else None
        steps, largest = self._rises(wide, before)
        odd = self._places.odd_pops(asked.from_s, asked.until_s)
        return MonthFound(
            question=asked,
            hours=hours,
            quarters=engine.fetch(quarter_hours(self._of(wide, odd))),
            bills=self._bills(rows, ranked, special),
            uses=self._uses(rows, ranked, special, hours),
            shares={name: self._shares(raw, column) for name, column in RESOURCES_BP.items()},
            slots=self._slots(wide),
            gpu_slots=self._gpu_slots(raw),
            steps=steps,
            rises=largest,
            last_hour=engine.fetch(wide.filter(wide.hour == asked.until_s - HOUR_S)),
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

    def _settled(self, raw: Expr, wide: Expr, hours: pa.Table) -> tuple[Expr, pa.Table]:
        """The hours without PoPs that have no site, and with each moment once."""
        pops = hours["pop"].to_numpy()
        known = np.zeros(2**16, bool)
        known[self._places.known] = True
        if not known[pops].all():
            strange = ~known[pops]
            self._strays = np.unique(pops[strange]).tolist()
            self._excluded["unknown_pop"] = int(hours["rows"].to_numpy()[strange].sum())
            hours = hours.filter(pa.array(~strange))
            wide = self._of(wide, self._strays, keep=False)
        wrong, where = self._doubled(hours)
        if where is None:
            return wide, hours
        twice = self._twice = self._fetch_twice(raw, where)
        mended = self._engine.hold("mended", wide_hours(self._measured(twice.once)))
        wide = ibis.union(wide.anti_join(twice.hours, ["pop", "hour"]), mended)
        mended_hours = self._engine.fetch(narrow_hours(mended))
        more = int(hours["rows"].to_numpy()[wrong].sum() - mended_hours["rows"].to_numpy().sum())
        self._excluded["twice"] = more
        return wide, pa.concat_tables([hours.filter(pa.array(~wrong)), mended_hours])

    def _doubled(self, hours: pa.Table) -> tuple[npt.NDArray[np.bool_], pa.Table | None]:
        """Which of the hours have a moment more than once; and their `pop` and `hour`."""
        asked = self._asked
        count = (asked.until_s - asked.first_hour_s) // HOUR_S + 1
        pops, at = hours["pop"].to_numpy().astype(np.int64), hours["hour"].to_numpy()
        key = pops * count + (at - asked.first_hour_s) // HOUR_S
        # An hour is two rows where the capacity changed in it: both are looked at as one.
        mask = np.bincount(key, hours["mask"].to_numpy()).astype(np.int64)
        rows = np.bincount(key, hours["rows"].to_numpy()).astype(np.int64)
        wrong = np.bitwise_count(mask) != rows
        if not wrong.any():
            return wrong[key], None
        keys = np.flatnonzero(wrong)
        columns = {
            "pop": pa.array((keys // count).astype(np.uint16)),
            "hour": pa.array(keys % count * HOUR_S + asked.first_hour_s),
        }
        return wrong[key], pa.table(columns)

    def _fetch_twice(self, raw: Expr, where: pa.Table) -> _Twice:
        pops = np.unique(where["pop"].to_numpy()).tolist()
        hours = self._engine.give("doubled", where)
        near = self._of(raw, pops)
        near = near.mutate(hour=near.at_s.cast("int64") - near.at_s.cast("int64") % HOUR_S)
        all_rows = near.semi_join(hours, ["pop", "hour"]).select(*raw.columns)
        held = self._engine.hold("doubled_rows", all_rows)
        return _Twice(pops, hours, held, self._engine.hold("single_rows", once(held)))

    def _of(self, rows: Expr, pops: list[int], keep: bool = True) -> Expr:
        """Rows of these PoPs, or of the others."""
        if len(pops) <= _FEW:
            return rows.filter(rows.pop.isin(pops) if keep else rows.pop.notin(pops))
        name = f"pops_{len(pops)}_{min(pops)}"
        named = self._engine.give(name, pa.table({"pop": pa.array(pops, pa.uint16())}))
        return rows.semi_join(named, "pop") if keep else rows.anti_join(named, "pop")

    def _special(self, hours: pa.Table) -> list[int]:
        """PoPs with doubled rows or with several capacities: ranked from the wide hours."""
        pops = hours["pop"].to_numpy()
        capacity = hours["capacity"].fill_null(0).to_numpy()
        low = np.full(2**16, np.iinfo(np.int64).max)
        high = np.zeros(2**16, np.int64)
        np.minimum.at(low, pops, capacity)
        np.maximum.at(high, pops, capacity)
        several = np.flatnonzero(low < high).tolist()
        return sorted({*several, *(self._twice.pops if self._twice else ())})

    def _common(self, table: pa.Table, special: list[int]) -> pa.Table:
        """A table by PoPs without the special ones, and without those that have no site."""
        out = np.ones(2**16, bool)
        out[self._places.known] = False
        out[special] = True
        return table.filter(pa.array(~out[table["pop"].to_numpy()]))

    def _bills(self, rows: Expr, ranked: Expr, special: list[int]) -> pa.Table:
        def bills(found: Expr) -> pa.Table:
            found = found.filter(found.bytes.notnull())
            asked = found.group_by("pop").agg(
                n=found.count(), peak=found.bytes.max(), ranks=self._engine.ranked(found.bytes)
            )
            return self._engine.fetch(asked)

        common = self._common(bills(rows), special)
        return pa.concat_tables([common, bills(ranked)]) if special else common

    def _uses(
        self, rows: Expr, ranked: Expr, special: list[int], hours: pa.Table
    ) -> list[pa.Table]:
        common = self._common(self._engine.fetch(use_bins(rows)), special)
        capacities = np.zeros(2**16, np.int64)
        capacities[hours["pop"].to_numpy()] = hours["capacity"].fill_null(0).to_numpy()
        column = pa.array(capacities[common["pop"].to_numpy()])
        found = [common.append_column("capacity", column)]
        if special:
            found.append(self._engine.fetch(use_bins(ranked, "capacity")))
        return found

    def _shares(self, raw: Expr, column: str) -> list[pa.Table]:
        def bins(rows: Expr) -> pa.Table:
            return self._common(self._engine.fetch(share_bins(rows, column)), [])

        found = [bins(raw)]
        if self._twice is not None:
            found += [bins(self._twice.once), _negative(bins(self._twice.all))]
        return found

    def _slots(self, wide: Expr) -> pa.Table:
        numbers = self._places.known
        cells = self._places.cells()[numbers]
        table = pa.table({"pop": pa.array(numbers, pa.uint16()), "cell": cells})
        sums = self._engine.hold("cell_hours", cell_hours(wide, self._engine.give("cells", table)))
        members = self._engine.give("members", self._places.members())
        return self._engine.fetch(group_slots(sums, members))

    def _gpu_slots(self, raw: Expr) -> pa.Table:
        """What is free of the GPUs of a group at each moment, in hundredths of a percent of one."""
        gpus = self._engine.give("gpus", self._places.gpu_members())

        def free(rows: Expr) -> pa.Table:
            rows = rows.filter(rows.gpu_bp.notnull()).join(gpus, "pop")
            busy = ibis.ifelse(rows.gpu_bp > WHOLE_BP, WHOLE_BP, rows.gpu_bp).cast("int64")
            total = (rows.gpus * (WHOLE_BP - busy)).sum().cast("int64")
            return self._engine.fetch(rows.group_by("group", "at_s").agg(n=total))

        found = [free(raw)]
        if self._twice is not None:
            found += [free(self._twice.once), _negative(free(self._twice.all))]
        added = pa.concat_tables(found).group_by(["group", "at_s"]).aggregate([("n", "sum")])
        return added.rename_columns(["group", "at_s", "free"])

    def _rises(self, wide: Expr, before: pa.Table | None) -> tuple[pa.Table, pa.Table]:
        """Steps of each PoP, and the hours with the largest rises with their rises."""
        engine = self._engine
        if before is not None:
            wide = ibis.union(wide, engine.give("before", before))
        risen = rises(wide)
        risen = risen.filter(risen.hour >= self._asked.first_hour_s)
        held = engine.hold("risen", risen.select("pop", "hour", "mask", "steps", "largest"))
        steps = engine.fetch(held.group_by("pop").agg(steps=held.steps.sum().cast("int64")))
        top = engine.hold("risen_most", largest_rises(held, self._asked.rise_hours))
        hours = ibis.union(top.select("pop", "hour"), top.select("pop", hour=top.hour - HOUR_S))
        near = rises(wide.semi_join(hours.distinct(), ["pop", "hour"]))
        return steps, engine.fetch(near.semi_join(top, ["pop", "hour", "mask"]))


def _negative(table: pa.Table) -> pa.Table:
    taken = pa.array(-table["n"].to_numpy())
    return table.set_column(table.column_names.index("n"), "n", taken)
