"""Azure's traces of LLM inference (2023): requests as arrival, prompt and answer lengths.

CSV with the columns ``TIMESTAMP`` (UTC, with fractions of a second), ``ContextTokens`` and
``GeneratedTokens`` (Azure/AzurePublicDataset; Patel et al. 2024, Splitwise, ISCA). They tell of no
users and no shared prefixes: every prompt is new to every memory.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from selvedge.sim.engines import Work
from selvedge.sim.mooncake import BadTrace
from selvedge.sim.pool import Timed

COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_US: Final = timedelta(microseconds=1)


def read_azure(lines: Iterable[bytes], name: str = "trace") -> list[Timed]:
    """Every request of a trace, its times counted from the first. Raises `BadTrace`."""
    rows = csv.reader(line.decode("utf-8", "replace") for line in lines)
    if tuple(next(rows, ())) != COLUMNS:
        raise BadTrace(name, 1, f"the columns are not {','.join(COLUMNS)}; correct the first line")
    requests: list[Timed] = []
    first: datetime | None = None
    before_us = 0
    for row in rows:
        line = rows.line_num
        at, work = _row(row, name, line)
        first = first or at
        at_us = (at - first) // _US
        if at_us < before_us:
            raise BadTrace(name, line, "TIMESTAMP is before the last line's; sort the file by it")
        before_us = at_us
        requests.append(Timed(at_us, work))
    if not requests:
        raise BadTrace(name, 2, "holds no request; give a file with at least one")
    return requests


def _row(row: list[str], name: str, line: int) -> tuple[datetime, Work]:
    if len(row) != len(COLUMNS):
        raise BadTrace(name, line, f"has {len(row)} fields; {len(COLUMNS)} are expected")
    try:
        at = datetime.fromisoformat(row[0])
    except ValueError as error:
        raise BadTrace(name, line, f"TIMESTAMP {row[0]!r} is no ISO 8601 time") from error
    counts: list[int] = []
    for column, text in zip(COLUMNS[1:], row[1:], strict=True):
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise BadTrace(name, line, f"{column} {text!r} is no count from 1; drop the line")
        counts.append(int(text))
    return at if at.tzinfo else at.replace(tzinfo=UTC), Work(counts[0], counts[1])
