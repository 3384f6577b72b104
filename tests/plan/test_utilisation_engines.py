"""The report on another engine is the same report. Needs `scripts/distributed.sh` to have run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.plan_distributed import PYTHON, compare_there
from selvedge.plan.history import BadPlan, write_sites
from selvedge.plan.utilisation import Asked, report
from tests.plan.made_histories import SITES, damage, draw, store


@pytest.mark.skipif(
    not (PYTHON.parent.parent / ".installed").exists(),
    reason="no environment with chdb: scripts/distributed.sh makes it in build/distributed",
)
def test_clickhouse_says_the_same(tmp_path: Path) -> None:
    store(tmp_path, damage(draw(("2026-03", "2026-04"), every=12)))
    write_sites(tmp_path / "fleet.csv", SITES)
    figures = compare_there(tmp_path)
    assert figures["distributed_different_tables"] == ""
    assert figures["distributed_equal"] is True


def test_an_engine_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = store(tmp_path, draw(("2026-03",), every=240))
    monkeypatch.setitem(sys.modules, "chdb.session", None)
    with pytest.raises(BadPlan, match="pip install chdb"):
        report(history, SITES, Asked(engine="chdb"))
