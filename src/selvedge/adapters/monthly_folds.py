"""The fold of a month's receipts over collectors' parts, by DuckDB: what `MonthlyUsage` adds up.

Two passes over a few columns: sums by what has one price and by how receipts ended; and numbers as
masks of sixty-four, so that ten million of them come over as a hundred thousand whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from selvedge.adapters.partitions import as_table, connect
from selvedge.fabric import SelvedgeError, StoreCorrupt
from selvedge.ledger import (
    BLOCK,
    Atom,
    Counts,
    FoldAsked,
    Folded,
    MonthlyUsage,
    Numbers,
    NumberSpan,
    Origin,
    day_of,
    double,
    sort_of,
)

if TYPE_CHECKING:
    import duckdb

THREADS: Final = 2
MEMORY: Final = "1GB"
_TOKENS: Final = "(input_uncached + cache_read + cache_write + output + reasoning)"
_MASK: Final = "(1::UBIGINT << (seq % 64)::UBIGINT)"


def parts_of_days(parts: Sequence[Path], wish: FoldAsked) -> list[Path]:
    """The parts whose days, as their directories say, are of the time asked for."""
    first, last = day_of(wish.since_us), day_of(wish.until_us - 1)
    return [one for one in parts if first <= one.parent.name.removeprefix("day=") <= last]


def fold_parts(parts: Sequence[Path], wish: FoldAsked) -> Folded:
    """Usage of these parts, by tenant. Raises `DoubleReceipt`, `StoreCorrupt`."""
    asked = parts_of_days(parts, wish)
    if not asked:
        return {}
    found: Folded = {}
    with connect(THREADS, MEMORY) as database:
        source = _source(database, asked, wish)
        try:
            _fold_numbers(database, source, found)
            if not found:
                return found
            _fold_atoms(database, source, wish, found)
        except SelvedgeError:
            raise
        except Exception as error:  # duckdb.Error: imported late
            raise StoreCorrupt(f"parts cannot be read: {error}") from error
    return found


def _source(
    database: duckdb.DuckDBPyConnection, parts: Sequence[Path], wish: FoldAsked
) -> tuple[str, list[object]]:
    """What to select from, with its values."""
    source, values = f"{as_table(parts)} AS r", list[object]()
    conditions = ["NOT conflict", "received_us >= ?", "received_us < ?"]
    values += [wish.since_us, wish.until_us]
    if wish.tenant is not None:
        conditions.append("tenant = ?")
        values.append(wish.tenant)
    for name, numbers in (("only_these", wish.only), ("without_these", wish.without)):
        if numbers is not None:
            _keep_numbers(database, name, numbers)
            source += (
                f" LEFT JOIN {name} ON r.pop = {name}.pop AND r.worker = {name}.worker "
                f"AND r.seq // {BLOCK} = {name}.block"
            )
            is_in = f"coalesce({name}.mask, 0::UBIGINT) & {_MASK} <> 0"
            conditions.append(is_in if name == "only_these" else f"NOT ({is_in})")
    return f"FROM {source} WHERE {' AND '.join(conditions)}", values


def _keep_numbers(database: duckdb.DuckDBPyConnection, name: str, numbers: Numbers) -> None:
    """Numbers as a table of masks, by whole columns: row by row would outlast the fold."""
    database.execute(f"CREATE TABLE {name} (pop VARCHAR, worker INT, block BIGINT, mask UBIGINT)")
    for origin, blocks in numbers.masks.items():
        database.execute(
            f"INSERT INTO {name} SELECT ?, ?, unnest(?::BIGINT[]), unnest(?::UBIGINT[])",
            [origin.pop, origin.worker, list(blocks), list(blocks.values())],
        )


def _fold_numbers(
    database: duckdb.DuckDBPyConnection, source: tuple[str, list[object]], found: Folded
) -> None:
    query = (
        f"SELECT tenant, r.pop, r.worker, seq // {BLOCK} AS block, bit_or({_MASK}) AS mask, "
        f"count(*) {source[0]} GROUP BY ALL"
    )
    for tenant, pop, worker, block, mask, count in _rows(database, query, source[1]):
        if tenant not in found:
            found[tenant] = MonthlyUsage()
        origin = Origin(pop, worker)
        if count != mask.bit_count():
            raise double(origin, block * BLOCK, block * BLOCK + BLOCK - 1)
        found[tenant].numbers.add(origin, block, mask)


def _fold_atoms(
    database: duckdb.DuckDBPyConnection,
    source: tuple[str, list[object]],
    wish: FoldAsked,
    found: Folded,
) -> None:
    """Sums and spans, and how receipts ended, in one pass."""
    starts = wish.starts or ()
    # A whole number for a period is quicker to group by than a day, and days are many groups.
    period = " + ".join("(day >= ?)::INT" for _ in starts[1:]) or "0"
    when = "day" if wish.starts is None else period
    sums = ", ".join(
        f"sum({one})::BIGINT"
        for one in ("input_uncached", "cache_read", "cache_write", "output + reasoning")
    )
    query = (
        "SELECT tenant, project, coalesce(nullif(model, ''), '-') AS model, zone, settled_by, "
        f"{when} AS period, r.pop, r.worker, ({_TOKENS} > 0 OR settled_by = 'cache_hit') AS bills, "
        f"count(*), min(seq), max(seq), {sums} {source[0]} GROUP BY ALL"
    )
    for tenant, *row in _rows(database, query, [*starts[1:], *source[1]]):
        project, model, zone, end, day, pop, worker, bills, count, first, last, *tokens = row
        found[tenant].ends[end] += count
        if bills:
            sort = sort_of(end)
            hits = count if sort == "cached" else 0
            atom = Atom(project, model, zone, sort, starts[day] if starts else day)
            counts = Counts(count - hits, hits, *tokens)
            found[tenant].add(atom, Origin(pop, worker), counts, NumberSpan(first, last, count))


def _rows(
    database: duckdb.DuckDBPyConnection, query: str, values: list[object]
) -> list[tuple[Any, ...]]:  # Any: a column's own type
    return database.execute(query, values).fetchall()
