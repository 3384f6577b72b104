"""The headline: medians over seeds, so that one overloaded seed does not decide it."""

from __future__ import annotations

import msgspec
import pytest

from selvedge.sim import Summary, headline

BASE = Summary(
    policy="",
    seed=0,
    arrived=100,
    served=100,
    ttft_ms_p50=1.0,
    ttft_ms_p95=0.0,
    ttft_ms_p99=1.0,
    ttft_ms_mean=1.0,
    goodput=1.0,
    shed=0.0,
    failed=0.0,
    prefix_reuse=0.5,
    abroad=0.0,
    gpus=1,
    gpu_hours=1.0,
    out_of_zone=0,
    control_bytes_per_s=0.0,
    requests_per_s=1.0,
    codes={},
    digest="",
)


def runs(policy: str, *p95_ms: float) -> list[Summary]:
    """One run a seed."""
    return [
        msgspec.structs.replace(BASE, policy=policy, seed=seed, ttft_ms_p95=p95)
        for seed, p95 in enumerate(p95_ms, 1)
    ]


OURS = runs("ours", 700, 720, 690, 710, 9000)
BEST = runs("best", 800, 800, 800, 800, 6000)
OTHER = runs("other", 900, 900, 900, 900, 900)
ORACLE = runs("oracle", 650, 660, 640, 650, 12000)


def test_medians_over_the_seeds_decide_and_the_means_stand_beside_them() -> None:
    found = headline([*OURS, *BEST, *OTHER, *ORACLE], "ours", ["best", "other"])

    assert found is not None
    assert found.best_published == "best"
    ratio = found.p95_ttft_ratio_best_published
    assert ratio.mean == pytest.approx(710 / 800)
    assert ratio.low <= ratio.mean <= ratio.high
    assert found.oracle_gap_closed == pytest.approx((800 - 710) / (800 - 650))
    assert found.p95_ttft_ratio_of_means == pytest.approx((2820 + 9000) / (3200 + 6000))


def test_only_seeds_that_both_played_are_compared() -> None:
    found = headline([*OURS, *BEST[:2], *ORACLE[:2]], "ours", ["best"])

    assert found is not None
    assert found.p95_ttft_ratio_of_means == pytest.approx(1420 / 1600)


def test_without_an_oracle_or_a_rival_there_is_no_headline() -> None:
    assert headline([*OURS, *BEST], "ours", ["best"]) is None
    assert headline([*OURS, *ORACLE], "ours", ["best"]) is None
