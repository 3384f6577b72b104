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
    ACTIVE_US,
    ALPHA,
    INTERVAL_US,
    SHARED_FOR_US,
    WINDOW_US,
    Pressure,
    Shares,
    Targets,
    weight_of,
)

TARGETS = Targets(alone_us=50_000, shared_us=1_000)
SECOND_US = 1_000_000
COST_US, REFUSAL_US, TURN_US = 100, 10, 20
PEAK = SECOND_US // COST_US
SETTLED_US = 2 * SECOND_US


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
    """What a modelled second or more showed, after two seconds of settling."""

    served: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    waited_us: dict[str, list[int]] = field(default_factory=dict)

    def p99_us(self, tenant: str) -> int:
        waited = sorted(self.waited_us[tenant])
        return waited[len(waited) * 99 // 100]


def model(rates: Mapping[str, float], seconds: float, seed: int = 1) -> Run:
    """A loop that reads, in each turn, what came during the last one; an answer takes two turns.

    Work that is admitted costs half of `COST_US` in its turn and half in the next; a turn's length
    is the sum of its work.
    """
    pressure, rng, run = Pressure(TARGETS), Random(seed), Run()
    coming = {one: rng.expovariate(rate) * SECOND_US for one, rate in rates.items()}
    second_half: deque[tuple[str, float]] = deque()
    now, end = 0.0, seconds * SECOND_US + SETTLED_US
    while now < end:
        began, work = now, float(TURN_US)
        ending, second_half = second_half, deque()
        for one, rate in rates.items():
            while coming[one] <= began:
                at = coming[one]
                coming[one] += rng.expovariate(rate) * SECOND_US
                if pressure.watching and not pressure.admits(one, 1, int(began)):
                    work += REFUSAL_US
                    run.refused[one] += began > SETTLED_US
                else:
                    work += COST_US / 2
                    second_half.append((one, at))
        for one, at in ending:
            work += COST_US / 2
            if began > SETTLED_US:
                run.served[one] += 1
                run.waited_us.setdefault(one, []).append(int(began + work - at))
        now += work
        pressure.turned(int(now), int(work))
    return run


def test_half_the_load_is_all_served() -> None:
    run = model({"a": PEAK * 0.5}, 2)
    assert not run.refused


@pytest.mark.parametrize("load", [0.95, 1.5, 2.0, 3.0])
def test_goodput_is_what_refusals_leave_of_the_loop(load: float) -> None:
    """Whatever is offered, the loop works: what it does not serve it refuses, and no more."""
    run = model({"a": PEAK * load}, 2)
    per_s = run.served["a"] / 2
    refused_per_s = run.refused["a"] / 2
    possible = min(PEAK * load, (SECOND_US - refused_per_s * REFUSAL_US) / COST_US)
    assert per_s >= 0.95 * possible
    assert run.p99_us("a") < 5 * TARGETS.alone_us


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("flood", [1.0, 2.0, 3.0])
def test_a_flood_leaves_the_others_alone(flood: float, seed: int) -> None:
    alone = model({"b": PEAK * 0.1}, 2, seed)
    run = model({"a": PEAK * flood, "b": PEAK * 0.1}, 3, seed)
    assert run.refused["b"] == 0
    assert run.refused["a"] > 0
    assert run.p99_us("b") <= 2 * alone.p99_us("b") + 5_000
    assert sum(run.served.values()) / 3 >= 0.85 * (
        (SECOND_US - sum(run.refused.values()) / 3 * REFUSAL_US) / COST_US
    )


def test_equal_floods_get_equal_parts() -> None:
    run = model({"a": PEAK, "b": PEAK, "c": PEAK * 0.05}, 4)
    assert run.refused["c"] == 0
    assert abs(run.served["a"] - run.served["b"]) < 0.05 * run.served["a"]


def test_it_is_calm_again_after_a_flood() -> None:
    pressure = Pressure(TARGETS)
    now = flood(pressure)
    assert pressure.quota is not None
    while pressure.quota is not None:
        now += WINDOW_US
        pressure.turned(now, 100)
        assert now < 10 * SECOND_US
    assert not pressure.watching
    assert not pressure._tenants


def flood(pressure: Pressure) -> int:
    now = 0
    for _ in range(100):
        now += 60_000
        for _ in range(200 if pressure.watching else 0):
            pressure.admits("a", 1, now)
        pressure.turned(now, 60_000)
    return now


def test_a_burst_and_a_pause_are_nothing() -> None:
    pressure = Pressure(TARGETS)
    pressure.turned(0, INTERVAL_US * 5)
    assert pressure.watching
    assert pressure.admits("a", 1, 1)
    pressure.turned(INTERVAL_US, 900)
    assert not pressure.watching
    pressure.turned(INTERVAL_US + 1, 60_000)
    pressure.turned(INTERVAL_US * 2, 60_000)
    assert pressure.quota is None


def test_turns_of_one_tenant_may_be_longer_than_shared_ones() -> None:
    pressure = Pressure(TARGETS)
    for at in range(100):
        pressure.turned(at * 10_000, 10_000)
        if pressure.watching:
            pressure.admits("a", 1, at * 10_000)
    assert pressure.quota is None


def test_tenants_that_left_take_no_room_and_have_no_say() -> None:
    pressure = Pressure(TARGETS)
    now = flood(pressure)
    for at in range(50):
        pressure.admits(f"t{at}", 1, now)
    for later in range(now, now + 2 * ACTIVE_US, WINDOW_US // 2):
        for _ in range(200):
            pressure.admits("a", 1, later)
        pressure.turned(later, 60_000)
    assert set(pressure._tenants) == {"a"}


def test_a_large_body_weighs_more() -> None:
    assert [weight_of(size) for size in (None, 0, 500, 400_000)] == [1, 1, 1, 7]


def test_targets_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="shared_us is above 0"):
        Targets(alone_us=10, shared_us=20)
