"""The bench of residency runs on a small fleet, and writes the figures that are asked of it."""

from __future__ import annotations

import json

import pytest

from bench import figures, policy


def test_the_figures_have_the_names_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "POPS", 60)
    monkeypatch.setattr(policy, "TENANTS", 8)
    monkeypatch.setattr(policy, "POLICIES", 8)
    monkeypatch.setattr(policy, "CLASSES", 20)
    found = policy.measure(rounds=1, decisions=200)
    assert set(policy.BARS) <= set(found)
    assert json.loads(figures.as_json(found))["pops"] == 60
    policy.show(found)
