"""The report on another engine is the same report. Needs `scripts/distributed.sh` to have run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from bench.plan_distributed import compare_there, lacks
from selvedge.plan.history import BadPlan, write_sites
from selvedge.plan.utilisation import Asked, report
from selvedge.plan.utilisation.engine_spark import _cause, _master
from tests.plan.made_histories import SITES, damage, draw, store


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["chdb", "spark"])
def test_another_engine_says_the_same(tmp_path: Path, engine: str) -> None:
    if missing := lacks(engine):
        pytest.skip(missing)
    store(tmp_path, damage(draw(("2026-03", "2026-04"), every=12)))
    write_sites(tmp_path / "fleet.csv", SITES)
    figures = compare_there(tmp_path, engine)
    assert figures[f"distributed_{engine}_different"] == ""
    assert figures[f"distributed_{engine}_equal"] is True


@pytest.mark.parametrize(
    ("engine", "module", "words"),
    [("chdb", "chdb.session", "pip install chdb"), ("spark", "pyspark.sql", "Java runtime")],
)
def test_an_engine_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, module: str, words: str
) -> None:
    history = store(tmp_path, draw(("2026-03",), every=240))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadPlan, match=words):
        report(history, SITES, Asked(engine=engine))


@pytest.mark.parametrize("engine", ["duckdb", "chdb"])
def test_an_engine_in_this_process_has_no_address(tmp_path: Path, engine: Any) -> None:
    history = store(tmp_path, draw(("2026-03",), every=240))
    with pytest.raises(BadPlan, match=r"--engine-url spark://a:1: .* take --engine spark"):
        report(history, SITES, Asked(engine=engine, engine_url="spark://a:1"))


def test_the_master_is_the_one_given_or_configured_or_this_machine() -> None:
    assert _master("spark://a:7077", 4, {"SPARK_CONF_DIR": "/etc/spark"}) == "spark://a:7077"
    assert _master("", 4, {"SPARK_CONF_DIR": "/etc/spark"}) == ""
    assert _master("", 4, {}) == "local[4]"


def test_what_went_wrong_on_a_worker_is_one_line() -> None:
    error = RuntimeError(
        "Job aborted.\nTraceback (most recent call last):\n  File x\n"
        "ModuleNotFoundError: No module named 'selvedge'\n\tat org.apache.spark\n"
    )
    assert _cause(error) == "ModuleNotFoundError: No module named 'selvedge'"
    error = RuntimeError("Calling None.\n: org.apache.SparkException: no master\n\tat x")
    assert _cause(error) == "org.apache.SparkException: no master"
    assert _cause(RuntimeError("[PATH_NOT_FOUND] gone.\nmore")) == "[PATH_NOT_FOUND] gone"
