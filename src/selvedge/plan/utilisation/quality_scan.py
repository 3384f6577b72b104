"""Reading a history's parts for their faults: hours of it in one pass, rows where asked.

The pass is one Ibis expression a month: what each PoP's hour holds, twelve samples as one row. What
an hour cannot say (which of two rows differ, when exactly a run begins) is asked again, of the raw
rows of those hours only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import RLock
from typing import Any, Final, TypeAlias

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import POPS_MAX, SAMPLES, STEP_S, BadPlan, Finding, History

HOUR_S: Final = 3_600
SLOTS: Final = HOUR_S // STEP_S
"""Samples of an hour."""
FULL: Final = (1 << SLOTS) - 1
"""The mask of an hour with all of its samples."""
_SHIFT: Final = 32

Ints: TypeAlias = npt.NDArray[np.int64]


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

    def hours(self, month: str, first: int, after: int) -> pa.Table | None:
        """What the hours of the PoPs from `first` to before `after` hold; None: nothing is left.

        `key` is the PoP's number times 2^32 plus the hour's begin. `mask` is the sum of 1 << slot:
        it has `n` bits exactly if no moment is there twice.
        """
        return self._ask(month, lambda rows: _by_hour(_of(rows, first, after)))

    def rows(self, month: str, keys: Ints) -> pa.Table | None:
        """The rows of the hours of these keys, sorted by PoP, moment and value."""
        pops = np.unique(keys >> _SHIFT)
        wanted = ibis.memtable(pa.table({"key": np.unique(keys)}))

        def ask(rows: Any) -> Any:
            near = _of(rows, int(pops[0]), int(pops[-1]) + 1).mutate(key=_key)
            picked = near.semi_join(wanted, "key").select(*SAMPLES.names)
            return picked.order_by(*SAMPLES.names)

        return self._ask(month, ask)

    def _ask(self, month: str, question: Any) -> pa.Table | None:
        # One thread at a time: a connection is not to be shared.
        with self._turn:
            if (rows := self._table(month)) is None:
                return None
            try:
                return question(rows).to_pyarrow()
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
            self._lose(month, path.name, f"no Parquet file in whole: {_line(error)}; left out")
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
            good, bad = _row_groups(path)
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


def _row_groups(path: Path) -> tuple[list[pa.Table], list[tuple[int, str]]]:
    good: list[pa.Table] = []
    bad: list[tuple[int, str]] = []
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            try:
                good.append(file.read_row_group(group, columns=SAMPLES.names).cast(SAMPLES))
            except (OSError, ValueError, pa.ArrowException) as error:
                bad.append((group, _line(error)))
    return good, bad


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _of(rows: Any, first: int, after: int) -> Any:
    return rows.filter(rows.pop >= first, rows.pop < after)


def _key(rows: Any) -> Any:
    at = rows.at_s.cast("int64")
    return rows.pop.cast("int64") * 2**_SHIFT + (at - at % HOUR_S)


def _by_hour(rows: Any) -> Any:
    one = ibis.literal(1, type="int64")
    slot = (rows.at_s.cast("int64") // STEP_S) % SLOTS
    found = rows.group_by(key=_key(rows)).agg(
        n=rows.count(),
        mask=(one << slot).sum().cast("int64"),
        known=rows.out_bytes.count(),
        # Summed as integers: a sum of floats would depend on the order of the threads.
        total=rows.out_bytes.sum().cast("float64"),
        low=rows.out_bytes.min(),
        high=rows.out_bytes.max(),
        in_high=rows.in_bytes.max(),
        capacity_low=rows.capacity_bps.min(),
        capacity_high=rows.capacity_bps.max(),
        cpu_low=rows.cpu_bp.min(),
        cpu_high=rows.cpu_bp.max(),
        flags=rows.flags.max(),
    )
    unknown = ibis.literal(float("nan"), type="float64")
    low = found.low.cast("float64")
    is_flat = (found.known > 1) & (found.low == found.high)
    is_flat_cpu = (found.n > 1) & (found.cpu_low == found.cpu_high)
    high = ibis.greatest(found.high, ibis.coalesce(found.in_high, found.high)).cast("float64")
    peak = high * (8 / STEP_S) / found.capacity_low.cast("float64").nullif(0)
    rest = (found.total - low) / (found.known - 1).nullif(0)
    return found.select(
        "key",
        n=found.n.cast("int32"),
        mask=found.mask.cast("int32"),
        known=found.known.cast("int32"),
        mean=ibis.coalesce(found.total / found.known.nullif(0), unknown).cast("float32"),
        low=ibis.coalesce(low, unknown).cast("float32"),
        rest=ibis.coalesce(rest, unknown).cast("float32"),
        peak=ibis.coalesce(peak, unknown).cast("float32"),
        flat=ibis.ifelse(is_flat, found.low, 0).fill_null(0).cast("uint64"),
        flat_cpu=ibis.ifelse(is_flat_cpu, found.cpu_low, 0).fill_null(0).cast("uint16"),
        capacity_low=ibis.coalesce(found.capacity_low.cast("float64"), unknown),
        capacity_high=ibis.coalesce(found.capacity_high.cast("float64"), unknown),
        flags="flags",
    )


def keys_of(pops: Iterable[int] | Ints, begins: Sequence[int] | Ints) -> Ints:
    """The keys of hours that begin then, of those PoPs."""
    return (np.asarray(pops, np.int64) << _SHIFT) + np.asarray(begins, np.int64)


def split_keys(keys: Ints) -> tuple[Ints, Ints]:
    """PoPs and begins of hours, from their keys."""
    return keys >> _SHIFT, keys & ((1 << _SHIFT) - 1)
