"""Where the report's queries run. They are Ibis expressions; an engine only carries them out.

DuckDB is the default. ClickHouse (through chdb) and Spark are asked the same expressions, for who
has them: neither is a dependency. What engines do differently is here and nowhere else: how a file
is named, where an intermediate result lives, and how an order statistic is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa

RANKS: Final = (50, 95)
"""Percents p of the order statistics that are taken: of n sorted values the one in place
n - floor(n (100 - p) / 100). For 95 that is the billing rule."""

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query


class Engine(Protocol):
    """Carries out expressions. Tables that it gives are alive until it is closed."""

    def scan(self, paths: Sequence[Path]) -> Expr:
        """The rows of Parquet files of one schema."""

    def give(self, name: str, table: pa.Table) -> Expr:
        """A small table under a name of its own."""

    def hold(self, name: str, expr: Expr) -> Expr:
        """The result of an expression, computed once, in place of an older one of that name."""

    def fetch(self, expr: Expr) -> pa.Table:
        """The result of an expression, here."""

    def clear(self) -> None:
        """Let go of what was given and held; scans stay."""

    def close(self) -> None:
        """End it."""

    def ranked(self, values: Expr) -> Expr:
        """The order statistics `RANKS` of a group's integers, as an array."""


@ibis.udf.agg.builtin(  # type: ignore[untyped-decorator]
    name="quantile_disc", signature=((dt.int64, dt.Array(dt.float64)), dt.Array(dt.int64))
)
def _quantile_disc(values: int, shares: list[float]) -> list[int]:  # type: ignore[empty-body]
    """DuckDB's own: of the sorted values the ceil(n share)-th, which is what `RANKS` says."""


class Duck:
    """DuckDB inside this process, with a limit of memory and a folder to spill to."""

    def __init__(self, scratch: Path, threads: int, memory_gib: float) -> None:
        self._held: set[str] = set()
        self.connection: Any = ibis.duckdb.connect(
            threads=threads,
            memory_limit=f"{int(memory_gib * 1024)}MiB",
            temp_directory=str(scratch / "spill"),
            preserve_insertion_order=False,
        )
        # It would be drawn on stdout, into the JSON.
        self.connection.con.execute("SET enable_progress_bar = false")

    def scan(self, paths: Sequence[Path]) -> Expr:
        """See `Engine`."""
        return self.connection.read_parquet([str(path) for path in paths])

    def give(self, name: str, table: pa.Table) -> Expr:
        """See `Engine`."""
        self.connection.con.register("given", table)
        self._create(name, "SELECT * FROM given")
        self.connection.con.unregister("given")
        return self.connection.table(name)

    def hold(self, name: str, expr: Expr) -> Expr:
        """See `Engine`."""
        # Ibis would write the rows twice: into a table of another name, and from there. A sum is of
        # 128 bits in DuckDB and of 64 in Ibis' eyes, so its own cast would not be carried out.
        columns = [
            f'CAST("{column}" AS BIGINT) AS "{column}"' if kind == dt.int64 else f'"{column}"'
            for column, kind in expr.schema().items()
        ]
        self._create(name, f"SELECT {', '.join(columns)} FROM ({self.connection.compile(expr)})")
        return self.connection.table(name)

    def _create(self, name: str, query: str) -> None:
        self._held.add(name)
        self.connection.con.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {query}')

    def fetch(self, expr: Expr) -> pa.Table:
        """See `Engine`."""
        return self.connection.to_pyarrow(expr)

    def ranked(self, values: Expr) -> Expr:
        """See `Engine`."""
        return _quantile_disc(values, [percent / 100 for percent in RANKS])

    def clear(self) -> None:
        """See `Engine`."""
        for name in sorted(self._held):
            self.connection.con.execute(f'DROP TABLE IF EXISTS "{name}"')
        self._held.clear()

    def close(self) -> None:
        """See `Engine`."""
        self.connection.disconnect()
