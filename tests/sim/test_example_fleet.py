"""20,000 requests of the example fleet, by the generator that serves users."""

from __future__ import annotations

import pytest

from selvedge.sim import Report, example_release, example_scenario, simulate

REQUESTS = 20_000


@pytest.fixture(scope="module")
def report() -> Report:
    return simulate(example_release(), example_scenario(REQUESTS), 1)


def test_every_request_has_its_end(report: Report) -> None:
    figures = report.figures
    assert (figures.arrived, figures.running) == (REQUESTS, 0)
    assert sum(figures.outcomes.values()) == REQUESTS
    assert set(figures.outcomes) == {"complete", "refused", "failed", "client_gone"}
    assert sum(map(len, report.receipts.values())) == REQUESTS - figures.unauthenticated


def test_all_ways_to_end_are_met(report: Report) -> None:
    figures = report.figures
    assert {
        "invalid_api_key",
        "invalid_json",
        "model_not_found",
        "residency_ingress",
        "no_engine_available",
        "engine_interrupted",
        "deadline_exceeded",
    } == set(figures.codes)
    assert min(figures.in_band_errors, figures.moved_on, figures.forwarded) > 0
    assert figures.ttft_us is not None
    assert 0 < figures.ttft_us.p50 < figures.ttft_us.p95 < figures.ttft_us.p99


def test_nothing_leaves_its_zone(report: Report) -> None:
    assert report.figures.out_of_zone == 0
    where = {
        (one.zone, one.processed_in)
        for receipts in report.receipts.values()
        for one in receipts
        if one.processed_in
    }
    assert where == {("asean", "SG"), ("eea", "DE"), ("anywhere", "SG"), ("anywhere", "DE")}


def test_the_same_seed_gives_the_same_bytes_and_another_others() -> None:
    one, same, other = (
        simulate(example_release(), example_scenario(4000), seed).canonical() for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other
