"""Virtual time: order, ties, cancellation."""

from __future__ import annotations

from random import Random

import pytest

from selvedge.sim.clock import Clock


def test_calls_run_in_order_of_time_and_of_asking() -> None:
    clock, ran = Clock(5), list[str]()
    clock.at(30, lambda: ran.append("late"))
    clock.after(5, lambda: ran.append("first"))
    clock.at(10, lambda: ran.append("second"))
    clock.run_until()
    assert (ran, clock.now_us, clock.ran) == (["first", "second", "late"], 30, 3)


def test_run_until_stops_at_its_moment_and_goes_on() -> None:
    clock, ran = Clock(), list[int]()
    for at_us in (10, 20, 21):
        clock.at(at_us, lambda: ran.append(clock.now_us))
    clock.run_until(20)
    assert (ran, clock.now_us) == ([10, 20], 20)
    clock.run_until(100)
    assert (ran, clock.now_us) == ([10, 20, 21], 100)


def test_a_cancelled_call_does_not_run_nor_move_time() -> None:
    clock = Clock()
    timer = clock.at(10, lambda: pytest.fail("cancelled"))
    timer.cancel()
    clock.run_until()
    assert (clock.now_us, clock.ran) == (0, 0)
    timer.cancel()


def test_the_past_is_refused() -> None:
    with pytest.raises(ValueError, match="past"):
        Clock(10).at(9, lambda: None)


def test_calls_far_off_come_in_their_order_whenever_they_were_asked_for() -> None:
    clock, ran = Clock(7), list[int]()
    rng = Random(3)
    asked = [rng.randrange(8, 50_000_000) for _ in range(500)]

    def again() -> None:
        ran.append(clock.now_us)
        if len(ran) < 1000:
            clock.after(rng.choice((0, 1, 900_000, 30_000_000)), again)

    for at_us in asked:
        clock.at(at_us, again)
    clock.run_until(20_000_000)
    assert ran == sorted(ran)
    assert max(ran) <= 20_000_000 == clock.now_us
    clock.run_until()
    assert ran == sorted(ran)
    assert len(ran) == clock.ran > 1000


def test_cancelled_calls_are_swept_out_and_the_others_run() -> None:
    clock, ran = Clock(), list[int]()
    timers = [clock.at(at * 1000, lambda: ran.append(clock.now_us)) for at in range(20_000)]
    for at, timer in enumerate(timers):
        if at % 10:
            timer.cancel()
    clock.run_until()
    assert ran == [at * 1000 for at in range(0, 20_000, 10)]
