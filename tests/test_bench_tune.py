"""Tuning is even: as many trials for every policy, the defaults among them, the same each time."""

from __future__ import annotations

import pytest

from bench.tune import said, trials
from selvedge.routing import POLICIES, PredictiveKnobs

TUNED = [row.name for row in POLICIES.values() if row.grid]


@pytest.mark.parametrize("policy", TUNED)
def test_every_policy_gets_as_many_trials_or_its_whole_grid(policy: str) -> None:
    grid, found = POLICIES[policy].tuned(), trials(policy, 8)
    assert len(found) in (8, len(grid), len(grid) + 1)
    assert len(found) <= 8 or len(found) == 1 + len(grid)
    assert len({tuple(one.items()) for one in found}) == len(found)
    assert found == trials(policy, 8)


def test_the_defaults_are_tried_and_what_differs_is_said() -> None:
    first = trials("predictive", 8)[0]
    assert first["crowd_us"] == PredictiveKnobs().crowd_us
    assert said("predictive", first) == "  predictive: {}"
    assert said("predictive", {**first, "tau_us": 5.0}) == "  predictive: {tau_us: 5}"
