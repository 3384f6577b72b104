"""What no loss, crash, partition or clock can break: the bound of docs/ledger.md, section Quotas.

A fleet of random size asks one desk for one key's budgets, while messages are lost or come late,
workers and the desk's memory die, the store fails, links are cut for longer than leases last, and
clocks differ and jump.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Limits, StoreFailed
from selvedge.ledger import Away, Estimate, Reservation
from selvedge.ledger.budgets import CONCURRENT, DAY, MINUTE_US, TOKENS
from selvedge.ledger.shares import AWAY, MARGIN_US, NONE, Budget
from tests.support.fleets import NOW_US
from tests.support.quotas import Worker, World

LIMITS = Limits(
    requests_per_minute=12,
    tokens_per_minute=300,
    concurrent_requests=6,
    micro_dollars_per_day=90,
    micro_dollars_per_month=200,
)
BY_KIND = (12, 300, 6, 90, 200)
ESTIMATE = Estimate(tokens=20, micro_dollars=3)
AMOUNTS = (1, 20, 1, 3, 3)


def budgets(worker: Worker) -> list[Budget]:
    state = worker.holder._kept.get(worker.world.who.levels[0].name)
    return state.budgets if state is not None else []


class Watch:
    """Counts what is admitted, by budget and window, as the bound's terms have it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.leased: dict[tuple[int, int], int] = defaultdict(int)
        self.micro: dict[tuple[int, int, int, int], int] = defaultdict(int)
        self.beyond: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)

    def reserve(self, worker: Worker) -> None:
        worker.holder._time(worker.now_us())
        before = {one.kind: one for one in budgets(worker)}
        at_us = worker.holder._at_us
        for one in before.values():
            one.roll(at_us, worker.holder.away)
        seen = {kind: (one.share(), one.named, one.until_us) for kind, one in before.items()}
        if not isinstance(worker.reserve(self.world.who, ESTIMATE), Reservation):
            return
        for one in budgets(worker):
            share, named, until_us = seen.get(one.kind, (NONE, 0, 0))
            window = named if one.kind >= DAY else one.window
            if share == NONE:
                self.micro[one.kind, worker.epoch, one.window, one.turn] += 1
                continue
            self.leased[one.kind, window] += AMOUNTS[one.kind]
            if at_us >= until_us:
                assert one.kind < DAY, "money never goes on"
                self.beyond[one.kind, window][worker.epoch] = share

    def check(self) -> None:
        for key, count in self.micro.items():
            assert count == 1 or key[0] == CONCURRENT, f"micro-grants of one window: {key}"
        for (kind, window), used in self.leased.items():
            if kind != CONCURRENT:
                last = sum(self.beyond[kind, window].values())
                assert used <= BY_KIND[kind] + last, (kind, window, used, last)
        self.conserve()

    def conserve(self) -> None:
        """All leases that may be used now sum to no more than the limit."""
        held: dict[int, int] = defaultdict(int)
        for worker in self.world.workers.values():
            at_us = worker.holder._time(worker.now_us())
            for one in budgets(worker):
                if at_us < one.until_us and one.share() != NONE:
                    held[one.kind, one.named] += one.share()
        for (kind, _), total in held.items():
            assert total <= BY_KIND[kind], (kind, total)


def fail(when: str) -> Any:
    def fault(at: str) -> None:
        if at == when:
            raise StoreFailed("disk full")

    return fault


def play(world: World, watch: Watch, step: tuple[str, int, int]) -> None:
    """One thing that happens."""
    what, who, number = step
    worker = world.workers[f"pop{who % len(world.workers)}"]
    match what:
        case "reserve":
            for _ in range(1 + number % 6):
                watch.reserve(worker)
        case "drain":
            for _ in range(40):
                watch.reserve(worker)
        case "settle":
            for held in worker.running[: number % 4]:
                worker.settle(held)
        case "ask":
            worker.ask()
        case "lost":
            worker.ask(lost=True)
        case "unanswered":
            worker.ask(unanswered=True)
        case "late":
            worker.ask(late=True)
        case "deliver":
            worker.deliver()
        case "wait":
            world.now_us += number * 97_001
        case "long":
            world.now_us += number * 1_900_001
        case "day":
            world.now_us += number * 1_300_000_001
        case "kill":
            world.start(worker.pop, worker.skew_us)
        case "cut":
            worker.is_cut = not worker.is_cut
        case "forget":
            world.forget()
        case "fault":
            world.store.fault = fail(("before", "after")[number % 2]) if number % 3 else None


USUAL = ["reserve"] * 6 + ["settle"] * 2 + ["ask"] * 6 + ["wait"] * 4
FAULTS = ["lost", "unanswered", "late", "deliver", "long", "kill", "cut", "forget", "fault"]
STEPS = st.lists(
    st.tuples(st.sampled_from(USUAL + FAULTS), st.integers(0, 7), st.integers(1, 30)), max_size=120
)


def start(world: World, skews: list[int]) -> Watch:
    for number, skew_us in enumerate(skews):
        world.start(f"pop{number}", skew_us)
    return Watch(world)


def run(seed: int, kinds: list[str], away: Away) -> None:
    """One long history of few workers who want more than there is."""
    draw = random.Random(seed)
    half_us = MARGIN_US // 2
    skews = [draw.randint(-half_us, half_us) for _ in range(draw.randint(2, 4))]
    # One budget at a time: under all five, one would hide what another one does.
    only = draw.randrange(5)
    names = Limits.__struct_fields__
    world = World(Limits(**{names[only]: BY_KIND[only]}), away)
    watch = start(world, skews)
    for _ in range(200):
        play(world, watch, (draw.choice(kinds), draw.randrange(8), draw.randint(1, 30)))
        watch.conserve()
    watch.check()


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("rule", range(len(AWAY)), ids=AWAY)
def test_long_histories(rule: int, part: int) -> None:
    greedy = ["drain"] * 5 + ["ask"] * 6 + ["wait"] * 4 + ["settle"] * 2
    for seed in range(part * 15, part * 15 + 15):
        run(seed, [*greedy, *FAULTS], Away(rule))
        run(seed, [*greedy, "late", "deliver", "kill", "forget", "day"], Away(rule))


