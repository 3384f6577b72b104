"""Sites with only so much room: transport, bound and answer against HiGHS on small problems."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from selvedge.plan.history import BadPlan
from selvedge.plan.placement import Effort, Median, Row, make_median, solve, verify
from selvedge.plan.placement.exact import Programme, Solved
from selvedge.plan.placement.flows import (
    begin_flow,
    close_slot,
    copy_of_flow,
    cost_of_flow,
    make_flow,
    open_slot,
    restore,
)
from selvedge.plan.placement.transport import cost_with_room, most_left, transport

Floats = npt.NDArray[np.float64]
EFFORT = Effort(seconds=120)
SEEDS = st.integers(0, 2**32 - 1)


def exact(median: Median) -> Solved:
    """The whole problem as one programme of HiGHS's: sites whole, clients in parts."""
    assert median.room is not None
    sites, clients = median.by_site.shape
    programme = Programme()
    y = programme.add_columns(np.zeros(sites), 1.0, whole=True)
    lives = np.isfinite(median.by_site)
    cost = np.where(lives, median.by_site, 0.0)
    x = programme.add_columns(cost.ravel(), 1.0, whole=False).reshape(sites, clients)
    programme.add_row(y, np.ones(sites), -np.inf, float(median.p))
    for site in range(sites):
        is_open = float(site in median.fixed)
        programme.add_row([y[site]], [1.0], is_open, float(site not in median.barred))
        use = np.append(median.uses, -median.room[site])
        programme.add_row(np.append(x[site], y[site]), use, -np.inf, 0.0)
        for client in range(clients):
            pair = [x[site, client], y[site]]
            programme.add_row(pair, [1.0, -float(lives[site, client])], -np.inf, 0.0)
    for client in range(clients):
        programme.add_row(x[:, client], np.ones(sites), 1.0, 1.0)
    for row in median.rows:
        programme.add_row(y[row.sites], row.coefficients, row.least)
    return programme.solve(30, 1e-9)


def draw_median(seed: int) -> Median:
    """A small one, with ties, forbidden arcs, fixed and barred sites and a budget now and then.
    Raises `BadPlan` where it cannot be."""
    rng = np.random.default_rng(seed)
    clients, sites = int(rng.integers(1, 12)), int(rng.integers(1, 9))
    costs = rng.integers(0, 30, (clients, sites)).astype(np.float64)
    if seed % 2:
        costs += rng.uniform(size=costs.shape)
    if seed % 3 == 0:
        costs[rng.uniform(size=costs.shape) < 0.2] = np.inf
    weights = rng.integers(0, 6, clients).astype(np.float64)
    weights[0] = 1.0
    p = int(rng.integers(1, sites + 2))
    room = rng.uniform(0.3, 2.5, sites) * weights.sum() / min(p, sites)
    rows = []
    if seed % 4 == 1:
        prices = rng.integers(1, 5, sites).astype(np.float64)
        least = -float(rng.integers(3, 12))
        rows.append(Row("a budget", np.arange(sites, dtype=np.int32), -prices, least))
    fixed = [0] if seed % 5 == 0 else []
    barred = [sites - 1] if seed % 7 == 0 and sites > 1 else []
    return make_median(costs, weights, p, fixed, barred, rows=rows, room=room)


@given(SEEDS)
@example(73)  # Sites that a node had settled by the bound of its parent.
@example(462249)  # Exchanges alone find no room under its budget.
@settings(max_examples=80, deadline=None)
def test_answers_are_those_of_the_whole_programme(seed: int) -> None:
    try:
        median = draw_median(seed)
    except BadPlan:
        return
    best = exact(median)
    if best.status == "infeasible":
        with pytest.raises(BadPlan):
            solve(median, EFFORT)
        return
    answer = solve(median, EFFORT)
    verdict = verify(median, answer.sites, answer.certificate)
    assert answer.cost == pytest.approx(best.cost, rel=1e-6, abs=1e-6)
    assert verdict.cost == pytest.approx(answer.cost, rel=1e-9)
    assert verdict.bound <= best.cost * (1 + 1e-9) + 1e-9
    assert verdict.bound == pytest.approx(answer.bound, rel=1e-6, abs=1e-6)
    assert verdict.gap <= 1e-6 or best.cost < 1e-6


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_forged_multipliers_prove_no_more_than_is_true(seed: int) -> None:
    try:
        median = draw_median(seed)
        answer = solve(median, EFFORT)
    except BadPlan:
        return
    best = exact(median).cost
    rng = np.random.default_rng(seed)
    forged = answer.certificate
    forged.multipliers[:] = rng.uniform(-1, 60, forged.multipliers.shape)
    priced = forged.multipliers[:, median.clients :]
    priced[:] = np.abs(priced) * rng.choice([0.0, 0.02, 0.3, 1.0])
    assert verify(median, answer.sites, forged).bound <= best * (1 + 1e-9) + 1e-9
    if priced.size:
        priced[0, -1] = -1.0
        with pytest.raises(BadPlan, match="below 0"):
            verify(median, answer.sites, forged)


