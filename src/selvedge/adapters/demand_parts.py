"""What of collectors' parts is demand, by DuckDB: the two looks of `ledger.DemandFold`.

The receipts themselves, the widest column, are not read. Parts that an earlier version wrote have
no column ``purpose``: what it says is taken from how a receipt settled, so that a line of a batch
that failed counts there as a client's request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from selvedge.adapters.partitions import as_table, quoted, reading
from selvedge.ledger import (
    CLOCK_SLACK_US,
    HOUR_US,
    DemandAsked,
    DemandPlace,
    DemandTally,
    Hours,
    HourWindow,
    Tallied,
    day_of,
    hours_asked,
    kind_in_sql,
)

if TYPE_CHECKING:
    import duckdb

FETCHED: Final = 10_000
_PURPOSE: Final = (
    "CASE settled_by WHEN 'batch_line' THEN 'batch' WHEN 'probe' THEN 'probe' "
    "WHEN 'judge' THEN 'judge' ELSE 'request' END"
)
_COLUMNS: Final = (
    *("pop", "zone", "tenant", "data_class", "key", "model", "served_pop", "settled_by", "code"),
    *("received_us", "input_uncached", "cache_read", "cache_write", "output", "reasoning"),
)


def hours_of_parts(parts: Sequence[Path], asked: DemandAsked) -> Hours:
    """Receipts by hour of 1970, and those of the future by PoP. Raises `StoreFailed`."""
    if not parts:
        return Hours(Counter(), Counter())
    since, until = hours_asked(asked)
    with reading(parts) as database:
        table = as_table(parts)
        seen = database.execute(
            f"SELECT received_us // {HOUR_US}, count(*) FROM {table} "
            "WHERE NOT conflict AND received_us >= ? AND received_us < ? GROUP BY 1",
            [since, until],
        ).fetchall()
        future = database.execute(
            f"SELECT pop, count(*) FROM {table} WHERE NOT conflict AND received_us >= ? GROUP BY 1",
            [max(since, asked.now_us + CLOCK_SLACK_US)],
        ).fetchall()
    return Hours(Counter(dict(seen)), Counter(dict(future)))


def tallies_of_parts(parts: Sequence[Path], asked: DemandAsked, window: HourWindow) -> Tallied:
    """Requests by place, of these hours. Raises `StoreFailed`."""
    since, until = window.begin * HOUR_US, window.end * HOUR_US
    first, last = day_of(since), day_of(until - 1)
    days = [one for one in parts if first <= one.parent.name.removeprefix("day=") <= last]
    found: Tallied = {}
    if not days:
        return found
    with reading(days) as database:
        query, values = _query(_source(database, days), asked)
        answer = database.execute(query, values | {"since": since, "until": until})
        while rows := answer.fetchmany(FETCHED):
            for *place, hour, count, begun, ended, completed, prompt, output in rows:
                hours = [0] * 24
                hours[hour] = count
                tally = DemandTally(tuple(hours), begun, ended, completed, prompt, output)
                key = DemandPlace(*place)
                found[key] = found[key].plus(tally) if key in found else tally
    return found


def _source(database: duckdb.DuckDBPyConnection, parts: Sequence[Path]) -> str:
    """The columns that are looked at, of parts of any version."""
    files = ", ".join(map(quoted, parts))
    table = f"read_parquet([{files}], hive_partitioning = false, union_by_name = true)"
    written = database.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
    known = any(name == "purpose" for name, *_ in written)
    purpose = f"coalesce(purpose, {_PURPOSE})" if known else _PURPOSE
    return (
        f"(SELECT {', '.join(_COLUMNS)}, {purpose} AS purpose FROM {table} "
        "WHERE NOT conflict AND received_us >= $since AND received_us < $until)"
    )


def _query(source: str, asked: DemandAsked) -> tuple[str, dict[str, Any]]:  # Any: a parameter
    values: dict[str, Any] = {
        "tenant": asked.tenant,
        "model": asked.model,
        "providers": sorted(asked.providers),
        "provider_models": sorted(asked.provider_models),
    }
    narrowed = "false"
    if asked.narrowed:
        values["narrowed"] = sorted(asked.narrowed)
        names = "(SELECT unnest($narrowed::VARCHAR[]))"
        narrowed = f"tenant || '/' || data_class IN {names} OR tenant || ':' || key IN {names}"
    completed = "FILTER (settled_by = 'complete')"
    prompt = "sum(input_uncached + cache_read + cache_write)"
    return (
        f"SELECT pop, zone, {kind_in_sql()} AS kind, {narrowed} AS narrowed, "
        f"(received_us // {HOUR_US}) % 24 AS hour, count(*), "
        f"min(received_us) // {HOUR_US}, max(received_us) // {HOUR_US}, "
        f"count(*) {completed}, coalesce({prompt} {completed}, 0)::BIGINT, "
        f"coalesce(sum(output + reasoning) {completed}, 0)::BIGINT "
        f"FROM {source} GROUP BY ALL",
        values,
    )
