"""Slots and turns: who waits when there is not enough. A modelled loop in virtual time, seeded."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.pop.pressure import (
    ALPHA,
    COST_GUESSED_US,
    FEW,
    INTERVAL_US,
    LEARN_US,
    LEAST_PART,
    SHARED_FOR_US,
    STANDING_FEW,
    STANDING_US,
    Line,
    Shares,
    weight_of,
)

TURN_US, WAIT_US = 1_000, 50_000
SECOND_US = 1_000_000
COST_US, READ_US, REFUSAL_US, REST_US = 100, 5, 18, 20
PEAK = SECOND_US // COST_US
SETTLED_US = SECOND_US


# Slots.


def test_a_tenant_alone_may_have_every_slot() -> None:
    shares = Shares()
    assert [shares.take("e", "a", 8, at) for at in range(9)] == [True] * 8 + [False]
    assert (shares.total("e"), shares.held("e", "a"), shares.held("e", "b")) == (8, 8, 0)


def test_beside_another_one_it_leaves_room() -> None:
    shares = Shares()
    assert shares.take("e", "b", 100, 0)
    shares.give_back("e", "b")
    taken = sum(shares.take("e", "a", 100, at) for at in range(1, 101))
    assert taken == 100 * ALPHA // (1 + ALPHA)
    assert shares.take("e", "b", 100, 200)


def test_the_other_one_is_forgotten_after_a_minute() -> None:
    shares = Shares()
    assert shares.take("e", "b", 4, 0)
    shares.give_back("e", "b")
    assert [shares.take("e", "a", 4, SHARED_FOR_US) for _ in range(4)] == [True] * 4


def test_busy_tenants_converge_to_equal_parts() -> None:
    shares, rng, held = Shares(), Random(1), Counter[str]()
    for at in range(20_000):
        tenant = rng.choice("abc")
        if shares.take("e", tenant, 130, at):
            held[tenant] += 1
        elif held[one := rng.choice("abc")]:
            held[one] -= 1
            shares.give_back("e", one)
    assert max(held.values()) - min(held.values()) <= 12
    assert sum(held.values()) <= 130


@given(st.lists(st.tuples(st.sampled_from("ef"), st.sampled_from("abc"), st.booleans())))
def test_slots_are_conserved_and_nothing_is_left(steps: list[tuple[str, str, bool]]) -> None:
    shares, held = Shares(), Counter[tuple[str, str]]()
    for at, (pool, tenant, takes) in enumerate(steps):
        if takes and shares.take(pool, tenant, 3, at):
            held[pool, tenant] += 1
        elif not takes and held[pool, tenant]:
            held[pool, tenant] -= 1
            shares.give_back(pool, tenant)
        assert all(shares.held(*key) == count for key, count in held.items())
        assert shares.total(pool) == held[pool, "a"] + held[pool, "b"] + held[pool, "c"] <= 3
    for key, count in held.items():
        for _ in range(count):
            shares.give_back(*key)
    assert not shares._held
    assert not shares._totals


# Turns.


@dataclass
class Run:
    """What a modelled second or more showed, after one second of settling."""

    served: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    waited_us: dict[str, list[int]] = field(default_factory=dict)
    turns_us: list[int] = field(default_factory=list)

    def p99_us(self, tenant: str) -> int:
        return p99(self.waited_us[tenant])


def p99(values: list[int]) -> int:
    return sorted(values)[len(values) * 99 // 100]


class Model:
    """A loop that begins what may of those in line, then reads what came during its last turn.

    Half of a request's cost is due when it begins, the other half when its engine has answered,
    which is in the next turn. An answer leaves at the end of its turn.
    """

    def __init__(self, rates: Mapping[str, float], seed: int, weights: Mapping[str, int]) -> None:
        self.line: Line[tuple[str, float]] = Line(TURN_US, WAIT_US)
        self.rates, self.weights, self.rng, self.run = rates, weights, Random(seed), Run()
        self.coming = {one: self.rng.expovariate(rate) * SECOND_US for one, rate in rates.items()}
        self.begun: deque[tuple[str, float]] = deque()
        self.now = 0.0

    def cost(self, tenant: str) -> float:
        return COST_US / 2 * self.weights.get(tenant, 1)

    def turn(self) -> None:
        began = self.now
        answered, self.begun = self.begun, deque()
        self.line.turn(int(began), int(began))
        while (one := self.line.next(int(self.now))) is not None:
            self.now += self.cost(one[0])
            self.begun.append(one)
        self.line.drained(int(self.now))
        self.now += REST_US
        for one in answered:
            self.now += self.cost(one[0])
        self._read(self.now)
        for tenant, at in answered:
            if self.now > SETTLED_US:
                self.run.served[tenant] += 1
                self.run.waited_us.setdefault(tenant, []).append(int(self.now - at))
        if self.line.waiting and self.now > SETTLED_US:
            self.run.turns_us.append(int(self.now - began))
        if not (self.begun or self.line.waiting):
            self.now = max(self.now, min(self.coming.values()))

    def _read(self, until: float) -> None:
        for tenant, rate in self.rates.items():
            while (at := self.coming[tenant]) <= until:
                self.coming[tenant] += self.rng.expovariate(rate) * SECOND_US
                weight = self.weights.get(tenant, 1)
                if self.line.passes(tenant, weight, int(self.now)):
                    self.now += self.cost(tenant)
                    self.begun.append((tenant, at))
                elif self.line.joins(tenant, weight, (tenant, at)):
                    self.now += READ_US
                else:
                    assert self.line.waiting, "nobody is refused while the loop has nothing to do"
                    self.now += REFUSAL_US
                    self.run.refused[tenant] += self.now > SETTLED_US


def model(
    rates: Mapping[str, float],
    seconds: float,
    seed: int = 1,
    weights: Mapping[str, int] | None = None,
) -> Run:
    modelled = Model(rates, seed, weights or {})
    while modelled.now < SETTLED_US + seconds * SECOND_US:
        modelled.turn()
    return modelled.run


def test_below_the_peak_all_is_served() -> None:
    for load in (0.5, 0.8, 0.9):
        run = model({"a": PEAK * load}, 2)
        assert not run.refused
        assert run.p99_us("a") < 10 * TURN_US


@pytest.mark.parametrize("load", [1.0, 1.5, 2.0, 3.0])
def test_goodput_is_what_refusals_leave_of_the_loop(load: float) -> None:
    """Whatever is offered, the loop works: what it does not serve it refuses, and no more."""
    run = model({"a": PEAK * load}, 2)
    refused_us = run.refused["a"] / 2 * REFUSAL_US
    possible = min(PEAK * load, (SECOND_US - refused_us) / (COST_US + READ_US))
    assert run.served["a"] / 2 >= 0.95 * possible
    assert run.p99_us("a") < (WAIT_US if load == 1 else 4 * STANDING_US)
    assert p99(run.turns_us) < 1.5 * TURN_US


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("flood", [1.0, 2.0, 3.0])
def test_a_flood_leaves_the_others_alone(flood: float, seed: int) -> None:
    alone = model({"b": PEAK * 0.1}, 2, seed)
    run = model({"a": PEAK * flood, "b": PEAK * 0.1}, 3, seed)
    assert run.refused["b"] == 0
    assert run.refused["a"] > 0
    assert run.p99_us("b") <= 2 * alone.p99_us("b") + 5_000
    assert run.p99_us("b") < 5 * TURN_US


def test_equal_floods_get_equal_parts() -> None:
    run = model({"a": PEAK, "b": PEAK * 2, "c": PEAK * 0.05}, 4)
    assert run.refused["c"] == 0
    assert abs(run.served["a"] - run.served["b"]) < 0.02 * run.served["a"]


def test_parts_are_of_work_and_not_of_requests() -> None:
    run = model({"a": PEAK, "b": PEAK}, 4, weights={"b": 4})
    assert 3.5 < run.served["a"] / run.served["b"] < 4.5


def test_many_equals_are_refused_alike_and_wait_no_longer() -> None:
    tenants = {f"t{at}": PEAK * 0.1 for at in range(20)}
    run = model(tenants, 2)
    assert max(run.served.values()) < 1.1 * min(run.served.values())
    assert max(run.p99_us(one) for one in tenants) < 3 * WAIT_US


def test_a_burst_stands_in_line_and_is_served() -> None:
    line: Line[int] = Line(TURN_US, WAIT_US)
    line.turn(0, 0)
    assert all(line.joins("a", 1, at) for at in range(200))
    now, out = 0, []
    while line.waiting:
        line.turn(now, now)
        while (one := line.next(now)) is not None:
            out.append(one)
            now += COST_US
        line.drained(now)
    assert out == list(range(200))
    assert line.next(now) is None


def test_while_one_stands_in_line_no_later_one_of_its_tenant_passes() -> None:
    line: Line[str] = Line(TURN_US, WAIT_US)
    line.turn(0, 0)
    assert line.passes("a", 1, TURN_US - 1)
    assert line.passes("a", 1, TURN_US), "not much too long"
    assert not line.passes("a", 1, TURN_US)
    assert line.joins("a", 1, "first")
    assert not line.passes("a", 1, 0)
    assert line.passes("b", 1, 0)


@pytest.mark.parametrize(
    ("rest_us", "part_us"), [(0, TURN_US), (500, TURN_US - 500), (10**5, TURN_US // LEAST_PART)]
)
def test_what_else_turns_do_is_taken_from_their_part(rest_us: int, part_us: int) -> None:
    line: Line[int] = Line(TURN_US, WAIT_US)
    now = 0
    for _ in range(50):
        line.drained(now)
        now += rest_us
        line.turn(now, now)
    assert line.joins("a", 1, 1)
    assert line.joins("a", 1, 2)
    assert line.next(now + part_us - 1) == 1
    assert line.next(now + part_us + 10) is None
    assert line.next(now) == 2


def busy(line: Line[int], now: int, until: int) -> int:
    """Turns in which one tenant takes all the room there is, and ten requests begin."""
    while now < until:
        line.turn(now, now)
        while line.joins("a", 1, 1):
            pass
        for _ in range(TURN_US // COST_US):
            line.next(now)
        now += TURN_US
    return now


def test_the_limit_follows_what_requests_cost() -> None:
    line: Line[int] = Line(TURN_US, WAIT_US)
    assert line.limit == WAIT_US // COST_GUESSED_US
    busy(line, 0, 20 * LEARN_US)
    assert line.cost_us == pytest.approx(COST_US, rel=0.05)
    assert line.limit == pytest.approx(WAIT_US / COST_US, rel=0.05)


def test_a_burst_may_wait_long_and_a_queue_that_stays_may_not() -> None:
    line: Line[int] = Line(TURN_US, WAIT_US)
    now = busy(line, 0, INTERVAL_US)
    assert line.waiting > 2 * line.standing
    now = busy(line, now, now + INTERVAL_US)
    assert line.waiting <= line.standing == STANDING_FEW
    assert line.joins("b", 1, 1), "of others a burst may still wait"
    while line.joins("a", 1, 1):
        pass
    assert line.waiting == 1 + STANDING_FEW
    line.turn(now + INTERVAL_US, now)
    assert all(line.joins("a", 1, 1) for _ in range(STANDING_FEW + 1))


def test_so_many_clients_at_once_are_no_flood() -> None:
    line: Line[int] = Line(TURN_US, WAIT_US)
    for now in range(0, 10 * INTERVAL_US, TURN_US):
        line.turn(now, now)
        while line.waiting < STANDING_FEW:
            assert line.joins("a", 1, 1)
        for _ in range(TURN_US // COST_US):
            line.next(now)


def test_where_the_limit_shrinks_others_still_find_room() -> None:
    line: Line[int] = Line(TURN_US, WAIT_US)
    while line.joins("a", 1, 1):
        pass
    line.limit = line.waiting - 10
    assert [line.joins("b", 1, 1) for _ in range(FEW + 1)] == [True] * FEW + [False]
    line.limit = line.waiting // 2
    assert not line.joins("c", 1, 1), "that would be no room but another line"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("abc"), st.integers(1, 9)),
            st.integers(0, 3_000),
        )
    )
)
def test_all_who_stand_in_line_leave_it_once_and_in_order(
    steps: list[tuple[str, int] | int],
) -> None:
    line: Line[tuple[str, int]] = Line(TURN_US, WAIT_US)
    waiting: dict[str, deque[int]] = {tenant: deque() for tenant in "abc"}
    weights: dict[int, int] = {}
    now = 0

    def drain(steps_max: int) -> None:
        for _ in range(steps_max):
            one = line.next(now)
            if one is None:
                return
            assert waiting[one[0]].popleft() == one[1]
            del weights[one[1]]

    line.turn(now, now)
    for at, step in enumerate(steps):
        if isinstance(step, int):
            now += step
            line.turn(now, now)
            drain(step % 5)
        elif line.joins(step[0], step[1], (step[0], at)):
            waiting[step[0]].append(at)
            weights[at] = step[1]
        assert line.waiting == sum(weights.values())
    line.turn(now, now)
    drain(len(steps))
    assert not weights
    assert not line._queues
    assert not line._round


def test_a_large_body_weighs_more() -> None:
    assert [weight_of(size) for size in (None, 0, 500, 400_000)] == [1, 1, 1, 7]


def test_limits_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="turn_us is above 0"):
        Line[int](turn_us=20, wait_us=10)
