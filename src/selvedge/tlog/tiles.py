"""Tiles: the tree as static files of 256 hashes (c2sp.org/tlog-tiles), and proofs from them.

Level 0 holds leaf hashes; each hash of level ``l + 1`` is the root of a full tile of level ``l``.
The rightmost tile of a level may be partial, and then its width is part of its path. Every tile
that is read is checked against the root before it is believed: the partial ones must give the root
together, and each full one must hash to its place in the tile above. A proof made from tiles
therefore holds, or the tile that is damaged is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from selvedge.fabric import BadProof
from selvedge.tlog.hashes import (
    HASH_BYTES,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    range_root,
    root_of,
)

TILE_WIDTH: Final = 256
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
LEVEL_MAX: Final = 7
"""2^63 leaves have 8 levels."""
ENTRY_BYTES_MAX: Final = 65_535
TILES_KEPT: Final = 1_024
_PATH: Final = re.compile(
    r"tile/(entries|0|[1-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)

ReadPath = Callable[[str], bytes | None]
"""A path below the log's prefix to the file's bytes; None where there is no such file."""


class TileName(NamedTuple):
    """Where a tile lies: ``level`` -1 for the bundles of entries, numbered as level 0 is."""

    level: int
    number: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """As ``tile/0/x001/x234/067`` or ``tile/1/000.p/17``."""
        level = "entries" if self.level < 0 else str(self.level)
        partial = f".p/{self.width}" if self.width < TILE_WIDTH else ""
        return f"tile/{level}/{index_path(self.number)}{partial}"

    @classmethod
    def parse(cls, path: str) -> TileName:
        """Raises `BadProof` where it is not the one way of writing a tile's path."""
        found = _PATH.fullmatch(path)
        if found is None:
            raise BadProof(path, "is not a tile's path, as tile/0/x001/x234/067 or tile/1/000.p/17")
        number = int(re.sub("[x/]", "", found[2]))
        width = int(found[3]) if found[3] else TILE_WIDTH
        name = cls(-1 if found[1] == "entries" else int(found[1]), number, width)
        if name.path != path:
            raise BadProof(path, f"is not how this tile's path is written: {name.path}")
        return name


class Tile(NamedTuple):
    """A tile and its bytes."""

    name: TileName
    data: bytes


