"""Which prefix blocks an engine must hold: what it was sent and answered lately, newest last.

Engines evict what was used longest ago, and so does this book; how much an engine has room for is
its own word where it says so. A wrong guess costs a prefill. Each block keeps the zone classes
under which it came: a digest tells of it in those alone.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

ROOM_BLOCKS: Final = 4096
"""Blocks that an engine is taken to hold, where it does not say what it has room for."""
ROOM_BLOCKS_MAX: Final = 43_690
"""As many as one digest can tell of."""
HELD_US: Final = 600_000_000
"""Who was not asked of for so long is taken to be gone."""


class Held:
    """The blocks of one model at one engine."""

    __slots__ = ("_blocks", "_room", "gone")

    def __init__(self, room: int = ROOM_BLOCKS) -> None:
        self._blocks: OrderedDict[int, tuple[int, tuple[str, ...]]] = OrderedDict()
        self._room = room
        self.gone = 0
        """Blocks that left since this was last set to 0."""

    def __len__(self) -> int:
        return len(self._blocks)

    def make_room(self, blocks: int) -> None:
        """The engine has room for so many."""
        self._room = max(1, min(blocks, ROOM_BLOCKS_MAX))
        self._shrink()

    def hold(self, zone: str, prefix: tuple[int, ...], now_us: int) -> list[int]:
        """A prompt of a tenant of this zone class was answered; the blocks that are new to it.

        The head of a chain is kept longest: without it the rest is of no use.
        """
        blocks = self._blocks
        fresh: list[int] = []
        for at in range(len(prefix) - 1, -1, -1):
            block = prefix[at]
            zones: tuple[str, ...] = ()
            known = blocks.get(block)
            if known is not None:
                zones = known[1]
                blocks.move_to_end(block)
            if zone not in zones:
                zones = (*zones, zone)
                fresh.append(block)
            blocks[block] = now_us, zones
        self._shrink()
        return fresh

    def leading(self, prefix: tuple[int, ...]) -> int:
        """How many leading blocks of a prefix are held."""
        count = 0
        for block in prefix:
            if block not in self._blocks:
                break
            count += 1
        return count

    def expire(self, now_us: int) -> None:
        """Forget what nobody asked for in a long time."""
        blocks = self._blocks
        while blocks:
            oldest = next(iter(blocks))
            if now_us - blocks[oldest][0] <= HELD_US:
                break
            del blocks[oldest]
            self.gone += 1

    def forget(self) -> None:
        """The engine has begun anew: nothing is held."""
        self.gone += len(self._blocks)
        self._blocks.clear()

    def by_zone(self) -> dict[str, list[int]]:
        """All blocks, oldest first, by zone class."""
        found: dict[str, list[int]] = {}
        for block, (_, zones) in self._blocks.items():
            for zone in zones:
                found.setdefault(zone, []).append(block)
        return found

    def _shrink(self) -> None:
        while len(self._blocks) > self._room:
            self._blocks.popitem(last=False)
            self.gone += 1
