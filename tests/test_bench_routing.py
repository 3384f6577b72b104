"""The bench of one routing decision runs, and writes the figures that are asked of it."""

from __future__ import annotations

import json

import pytest

from bench import figures, routing


@pytest.mark.parametrize("policy", ["predictive", "gorgo"])
def test_every_decision_is_timed(policy: str) -> None:
    took = routing.play(policy, 1, decisions=80)
    assert len(took) == 60
    assert all(one > 0 for one in took)


def test_the_figures_have_the_names_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "DECISIONS", 40)
    monkeypatch.setattr(routing, "play", lambda policy, seed: list(range(1000, 31_000, 1000)))
    found = routing.measure("predictive", 2)
    assert {"decision_us_p50", "decision_us_p99"} <= set(found)
    assert (found["decision_us_p50"], found["decision_us_p99"]) == (15.0, 30.0)
    assert json.loads(figures.as_json(found))["gpu_pops"] == 160
