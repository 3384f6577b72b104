"""Wraps and resets against a slow reading of the rules, and amounts that add up."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.plan.history import Flag
from selvedge.plan.ingest.cells import STEP_MS, Spans, share_out
from selvedge.plan.ingest.columns import Readings
from selvedge.plan.ingest.counters import ABOVE, LIMIT_BPS, SLACK_MS, UPTIME_WRAP_MS, find_steps


@dataclass(frozen=True)
class Poll:
    """What a device showed."""

    at_ms: int
    value: int
    uptime_ms: int
    capacity_bps: int


@dataclass(frozen=True)
class Truth:
    """A device: what it counted before each poll, and whether it was restarted since the last."""

    width: int
    polls: tuple[Poll, ...]
    counted: tuple[int, ...]
    restarts: tuple[bool, ...]


@st.composite
def devices(draw: st.DrawFn) -> Truth:
    """Polled every five minutes or so; its load moves by less than a half from poll to poll."""
    width = draw(st.sampled_from([32, 64]))
    knows_uptime = draw(st.booleans())
    capacity = draw(st.sampled_from([0, 10**8, 10**10]))
    count = draw(st.integers(3, 12))
    most = 2_000_000_000 if width == 32 else 3 * 10**9
    level = draw(st.integers(1000, most // 2))
    at, up = 1_767_225_600_000, draw(st.integers(0, UPTIME_WRAP_MS - 1))
    value = draw(st.integers(0, (1 << width) - 1))
    polls, counted, restarts = [], [], []
    for _ in range(count):
        step = draw(st.integers(295_000, 305_000))
        amount = level * draw(st.integers(70, 130)) // 100
        restart = knows_uptime and draw(st.integers(0, 5)) == 0
        at += step
        if restart:
            since = draw(st.integers(0, step - SLACK_MS - 1))
            amount = amount * since // step
            value, up = amount % (1 << width), since
        else:
            value, up = (value + amount) % (1 << width), (up + step) % UPTIME_WRAP_MS
        counted.append(amount)
        restarts.append(restart)
        polls.append(Poll(at, value, up // 10 * 10 if knows_uptime else -1, capacity))
    return Truth(width, tuple(polls), tuple(counted), tuple(restarts))


def readings(truth: Truth) -> Readings:
    polls = truth.polls
    found = Readings(
        np.zeros(len(polls), np.uint16),
        np.zeros(len(polls), np.uint32),
        np.array([poll.at_ms for poll in polls]),
        np.zeros(len(polls), np.uint8),
    )
    found.more["uptime_ms"] = np.array([poll.uptime_ms for poll in polls])
    found.more["width"] = np.full(len(polls), truth.width, np.uint8)
    capacity = np.array([poll.capacity_bps for poll in polls], np.uint64)
    found.values = {
        "out_bytes": np.array([poll.value for poll in polls], np.uint64),
        "capacity_bps": capacity,
    }
    found.valid = {"out_bytes": None, "capacity_bps": capacity > 0}
    return found


def slow_steps(polls: tuple[Poll, ...], width: int) -> list[tuple[int, bool, bool]]:
    """Amount, reset, wrap: the rules of `counters`, one poll after another."""
    plain: list[float | None] = []
    for a, b in itertools.pairwise(polls):
        odd = b.value < a.value or restarted(a, b)
        plain.append(None if odd else (b.value - a.value) / (b.at_ms - a.at_ms))
    known = [rate for rate in plain if rate is not None]
    found = []
    for index, (a, b) in enumerate(itertools.pairwise(polls)):
        span = b.at_ms - a.at_ms
        if restarted(a, b):
            found.append((b.value, True, False))
            continue
        if b.value >= a.value:
            found.append((b.value - a.value, False, False))
            continue
        wrapped = b.value + (1 << width) - a.value
        fits = wrapped <= (b.capacity_bps or LIMIT_BPS) * span / 8000 * ABOVE
        if a.uptime_ms < 0:
            near = plain[max(index - 1, 0) : index] + plain[index + 1 : index + 2]
            rates = [rate for rate in near if rate is not None]
            if rates:
                fits = fits and wrapped <= 2 * max(rates) * span
            elif known:
                fits = fits and wrapped <= 1.5 * max(known) * span
        found.append((wrapped, False, True) if fits else (b.value, True, False))
    return found


def restarted(a: Poll, b: Poll) -> bool:
    if a.uptime_ms < 0 or b.uptime_ms < 0:
        return False
    span = b.at_ms - a.at_ms
    if b.uptime_ms < a.uptime_ms:
        return abs(a.uptime_ms + span - b.uptime_ms - UPTIME_WRAP_MS) > 60_000
    return b.at_ms - b.uptime_ms > a.at_ms + SLACK_MS


@settings(max_examples=250, deadline=None, derandomize=True)
@given(devices())
def test_wraps_and_resets_as_the_slow_reading_finds_them(truth: Truth) -> None:
    steps = find_steps(readings(truth), "out_bytes")
    found = list(
        zip(steps.amount.tolist(), steps.is_reset.tolist(), steps.is_wrap.tolist(), strict=True)
    )
    assert found == slow_steps(truth.polls, truth.width)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(devices())
def test_with_uptime_and_capacity_nothing_is_mistaken(truth: Truth) -> None:
    if truth.polls[0].uptime_ms < 0 or truth.polls[0].capacity_bps != 10**10:
        return
    steps = find_steps(readings(truth), "out_bytes")
    assert steps.is_reset.tolist() == list(truth.restarts[1:])
    assert steps.amount.tolist() == list(truth.counted[1:])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(0, 3_000_000), st.integers(1, 2_000_000), st.integers(0, 2**52)),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_shared_out_adds_up(given_spans: list[tuple[int, int, int]]) -> None:
    spans = sorted(given_spans)
    start = np.array([one[0] for one in spans])
    amount = np.array([one[2] for one in spans], np.uint64)
    number = np.arange(len(spans), dtype=np.uint32)
    whole = Spans(
        np.zeros(len(spans), np.uint16),
        number,
        start,
        start + np.array([one[1] for one in spans]),
        amount,
        np.zeros(len(spans), np.uint8),
    )
    cells = share_out(whole)
    for index, (first, length, total) in enumerate(spans):
        mine = cells.series == index
        assert int(cells.amount[mine].sum()) == total
        assert int(cells.covered_ms[mine].sum()) == length
        for cell, got in zip(cells.cell[mine].tolist(), cells.amount[mine].tolist(), strict=True):
            low = max(first, cell * STEP_MS)
            high = min(first + length, (cell + 1) * STEP_MS)
            assert abs(got - Fraction(total * (high - low), length)) <= 1


def test_a_short_span_is_not_spread_and_a_long_one_is() -> None:
    def flags(start: int, end: int) -> int:
        one = np.zeros(1, np.uint8)
        spans = Spans(one, one, np.array([start]), np.array([end]), np.ones(1, np.uint64), one)
        return int(np.bitwise_or.reduce(share_out(spans).flags))

    assert flags(280_000, 340_000) == 0
    assert flags(20_000, 325_000) == 0
    assert flags(0, 299_000) == 0
    assert flags(100_000, 400_000) == Flag.SPREAD
    assert flags(0, 600_000) == Flag.SPREAD