def index_path(index: int) -> str:
    """Three digits a folder, an ``x`` before all but the last: 1234067 is ``x001/x234/067``."""
    digits = str(index)
    digits = digits.zfill((len(digits) + 2) // 3 * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


def width_at(size: int, level: int, index: int) -> int:
    """How many hashes the tile has in a tree of ``size``; 0 where it is not there."""
    return max(0, min(TILE_WIDTH, (size >> (8 * level)) - index * TILE_WIDTH))


def partial_tiles(size: int) -> list[TileName]:
    """The partial tiles of a tree of ``size``, lowest level first; they determine its root."""
    found = []
    for level in range(LEVEL_MAX + 1):
        width = (size >> (8 * level)) % TILE_WIDTH
        if width:
            found.append(TileName(level, size >> (8 * (level + 1)), width))
    return found


def tiles_between(old_size: int, size: int) -> Iterator[TileName]:
    """Every tile that a tree of ``size`` has and one of ``old_size`` had not, partial ones too."""
    for level in range(LEVEL_MAX + 1):
        hashes, old = size >> (8 * level), old_size >> (8 * level)
        if hashes == old:
            break  # nor is there anything new above
        for index in range(old // TILE_WIDTH, (hashes + TILE_WIDTH - 1) // TILE_WIDTH):
            yield TileName(level, index, width_at(size, level, index))


def entries_name(size: int, index: int) -> TileName:
    """The bundle that holds entry ``index`` in a log of ``size``."""
    bundle = index // TILE_WIDTH
    return TileName(-1, bundle, width_at(size, 0, bundle))


def write_entries(entries: Sequence[bytes]) -> bytes:
    """A bundle of entries, each after its length in two bytes, big-endian."""
    if entries and max(map(len, entries)) > ENTRY_BYTES_MAX:
        raise BadProof("entry", f"is larger than {ENTRY_BYTES_MAX} bytes; log its hash instead")
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def read_entries(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle. Raises `BadProof` unless it holds exactly ``width``."""
    found: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + 2 + int.from_bytes(data[start : start + 2], "big")
        if start + 2 > len(data) or end > len(data):
            raise BadProof("entries", f"end within entry {len(found)}")
        found.append(data[start + 2 : end])
        start = end
    if len(found) != width:
        raise BadProof("entries", f"are {len(found)} and not {width}")
    return found


def hashes_of(data: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


class TileTree:
    """A tree of a known size and root, read from tiles; every tile is checked before it is used.

    Reads what a proof needs and keeps at most `TILES_KEPT` tiles. Not for more than one thread.
    """

    def __init__(self, size: int, root: bytes, read: ReadPath) -> None:
        self.size = size
        self.root = root
        self._read = read
        self._kept: dict[tuple[int, int], bytes] = {}
        self._edge: dict[tuple[int, int], bytes] = {}
        self._whole = False

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """The hashes that prove leaf ``index`` in this tree, or in it when it was of ``size``.

        Raises `BadProof` where a tile is damaged.
        """
        ranges = inclusion_ranges(index, self._at(size))
        return [self._range(low, high) for low, high in ranges]

    def consistency_proof(self, old_size: int, size: int | None = None) -> list[bytes]:
        """The hashes that prove that this tree, or as it was at ``size``, goes on from an old one.

        Raises `BadProof` where a tile is damaged.
        """
        ranges = consistency_ranges(old_size, self._at(size))
        return [self._range(low, high) for low, high in ranges]

    def root_at(self, old_size: int) -> bytes:
        """The root that the tree had at ``old_size``."""
        return self._range(0, self._at(old_size))

    def leaf(self, index: int) -> bytes:
        """The hash of leaf ``index``."""
        tile, place = divmod(index, TILE_WIDTH)
        return self.tile(0, tile)[place * HASH_BYTES : (place + 1) * HASH_BYTES]

    def entry(self, index: int) -> bytes:
        """Entry ``index`` itself. Raises `BadProof` where it is not what was hashed."""
        place = index % TILE_WIDTH
        found = self.bundle(index // TILE_WIDTH)
        if leaf_hash(found[place]) != self.leaf(index):
            path = entries_name(self.size, index).path
            raise BadProof(path, f"entry {place} does not hash to leaf {index}")
        return found[place]

    def bundle(self, number: int) -> list[bytes]:
        """The entries of a bundle as they are stored; `entry` compares one with the tree."""
        name = entries_name(self.size, number * TILE_WIDTH)
        data, stored = self._fetch(name)
        return read_entries(data, stored.width)[: name.width]

    def find(self, leaf: bytes, start: int, stop: int, *, checked: bool = True) -> int | None:
        """The first index from ``start`` to before ``stop`` with that leaf hash.

        Not ``checked``: only the tile that has it is, ten times as fast; a damaged one may hide it.
        """
        index = max(start, 0)
        stop = min(stop, self.size)
        while index < stop:
            number, place = divmod(index, TILE_WIDTH)
            at = _place_of(leaf, self._peek(number, checked=checked), place)
            if at is not None and (checked or self.leaf(number * TILE_WIDTH + at) == leaf):
                found = number * TILE_WIDTH + at
                return found if found < stop else None
            index = (number + 1) * TILE_WIDTH
        return None

    def tile(self, level: int, index: int, *, keep: bool = True) -> bytes:
        """The bytes of a tile, checked. Raises `BadProof` where it is missing or damaged."""
        self._check_edge()
        place = (level, index)
        known = self._edge.get(place) or self._kept.get(place)
        if known is not None:
            return known
        data, name = self._fetch(TileName(level, index, width_at(self.size, level, index)))
        above, at = divmod(index, TILE_WIDTH)
        parent = self.tile(level + 1, above)
        if root_of(hashes_of(data)) != parent[at * HASH_BYTES : (at + 1) * HASH_BYTES]:
            raise BadProof(name.path, "does not hash to what the tile above says: it is damaged")
        if keep:
            if len(self._kept) >= TILES_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[place] = data
        return data

    def _peek(self, number: int, *, checked: bool) -> bytes:
        if checked:
            return self.tile(0, number, keep=False)
        return self._fetch(TileName(0, number, width_at(self.size, 0, number)))[0]

    def check(self) -> None:
        """Raises `BadProof` unless the partial tiles are there and give the root."""
        self._check_edge()

    def _check_edge(self) -> None:
        if self._whole:
            return
        edge = {}
        for name in partial_tiles(self.size):
            edge[name.level, name.number] = self._fetch(name)[0]
        if range_root(0, self.size, lambda height, at: _node(edge, height, at)) != self.root:
            paths = ", ".join(name.path for name in partial_tiles(self.size)) or "no tile"
            raise BadProof(paths, f"do not give the root of the checkpoint of size {self.size}")
        self._edge, self._whole = edge, True

    def _at(self, size: int | None) -> int:
        if size is not None and not 0 <= size <= self.size:
            raise ValueError(f"a tree of {self.size} leaves was never of {size}")
        return self.size if size is None else size

    def _range(self, low: int, high: int) -> bytes:
        return range_root(low, high, self._node)

    def _node(self, height: int, index: int) -> bytes:
        level, within = divmod(height, 8)
        number, place = divmod(index << within, TILE_WIDTH)
        data = self.tile(level, number)
        return root_of(hashes_of(data[place * HASH_BYTES : (place + (1 << within)) * HASH_BYTES]))

    def _fetch(self, name: TileName) -> tuple[bytes, TileName]:
        """A tile as it is stored: where the partial one is gone, the full one that followed it."""
        if name.width < 1:
            raise BadProof(name.path, f"is not in a tree of {self.size} leaves")
        data = self._read(name.path)
        found = name
        if data is None and name.width < TILE_WIDTH:
            found = name._replace(width=TILE_WIDTH)
            data = self._read(found.path)
        if data is None:
            raise BadProof(name.path, "is missing")
        if name.level < 0:
            return data, found
        if len(data) != found.width * HASH_BYTES:
            raise BadProof(found.path, f"has {len(data)} bytes and not {found.width * HASH_BYTES}")
        return data[: name.width * HASH_BYTES], found


def _place_of(leaf: bytes, data: bytes, place: int) -> int | None:
    """Where in a tile, at or behind a place, the hash is."""
    at = data.find(leaf, place * HASH_BYTES)
    while at >= 0 and at % HASH_BYTES:
        at = data.find(leaf, at + 1)
    return None if at < 0 else at // HASH_BYTES


def _node(edge: dict[tuple[int, int], bytes], height: int, index: int) -> bytes:
    """The hash of a complete subtree from partial tiles alone."""
    level, within = divmod(height, 8)
    number, place = divmod(index << within, TILE_WIDTH)
    data = edge[level, number]
    return root_of(hashes_of(data[place * HASH_BYTES : (place + (1 << within)) * HASH_BYTES]))