def test_a_bound_with_room_is_above_one_without() -> None:
    rng = np.random.default_rng(11)
    places, weights = rng.uniform(size=(50, 2)), rng.lognormal(0, 1.2, 50)
    costs = np.linalg.norm(places[:, None] - places, axis=2)
    room = np.full(50, 1.15 * weights.sum() / 6)
    tight = make_median(costs, weights, 6, room=room)
    loose = make_median(costs, weights, 6)
    answer = solve(tight, EFFORT)
    best = exact(tight)
    assert answer.cost == pytest.approx(best.cost, rel=1e-6)
    assert answer.is_proved
    assert verify(tight, answer.sites, answer.certificate).bound > 1.05 * solve(loose).cost


def test_where_room_does_not_bind_the_quick_proof_holds() -> None:
    rng = np.random.default_rng(12)
    costs = rng.integers(1, 99, (40, 40)).astype(np.float64)
    loose = make_median(costs, np.ones(40), 5)
    answer = solve(loose, EFFORT)
    roomy = make_median(costs, np.ones(40), 5, room=np.full(40, 40.0))
    found = solve(roomy, EFFORT)
    verdict = verify(roomy, found.sites, found.certificate)
    assert (verdict.cost, verdict.bound) == (answer.cost, answer.bound)


def test_an_answer_without_room_is_refused() -> None:
    costs = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
    median = make_median(costs, np.ones(6), 2, room=np.full(6, 3.0))
    answer = solve(median, EFFORT)
    small = replace(median, room=np.full(6, 2.9))
    with pytest.raises(BadPlan, match="no room for all demand"):
        verify(small, answer.sites, answer.certificate)
    with pytest.raises(BadPlan, match=r"of 6\.0 requests/s 0\.2 find none"):
        solve(small, EFFORT)


@pytest.mark.parametrize(
    ("room", "words"),
    [([1.0, -1.0], "site 1: room -1"), ([1.0, np.nan], "site 1: room nan"), ([1.0], "of shape")],
)
def test_room_is_read_strictly(room: list[float], words: str) -> None:
    with pytest.raises(BadPlan, match=words):
        make_median(np.ones((2, 2)), np.ones(2), 1, room=np.array(room))


def cheapest(costs: Floats, uses: Floats, room: Floats, far: float) -> float:
    """The same transport by HiGHS; what finds no room costs `far` a unit."""
    sites, clients = costs.shape
    programme = Programme()
    finite = np.where(np.isfinite(costs), costs, 10 * far).ravel()
    x = programme.add_columns(finite, np.inf, whole=False).reshape(sites, clients)
    left = programme.add_columns(np.full(clients, far), np.inf, whole=False)
    for client, use in enumerate(uses):
        at = np.append(x[:, client], left[client])
        programme.add_row(at, np.ones(sites + 1), float(use), float(use))
    for site in range(sites):
        programme.add_row(x[site], np.ones(clients), -np.inf, float(room[site]))
    return programme.solve(20).cost


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_a_transport_stays_cheapest_while_sites_open_and_close(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clients, sites, far = int(rng.integers(1, 20)), int(rng.integers(2, 8)), 1000.0
    costs = rng.integers(0, 20, (sites, clients)).astype(np.float64)
    costs[rng.uniform(size=costs.shape) < 0.15] = np.inf
    uses = rng.uniform(0.1, 5, clients)
    room = uses.sum() / sites * rng.uniform(0.3, 3, sites)
    flow = make_flow(uses, sites, far)
    begin_flow(flow, np.arange(sites // 2, dtype=np.int32), costs, room)
    kept, before = copy_of_flow(flow), cost_of_flow(flow)

    def check() -> None:
        opened = flow.site[flow.site >= 0]
        want = cheapest(costs[opened], uses, room[opened], far)
        assert cost_of_flow(flow) == pytest.approx(want, rel=1e-6, abs=1e-6)

    check()
    for site in range(sites // 2, sites):
        q = int(np.argmin(flow.used.astype(int) * 2 + kept.used))
        flow.site[q], flow.room[q] = site, room[site]
        open_slot(flow, q, costs[site], -np.inf)
        check()
    for q in np.flatnonzero(flow.site >= 0)[:-1]:
        close_slot(flow, int(q))
        check()
    restore(flow, kept)
    assert cost_of_flow(flow) == before


def test_what_finds_no_room_is_counted() -> None:
    costs = np.array([[1.0, 5.0], [4.0, 1.0]])
    found = transport(costs, np.array([3.0, 2.0]), np.array([2.0, 2.5]))
    assert found.unserved == pytest.approx(0.5)
    assert most_left(costs, np.array([3.0, 2.0]), np.array([2.0, 2.5])) == pytest.approx(3.0)
    median = make_median(costs.T, np.array([3.0, 2.0]), 2, room=np.array([2.0, 2.5]))
    assert cost_with_room(median, [0, 1]) == np.inf
    wide = replace(median, room=np.array([2.0, 3.0]))
    assert cost_with_room(wide, [0, 1]) == pytest.approx(2 * 1 + 1 * 4 + 2 * 1)
