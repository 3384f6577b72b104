"""Who leaves the cache: the least worth, and shares that are fair."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selvedge.cache import over_share, to_leave, value_of


def test_worth_is_cost_times_uses_by_size() -> None:
    assert value_of(5.0, 100, 3, 50) == 5.0 + 6.0
    assert value_of(0.0, 0, 0, 0) == 1.0


def test_the_least_worth_leaves_first_until_enough_is_free() -> None:
    assert to_leave([3.0, 1.0, 2.0], [10, 10, 10], 15) == ([1, 2], 2.0)
    assert to_leave([3.0, 1.0, 2.0], [10, 10, 10], 0) == ([], 0.0)
    assert to_leave([3.0, 1.0], [10, 10], 100) == ([1, 0], 3.0)


def test_what_was_worth_much_long_ago_leaves_in_time() -> None:
    clock, old = 0.0, value_of(0.0, 1000, 1, 100)
    turns = 0
    while True:
        new = value_of(clock, 100, 1, 100)
        chosen, clock = to_leave([old, new], [100, 100], 100)
        if chosen == [0]:
            break
        turns += 1
    assert turns == 9


sizes = st.lists(st.integers(0, 10**6), min_size=1, max_size=20)


@given(sizes, st.integers(0, 10**7))
def test_shares_fit_and_are_fair(used: list[int], most: int) -> None:
    over = over_share(used, most)
    kept = [size - less for size, less in zip(used, over, strict=True)]
    assert all(0 <= less <= size for size, less in zip(used, over, strict=True))
    assert sum(kept) <= most or sum(used) <= most
    if sum(used) > most:
        assert sum(kept) >= most - len(used)  # nothing is thrown away that fits
        cut = [size for size, less in zip(kept, over, strict=True) if less]
        # Who was cut has no less than who was not, but for what does not divide.
        whole = [size for size, less in zip(kept, over, strict=True) if not less]
        assert all(size <= min(cut, default=size) + 1 for size in whole)
    else:
        assert not any(over)
