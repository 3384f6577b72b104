"""The tail of a log: entries that are on disk for good before anything else of theirs is.

Tiles are many small files, and to sync each before a checkpoint would take the disk's whole time.
So a batch of entries is appended to one file and synced; tiles follow without, and are synced
afterwards. A segment begins with the right edge of the tree at that place, so that whoever begins
again needs no other file to make all that is not synced yet anew.

A record is its length and CRC-32, 4 bytes each, and the payload.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

from selvedge.adapters.log_files import LogFiles
from selvedge.fabric import BadProof, StoreCorrupt
from selvedge.tlog import (
    TILE_WIDTH,
    RightEdge,
    Tile,
    TileName,
    leaf_hashes,
    read_entries,
    write_entries,
)

_FRAME = struct.Struct(">II")
_BATCH = struct.Struct(">QI")


class Head(msgspec.Struct, frozen=True):
    """The first record of a segment: the tree before its entries."""

    shard: str
    size: int
    root: bytes
    tiles: dict[str, bytes]
    """The partial tiles, by path."""
    entries: list[bytes]
    """Those of the partial bundle."""
    v: int = 1


class Batch(msgspec.Struct, frozen=True):
    """Entries that were written together, from index ``first``; ``end`` is behind it in bytes."""

    first: int
    entries: list[bytes]
    end: int


_head = msgspec.msgpack.Decoder(Head)


def frame(payload: bytes) -> bytes:
    """A payload as a record."""
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def write_batch(first: int, entries: list[bytes]) -> bytes:
    """The record of a batch."""
    return frame(_BATCH.pack(first, len(entries)) + write_entries(entries))


def write_head(shard: str, edge: RightEdge, entries: list[bytes]) -> bytes:
    """The first record of a segment that begins here."""
    tiles = {tile.name.path: tile.data for tile in edge.partial()}
    return frame(msgspec.msgpack.encode(Head(shard, edge.size, edge.root(), tiles, entries)))


def restore_edge(path: str, head: Head) -> RightEdge:
    """The right edge that a segment begins with. Raises `StoreCorrupt`."""
    try:
        return RightEdge.restore(head.size, head.root, head.tiles.get)
    except BadProof as error:
        raise StoreCorrupt(f"{path}: {error}; restore it, or open a new shard") from error


class Segment:
    """One file of the tail, read whole. Raises `StoreCorrupt` where it has no head."""

    def __init__(self, files: LogFiles, path: str) -> None:
        self.path = path
        self._data = files.read(path) or b""
        payload = self._payload(0)
        if payload is None:
            raise StoreCorrupt(f"{path} has no head; restore it, or open a new shard")
        try:
            self.head: Head = _head.decode(payload)
        except msgspec.MsgspecError as error:
            raise StoreCorrupt(f"{path}: its head does not hold: {error}") from error
        self.start: int = _FRAME.size + len(payload)
        self.size: int = len(self._data)

    def batches(self) -> Iterator[Batch]:
        """The batches that hold, up to the first that does not."""
        at = self.start
        while (payload := self._payload(at)) is not None:
            first, count = _BATCH.unpack_from(payload)
            try:
                entries = read_entries(payload[_BATCH.size :], count)
            except BadProof:
                return
            at += _FRAME.size + len(payload)
            yield Batch(first, entries, at)

    def _payload(self, at: int) -> bytes | None:
        if at + _FRAME.size > len(self._data):
            return None
        size, checksum = _FRAME.unpack_from(self._data, at)
        payload = self._data[at + _FRAME.size : at + _FRAME.size + size]
        if len(payload) != size or zlib.crc32(payload) != checksum or size < 1:
            return None
        return payload


class Growing:
    """The right edge with its partial bundle: takes entries, gives every tile that is full."""

    def __init__(self, edge: RightEdge, bundle: list[bytes]) -> None:
        self.edge = edge
        self.bundle = bundle

    def add(self, entries: list[bytes]) -> list[Tile]:
        """Add entries; the bundles and tiles that are full now."""
        full: list[Tile] = []
        index = self.edge.size // TILE_WIDTH
        held = self.bundle
        held.extend(entries)
        whole = len(held) // TILE_WIDTH
        for number in range(whole):
            data = write_entries(held[number * TILE_WIDTH : (number + 1) * TILE_WIDTH])
            full.append(Tile(TileName(-1, index + number), data))
        del held[: whole * TILE_WIDTH]
        full += self.edge.append(leaf_hashes(entries))
        return full

    def partial(self) -> list[Tile]:
        """The bundle and the tiles that are not full."""
        found = self.edge.partial()
        if self.bundle:
            name = TileName(-1, self.edge.size // TILE_WIDTH, len(self.bundle))
            found.insert(0, Tile(name, write_entries(self.bundle)))
        return found