SKEWS = st.lists(st.integers(-MARGIN_US // 2, MARGIN_US // 2), min_size=1, max_size=7)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(range(len(AWAY))), SKEWS, STEPS)
def test_no_more_is_admitted_than_the_formula_says(
    rule: int, skews: list[int], steps: list[tuple[str, int, int]]
) -> None:
    world = World(LIMITS, Away(rule))
    watch = start(world, skews)
    for step in steps:
        play(world, watch, step)
        watch.conserve()
    watch.check()


@settings(max_examples=60, deadline=None)
@given(
    SKEWS,
    st.lists(
        st.tuples(
            st.sampled_from([*USUAL, "day", "kill", "forget"]),
            st.integers(0, 7),
            st.integers(1, 30),
        ),
        max_size=120,
    ),
)
def test_money_of_a_day_and_a_month_is_never_granted_twice(
    skews: list[int], steps: list[tuple[str, int, int]]
) -> None:
    world = World(LIMITS, Away(0))
    watch = start(world, skews)
    for step in steps:
        play(world, watch, step)
    watch.check()


JUMPS = st.lists(
    st.tuples(st.integers(-(10**10), 10**10), st.integers(0, 5), st.integers(0, 90)), max_size=25
)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 4), JUMPS)
def test_a_clock_that_jumps_keeps_no_lease_and_no_money(
    count: int, jumps: list[tuple[int, int, int]]
) -> None:
    """Set back, time goes on from where it was; set ahead, leases end early."""
    world = World(LIMITS, Away(1))
    watch = start(world, [0] * count)
    for jump_us, who, wait_s in jumps:
        worker = world.workers[f"pop{who % count}"]
        for _ in range(4):
            watch.reserve(worker)
        worker.ask()
        worker.skew_us += jump_us
        worker.holder.turn(worker.now_us())  # as its task does, some times a second
        worker.holder.failed()
        world.now_us += wait_s * 1_000_000
        watch.conserve()
    for (kind, window), used in watch.leased.items():
        if kind >= DAY:
            assert used <= BY_KIND[kind], (kind, window)


def test_a_clock_that_was_set_back_makes_no_lease_longer() -> None:
    world = World(Limits(requests_per_minute=12), Away(1))
    watch = start(world, [0, 0])
    one, two = world.workers.values()
    watch.reserve(one)
    assert one.ask()
    one.skew_us -= 3_600_000_000
    one.holder.turn(one.now_us())
    world.now_us += 200_000_000
    for _ in range(8):
        watch.reserve(two)
        two.ask()
        world.now_us += 250_000
        watch.conserve()
    assert [budget.share() for budget in budgets(two)] == [12]


def test_what_was_used_in_a_minute_that_just_ended_elsewhere_is_not_granted_again() -> None:
    """One clock is ahead: its minute is over, the other's is not."""
    world = World(Limits(requests_per_minute=12))
    ahead, behind = world.start("a", 2_000_000), world.start("b", -2_000_000)
    world.now_us = NOW_US + 40_000_000
    for _ in range(16):
        while isinstance(ahead.reserve(world.who, ESTIMATE), Reservation):
            pass
        ahead.ask()
        world.now_us += 1_000_000
    assert budgets(ahead)[0].used == 12
    world.now_us = NOW_US + 59_000_000
    got = 0
    for _ in range(4):
        for worker in (behind, ahead, behind):
            for one in budgets(worker):
                worker.holder._want(one)
            worker.ask()
        for _ in range(13):
            got += isinstance(behind.reserve(world.who, ESTIMATE), Reservation)
        world.now_us += 210_000
    assert got <= 1, "the micro-grant, and nothing that was used"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 60))
def test_a_cold_fleet_admits_no_more_than_the_limit_and_one_each(count: int, limit: int) -> None:
    """N holders without a lease: L + N x 1, and as many are served as may be."""
    world = World(Limits(requests_per_minute=limit))
    admitted = 0
    workers = [world.start(f"pop{number}") for number in range(count)]
    for _ in range(3):
        for worker in workers:
            admitted += isinstance(worker.reserve(world.who, ESTIMATE), Reservation)
        for worker in workers:
            worker.ask()
        world.now_us += 300_000
    assert admitted <= limit + count
    assert admitted >= min(count, limit * count)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 3), st.lists(st.integers(0, 5), max_size=12))
def test_what_exceeds_its_estimate_exceeds_the_limit_by_that_alone(
    count: int, surplus: int, settled: list[int]
) -> None:
    """The term R x e: tokens beyond the estimates of requests that were under way."""
    world = World(Limits(tokens_per_minute=300))
    workers = [world.start(f"pop{number}") for number in range(count)]
    for worker in workers:
        worker.reserve(world.who, Estimate(20, 0))
        worker.ask()
    used = 0
    for number in settled * 4:
        worker = workers[number % count]
        held = worker.reserve(world.who, Estimate(20, 0))
        if isinstance(held, Reservation):
            worker.settle(held, tokens=20 + surplus)
        worker.ask()
        world.now_us += 210_000
        if world.now_us // MINUTE_US != (world.now_us + 210_000) // MINUTE_US:
            break
    for worker in workers:
        used += sum(one.used for one in budgets(worker) if one.kind == TOKENS)
    under_way = len(settled) * 4
    assert used <= 300 + count * 20 + under_way * surplus
