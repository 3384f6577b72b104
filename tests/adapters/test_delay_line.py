"""The delay line under a clock that only the test moves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.adapters.delay_line import DelayLine

steps = st.lists(st.tuples(st.floats(0, 0.2), st.binary(max_size=8)), max_size=40)


def test_nothing_leaves_early_and_everything_in_order() -> None:
    line: DelayLine[str] = DelayLine(0.05, opens_at_s=0.0, capacity=10)
    assert line.next_due_s is None
    line.push(1.00, "a")
    line.push(1.01, "b")
    assert line.next_due_s == 1.05
    assert line.pop_due(1.049) == []
    assert line.pop_due(1.055) == ["a"]
    assert line.pop_due(2.0) == ["b"]
    assert line.next_due_s is None


def test_the_first_bytes_wait_for_the_handshake() -> None:
    line: DelayLine[str] = DelayLine(0.05, opens_at_s=10.1, capacity=10)
    line.push(10.0, "hello")
    line.push(10.3, "later")
    assert line.next_due_s == pytest.approx(10.15)
    assert line.pop_due(10.15) == ["hello"]
    assert line.next_due_s == pytest.approx(10.35)


def test_a_clock_that_steps_back_keeps_the_order() -> None:
    line: DelayLine[int] = DelayLine(0.05, opens_at_s=0.0, capacity=10)
    line.push(5.0, 1)
    line.push(4.0, 2)
    assert line.pop_due(5.04) == []
    assert line.pop_due(5.05) == [1, 2]


def test_full_and_room_are_half_the_capacity_apart() -> None:
    line: DelayLine[bytes] = DelayLine(1.0, opens_at_s=0.0, capacity=10)
    for second in range(3):
        line.push(second, b"", 4)
    assert (line.weight, line.is_full, line.has_room) == (12, True, False)
    line.pop_due(1.0)
    assert (line.weight, line.is_full, line.has_room) == (8, False, False)
    line.pop_due(2.0)
    assert (line.weight, line.is_full, line.has_room) == (4, False, True)


@given(steps, st.floats(0, 1), st.floats(0, 1))
def test_what_goes_in_comes_out(
    pushes: list[tuple[float, bytes]], delay_s: float, opens_at_s: float
) -> None:
    line: DelayLine[bytes] = DelayLine(delay_s, opens_at_s=opens_at_s, capacity=1)
    now_s, got = 0.0, []
    for wait_s, item in pushes:
        now_s += wait_s
        line.push(now_s, item, len(item))
        got += line.pop_due(now_s)
    got += line.pop_due(now_s + delay_s + opens_at_s)
    assert got == [item for _, item in pushes]
    assert line.weight == 0


@pytest.mark.parametrize(("delay_s", "capacity"), [(-1, 1), (math.nan, 1), (math.inf, 1), (0, 0)])
def test_an_impossible_line_cannot_be_built(delay_s: float, capacity: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        DelayLine(delay_s, opens_at_s=0.0, capacity=capacity)
