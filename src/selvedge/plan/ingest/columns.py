"""Readings as NumPy columns: what staging and merging compute with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from selvedge.plan.ingest.measures import MEASURES

Array = npt.NDArray[Any]  # Any: integers of several widths, and floats
FLOATS: Final = ("power_w", "gpu_power_w")
FIXED: Final = ("pop", "series", "at_ms", "flags")
OPTIONAL: Final = ("until_ms", "uptime_ms", "width", "line", "run")


def type_of(name: str, *, is_gauge: bool) -> pa.DataType:
    """Of a column of readings, as it is kept. Levels keep their fractions."""
    plain = {"pop": pa.uint16(), "series": pa.uint32(), "flags": pa.uint8(), "width": pa.uint8()}
    if name in plain:
        return plain[name]
    if name in ("at_ms", "until_ms", "uptime_ms"):
        return pa.int64()
    return pa.float64() if is_gauge or name in FLOATS else pa.uint64()


@dataclass(slots=True)
class Readings:
    """Rows of one kind. A measure that is nowhere has no column."""

    pop: Array
    series: Array
    at_ms: Array
    flags: Array
    more: dict[str, Array] = field(default_factory=dict)
    """`until_ms`, `uptime_ms` (-1: unknown), `width`, `line` in the file, `run` of the merge."""
    values: dict[str, Array] = field(default_factory=dict)
    valid: dict[str, Array | None] = field(default_factory=dict)
    """By measure, where it was measured; None: everywhere."""

    def __len__(self) -> int:
        return len(self.pop)

    def has(self, measure: str) -> Array:
        """Where a measure was taken."""
        valid = self.valid[measure]
        return np.ones(len(self), bool) if valid is None else valid

    def take(self, index: Array | slice) -> Readings:
        """Some of the rows: by position, mask or slice."""
        return replace(
            self,
            pop=self.pop[index],
            series=self.series[index],
            at_ms=self.at_ms[index],
            flags=self.flags[index],
            more={name: column[index] for name, column in self.more.items()},
            values={name: column[index] for name, column in self.values.items()},
            valid={n: None if v is None else v[index] for n, v in self.valid.items()},
        )

    def to_table(self) -> pa.Table:
        """As it is kept on disk."""
        columns: dict[str, pa.Array] = {
            "pop": pa.array(self.pop),
            "series": pa.array(self.series),
            "at_ms": pa.array(self.at_ms),
            "flags": pa.array(self.flags),
        }
        columns |= {name: pa.array(column) for name, column in self.more.items()}
        for name, values in self.values.items():
            valid = self.valid[name]
            columns[name] = pa.array(values, mask=None if valid is None else ~valid)
        return pa.table(columns)


def from_table(table: pa.Table) -> Readings:
    """Back from disk."""
    names = table.column_names
    found = Readings(*(table[name].to_numpy() for name in FIXED))
    found.more = {name: table[name].to_numpy() for name in OPTIONAL if name in names}
    for name in MEASURES:
        if name in names:
            found.values[name], found.valid[name] = column_of(table[name])
    return found


def column_of(column: pa.ChunkedArray) -> tuple[Array, Array | None]:
    """Values, and where they are there."""
    if column.null_count == 0:
        return column.to_numpy(), None
    return pc.fill_null(column, 0).to_numpy(), pc.is_valid(column).to_numpy()


def concat(parts: Sequence[Readings]) -> Readings:
    """All rows, in order; measures that some do not have are null there."""
    if len(parts) == 1:
        return parts[0]
    found = Readings(
        np.concatenate([part.pop for part in parts]),
        np.concatenate([part.series for part in parts]),
        np.concatenate([part.at_ms for part in parts]),
        np.concatenate([part.flags for part in parts]),
    )
    empty = {"until_ms": 0, "uptime_ms": -1, "width": 0, "line": 0}
    for name in _names([part.more for part in parts]):
        kind = next(part.more[name].dtype for part in parts if name in part.more)
        found.more[name] = np.concatenate(
            [p.more.get(name, np.full(len(p), empty.get(name, 0), kind)) for p in parts]
        )
    for name in _names([part.values for part in parts]):
        kind = next(part.values[name].dtype for part in parts if name in part.values)
        found.values[name] = np.concatenate(
            [p.values.get(name, np.zeros(len(p), kind)) for p in parts]
        )
        whole = all(name in part.valid and part.valid[name] is None for part in parts)
        found.valid[name] = None if whole else np.concatenate([_valid(p, name) for p in parts])
    return found


def _names(tables: Sequence[Mapping[str, Array]]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table))


def _valid(part: Readings, name: str) -> Array:
    return part.has(name) if name in part.values else np.zeros(len(part), bool)
