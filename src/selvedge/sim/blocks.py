"""The KV memory of one engine: what answers hold, and the prefixes kept for whoever comes next.

A block is known by a name that stands for the whole prompt up to its end, so that a run of leading
names found here is a prefix that need not be computed again. Blocks that no answer holds stay, the
longest unused goes first (LRU), and go only when an answer needs the room. It counts in tokens: the
last, unfilled block of an answer is taken to be half full on average.

It refuses to know time, and what an answer is.
"""

from __future__ import annotations


class Blocks:
    """Shared blocks by name, each with how many answers hold it, and the private rest."""

    __slots__ = ("_holders", "_idle", "_idle_tokens", "capacity", "evicted", "held")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        """Tokens that answers hold: shared blocks counted once, and what is theirs alone."""
        self.evicted = 0
        self._holders: dict[int, int] = {}
        self._idle: dict[int, int] = {}
        self._idle_tokens = 0

    @property
    def free(self) -> float:
        """The share that no answer holds, 0 to 1; kept prefixes count as free."""
        return max(0.0, 1.0 - self.held / self.capacity)

    def names(self) -> list[int]:
        """Every block here, held or kept."""
        return list(self._holders)

    def matched(self, prefix: tuple[int, ...], limit: int) -> int:
        """How many leading blocks of a prompt are here, of at most ``limit``."""
        holders = self._holders
        count = 0
        for name in prefix:
            if count == limit or name not in holders:
                break
            count += 1
        return count

    def pinned(self, prefix: tuple[int, ...], matched: int) -> int:
        """Of so many matched blocks, those that answers hold already."""
        idle = self._idle
        return matched - sum(1 for name in prefix[:matched] if name in idle) if idle else matched

    def alone(self, prefix: tuple[int, ...], count: int) -> int:
        """Of so many leading blocks that an answer holds, those that no other answer holds."""
        holders = self._holders
        return sum(1 for name in prefix[:count] if holders[name] == 1)

    def take(self, prefix: tuple[int, ...], matched: int, block_tokens: int) -> None:
        """Hold the leading blocks that are here."""
        holders, idle = self._holders, self._idle
        for name in prefix[:matched]:
            if name in idle:
                del idle[name]
                self._idle_tokens -= block_tokens
                self.held += block_tokens
            holders[name] += 1

    def keep(self, prefix: tuple[int, ...], first: int, last: int, block_tokens: int) -> int:
        """Name blocks that were computed privately; those that are here already are shared.

        Returns how many tokens are private no more.
        """
        holders = self._holders
        for name in prefix[first:last]:
            known = holders.get(name)
            if known is None:
                holders[name] = 1
                continue
            if name in self._idle:
                del self._idle[name]
                self._idle_tokens -= block_tokens
            else:
                self.held -= block_tokens
            holders[name] = known + 1
        return max(0, last - first) * block_tokens

    def release(self, prefix: tuple[int, ...], count: int, block_tokens: int) -> None:
        """Let go of so many leading blocks; the last of them is forgotten first."""
        holders, idle = self._holders, self._idle
        for name in reversed(prefix[:count]):
            left = holders[name] - 1
            holders[name] = left
            if left == 0:
                idle[name] = block_tokens
                self._idle_tokens += block_tokens
                self.held -= block_tokens

    def evict(self) -> None:
        """Forget kept blocks, the longest unused first, until everything has room."""
        over = self.held + self._idle_tokens - self.capacity
        if over <= 0:
            return
        idle, holders = self._idle, self._holders
        while over > 0 and idle:
            name = next(iter(idle))
            tokens = idle.pop(name)
            del holders[name]
            self._idle_tokens -= tokens
            self.evicted += 1
            over -= tokens

    def clear(self) -> None:
        """Lose everything, as a process that ended does."""
        self._holders.clear()
        self._idle.clear()
        self._idle_tokens = 0
        self.held = 0
