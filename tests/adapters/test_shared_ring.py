"""A ring of bytes: what was put last is there, what was overwritten is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selvedge.adapters import Memory, SharedRing

SIZE = 50
AT = 8


def ring() -> SharedRing:
    return SharedRing(Memory.private(AT + SharedRing.bytes_for(SIZE)), AT, SIZE)


@given(st.lists(st.binary(min_size=1, max_size=SIZE), max_size=40))
def test_bytes_are_whole_or_gone_and_the_last_are_there(puts: list[bytes]) -> None:
    one = ring()
    kept = [(one.put(data), data) for data in puts]
    found = [one.get(begin, len(data)) for begin, data in kept]
    for (_, data), got in zip(kept, found, strict=True):
        assert got in (None, data)
    if kept:
        assert found[-1] == kept[-1][1]
    there = [got is not None for got in found]
    assert there == sorted(there)


@given(st.lists(st.integers(1, 10), min_size=20, max_size=40))
def test_most_of_the_ring_is_used(sizes: list[int]) -> None:
    """At its end a ring leaves free what the next bytes do not fit into, and no more."""
    one = ring()
    kept = [(one.put(bytes(size)), size) for size in sizes]
    there = sum(size for begin, size in kept if one.get(begin, size) is not None)
    assert there >= min(sum(sizes), SIZE - 2 * 10)


def test_what_nobody_put_is_not_there() -> None:
    one = ring()
    one.put(b"ten bytes.")
    assert one.get(0, 0) is None
    assert one.get(0, SIZE + 1) is None
