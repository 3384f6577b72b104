"""The kept corpus against our request reader: the same messages as h11, or refused.

The law and its comparison are those of `tests.wire.test_http1_h11`; here they meet every entry of
the corpus, every place where its bytes can be split, and edits of it.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.attack.corpus import ATTACKS, Attack
from tests.wire.test_http1 import byte_by_byte, read
from tests.wire.test_http1_h11 import assert_compatible

SMALL = [one for one in ATTACKS if len(one.raw) <= 600]
ENTRIES_MIN = 340
PIECES = (b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b"0", b";", b",", b"\xff", b"\x0b")


def names(entry: object) -> str:
    return entry.name if isinstance(entry, Attack) else repr(entry)


@pytest.mark.parametrize("attack", ATTACKS, ids=names)
def test_nothing_is_read_otherwise_than_h11_reads_it(attack: Attack) -> None:
    assert_compatible(attack.raw)
    assert read(byte_by_byte(attack.raw)) == read([attack.raw])


@pytest.mark.parametrize("kind", sorted({one.kind for one in ATTACKS}))
def test_a_split_at_any_byte_makes_no_difference(kind: str) -> None:
    for attack in SMALL:
        whole = read([attack.raw]) if attack.kind == kind else None
        for at in range(1, len(attack.raw)) if whole is not None else ():
            assert read([attack.raw[:at], attack.raw[at:]]) == whole, (attack.name, at)


def test_the_corpus_is_what_it_says() -> None:
    kinds = Counter(one.kind for one in ATTACKS)
    assert len(ATTACKS) >= ENTRIES_MIN
    assert len({one.name for one in ATTACKS}) == len(ATTACKS)
    assert min(kinds.values()) >= 10
    assert all(one.ref for one in ATTACKS)
    refused = sum(read([one.raw])[1] is not None for one in ATTACKS)
    assert 200 <= refused <= len(ATTACKS) - 60


@given(
    st.sampled_from(SMALL),
    st.integers(0, 400),
    st.integers(0, 3),
    st.sampled_from(PIECES),
)
def test_no_edit_of_the_corpus_makes_a_difference_to_h11(
    attack: Attack, at: int, cut: int, put: bytes
) -> None:
    assert_compatible(attack.raw[:at] + put + attack.raw[at + cut :])


@given(st.sampled_from(SMALL), st.sampled_from(SMALL), st.integers(0, 300), st.integers(0, 300))
def test_no_crossing_of_two_attacks_makes_a_difference_to_h11(
    one: Attack, other: Attack, at: int, from_at: int
) -> None:
    assert_compatible(one.raw[:at] + other.raw[from_at:])
