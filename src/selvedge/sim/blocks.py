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

    __slots__ = (
        "_came",
        "_holders",
        "_idle",
        "_idle_tokens",
        "_is_watched",
        "_went",
        "capacity",
        "evicted",
        "held",
    )

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        """Tokens that answers hold: shared blocks counted once, and what is theirs alone."""
        self.evicted = 0
        # Names are only looked up: as objects, nothing unpacks them.
        self._holders: dict[object, int] = {}
        self._idle: dict[object, int] = {}
        self._idle_tokens = 0
        self._is_watched = False
        self._came: set[object] = set()
        self._went: set[object] = set()

    @property
    def free(self) -> float:
        """The share that no answer holds, 0 to 1; kept prefixes count as free."""
        return max(0.0, 1.0 - self.held / self.capacity)

    def names(self) -> list[object]:
        """Every block here, held or kept."""
        return list(self._holders)

    def changes(self) -> tuple[set[object], set[object]]:
        """Blocks that came and that went since this was last asked; at first, all that are here.

        One asker alone: what is told is forgotten. Until it is asked nothing is noted.
        """
        if not self._is_watched:
            self._is_watched = True
            return set(self._holders), set()
        came, went = self._came, self._went
        if came or went:
            self._came, self._went = set(), set()
        return came, went

    def matched(self, prefix: tuple[object, ...], limit: int) -> int:
        """How many leading blocks of a prompt are here, of at most ``limit``."""
        holders = self._holders
        most = min(limit, len(prefix))
        for at in range(most):
            if prefix[at] not in holders:
                return at
        return most

    def pinned(self, prefix: tuple[object, ...], matched: int) -> int:
        """Of so many matched blocks, those that answers hold already."""
        idle, held = self._idle, matched
        if idle:
            for at in range(matched):
                if prefix[at] in idle:
                    held -= 1
        return held

    def alone(self, prefix: tuple[object, ...], count: int) -> int:
        """Of so many leading blocks that an answer holds, those that no other answer holds."""
        holders = self._holders
        return sum(1 for name in prefix[:count] if holders[name] == 1)

    def take(self, prefix: tuple[object, ...], matched: int, block_tokens: int) -> None:
        """Hold the leading blocks that are here."""
        holders, idle = self._holders, self._idle
        for at in range(matched):
            name = prefix[at]
            if name in idle:
                del idle[name]
                self._idle_tokens -= block_tokens
                self.held += block_tokens
            holders[name] += 1

    def keep(self, prefix: tuple[object, ...], first: int, last: int, block_tokens: int) -> int:
        """Name blocks that were computed privately; those that are here already are shared.

        Returns how many tokens are private no more.
        """
        holders = self._holders
        for at in range(first, last):
            name = prefix[at]
            known = holders.get(name)
            if known is None:
                holders[name] = 1
                if self._is_watched:
                    self._note(name, self._came, self._went)
                continue
            if name in self._idle:
                del self._idle[name]
                self._idle_tokens -= block_tokens
            else:
                self.held -= block_tokens
            holders[name] = known + 1
        return max(0, last - first) * block_tokens

    def release(self, prefix: tuple[object, ...], count: int, block_tokens: int) -> None:
        """Let go of so many leading blocks; the last of them is forgotten first."""
        holders, idle = self._holders, self._idle
        for at in range(count - 1, -1, -1):
            name = prefix[at]
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
            if self._is_watched:
                self._note(name, self._went, self._came)
            self._idle_tokens -= tokens
            self.evicted += 1
            over -= tokens

    def clear(self) -> None:
        """Lose everything, as a process that ended does."""
        if self._is_watched:
            for name in self._holders:
                self._note(name, self._went, self._came)
        self._holders.clear()
        self._idle.clear()
        self._idle_tokens = 0
        self.held = 0

    def _note(self, name: object, there: set[object], back: set[object]) -> None:
        """What goes and comes back between two questions has not changed."""
        if name in back:
            back.discard(name)
        else:
            there.add(name)
