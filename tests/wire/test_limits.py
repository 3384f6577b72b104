"""Durations as Go writes them: examples from OpenAI's headers, and a law."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.wire import limit_names, limit_values
from selvedge.wire.limits import duration


@pytest.mark.parametrize(
    ("us", "written"),
    [
        (0, "0s"),
        (-5, "0s"),
        (1, "1ms"),
        (12_000, "12ms"),
        (1_000_000, "1s"),
        (1_680_747_000, "28m0.747s"),
        (5_776_107_000, "1h36m16.107s"),
        (60_000_000, "1m0s"),
        (3_600_000_000, "1h0m0s"),
        (1_500_000, "1.5s"),
    ],
)
def test_durations(us: int, written: str) -> None:
    assert duration(us) == written


@given(st.integers(0, 10**13))
def test_a_duration_reads_back_to_the_millisecond(us: int) -> None:
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:(\d+)ms)?", duration(us))
    assert found is not None
    hours, minutes, seconds, ms = (float(one or 0) for one in found.groups())
    read_ms = round(hours * 3_600_000 + minutes * 60_000 + seconds * 1000 + ms)
    assert read_ms == -(-us // 1000)


def test_three_headers_a_limit() -> None:
    pairs = dict(zip(limit_names("tokens"), limit_values(9, 4, 12_000), strict=True))
    assert pairs == {
        "x-ratelimit-limit-tokens": "9",
        "x-ratelimit-remaining-tokens": "4",
        "x-ratelimit-reset-tokens": "12ms",
    }
