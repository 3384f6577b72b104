"""The right edge of a growing tree: what a log must hold in memory, which is its partial tiles.

At most 255 hashes a level and one level for each factor of 256: memory follows the logarithm of the
size. Appending hashes every node once, whole tiles at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selvedge.tlog.hashes import range_root, root_of
from selvedge.tlog.tiles import (
    LEVEL_MAX,
    TILE_WIDTH,
    ReadPath,
    Tile,
    TileName,
    TileTree,
    hashes_of,
    partial_tiles,
)

_LEVELS: Final = LEVEL_MAX + 1


class RightEdge:
    """The rightmost hashes of every level; takes leaf hashes, gives tiles and the root."""

    __slots__ = ("_levels", "size")

    def __init__(self) -> None:
        self.size = 0
        self._levels: list[list[bytes]] = [[] for _ in range(_LEVELS)]

    @classmethod
    def restore(cls, size: int, root: bytes, read: ReadPath) -> RightEdge:
        """The edge of a tree on disk. Raises `BadProof` unless its tiles give that root."""
        tree = TileTree(size, root, read)
        tree.check()
        edge = cls()
        edge.size = size
        for name in partial_tiles(size):
            edge._levels[name.level] = hashes_of(tree.tile(name.level, name.number))
        return edge

    def append(self, hashes: Sequence[bytes]) -> list[Tile]:
        """Add leaf hashes; returns the tiles that are full now, lowest level first."""
        full: list[Tile] = []
        new: Sequence[bytes] = hashes
        for level, held in enumerate(self._levels):
            held.extend(new)
            tiles = len(held) // TILE_WIDTH
            if not tiles:
                break
            first = self.size >> (8 * (level + 1))
            above: list[bytes] = []
            for number in range(tiles):
                chunk = held[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
                full.append(Tile(TileName(level, first + number), b"".join(chunk)))
                above.append(root_of(chunk))
            del held[: tiles * TILE_WIDTH]
            new = above
        self.size += len(hashes)
        return full

    def partial(self) -> list[Tile]:
        """The partial tiles as they are now: to be written before a checkpoint of this size."""
        return [Tile(name, b"".join(self._levels[name.level])) for name in partial_tiles(self.size)]

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        return range_root(0, self.size, self._node)

    def _node(self, height: int, index: int) -> bytes:
        level, within = divmod(height, 8)
        place = (index << within) % TILE_WIDTH
        return root_of(self._levels[level][place : place + (1 << within)])
