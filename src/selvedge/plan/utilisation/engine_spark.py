"""Spark, by Ibis' own backend: the same expressions, as Spark's SQL, and the sums on its workers.

Rows stay in the cluster. Spark reads the Parquet files, carries the expression out and brings the
rows of a unit of PoPs together; a Python worker beside them gets them as Arrow and makes sums of
them (`units`). The workers need this package with the extra `plan`, and everybody must see the
history's folder under the same path. pyspark is no dependency: it is looked for when it is asked
for.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import BadPlan
from selvedge.plan.utilisation.engines import RANKS, Work

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query


class Spark:
    """See `Engine` and `Spreading`.

    `url` is Spark's master. Without one it is what Spark's own configuration says, where
    SPARK_CONF_DIR names one, or else as many threads of this machine.
    """

    def __init__(self, scratch: Path, threads: int, memory_gib: float, url: str = "") -> None:
        with warnings.catch_warnings():
            # It says that it has not been tried with this pandas; nothing here is given to pandas.
            warnings.simplefilter("ignore", FutureWarning)
            try:
                sql = importlib.import_module("pyspark.sql")
            except ImportError as error:
                words = "install it: pip install pyspark, and a Java runtime, 17 or later"
                raise BadPlan(f"engine 'spark' needs pyspark ({error}); {words}.") from error
            if not url and "SPARK_CONF_DIR" not in os.environ:
                url = f"local[{threads}]"
            self._session = _session(sql.SparkSession.builder, url, scratch, memory_gib)
            self._ibis: Any = ibis.pyspark.connect(self._session)
        self._names = 0
        self._given: set[str] = set()

    def scan(self, paths: Sequence[Path]) -> Expr:
        """See `Engine`."""
        self._names += 1
        columns = pq.read_schema(paths[0]).names
        frame = self._session.read.parquet(*(str(path.resolve()) for path in paths))
        return self._view(f"scan{self._names}", frame.select(*columns))

    def give(self, name: str, table: pa.Table) -> Expr:
        """See `Engine`."""
        self._given.add(name)
        return self._view(name, self._session.createDataFrame(table.cast(_signed(table.schema))))

    def _view(self, name: str, frame: Any) -> Expr:
        frame.createOrReplaceTempView(name)
        return self._ibis.table(name)

    def fetch(self, expr: Expr) -> pa.Table:
        """See `Engine`."""
        return self._frame(expr).toArrow().cast(expr.schema().to_pyarrow())

    def gather(self, rows: Expr, work: Work) -> Iterator[bytes]:
        """See `Spreading`."""

        def there(key: tuple[pa.Scalar, ...], table: pa.Table) -> pa.Table:
            found = work(key[0].as_py(), table)
            return pa.table({"found": pa.array([found], pa.binary())})

        units = self._frame(rows).groupBy("unit").applyInArrow(there, "found binary")
        for found in units.toArrow()["found"]:
            yield found.as_py()

    def _frame(self, expr: Expr) -> Any:
        return self._session.sql(self._ibis.compile(expr))

    def ranked(self, values: Expr) -> Expr:
        """See `Engine`."""
        found, count = values.collect().sort(), values.count().cast("int64")
        places = [count - ((count * (100 - one)) / 100).floor().cast("int64") for one in RANKS]
        return ibis.array([found[place - 1] for place in places])

    def clear(self) -> None:
        """See `Engine`."""
        for name in sorted(self._given):
            self._session.catalog.dropTempView(name)
        self._given.clear()

    def close(self) -> None:
        """See `Engine`."""
        self._session.stop()


def _session(builder: Any, url: str, scratch: Path, memory_gib: float) -> Any:
    """Spark's session, quiet: what it says of itself would come between a report's lines."""
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    settings = {
        "spark.app.name": "selvedge plan utilisation",
        "spark.driver.memory": f"{int(memory_gib * 1024)}m",
        "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if url.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        settings["spark.local.dir"] = str(scratch / "spark")
    if url:
        settings["spark.master"] = url
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except Exception as error:
        # Of Java, of the gateway to it or of Spark: they have no class in common.
        raise BadPlan(
            f"Spark does not start at {url or 'its configured master'}: {error}"
        ) from error


def _signed(schema: pa.Schema) -> pa.Schema:
    """Spark has no unsigned numbers."""
    return pa.schema(
        [
            field.with_type(pa.int64()) if pa.types.is_unsigned_integer(field.type) else field
            for field in schema
        ]
    )
