"""The pool of randomness: every byte once, fetched a page at a time."""

from __future__ import annotations

import itertools

from selvedge.adapters import Entropy
from selvedge.adapters.entropy import POOL_BYTES


def test_every_byte_is_given_once_and_pages_are_fetched_when_needed() -> None:
    fetched = 0

    def source(size: int) -> bytes:
        nonlocal fetched
        fetched += 1
        return bytes([fetched]) * size

    pool = Entropy(source)
    assert pool.take(POOL_BYTES - 1) == b"\x01" * (POOL_BYTES - 1)
    # What is left of a page and too little is left behind: nothing is ever of two pages.
    assert pool.take(2) == b"\x02\x02"
    assert fetched == 2


def test_by_default_it_is_the_kernels() -> None:
    pool = Entropy()
    taken = [pool.take(16) for _ in range(1000)]
    assert all(a != b for a, b in itertools.combinations(taken[:50], 2))
    assert len(set(taken)) == 1000
