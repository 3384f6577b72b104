"""``selvedge sim``: what the commands print, keep and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selvedge.cli.sim import sim
from selvedge.fabric import BadScenario, BadSetting

COMPARE = ("compare", "three-pops", "--policies", "predictive,random,oracle", "--requests", "60")


def call(*words: str) -> Result:
    return CliRunner().invoke(sim, list(words), catch_exceptions=False)


def test_run_prints_figures_that_a_seed_repeats() -> None:
    first = json.loads(call("run", "three-pops", "--requests", "80", "--json").output)
    again = json.loads(call("run", "three-pops", "--requests", "80", "--json").output)
    assert first == again
    assert first[0]["policy"] == "predictive"
    assert first[0]["out_of_zone"] == 0
    assert "Geography is synthetic" in call("run", "three-pops", "--requests", "20").output


def test_compare_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    words = (*COMPARE, "--seeds", "2", "--workers", "1", "--out", str(tmp_path), "--json")
    first = call(*words)
    store = tmp_path / "three-pops.jsonl"
    kept = store.read_bytes()
    rows = kept.splitlines(keepends=True)
    assert len(rows) == 6
    store.write_bytes(b"".join(rows[:4]) + rows[4][:40])
    again = call(*words)
    assert json.loads(again.stdout) == json.loads(first.stdout)
    cell = json.loads(again.stdout)["cells"][0]
    assert [line["policy"] for line in cell["policies"]] == ["predictive", "random", "oracle"]
    assert all(line["out_of_zone"] == 0 for line in cell["policies"])


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    chart = tmp_path / "load.png"
    call(
        *COMPARE,
        "--loads",
        "0.5,0.8",
        "--seeds",
        "1",
        "--workers",
        "1",
        "--out",
        str(tmp_path),
        "--chart",
        str(chart),
    )
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_explain_says_why() -> None:
    words = call("explain", "40", "--scenario", "three-pops").output
    assert "request 40 entered at" in words
    assert "the plan:" in words
    assert "what came of it: " in words
    with pytest.raises(BadScenario, match="give a lower one"):
        call("explain", "40000", "--scenario", "three-pops")


def test_what_is_refused() -> None:
    with pytest.raises(BadSetting, match="'best' is not one of predictive"):
        call("run", "three-pops", "--policy", "best")
    with pytest.raises(BadSetting, match="is not a share of the knee"):
        call("run", "three-pops", "--load", "-1")
    with pytest.raises(BadSetting, match="is not name=number"):
        call("run", "three-pops", "--knob", "tau_us")
