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
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import BadPlan
from selvedge.plan.utilisation.engines import RANKS, Work

_CAUSE: Final = re.compile(r"([a-z]\w*\.)*[A-Z]\w*(Error|Exception): ")
Expr = Any  # Ibis' expressions have no types that mypy could follow through a query


@ibis.udf.scalar.builtin(  # type: ignore[untyped-decorator]
    name="sort_array", signature=((dt.Array(dt.int64),), dt.Array(dt.int64))
)
def _sort_array(values: list[int]) -> list[int]:  # type: ignore[empty-body]
    """Spark's own; Ibis sorts by a comparison of its own making, which is many times slower."""


class Spark:
    """See `Engine` and `Spreading`.

    `url` is Spark's master. Without one it is what Spark's own configuration says, where
    SPARK_CONF_DIR names one, or else as many threads of this machine.
    """

    def __init__(self, scratch: Path, threads: int, memory_gib: float, url: str = "") -> None:
        # It has not been tried with this pandas, it says. Nothing here is given to pandas.
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
        try:
            sql = importlib.import_module("pyspark.sql")
            self._errors = importlib.import_module("pyspark.errors").PySparkException
        except ImportError as error:
            words = "pip install pyspark, beside a Java runtime, 17 or later"
            raise BadPlan(f"engine 'spark' needs pyspark ({error}): {words}.") from error
        url = _master(url, threads, os.environ)
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
        return self._collect(self._frame(expr)).cast(expr.schema().to_pyarrow())

    def gather(self, rows: Expr, work: Work) -> Iterator[bytes]:
        """See `Spreading`."""

        def there(key: tuple[pa.Scalar, ...], table: pa.Table) -> pa.Table:
            found = work(key[0].as_py(), table)
            return pa.table({"found": pa.array([found], pa.binary())})

        units = self._frame(rows).groupBy("unit").applyInArrow(there, "found binary")
        for found in self._collect(units)["found"]:
            yield found.as_py()

    def _frame(self, expr: Expr) -> Any:
        return self._session.sql(self._ibis.compile(expr))

    def _collect(self, frame: Any) -> pa.Table:
        try:
            return frame.toArrow()
        except self._errors as error:
            words = "the workers need selvedge[plan], and the history under the same path"
            raise BadPlan(f"Spark: {_cause(error)}; {words}.") from error

    def ranked(self, values: Expr) -> Expr:
        """See `Engine`."""
        found, count = _sort_array(values.collect()), values.count()
        places = [count - ((count * (100 - one)) / 100).floor().cast("int64") for one in RANKS]
        return ibis.array([found[(place - 1).cast("int32")] for place in places])

    def clear(self) -> None:
        """See `Engine`."""
        for name in sorted(self._given):
            self._session.catalog.dropTempView(name)
        self._given.clear()

    def close(self) -> None:
        """See `Engine`."""
        self._session.stop()


def _master(url: str, threads: int, environ: Mapping[str, str]) -> str:
    """Spark's master; nothing where its own configuration is to say."""
    return url or ("" if environ.get("SPARK_CONF_DIR") else f"local[{threads}]")


def _session(builder: Any, url: str, scratch: Path, memory_gib: float) -> Any:
    """Spark's session. It is quiet: what goes wrong is raised, and said in a line."""
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    settings = {
        "spark.app.name": "selvedge plan utilisation",
        "spark.executorEnv.PYTHONWARNINGS": "ignore::FutureWarning",
        "spark.driver.memory": f"{int(memory_gib * 1024)}m",
        "spark.log.level": "OFF",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if url.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        settings["spark.local.dir"] = str(scratch / "spark")
        settings["spark.driver.host"] = settings["spark.driver.bindAddress"] = "127.0.0.1"
    if url:
        settings["spark.master"] = url
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except Exception as error:
        # Of Java, of the gateway to it or of Spark: they have no class in common.
        where = url or "the master that it is configured for"
        words = "it needs a Java runtime, 17 or later, and a master that answers"
        raise BadPlan(f"Spark does not start at {where}: {_cause(error)}; {words}.") from error


def _cause(error: Exception) -> str:
    """What is wrong in one line: the last cause that a traceback names, or else the first line."""
    lines = [line.strip(" \t:") for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if _CAUSE.match(line)]
    return (causes[-1:] or lines or [type(error).__name__])[0].rstrip(".")


def _signed(schema: pa.Schema) -> pa.Schema:
    """Spark has no unsigned numbers."""
    return pa.schema(
        [
            field.with_type(pa.int64()) if pa.types.is_unsigned_integer(field.type) else field
            for field in schema
        ]
    )
