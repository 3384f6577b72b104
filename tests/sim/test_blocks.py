"""The memory of an engine: what is held, what is kept, and that the sums agree."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selvedge.sim.blocks import Blocks

SIZE = 10


def compute(blocks: Blocks, prefix: tuple[int, ...]) -> int:
    """Hold a prompt of whole blocks, computing those that are not here; how many were."""
    known = blocks.matched(prefix, len(prefix))
    blocks.take(prefix, known, SIZE)
    blocks.held += (len(prefix) - known) * SIZE
    blocks.keep(prefix, known, len(prefix), SIZE)
    blocks.evict()
    return known


def test_a_block_that_two_hold_counts_once() -> None:
    blocks = Blocks(100)
    assert compute(blocks, (1, 2)) == 0
    assert compute(blocks, (1, 2, 3)) == 2
    assert (blocks.held, blocks.free) == (30, 0.7)
    blocks.release((1, 2), 2, SIZE)
    assert blocks.held == 30
    assert blocks.pinned((1, 2, 3), 3) == 3
    blocks.release((1, 2, 3), 3, SIZE)
    assert (blocks.held, blocks.pinned((1, 2, 3), 3), blocks.matched((1, 2), 9)) == (0, 0, 2)


def test_a_block_computed_twice_at_once_is_shared() -> None:
    blocks = Blocks(100)
    blocks.held += 2 * SIZE
    assert blocks.keep((1,), 0, 1, SIZE) == blocks.keep((1,), 0, 1, SIZE) == SIZE
    assert blocks.held == SIZE
    blocks.release((1,), 1, SIZE)
    blocks.held += SIZE
    blocks.keep((1,), 0, 1, SIZE)
    assert (blocks.held, blocks.names()) == (SIZE, [1])


def test_the_longest_unused_goes_first_and_its_end_before_its_beginning() -> None:
    blocks = Blocks(40)
    for prefix in ((1, 2), (3, 4)):
        compute(blocks, prefix)
        blocks.release(prefix, 2, SIZE)
    compute(blocks, (1,))
    blocks.release((1,), 1, SIZE)
    compute(blocks, (5, 6))
    assert sorted(blocks.names()) == [1, 3, 5, 6]
    assert blocks.evicted == 2
    blocks.clear()
    assert (blocks.names(), blocks.held) == ([], 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=40))
def test_what_is_held_is_what_holders_hold(asked: list[tuple[int, int]]) -> None:
    blocks = Blocks(120)
    held: list[tuple[int, ...]] = []
    for group, length in asked:
        prefix = tuple(group * 10 + at for at in range(length))
        if len({name for each in (*held, prefix) for name in each}) * SIZE <= blocks.capacity:
            compute(blocks, prefix)
            held.append(prefix)
        elif held:
            oldest = held.pop(0)
            blocks.release(oldest, len(oldest), SIZE)
        assert blocks.held == SIZE * len({name for each in held for name in each})
        assert len(blocks.names()) * SIZE <= blocks.capacity
        assert {name for each in held for name in each} <= set(blocks.names())


def test_changes_are_what_came_and_went_since_they_were_asked_for() -> None:
    blocks = Blocks(40)
    compute(blocks, (1, 2))
    assert blocks.changes() == ({1, 2}, set())
    assert blocks.changes() == (set(), set())
    blocks.release((1, 2), 2, SIZE)
    compute(blocks, (5, 6, 7))
    assert blocks.changes() == ({5, 6, 7}, {2})
    blocks.release((5, 6, 7), 3, SIZE)
    compute(blocks, (8, 9))
    blocks.release((8, 9), 2, SIZE)
    compute(blocks, (5, 6, 7))  # 7 went, and is back.
    assert blocks.changes() == ({8}, {1})
    blocks.clear()
    assert blocks.changes() == (set(), {5, 6, 7, 8})
