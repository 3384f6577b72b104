"""Windows against the calendar, costs against fractions, and the levels of keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import Limits, Price, Project, Usage
from selvedge.ledger import Levels, budgets_of, cost_of, estimate_of, window_end_us, window_of
from selvedge.ledger.budgets import CONCURRENT, DAY, MONTH, REQUESTS
from tests.support.fleets import NOW_US, make_release

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.integers(0, 4_000_000_000_000_000)


@given(moments)
def test_windows_are_those_of_the_calendar(at_us: int) -> None:
    at = EPOCH + timedelta(microseconds=at_us)
    assert window_of(MONTH, at_us) == at.year * 12 + at.month - 1
    assert window_of(DAY, at_us) == (at - EPOCH).days
    after = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    assert window_end_us(MONTH, at_us) == (after - EPOCH) // timedelta(microseconds=1)
    assert window_of(CONCURRENT, at_us) == 0


@given(st.sampled_from([REQUESTS, DAY, MONTH]), moments)
def test_a_window_ends_where_the_next_begins(kind: int, at_us: int) -> None:
    end_us = window_end_us(kind, at_us)
    assert end_us > at_us
    assert window_of(kind, end_us - 1) == window_of(kind, at_us)
    assert window_of(kind, end_us) == window_of(kind, at_us) + 1


tokens = st.integers(0, 10**6)


@given(st.builds(Usage, tokens, tokens, tokens, tokens, tokens), tokens, tokens, tokens)
def test_costs_are_whole_and_rounded_up(usage: Usage, read: int, write: int, cached: int) -> None:
    exact = (
        Fraction((usage.input_uncached + usage.cache_write) * read)
        + usage.cache_read * cached
        + usage.generated * write
    ) / 10**6
    assert cost_of(Price(read, write, cached), usage) == ceil(exact)
    plain = Usage(usage.input, output=usage.generated)
    estimate = estimate_of(Price(read, write), usage.input, usage.generated)
    assert estimate.micro_dollars == cost_of(Price(read, write), plain)
    assert estimate.tokens == usage.input + usage.generated


def test_levels_of_a_key_are_those_with_limits_and_stay_the_same() -> None:
    limits = Limits(requests_per_minute=3)
    release = make_release()
    project = Project("default", "free", limits)
    levels = Levels(release.tenants, [project, Project("other", "free")])
    key = next(one for one in release.keys if one.id == "free")
    assert [one.name for one in levels.of(key)] == ["project/free/default"]
    narrowed = msgspec.structs.replace(key, limits=limits)
    found = levels.of(narrowed)
    assert [one.name for one in found] == ["key/free", "project/free/default"]
    assert levels.of(narrowed)[1] is found[1]
    other = msgspec.structs.replace(key, limits=Limits(concurrent_requests=1))
    assert levels.of(other)[0].limits == other.limits
    elsewhere = next(one for one in release.keys if one.id == "asean")
    assert levels.of(elsewhere) == ()


def test_budgets_of_a_release_and_of_keys_since() -> None:
    release = make_release(projects=(Project("p", "free", Limits(tokens_per_minute=5)),))
    later = msgspec.structs.replace(release.keys[0], id="new", limits=Limits(1))
    assert budgets_of(release, [later]) == {("project/free/p", 1): 5, ("key/new", 0): 1}
    assert window_of(REQUESTS, NOW_US) == NOW_US // 60_000_000
