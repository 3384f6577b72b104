"""Gaps of a period with frayed ends, against a plain reckoning; and drawing a sample."""

from __future__ import annotations

import hashlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import SelvedgeError
from selvedge.ledger import Numbers, Origin, Ranges
from selvedge.plan import (
    Draw,
    Findings,
    Numbered,
    find_gaps,
    score_of,
    seed_of_auditor,
    seed_of_beacon,
    unread_of,
)
from selvedge.plan.completeness import NAMED_MAX, gaps_of, outside

ORIGIN = Origin("sin", 0)


def numbers(*runs: tuple[int, int]) -> Numbers:
    return Numbers.of_runs([(ORIGIN, runs)])


def numbered(**facts: object) -> Numbered:
    nothing = Numbered(Numbers(), Numbers(), Numbers(), {}, {})
    return nothing._replace(**facts)


def gaps(**facts: object) -> list[tuple[int, int]]:
    return [(one.first, one.last) for one in gaps_of(numbered(**facts))]


def test_a_gap_is_the_periods_unless_both_its_neighbours_are_of_another_time() -> None:
    whole = {"before": numbers((1, 4)), "within": numbers((5, 9)), "after": numbers((10, 12))}
    assert gaps(**whole) == []
    assert gaps(**whole | {"within": numbers((5, 6), (8, 9))}) == [(7, 7)]
    assert gaps(**whole | {"within": numbers((6, 9))}) == [(5, 5)]
    assert gaps(**whole | {"within": numbers((5, 8))}) == [(9, 9)]
    assert gaps(**whole | {"before": numbers((1, 2), (4, 4))}) == []
    assert gaps(**whole | {"after": numbers((10, 10), (12, 12))}) == []
    assert gaps(before=numbers((1, 4)), after=numbers((10, 12))) == [(5, 9)]


def test_frayed_ends_are_no_gaps() -> None:
    """A request that was received before the period may be written within it."""
    facts = {"before": numbers((1, 4), (6, 6)), "within": numbers((5, 5), (7, 9))}
    assert gaps(**facts) == []


def test_what_a_collector_held_once_is_missed_at_the_end() -> None:
    held = {ORIGIN: [(1, 9)]}
    assert gaps(within=numbers((1, 7)), held=held) == [(8, 9)]
    assert gaps(before=numbers((1, 7)), held=held) == [(8, 9)]
    assert gaps(after=numbers((1, 7)), held=held) == []
    assert gaps(held=held) == [(1, 9)]


def test_what_is_elsewhere_is_no_gap_and_is_counted() -> None:
    facts = {"within": numbers((1, 2), (6, 7)), "elsewhere": {ORIGIN: [(3, 5)]}}
    assert gaps(**facts) == []
    assert unread_of(numbered(**facts)) == 3
    assert gaps(**facts | {"elsewhere": {ORIGIN: [(4, 5)]}}) == [(3, 3)]
    late = {"before": numbers((1, 2), (6, 6)), "elsewhere": {ORIGIN: [(3, 5)]}}
    assert unread_of(numbered(**late)) == 0
    read = {"within": numbers((1, 7)), "elsewhere": {ORIGIN: [(3, 5)]}}
    assert unread_of(numbered(**read)) == 0
    last = {"within": numbers((1, 2)), "elsewhere": {ORIGIN: [(3, 5)]}}
    assert unread_of(numbered(**last)) == 3


def test_an_invoice_of_another_month_explains_a_gap() -> None:
    findings = Findings()
    facts = numbered(within=numbers((4, 6)), held={ORIGIN: [(2, 6)]})
    find_gaps(facts, numbers((1, 2)), findings)
    assert [(one.where, one.what) for one in findings.named] == [
        ("PoP sin, worker 0, number 3", "was collected, and is not here any more")
    ]
    find_gaps(numbered(within=numbers((2, 2))), Numbers(), findings)
    assert findings.counts == {"gap": 2}
    assert findings.named[0].what == "is nowhere"


def test_findings_are_all_counted_and_some_named() -> None:
    findings = Findings()
    for number in range(NAMED_MAX + 5):
        findings.add("gap", str(number), "", 2)
    assert findings.counts["gap"] == 2 * (NAMED_MAX + 5)
    assert len(findings.named) == NAMED_MAX


@given(
    st.tuples(st.integers(1, 60), st.integers(0, 20)),
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), max_size=6),
)
def test_the_outside_of_a_run_is_what_no_other_has(
    run: tuple[int, int], known: list[tuple[int, int]]
) -> None:
    first, last = run[0], run[0] + run[1]
    ranges = Ranges()
    for low, size in known:
        ranges.add(low, low + size)
    found = {one for low, high in outside((first, last), ranges) for one in range(low, high + 1)}
    assert found == {one for one in range(first, last + 1) if one not in ranges}


def test_a_sample_is_the_same_in_any_order_and_by_hand() -> None:
    keys = [((pop, worker), seq) for pop in "ab" for worker in (0, 1) for seq in range(1, 200)]
    expected = sorted((score_of("seed:x", "acme", *key), *key) for key in keys)[:7]
    for order in range(5):
        draw = Draw("seed:x", "acme", 7)
        for key in Random(order).sample(keys, len(keys)):
            draw.offer(*key)
        assert draw.drawn == expected
    data = b"selvedge/sample/v1\nseed:x\nacme/a/0/1\n"
    assert score_of("seed:x", "acme", ("a", 0), 1) == hashlib.sha256(data).hexdigest()
    assert Draw("seed:x", "acme", 7).drawn == []


def test_seeds_are_said_and_checked() -> None:
    assert seed_of_auditor("for the regulator") == "seed:for the regulator"
    assert seed_of_beacon("42:" + "AB" * 32) == "beacon:42:" + "ab" * 32
    for wrong in ("", "42", "42:xyz", "x:" + "ab" * 32, "42:" + "ab" * 15, "42:" + "a" * 33):
        with pytest.raises(SelvedgeError, match="is not ROUND:HEX"):
            seed_of_beacon(wrong)
    for wrong in ("", "a\nb", "x" * 257):
        with pytest.raises(SelvedgeError, match="--seed: is 1 to 256 printable"):
            seed_of_auditor(wrong)
