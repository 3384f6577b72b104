"""Audits: they shut off what is broken, soon, and hardly ever what is not."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from selvedge.cache import Audit
from selvedge.cache.audit import EPOCH


def test_the_first_wrong_hits_shut_it() -> None:
    audit = Audit(0.01)
    assert audit.broken is None
    audit.take(correct=False)
    assert audit.broken is not None
    assert "1 of 1 audited hits were wrong" in audit.broken
    assert "more than the 1.0% allowed" in audit.broken


def test_one_wrong_among_many_does_not() -> None:
    audit = Audit(0.01)
    for number in range(100):
        audit.take(correct=number != 50)
    assert audit.broken is None


@pytest.mark.parametrize(("share", "most"), [(0.01, 0.05), (0.005, 0.01)])
def test_a_good_cache_is_rarely_shut(share: float, most: float) -> None:
    """1,000 caches that err as often as is allowed, or half as often, over one epoch each."""
    rng = Random(3)
    shut = 0
    for _ in range(1000):
        audit = Audit(0.01, 0.95)
        for _ in range(EPOCH):
            audit.take(correct=rng.random() >= share)
        shut += audit.broken is not None
    assert shut <= most * 1000


def test_a_bad_one_is_shut_within_some_hundred_audits() -> None:
    rng = Random(4)
    lasted = []
    for _ in range(200):
        audit, count = Audit(0.01), 0
        while audit.broken is None and count < 5000:
            audit.take(correct=rng.random() >= 0.05)
            count += 1
        lasted.append(count)
    assert sorted(lasted)[100] <= 150
    assert max(lasted) <= 1000


def test_a_long_good_past_does_not_hide_a_bad_present() -> None:
    audit = Audit(0.01)
    for _ in range(20 * EPOCH):
        audit.take(correct=True)
    assert audit.before == 19 * EPOCH
    for _ in range(EPOCH):
        audit.take(correct=False)
    assert audit.broken is not None


def test_it_is_kept_and_stays_broken() -> None:
    audit = Audit(0.01)
    audit.take(correct=False)
    again = Audit(0.01, kept=audit.dump())
    assert again.broken == audit.broken
    again.take(correct=True)
    assert again.broken == audit.broken
    assert (again.audits, again.wrong) == (2, 1)


def test_what_another_version_kept_is_refused() -> None:
    other = msgspec.msgpack.encode([2, 0, 0, 0, None])
    with pytest.raises(ValueError, match="audits of version 2, this is 1"):
        Audit(0.01, kept=other)
