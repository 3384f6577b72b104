"""What a client says to the cache (RFC 9111), and what it says back (RFC 9211)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.cache import Directives, age_s, cache_status, read_cache_control
from selvedge.cache.control import SECONDS_MAX
from selvedge.fabric import Refused


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("", Directives()),
        (" , ,", Directives()),
        ("no-cache", Directives(no_cache=True)),
        ("NO-Store", Directives(no_store=True)),
        ("only-if-cached, max-age=60", Directives(only_if_cached=True, max_age_s=60)),
        ('max-age="60"', Directives(max_age_s=60)),
        ('max-age = "6\\0"', Directives(max_age_s=60)),
        ("max-age=60, max-age=5", Directives(max_age_s=5)),
        ("min-fresh=5,min-fresh=7", Directives(min_fresh_s=7)),
        ("max-stale", Directives()),
        ("max-stale=9", Directives()),
        ("max-age=99999999999999999999", Directives(max_age_s=SECONDS_MAX)),
        ("max-age=00000000000000000001", Directives(max_age_s=1)),
        ('no-transform, x=y, z="a, no-store"', Directives()),
        ('no-cache="x"', Directives(no_cache=True)),
    ],
)
def test_what_is_read(value: str, read: Directives) -> None:
    assert read_cache_control(value) == read


@pytest.mark.parametrize(
    "value",
    [
        "max-age",
        "max-age=1h",
        "max-age=-1",
        "min-fresh=",
        "max-age=1.5",
        'x="',
        "a b",
        "=3",
        "max-age=\u0663",
    ],
)
def test_what_cannot_be_read_is_refused_by_name(value: str) -> None:
    found = read_cache_control(value)
    assert isinstance(found, Refused)
    assert (found.code, found.param) == ("invalid_header", "cache-control")
    for name in ("max-age", "min-fresh"):
        assert (name in value) <= (name in found.message or "list" in found.message)


@given(st.text(max_size=60))
def test_any_header_is_read_or_refused(value: str) -> None:
    assert isinstance(read_cache_control(value), Directives | Refused)


def test_a_long_header_takes_no_longer_than_it_is() -> None:
    assert isinstance(read_cache_control('"' + "\\" * 20_000), Refused)
    assert isinstance(read_cache_control("a" + " " * 20_000 + "b"), Refused)


def test_what_an_answer_must_be() -> None:
    assert Directives().accepts(10, 10)
    assert not Directives().accepts(11, 10)
    assert not Directives(max_age_s=9).accepts(10, 20)
    assert Directives(max_age_s=10, min_fresh_s=10).accepts(10, 20)
    assert not Directives(min_fresh_s=11).accepts(10, 20)
    assert not Directives(no_cache=True).accepts(0, 20)
    assert not Directives(no_store=True).looks_up


def test_cache_status() -> None:
    assert cache_status() == "selvedge; hit"
    assert cache_status(ttl_s=-3, key='a"\\é') == r'selvedge; hit; ttl=-3; key="a\"\\?"'
    assert (
        cache_status(
            "uri-miss",
            name="fra 1",
            forwarded_status=200,
            stored=True,
            collapsed=True,
            detail="off",
        )
        == '"fra 1"; fwd=uri-miss; fwd-status=200; stored; collapsed; detail=off'
    )
    assert cache_status(stored=True, collapsed=True, forwarded_status=200) == "selvedge; hit"
    assert cache_status("bypass", detail="no room") == 'selvedge; fwd=bypass; detail="no room"'


def test_age() -> None:
    assert age_s(0, 1_999_999) == 1
    assert age_s(5, 0) == 0
    assert age_s(0, 10**18) == SECONDS_MAX
