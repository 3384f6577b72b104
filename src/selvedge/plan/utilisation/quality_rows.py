"""Raw rows of suspicious hours, as arrays by PoP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.history import SAMPLES

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Raw rows of one PoP, sorted by moment. Values are nan where null."""

    at_s: Ints
    out: Floats
    in_: Floats
    capacity: Floats
    flags: Ints
    exact: Ints
    """`out` as an integer, 0 where null."""
    cpu: Ints
    """Share of processors in use, 0 where null."""
    same: Bools
    """Whether the row equals the one before it in every column but the flags."""


def rows_by_pop(
    tables: Sequence[pa.Table], wanted: Callable[[Ints, Ints], Bools]
) -> Iterator[tuple[int, Rows]]:
    """The rows of all tables by the PoPs' numbers, but for those that are not wanted."""
    if not tables:
        return
    table = pa.concat_tables(tables)
    here = wanted(_integers(table, "pop"), _integers(table, "at_s"))
    # By all columns: rows of one moment have one order, whichever engine gave them.
    table = table.filter(pa.array(here)).sort_by([(name, "ascending") for name in SAMPLES.names])
    whole = _rows(table.combine_chunks())
    numbers, begins = np.unique(_integers(table, "pop"), return_index=True)
    ends = np.append(begins[1:], table.num_rows)
    columns = [getattr(whole, field.name) for field in fields(Rows)]
    for number, begin, end in zip(numbers.tolist(), begins, ends, strict=True):
        yield number, Rows(*(column[begin:end] for column in columns))


def _integers(table: pa.Table, name: str) -> Ints:
    found: Ints = table[name].fill_null(0).to_numpy().astype(np.uint64).view(np.int64)
    return found


def _reals(table: pa.Table, name: str) -> Floats:
    found: Floats = table[name].cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
    return found


def _rows(table: pa.Table) -> Rows:
    return Rows(
        at_s=_integers(table, "at_s"),
        out=_reals(table, "out_bytes"),
        in_=_reals(table, "in_bytes"),
        capacity=_reals(table, "capacity_bps"),
        flags=_integers(table, "flags"),
        exact=_integers(table, "out_bytes"),
        cpu=_integers(table, "cpu_bp"),
        same=_same(table),
    )


def _same(table: pa.Table) -> Bools:
    found = np.zeros(table.num_rows, np.bool_)
    if table.num_rows > 1:
        found[1:] = True
        for name in (one for one in table.column_names if one != "flags"):
            values = _integers(table, name)
            nulls = table[name].is_null().to_numpy()
            found[1:] &= (values[1:] == values[:-1]) & (nulls[1:] == nulls[:-1])
    return found
