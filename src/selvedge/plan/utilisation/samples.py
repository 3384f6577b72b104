"""What counts of a history's rows, as expressions: the rules, in one place.

- A row counts once. Of several of one PoP and moment, one without flags is taken before one with,
  then the one with the most bytes: what came in part is less. Which came first is not asked, since
  no engine but one reader would know.
- A row off the five-minute grid, or in a month's folder but not of that month, does not count.
- Bytes count where they are measured and where the interfaces could have carried them: more than
  102 % of what fits is no jitter of a clock but a wrong unit or counter. Of a PoP whose capacity
  nobody knows they count below `BYTES_MAX`, and have no use.
- The capacity is the sample's own; where that is null, the fleet file's `nic_bps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import ibis

from selvedge.plan.history import SAMPLES, STEP_S

Billing = Literal["out", "in", "max", "sum"]
BILLINGS: Final[tuple[Billing, ...]] = ("out", "in", "max", "sum")
OVER_50THS: Final = 51
"""Of the capacity, above which bytes are an error: what `quality` calls over capacity, too."""
BYTES_MAX: Final = 4 * 10**13
CAPACITY_MAX: Final = 10**14
"""Bits per second above which a capacity is no number to judge by."""
_MOST: Final = STEP_S / 8 * OVER_50THS / 50
_DIRECTIONS: Final[dict[Billing, tuple[str, ...]]] = {
    "out": ("out_bytes",),
    "in": ("in_bytes",),
    "max": ("out_bytes", "in_bytes"),
    "sum": ("out_bytes", "in_bytes"),
}
RESOURCES_BP: Final = {
    "cpu": "cpu_bp",
    "memory": "memory_bp",
    "gpu": "gpu_bp",
    "power": "power_bp",
}

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query


def within(rows: Expr, from_s: int, until_s: int) -> Expr:
    """Rows of a time that lie on the grid."""
    return rows.filter(rows.at_s >= from_s, rows.at_s < until_s, rows.at_s % STEP_S == 0)


def once(rows: Expr) -> Expr:
    """One row of each PoP and moment."""
    last = [rows[name].desc(nulls_first=False) for name in SAMPLES.names[2:-1]]
    window = ibis.window(group_by=[rows.pop, rows.at_s], order_by=[rows.flags > 0, *last])
    return rows.mutate(place=ibis.row_number().over(window)).filter(lambda t: t.place == 0)


def measured(
    rows: Expr, billing: Billing, capacities: Expr | None = None, kept: Sequence[str] = ()
) -> Expr:
    """`pop`, `at_s`, `capacity` (null: unknown), `bytes` (null: not measured, or not possible).

    `over` says that there were bytes and they could not be. `capacities`, a table of `pop` and
    `nic_bps`, stands in for capacities that are null. The columns `kept` stay.
    """
    given = rows.capacity_bps.try_cast("int64")
    if capacities is not None:
        rows = rows.join(capacities, "pop", how="left")
        given = ibis.coalesce(rows.capacity_bps.try_cast("int64"), rows.nic_bps)
    nothing = ibis.null("int64")
    rows = rows.mutate(capacity=ibis.ifelse(given.between(1, CAPACITY_MAX), given, nothing))
    # As floating point: a counter that wrapped is near 2^64, and no product of it fits anywhere.
    most = ibis.coalesce(rows.capacity.cast("float64") * _MOST, float(BYTES_MAX))
    fits = [rows[name].cast("float64") <= most for name in _DIRECTIONS[billing]]
    columns = [
        ibis.ifelse(fit, rows[name], ibis.null(rows[name].type())).cast("int64")
        for fit, name in zip(fits, _DIRECTIONS[billing], strict=True)
    ]
    if len(columns) == 1:
        known, found = rows[_DIRECTIONS[billing][0]].notnull(), columns[0]
    else:
        known = rows.out_bytes.notnull() & rows.in_bytes.notnull()
        sent, received = columns
        more = ibis.ifelse(sent >= received, sent, received)
        found = sent + received if billing == "sum" else more
        found = ibis.ifelse(sent.notnull() & received.notnull(), found, nothing)
    return rows.select(
        "pop",
        rows.at_s.cast("int64").name("at_s"),
        "capacity",
        bytes=found,
        over=known & found.isnull(),
        **{name: rows[name] for name in kept},
    )
