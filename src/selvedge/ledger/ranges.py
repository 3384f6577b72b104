"""Sets of whole numbers that come mostly in order, kept as runs: what was counted, what is missing.

A tenant's receipts are numbered without gaps, so that a million of them are one pair of numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

Run = tuple[int, int]
"""First and last number, both in it."""


class Ranges:
    """A set of whole numbers, as runs in order that do not touch."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in runs:
            self.add(first, last)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def __iter__(self) -> Iterator[Run]:
        return zip(self._firsts, self._lasts, strict=True)

    @property
    def count(self) -> int:
        """How many numbers are in it."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def last(self) -> int:
        """The largest number in it, or 0."""
        return self._lasts[-1] if self._lasts else 0

    def add(self, first: int, last: int) -> None:
        """Add the numbers from ``first`` to ``last``."""
        firsts, lasts = self._firsts, self._lasts
        if lasts and lasts[-1] + 1 == first:  # in order: what nearly always comes
            lasts[-1] = last
            return
        low = bisect_right(lasts, first - 2)  # runs before it neither meet nor touch it
        high = low
        while high < len(firsts) and firsts[high] <= last + 1:
            first, last = min(first, firsts[high]), max(last, lasts[high])
            high += 1
        firsts[low:high], lasts[low:high] = [first], [last]


def missing(known: Iterable[Run]) -> list[Run]:
    """The numbers from 1 to the largest that are in none of these runs, which are in order."""
    found: list[Run] = []
    next_due = 1
    for first, last in known:
        if first > next_due:
            found.append((next_due, first - 1))
        next_due = last + 1
    return found
