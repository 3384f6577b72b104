"""What counts of a history's rows, as expressions: the rules, in one place.

- A row counts once. Of several of one PoP and moment, one without flags is taken before one with,
  then the one with the most bytes: what came in part is less. Which came first is not asked, since
  no engine but one reader would know.
- A row off the five-minute grid, or in a month's folder but not of that month, does not count.
- Bytes count where they are measured and where the interfaces could have carried them: more than
  `OVER` times what fits is no jitter of a clock but a wrong unit or counter. Of a PoP whose
  capacity nobody knows they count below `BYTES_MAX`, and have no use.
- The capacity is the sample's own; where that is null, the fleet file's `nic_bps`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import ibis

from selvedge.plan.history import SAMPLES, STEP_S

Billing = Literal["out", "in", "max", "sum"]
BILLINGS: Final[tuple[Billing, ...]] = ("out", "in", "max", "sum")
OVER: Final = 2
"""Times the capacity above which bytes are an error. Between one and this they are a burst."""
BYTES_MAX: Final = 10**14
CAPACITY_MAX: Final = 10**15
"""Bits per second above which a capacity is no number to judge by."""
THOUSAND: Final = 1000
"""Quantiles over months are of uses in thousandths, rounded up."""
BINS_MAX: Final = OVER * THOUSAND
"""The largest use in thousandths; shares above are entered as this."""
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


def without(rows: Expr, pops: list[int]) -> Expr:
    """Rows of other PoPs."""
    return rows.filter(rows.pop.notin(pops)) if pops else rows


def once(rows: Expr) -> Expr:
    """One row of each PoP and moment."""
    last = [rows[name].desc(nulls_first=False) for name in SAMPLES.names[2:-1]]
    window = ibis.window(group_by=[rows.pop, rows.at_s], order_by=[rows.flags > 0, *last])
    return rows.mutate(place=ibis.row_number().over(window)).filter(lambda t: t.place == 0)


def measured(rows: Expr, billing: Billing, capacities: Expr | None = None) -> Expr:
    """`pop`, `at_s`, `capacity` (null: unknown), `bytes` (null: not measured, or not possible).

    `over` says that there were bytes and they could not be. `capacities`, a table of `pop` and
    `nic_bps`, stands in for capacities that are null.
    """
    if capacities is not None:
        rows = rows.join(capacities, "pop", how="left")
        given = ibis.coalesce(_integer(rows.capacity_bps), rows.nic_bps)
    else:
        given = _integer(rows.capacity_bps)
    usable = (given > 0) & (given < CAPACITY_MAX)
    rows = rows.mutate(
        capacity=ibis.ifelse(usable, given, ibis.null("int64")),
        sent=_integer(rows.out_bytes),
        received=_integer(rows.in_bytes),
    )
    if billing in ("out", "in"):
        known = rows.sent if billing == "out" else rows.received
        found = ibis.ifelse(_fits(known, rows.capacity), known, ibis.null("int64"))
    else:
        known = rows.sent + rows.received
        both = _fits(rows.sent, rows.capacity) & _fits(rows.received, rows.capacity)
        more = ibis.ifelse(rows.sent >= rows.received, rows.sent, rows.received)
        found = ibis.ifelse(both, known if billing == "sum" else more, ibis.null("int64"))
    rows = rows.mutate(bytes=found, known=known)
    return rows.select(
        "pop",
        rows.at_s.cast("int64").name("at_s"),
        "capacity",
        "bytes",
        over=rows.known.notnull() & rows.bytes.isnull(),
    )


def _integer(column: Expr) -> Expr:
    """As a signed integer, and what is too large to be meant as 2^60."""
    limit = ibis.literal(2**60, type="uint64")
    return ibis.ifelse(column > limit, limit, column).cast("int64")


def _fits(column: Expr, capacity: Expr) -> Expr:
    """Whether the bytes of a sample are possible."""
    most = ibis.coalesce(capacity * (OVER * STEP_S // 8), BYTES_MAX - 1)
    return column <= most


def use_bins(rows: Expr) -> Expr:
    """Samples of each PoP, capacity and use in thousandths, from `measured` rows."""
    rows = rows.filter(rows.bytes.notnull(), rows.capacity.notnull())
    use = (rows.bytes * (8 * THOUSAND // 100)) / (rows.capacity * (STEP_S // 100))
    return rows.group_by("pop", "capacity", bin=use.ceil().cast("int16")).agg(n=rows.count())


def share_bins(rows: Expr, column: str) -> Expr:
    """Samples of each PoP and use in thousandths, of a column in hundredths of a percent."""
    rows = rows.filter(rows[column].notnull())
    share = ((rows[column].cast("int32")) / 10).ceil().cast("int16")
    share = ibis.ifelse(share > BINS_MAX, BINS_MAX, share)
    return rows.group_by("pop", bin=share.cast("int16")).agg(n=rows.count())
