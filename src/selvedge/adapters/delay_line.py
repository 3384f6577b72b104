"""A length of cable without the cable: what goes in comes out later, in order, unchanged.

Pure: it holds items and due times and reads no clock, so a test walks it through a century
without sleeping. It refuses to know sockets, loops and what an item means.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class DelayLine(Generic[T]):
    """Items that each leave `delay_s` after they entered, and none before `opens_at_s` + delay.

    `opens_at_s` is when the handshake of a new connection is over: what is sent earlier waits
    for it at the near end. Times are seconds of one monotonic clock. `weight` counts against
    `capacity`; the line never refuses an item, it says `is_full` and `has_room` so that its owner
    can stop and start reading (with half of the capacity between the two).
    """

    def __init__(self, delay_s: float, *, opens_at_s: float, capacity: int) -> None:
        if not 0 <= delay_s < float("inf"):
            raise ValueError("delay_s must be a number of seconds, not negative")
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self._delay_s = delay_s
        self._opens_at_s = opens_at_s
        self._capacity = capacity
        self._held: deque[tuple[float, int, T]] = deque()
        self._weight = 0

    def push(self, now_s: float, item: T, weight: int = 0) -> None:
        """Put `item` in at `now_s`; a clock that stands still or steps back keeps the order."""
        due_s = max(now_s, self._opens_at_s) + self._delay_s
        if self._held:
            due_s = max(due_s, self._held[-1][0])
        self._held.append((due_s, weight, item))
        self._weight += weight

    def pop_due(self, now_s: float) -> list[T]:
        """Take out what is due at `now_s`, oldest first."""
        due: list[T] = []
        while self._held and self._held[0][0] <= now_s:
            _, weight, item = self._held.popleft()
            self._weight -= weight
            due.append(item)
        return due

    @property
    def next_due_s(self) -> float | None:
        """When the oldest item is due, or None if the line is empty."""
        return self._held[0][0] if self._held else None

    @property
    def weight(self) -> int:
        """The sum of the weights held."""
        return self._weight

    @property
    def is_full(self) -> bool:
        """Whether the owner should stop reading."""
        return self._weight >= self._capacity

    @property
    def has_room(self) -> bool:
        """Whether an owner that stopped should read again."""
        return self._weight <= self._capacity // 2
