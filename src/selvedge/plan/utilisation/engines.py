"""Where the report's queries run. They are Ibis expressions; an engine only carries them out.

DuckDB is the default. ClickHouse (`engine_chdb`) and Spark (`engine_spark`) are asked the same
expressions, for who has them: neither is a dependency. What engines do differently is there and
nowhere else: how a file is named, where a small table lives, how an order statistic is taken, and
whether rows can be worked on where they are (`Spreading`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa

from selvedge.plan.history import BadPlan

RANKS: Final = (50, 95)
"""Percents p of the order statistics that are taken: of n sorted values the one in place
n - floor(n (100 - p) / 100). For 95 that is the billing rule."""

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query


Work: TypeAlias = Callable[[int, pa.Table], bytes]
"""Takes the number of a unit and its rows. It is sent to where they are: it must be picklable."""


class Engine(Protocol):
    """Carries out expressions. Tables that it gives are alive until it is closed."""

    def scan(self, paths: Sequence[Path]) -> Expr:
        """The rows of Parquet files of one schema."""

    def give(self, name: str, table: pa.Table) -> Expr:
        """A small table under a name of its own."""

    def fetch(self, expr: Expr) -> pa.Table:
        """The result of an expression, here."""

    def clear(self) -> None:
        """Let go of what was given; scans stay."""

    def close(self) -> None:
        """End it."""

    def ranked(self, values: Expr) -> Expr:
        """The order statistics `RANKS` of a group's integers, as an array."""


@runtime_checkable
class Spreading(Engine, Protocol):
    """An engine of several machines: work goes to the rows, and only what it makes comes here."""

    def gather(self, rows: Expr, work: Work) -> Iterator[bytes]:
        """What the work makes of the rows of each `unit`, which is a column; in any order."""


@ibis.udf.agg.builtin(  # type: ignore[untyped-decorator]
    name="quantile_disc", signature=((dt.int64, dt.Array(dt.float64)), dt.Array(dt.int64))
)
def _quantile_disc(values: int, shares: list[float]) -> list[int]:  # type: ignore[empty-body]
    """DuckDB's own: of the sorted values the ceil(n share)-th, which is what `RANKS` says."""


def refuse_url(engine: str, url: str) -> None:
    """Raises `BadPlan` if one is given to an engine that is in this process."""
    if url:
        words = "leave --engine-url out, or take --engine spark"
        raise BadPlan(f"--engine-url {url}: engine '{engine}' runs in this process; {words}.")


class Duck:
    """DuckDB inside this process, with a limit of memory and a folder to spill to."""

    def __init__(self, scratch: Path, threads: int, memory_gib: float, url: str = "") -> None:
        refuse_url("duckdb", url)
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
        self._held.add(name)
        self.connection.con.register("given", table)
        self.connection.con.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS SELECT * FROM given')
        self.connection.con.unregister("given")
        return self.connection.table(name)

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
