"""The solver against all choices, on problems small enough to look at each."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.plan.history import BadPlan
from selvedge.plan.placement import (
    Effort,
    Median,
    Row,
    load_certificate,
    make_median,
    read_pmed,
    solve,
    verify,
)

EFFORT = Effort(seconds=120)


def best_of(median: Median) -> float:
    """The least cost, by looking at every choice."""
    costs = [np.inf]
    for count in range(1, median.p + 1):
        for sites in combinations(range(median.sites), count):
            if not set(median.fixed) <= set(sites) or set(median.barred) & set(sites):
                continue
            is_open = np.zeros(median.sites, np.bool_)
            is_open[list(sites)] = True
            if all(row.holds(is_open) for row in median.rows):
                costs.append(median.cost_of(sites))
    return min(costs)


@st.composite
def medians(draw: st.DrawFn) -> Median:
    """Small ones, with ties, zero weights, forbidden arcs, fixed and barred sites."""
    clients, sites = draw(st.integers(1, 9)), draw(st.integers(1, 8))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, draw(st.sampled_from([3, 50])), (clients, sites)).astype(np.float64)
    if draw(st.booleans()):
        costs += rng.uniform(size=costs.shape)
    if draw(st.booleans()):
        costs[rng.uniform(size=costs.shape) < 0.2] = np.inf
    p = draw(st.integers(1, sites + 1))
    weights = rng.integers(0, 4, clients).astype(np.float64)
    fixed = [0] if draw(st.booleans()) else []
    barred = [sites - 1] if draw(st.booleans()) and sites > 1 else []
    try:
        return make_median(costs, weights, p, fixed, barred)
    except BadPlan:
        return make_median(np.where(np.isinf(costs), 99.0, costs), weights, p, fixed)


@given(medians())
@settings(max_examples=150, deadline=None)
def test_nothing_is_better_than_what_is_proved_best(median: Median) -> None:
    best = best_of(median)
    if not np.isfinite(best):
        with pytest.raises(BadPlan, match="reach every client"):
            solve(median, EFFORT)
        return
    answer = solve(median, EFFORT)
    assert answer.cost == pytest.approx(best, rel=1e-12, abs=1e-9)
    verdict = verify(median, answer.sites, answer.certificate)
    assert verdict.cost == answer.cost
    assert verdict.bound <= best + 1e-12 * abs(best)
    assert verdict.gap <= 1e-8 or best < 1e-6


@given(medians(), st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_any_multipliers_prove_no_more_than_is_true(median: Median, seed: int) -> None:
    best = best_of(median)
    if not np.isfinite(best) or median.clients == 0:
        return
    answer = solve(median, EFFORT)
    rng = np.random.default_rng(seed)
    forged = answer.certificate
    noise = rng.uniform(-1, 30, forged.multipliers.shape)
    forged.multipliers[:] = noise
    assert verify(median, answer.sites, forged).bound <= best + 1e-9


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_rules_are_kept_and_the_bound_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clients, sites = int(rng.integers(2, 9)), int(rng.integers(3, 9))
    costs = rng.integers(1, 60, (clients, sites)).astype(np.float64)
    prices = rng.integers(1, 9, sites).astype(np.float64)
    every = np.arange(sites, dtype=np.int32)
    rows = (
        Row("a budget", every, -prices, -float(rng.integers(4, 20))),
        Row("two in the east", every[: sites // 2 + 1], np.ones(sites // 2 + 1), 2.0),
    )
    median = make_median(costs, np.ones(clients), int(rng.integers(2, 5)), rows=rows)
    best = best_of(median)
    if not np.isfinite(best):
        with pytest.raises(BadPlan, match="what binds: "):
            solve(median, EFFORT)
        return
    answer = solve(median, EFFORT)
    verdict = verify(median, answer.sites, answer.certificate)
    assert answer.cost >= best - 1e-9
    assert verdict.bound <= best + 1e-9
    assert answer.cost == pytest.approx(best)


def test_a_certificate_survives_the_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    median = make_median(rng.uniform(size=(40, 40)), rng.uniform(size=40), 6)
    answer = solve(median, EFFORT)
    path = tmp_path / "proof.npz"
    answer.certificate.save(path, np.array(answer.sites, np.int32))
    certificate, sites = load_certificate(path)
    verdict = verify(median, sites, certificate)
    assert verdict.gap == pytest.approx(answer.gap, abs=1e-9)
    assert answer.is_proved


def test_a_cut_tree_is_no_proof() -> None:
    rng = np.random.default_rng(9)
    median = make_median(rng.integers(1, 99, (60, 60)).astype(np.float64), np.ones(60), 5)
    answer = solve(median, EFFORT)
    found = answer.certificate
    assert answer.is_proved
    assert np.any(found.site >= 0), "it was proved without a split: take another seed"
    last = len(found.parent) - 1
    cut = type(found)(
        found.parent[:last], found.site[:last], found.value[:last], found.multipliers[:last]
    )
    with pytest.raises(BadPlan, match="does not cover"):
        verify(median, answer.sites, cut)


@pytest.mark.parametrize(
    ("costs", "weights", "p", "words"),
    [
        ([[1.0, np.nan]], [1.0], 1, "client 0, site 1"),
        ([[1.0, -2.0]], [1.0], 1, "client 0, site 1"),
        ([[1.0]], [-1.0], 1, "client 0: weight"),
        ([[1.0]], [1.0], 0, "p is 0"),
        ([[np.inf]], [1.0], 1, "reaches no site"),
    ],
)
def test_what_cannot_be_solved_is_named(
    costs: list[list[float]], weights: list[float], p: int, words: str
) -> None:
    with pytest.raises(BadPlan, match=words):
        make_median(np.array(costs), np.array(weights), p)


def find_pmed() -> Path | None:
    """The folder of the public instances, where it lies beside the checkout."""
    for folder in Path(__file__).resolve().parents:
        found = folder / "shared" / "data" / "orlib-pmed"
        if found.is_dir():
            return found
    return None


@pytest.mark.parametrize(("number", "optimum"), [(1, 5819), (2, 4093), (3, 4250)])
def test_public_instances_are_proved(number: int, optimum: int) -> None:
    folder = find_pmed()
    if folder is None:
        pytest.skip("OR-Library's instances are not beside the checkout (shared/data/orlib-pmed)")
    median = read_pmed(folder / f"pmed{number}.txt")
    answer = solve(median, EFFORT)
    assert (answer.cost, answer.bound) == (optimum, optimum)
    assert verify(median, answer.sites, answer.certificate).bound == optimum


def test_of_an_edge_that_is_there_twice_the_last_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "tiny.txt"
    path.write_text("3 3 1\n1 2 5\n2 3 1\n1 2 9\n")
    median = read_pmed(path)
    assert median.by_site.tolist() == [[0, 9, 10], [9, 0, 1], [10, 1, 0]]
