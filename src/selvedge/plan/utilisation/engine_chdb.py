"""ClickHouse inside this process, by chdb: the same expressions, as ClickHouse's SQL.

Ibis' own backend speaks to a server. Here its compiler writes the query and chdb runs it, so that
what runs on one machine is what a cluster would be asked. chdb is no dependency: it is looked for
when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import BadPlan
from selvedge.plan.utilisation.engines import RANKS, refuse_url

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query


class ClickHouse:
    """See `Engine`."""

    def __init__(self, scratch: Path, threads: int, memory_gib: float, url: str = "") -> None:
        refuse_url("chdb", url)
        try:
            module = importlib.import_module("chdb.session")
        except ImportError as error:
            words = "install it: pip install chdb"
            raise BadPlan(f"engine 'chdb' needs the package chdb ({error}); {words}.") from error
        self._scratch = scratch
        self._session: Any = module.Session(str(scratch / "chdb"))
        self._names = 0
        self._held: set[str] = set()
        settings = {
            "join_use_nulls": 1,
            "max_threads": threads,
            "max_memory_usage": int(memory_gib * 2**30),
            "max_bytes_before_external_group_by": int(memory_gib * 2**29),
        }
        for name, value in settings.items():
            self._session.query(f"SET {name} = {value}")
        self._session.query("CREATE DATABASE IF NOT EXISTS report ENGINE = Atomic")
        self._session.query("USE report")

    def scan(self, paths: Sequence[Path]) -> Expr:
        """See `Engine`."""
        schema = pq.read_schema(paths[0])
        self._names += 1
        name = f"scan{self._names}"
        parts = " UNION ALL ".join(
            f"SELECT {', '.join(schema.names)} FROM file('{path}', Parquet)" for path in paths
        )
        self._session.query(f"CREATE VIEW {name} AS {parts}")
        return ibis.table(ibis.schema(_nullable(schema)), name=name)

    def give(self, name: str, table: pa.Table) -> Expr:
        """See `Engine`."""
        path = self._scratch / f"{name}.parquet"
        pq.write_table(table, path)
        self._held.add(name)
        self._session.query(f"DROP TABLE IF EXISTS {name}")
        self._session.query(
            f"CREATE TABLE {name} ENGINE = MergeTree ORDER BY tuple() "
            f"AS SELECT * FROM file('{path}', Parquet)"
        )
        return ibis.table(ibis.schema(_nullable(table.schema)), name=name)

    def fetch(self, expr: Expr) -> pa.Table:
        """See `Engine`."""
        found = self._session.query(ibis.to_sql(expr, dialect="clickhouse"), "Arrow").bytes()
        schema = expr.schema().to_pyarrow()
        if not found:
            return schema.empty_table()
        with pa.ipc.open_file(pa.BufferReader(found)) as reader:
            return reader.read_all().select(schema.names).cast(_nullable(schema))

    def ranked(self, values: Expr) -> Expr:
        """See `Engine`."""
        found, count = values.collect().sort(), values.count().cast("int64")
        places = [count - ((count * (100 - one)) / 100).floor().cast("int64") for one in RANKS]
        return ibis.array([found[place - 1] for place in places])

    def clear(self) -> None:
        """See `Engine`."""
        for name in sorted(self._held):
            self._session.query(f"DROP TABLE IF EXISTS {name}")
        self._held.clear()

    def close(self) -> None:
        """See `Engine`."""
        self._session.close()


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])
