"""Twelve samples as one row: the table from which everything but quantiles is taken.

A wide hour is one row of a PoP's hour at one capacity: which of its twelve samples are there, and
the bytes of each. It is a twelfth of the rows, keeps every sample apart, and what needs neighbours
(rises), sums over PoPs (groups) or local time (profiles) is cheap on it.
"""

from __future__ import annotations

from typing import Any, Final

import ibis

from selvedge.plan.history import STEP_S
from selvedge.plan.utilisation.zones import HOUR_S, QUARTER_S

SLOTS: Final = HOUR_S // STEP_S
RETURN_BELOW: Final = 0.005
"""A rise from less than this share of capacity is a site coming back, and is no surge."""
_BYTES: Final = [f"bytes{slot}" for slot in range(SLOTS)]
_QUARTER: Final = QUARTER_S // STEP_S

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query


def wide_hours(rows: Expr) -> Expr:
    """`measured` rows as wide hours: `pop`, `hour`, `capacity`, `rows`, `mask`, `over`, bytes0..11.

    `mask` is the sum of 1 << slot: it has as many bits as rows only if no moment is there twice.
    """
    rows = rows.mutate(
        hour=rows.at_s - rows.at_s % HOUR_S,
        slot=((rows.at_s % HOUR_S) / STEP_S).cast("int32"),
    )
    one = ibis.literal(1, type="int64")
    parts = {
        name: ibis.ifelse(rows.slot == slot, rows.bytes, ibis.null("int64")).max()
        for slot, name in enumerate(_BYTES)
    }
    return rows.group_by("pop", "hour", "capacity").agg(
        rows=rows.count(),
        mask=(one << rows.slot).sum().cast("int64"),
        over=rows.over.cast("int32").sum().cast("int64"),
        **parts,
    )


def narrow_hours(wide: Expr) -> Expr:
    """What the hours hold in sum: `n` measured samples, their bytes, the largest of them."""
    columns = [wide[name] for name in _BYTES]
    known = [ibis.coalesce(column, 0) for column in columns]
    return wide.select(
        "pop",
        "hour",
        "capacity",
        "rows",
        "mask",
        "over",
        n=_added([column.notnull().cast("int64") for column in columns]),
        bytes=_added(known),
        peak=ibis.greatest(*known),
    )


def quarter_hours(wide: Expr) -> Expr:
    """As `narrow_hours`, by the quarters of the hours: for zones that are half an hour off."""
    wide = wide.filter(wide.capacity.notnull())
    quarters = []
    for quarter in range(SLOTS // _QUARTER):
        columns = [wide[name] for name in _BYTES[quarter * _QUARTER : (quarter + 1) * _QUARTER]]
        quarters.append(
            wide.select(
                "pop",
                "capacity",
                at_s=wide.hour + quarter * QUARTER_S,
                n=_added([column.notnull().cast("int64") for column in columns]),
                bytes=_added([ibis.coalesce(column, 0) for column in columns]),
            )
        )
    return ibis.union(*quarters)


def samples_of(wide: Expr) -> Expr:
    """`pop`, `capacity` and `bytes` of every sample that is measured, a row each again."""
    slots = [wide.select("pop", "capacity", bytes=wide[name]) for name in _BYTES]
    return ibis.union(*slots).filter(lambda t: t.bytes.notnull())


def cell_hours(wide: Expr, cells: Expr) -> Expr:
    """Sums by `cell` and hour: the bytes of each slot, and the capacity of who was measured."""
    joined = wide.filter(wide.capacity.notnull()).join(cells, "pop")
    sums = {}
    for slot, name in enumerate(_BYTES):
        column = joined[name]
        there = ibis.ifelse(column.notnull(), joined.capacity, 0)
        sums[name] = column.sum().cast("int64")
        sums[f"capacity{slot}"] = there.sum().cast("int64")
    return joined.group_by("cell", "hour").agg(**sums)


def group_slots(cell_hours: Expr, members: Expr) -> Expr:
    """Sums by `group` and moment: `bytes`, and the `capacity` of who was measured."""
    slots = [
        cell_hours.select(
            "cell",
            at_s=cell_hours.hour + slot * STEP_S,
            bytes=cell_hours[name],
            capacity=cell_hours[f"capacity{slot}"],
        ).filter(lambda t: t.capacity > 0)
        for slot, name in enumerate(_BYTES)
    ]
    joined = ibis.union(*slots).join(members, "cell")
    return joined.group_by("group", "at_s").agg(
        bytes=joined.bytes.sum().cast("int64"),
        capacity=joined.capacity.sum().cast("int64"),
    )


def rises(wide: Expr) -> Expr:
    """For each hour its rises from one sample to the next, as shares of capacity.

    `steps` pairs of samples count; `largest` is the largest rise, 0 for falls only. `rise0`..11 are
    null where a sample is missing, the capacity changed, or the one before was nearly nothing.
    """
    wide = wide.filter(wide.capacity.notnull())
    scale = wide.capacity.cast("float64") * (STEP_S / 8)
    uses = wide.mutate(**{f"use{slot}": wide[name] / scale for slot, name in enumerate(_BYTES)})
    window = ibis.window(group_by="pop", order_by=[uses.hour, uses.mask])
    uses = uses.mutate(
        before=uses[f"use{SLOTS - 1}"].lag().over(window),
        before_hour=uses.hour.lag().over(window),
        before_capacity=uses.capacity.lag().over(window),
    )
    joins = (uses.before_hour == uses.hour - HOUR_S) & (uses.before_capacity == uses.capacity)
    uses = uses.mutate(before=ibis.ifelse(joins, uses.before, ibis.null("float64")))
    found = {}
    for slot in range(SLOTS):
        use = uses[f"use{slot}"]
        before = uses[f"use{slot - 1}"] if slot else uses.before
        counts = (before >= RETURN_BELOW) | (use <= before)
        found[f"rise{slot}"] = ibis.ifelse(counts, use - before, ibis.null("float64"))
    risen = uses.select("pop", "hour", "mask", **found)
    columns = [risen[f"rise{slot}"] for slot in range(SLOTS)]
    return risen.mutate(
        steps=_added([column.notnull().cast("int64") for column in columns]),
        largest=ibis.greatest(*(ibis.coalesce(column, 0.0) for column in columns)),
    )


def largest_rises(risen: Expr, hours: int) -> Expr:
    """The hours with the largest rises of each PoP: so many."""
    order = [risen.largest.desc(), risen.hour, risen.mask]
    place = ibis.row_number().over(ibis.window(group_by="pop", order_by=order))
    ranked = risen.filter(risen.largest > 0).mutate(place=place)
    return ranked.filter(ranked.place < hours).drop("place")


def _added(columns: list[Expr]) -> Expr:
    total = columns[0]
    for column in columns[1:]:
        total = total + column
    return total
