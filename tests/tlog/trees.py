"""Trees in memory for tests, and the definition of RFC 6962 written out slowly beside ours."""

from __future__ import annotations

import hashlib

from selvedge.tlog import (
    TILE_WIDTH,
    RightEdge,
    TileName,
    TileTree,
    leaf_hashes,
    write_entries,
)


class MemoryLog:
    """A log whose files are a dictionary; every size it stopped at keeps its partial tiles."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.edge = RightEdge()
        self.entries: list[bytes] = []

    def append(self, entries: list[bytes]) -> None:
        old = len(self.entries)
        self.entries.extend(entries)
        for tile in self.edge.append(leaf_hashes(entries)) + self.edge.partial():
            self.files[tile.name.path] = tile.data
        for bundle in range(old // TILE_WIDTH, (len(self.entries) + 255) // TILE_WIDTH):
            held = self.entries[bundle * TILE_WIDTH : (bundle + 1) * TILE_WIDTH]
            self.files[TileName(-1, bundle, len(held)).path] = write_entries(held)

    def tree(self) -> TileTree:
        return TileTree(self.edge.size, self.edge.root(), self.files.get)


def slow_root(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    left, right = slow_root(entries[:k]), slow_root(entries[k:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def slow_path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m < k:
        return [*slow_path(m, entries[:k]), slow_root(entries[k:])]
    return [*slow_path(m - k, entries[k:]), slow_root(entries[:k])]


def slow_proof(m: int, entries: list[bytes], *, complete: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2."""
    if m == len(entries):
        return [] if complete else [slow_root(entries)]
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m <= k:
        return [*slow_proof(m, entries[:k], complete=complete), slow_root(entries[k:])]
    return [*slow_proof(m - k, entries[k:], complete=False), slow_root(entries[:k])]
