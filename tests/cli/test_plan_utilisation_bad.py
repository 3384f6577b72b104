"""`selvedge plan utilisation` where a file cannot be written, or an option is no number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from selvedge.cli.plan import plan
from selvedge.plan.history import BadPlan, write_sites
from tests.plan.made_histories import SITES, draw, store


@pytest.fixture
def question(tmp_path: Path) -> list[str]:
    store(tmp_path / "data", draw(("2026-03",), every=48))
    write_sites(tmp_path / "fleet.csv", SITES)
    asked = ["utilisation", str(tmp_path / "data"), "--fleet", str(tmp_path / "fleet.csv")]
    return [*asked, "--no-faults", "--no-outlook", "--memory", "0.5"]


@pytest.mark.parametrize("option", ["--parquet", "--html"])
def test_what_cannot_be_written_costs_no_answer(
    question: list[str], tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "below")
    told = CliRunner().invoke(plan, [*question, "--json", option, place])
    assert isinstance(told.exception, BadPlan)
    assert "cannot be written (" in str(told.exception)
    assert "; name another " in str(told.exception)
    assert json.loads(told.stdout)["facts"]["samples"] > 0


@pytest.mark.parametrize("memory", ["nan", "1e30", "0.1", "-1"])
def test_a_memory_that_is_none(question: list[str], memory: str) -> None:
    told = CliRunner().invoke(plan, [*question, "--memory", memory])
    assert told.exit_code == 2
    assert "--memory" in told.output
