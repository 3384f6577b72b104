"""Reading a history's parts for their faults: hours of it in one pass, rows where asked.

The pass asks for the rows of some PoPs and a month by an Ibis expression, and adds them up to hours
(`quality_hours`). What an hour cannot say (which of two rows differ, when exactly a run begins) is
asked again, of the raw rows of those hours only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import RLock
from typing import Any, Final, TypeVar

import ibis
import numpy as np
import pyarrow as pa

from selvedge.plan.history import SAMPLES
from selvedge.plan.utilisation.parts import Parts
from selvedge.plan.utilisation.quality_hours import Hours
from selvedge.plan.utilisation.quality_rows import Ints
from selvedge.plan.utilisation.zones import HOUR_S, month_span

PIECE: Final = 256
"""PoPs whose rows of a month are in memory at a time: 2.3 million rows, 90 MB."""
_SHIFT: Final = 32

Found = TypeVar("Found")


class Scan:
    """Asks for the rows of parts, one question at a time, from any thread."""

    def __init__(self, parts: Parts, engine: Any = None) -> None:  # Any: Ibis has no base type
        self.parts = parts
        self._engine = ibis.duckdb.connect() if engine is None else engine
        self._turn = RLock()
        self._tables: dict[str, Any] = {}  # by month, of Ibis

    def hours(self, month: str, first: int, after: int) -> Hours | None:
        """The hours of the PoPs from `first` to before `after`; None: nothing is left of them."""

        def add_up(rows: Any) -> Hours:
            found = Hours.none_yet(first, after - first, *month_span(month))
            pieces = -(-(after - first) // PIECE)
            width = -(-(after - first) // pieces)
            for low in range(first, after, width):
                high = min(low + width, after)
                # Without a name, so that it is gone before the next is there.
                found.add(_of(rows, low, high).to_pyarrow().cast(SAMPLES), low, high)
            return found

        return self._ask(month, add_up)

    def beyond(self, month: str, first: int) -> list[tuple[int, int]]:
        """PoPs by number from `first` on, and how many rows each has."""

        def count(rows: Any) -> pa.Table:
            some = rows.filter(rows.pop >= first)
            return some.group_by("pop").agg(n=some.count()).order_by("pop").to_pyarrow()

        if (table := self._ask(month, count)) is None:
            return []
        return list(zip(table["pop"].to_pylist(), table["n"].to_pylist(), strict=True))

    def rows(self, month: str, keys: Ints) -> pa.Table | None:
        """The rows of the hours of these keys, in any order."""
        pops = np.unique(keys >> _SHIFT)
        wanted = ibis.memtable(pa.table({"key": np.unique(keys)}))

        def ask(rows: Any) -> pa.Table:
            near = rows.filter(rows.pop.isin(pops.tolist())).mutate(key=_key)
            picked = near.semi_join(wanted, "key").select(*SAMPLES.names)
            return picked.to_pyarrow().cast(SAMPLES)

        return self._ask(month, ask)

    def _ask(self, month: str, question: Callable[[Any], Found]) -> Found | None:
        # One thread at a time: a connection is not to be shared.
        with self._turn:
            if (rows := self._table(month)) is None:
                return None
            try:
                return question(rows)
            except Exception:
                # Each engine has its own errors for a damaged page: look for one, or it is ours.
                if not self.parts.mend(month):
                    raise
            del self._tables[month]
            return self._ask(month, question)

    def _table(self, month: str) -> Any:
        if month not in self._tables and (paths := self.parts.paths(month)):
            rows = self._engine.read_parquet([str(path) for path in paths])
            self._tables[month] = rows.select(*SAMPLES.names)
        return self._tables.get(month)


def _of(rows: Any, first: int, after: int) -> Any:
    return rows.filter(rows.pop >= first, rows.pop < after)


def _key(rows: Any) -> Any:
    at = rows.at_s.cast("int64")
    return rows.pop.cast("int64") * 2**_SHIFT + (at - at % HOUR_S)


def keys_of(pops: Iterable[int] | Ints, begins: Sequence[int] | Ints) -> Ints:
    """The keys of hours that begin then, of those PoPs."""
    return (np.asarray(pops, np.int64) << _SHIFT) + np.asarray(begins, np.int64)
