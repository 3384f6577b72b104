"""One tenant's receipts of a time out of collectors' parts, and the numbers of those around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from selvedge.adapters.partitions import as_rows, as_table, reading
from selvedge.ledger import BLOCK, Numbers, Origin, UsageRow

_FETCHED: Final = 1_000


def rows_of_tenant(
    parts: Sequence[Path], tenant: str, since_us: int, until_us: int
) -> Iterator[UsageRow]:
    """Rows of the tenant and time, conflicts too. Raises `StoreFailed`."""
    return rows_between(parts, since_us, until_us, tenant)


def rows_between(
    parts: Sequence[Path], since_us: int, until_us: int, tenant: str | None = None
) -> Iterator[UsageRow]:
    """Rows of a time, of one tenant or of all. Raises `StoreFailed`.

    Every part is looked at, whatever day its directory says: a part that lies in the wrong one
    must not hide what is in it.
    """
    if not parts:
        return
    with reading(parts) as database:
        query = (
            f"SELECT * FROM {as_rows(database, parts)} "
            "WHERE coalesce(tenant = ?, true) AND received_us >= ? AND received_us < ?"
        )
        found = database.execute(query, [tenant, since_us, until_us])
        while rows := found.fetchmany(_FETCHED):
            for row in rows:
                yield UsageRow(*row)


def numbers_around(
    parts: Sequence[Path], tenant: str, since_us: int, until_us: int
) -> tuple[Numbers, Numbers]:
    """Numbers of the tenant's receipts before and after the time. Raises `StoreFailed`."""
    before, after = Numbers(), Numbers()
    if not parts:
        return before, after
    query = (
        f"SELECT pop, worker, seq // {BLOCK}, received_us >= ?, "
        f"bit_or(1::UBIGINT << (seq % {BLOCK})::UBIGINT) FROM {as_table(parts)} "
        "WHERE NOT conflict AND tenant = ? AND (received_us < ? OR received_us >= ?) GROUP BY ALL"
    )
    with reading(parts) as database:
        values = [until_us, tenant, since_us, until_us]
        for pop, worker, block, is_after, mask in database.execute(query, values).fetchall():
            numbers = after if is_after else before
            found = Numbers()
            found.add(Origin(pop, worker), block, mask)
            numbers.join(found)
    return before, after
