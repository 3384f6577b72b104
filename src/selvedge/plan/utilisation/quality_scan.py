"""Reading a history's parts for their faults: hours of it in one pass, rows where asked.

The pass asks for the rows of some PoPs and a month by an Ibis expression, and adds them up to hours
(`quality_hours`). What an hour cannot say (which of two rows differ, when exactly a run begins) is
asked again, of the raw rows of those hours only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import RLock
from typing import Any, Final, TypeVar

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import POPS_MAX, SAMPLES, BadPlan, Finding, History
from selvedge.plan.utilisation.parts import first_line, sound_row_groups
from selvedge.plan.utilisation.quality_hours import HOUR_S, Hours
from selvedge.plan.utilisation.quality_rows import Ints

PIECE: Final = 256
"""PoPs whose rows of a month are in memory at a time: 2.3 million rows, 90 MB."""
_SHIFT: Final = 32

Found = TypeVar("Found")


def month_span(month: str) -> tuple[int, int]:
    """Begin and end of a month, written `2026-01`, in seconds UTC. Raises `BadPlan`."""
    try:
        begin = np.datetime64(month, "M")
    except ValueError:
        words = "a folder of samples is named month=YYYY-MM"
        raise BadPlan(f"month={month} is no month; {words}.") from None
    ends = (begin, begin + np.timedelta64(1, "M"))
    first, after = (int(end.astype("datetime64[s]").astype(np.int64)) for end in ends)
    return first, after


class Parts:
    """The samples of a history by month, without what cannot be read, which is in `findings`."""

    def __init__(self, history: History, engine: Any = None) -> None:  # Any: Ibis has no base type
        self._engine = ibis.duckdb.connect() if engine is None else engine
        self._turn = RLock()
        self._readable: dict[str, list[Path]] = {}
        self._rescued: dict[str, list[pa.Table]] = {}
        self._tables: dict[str, Any] = {}  # by month, of Ibis
        self.months = history.months()
        self.findings: list[Finding] = []
        self.stored = dict.fromkeys(self.months, 0)
        """Rows by month, as the parts' footers say."""
        self.pops_max = dict.fromkeys(self.months, -1)
        """The largest number of a PoP by month, or more where a footer does not say."""
        for month in self.months:
            month_span(month)
            parts = history.parts(month)
            self._readable[month] = [path for path in parts if self._has_footer(month, path)]
            self._rescued[month] = []

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
                if not self._set_damaged_apart(month):
                    raise
            return self._ask(month, question)

    def _table(self, month: str) -> Any:
        if month not in self._tables:
            tables = [ibis.memtable(table) for table in self._rescued[month]]
            if paths := self._readable[month]:
                tables.append(self._engine.read_parquet([str(path) for path in paths]))
            shown = [table.select(*SAMPLES.names) for table in tables]
            joined = ibis.union(*shown) if len(shown) > 1 else (shown[0] if shown else None)
            self._tables[month] = joined
        return self._tables[month]

    def _has_footer(self, month: str, path: Path) -> bool:
        try:
            footer = pq.read_metadata(path)
            columns = footer.schema.to_arrow_schema().names
        except (OSError, pa.ArrowException) as error:
            self._lose(month, path.name, f"no Parquet file in whole: {first_line(error)}; left out")
            return False
        missing = [name for name in SAMPLES.names if name not in columns]
        if missing:
            self._lose(month, path.name, f"no column {', '.join(missing)}; left out")
            return False
        self.stored[month] += footer.num_rows
        self.pops_max[month] = max(self.pops_max[month], _largest_pop(footer))
        return True

    def _set_damaged_apart(self, month: str) -> bool:
        """Whether a part was damaged: its readable row groups are kept, the rest is a finding."""
        damaged = []
        for path in self._readable[month]:
            good, bad = sound_row_groups(path)
            if bad:
                damaged.append(path)
                self._rescued[month] += good
            for group, error in bad:
                where = f"{path.name}, row group {group}"
                self._lose(month, where, f"it cannot be read: {error}; left out")
        self._readable[month] = [path for path in self._readable[month] if path not in damaged]
        self._tables.pop(month, None)
        return bool(damaged)

    def _lose(self, month: str, source: str, detail: str) -> None:
        first, after = month_span(month)
        source = f"samples/month={month}/{source}"
        self.findings.append(
            Finding(kind="unreadable", from_s=first, until_s=after, source=source, detail=detail)
        )


def _largest_pop(footer: Any) -> int:  # Arrow's metadata, which is not typed
    column = footer.schema.to_arrow_schema().get_field_index("pop")
    groups = [footer.row_group(at).column(column) for at in range(footer.num_row_groups)]
    known = [one.statistics.max for one in groups if one.statistics and one.statistics.has_min_max]
    return max(known, default=-1) if len(known) == len(groups) else POPS_MAX


def _of(rows: Any, first: int, after: int) -> Any:
    return rows.filter(rows.pop >= first, rows.pop < after)


def _key(rows: Any) -> Any:
    at = rows.at_s.cast("int64")
    return rows.pop.cast("int64") * 2**_SHIFT + (at - at % HOUR_S)


def keys_of(pops: Iterable[int] | Ints, begins: Sequence[int] | Ints) -> Ints:
    """The keys of hours that begin then, of those PoPs."""
    return (np.asarray(pops, np.int64) << _SHIFT) + np.asarray(begins, np.int64)
