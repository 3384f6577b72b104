"""Keys that stand for a request at any worker of a PoP: a hashed table in shared memory, bounded.

A bucket is sixteen places under a lock of its own. A key is 16 bytes, hashed and salted by whoever
asks. Its place is held by a process until that process says how its request ended; what a process
that died still held is found and settled by the keeper, so a death neither blocks a key for ever
nor sets it free where its request was billed. When a bucket has no place left, its oldest key that
is not held is forgotten.

A death between two writes leaves a place that no key finds and that its holder's name gives away:
the key is written last and erased first.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from selvedge.adapters.shared_cells import Memory

PLACES: Final = 16
"""Places of a bucket: twice as many as a bucket has keys on average when half the table is used."""
CLAIM_KEY_BYTES: Final = 16
FINGERPRINT_BYTES: Final = 16
CLAIM_NOTE_BYTES: Final = 32
RECEIPT_BYTES_MAX: Final = 47
_CELL: Final = struct.Struct("<q")
_CELLS: Final = struct.Struct(f"<{2 * PLACES}q")
_ROW: Final = struct.Struct(f"<{FINGERPRINT_BYTES}s{CLAIM_NOTE_BYTES}s{RECEIPT_BYTES_MAX + 1}p")
_KEYS_AT: Final = _CELLS.size
_ROWS_AT: Final = _KEYS_AT + PLACES * CLAIM_KEY_BYTES
_BUCKET_BYTES: Final = _ROWS_AT + PLACES * _ROW.size
_NO_KEY: Final = bytes(CLAIM_KEY_BYTES)
_NO_NOTE: Final = bytes(CLAIM_NOTE_BYTES)
CLAIMS_LAYOUT: Final = (PLACES, _CELLS.format, _ROW.format, CLAIM_KEY_BYTES)


class Holding(msgspec.Struct, frozen=True):
    """What a key stands for: a request, its receipt, and what was noted when it ended."""

    fingerprint: bytes
    receipt: str
    runs: bool
    note: bytes


class LeftClaim(msgspec.Struct, frozen=True):
    """A place that a process still holds."""

    bucket_at: int
    place: int
    receipt: str
    at_us: int


class SharedClaims:
    """The table, as the process ``owner`` sees it; ``at`` is where it begins in the memory."""

    def __init__(self, memory: Memory, at: int, keys_max: int, owner: int) -> None:
        self._memory = memory
        self._at = at
        self._buckets = _buckets(keys_max)
        self._owner = owner

    @staticmethod
    def bytes_for(keys_max: int) -> int:
        """Size of the memory of a table of so many keys."""
        return _buckets(keys_max) * _BUCKET_BYTES

    def claim(
        self, key: bytes, fingerprint: bytes, receipt: str, *, at_us: int, forget_us: int
    ) -> Holding | None:
        """What the key stands for; None where it was nobody's, and is this process's from now on.

        ``at_us`` is over 0. What began at ``forget_us`` or before and has ended is forgotten.
        Raises `OverflowError` where every place that the key may have is held.
        """
        named = receipt.encode()
        assert len(fingerprint) == FINGERPRINT_BYTES
        assert len(named) <= RECEIPT_BYTES_MAX
        at = self._bucket_of(key)
        with self._memory.locked(at):
            head = bytes(self._memory.view[at : at + _ROWS_AT])
            cells = _CELLS.unpack_from(head)
            place = _place_of(head, key)
            if place < 0:
                place = _room(cells)
            elif cells[PLACES + place] or cells[place] > forget_us:
                return self._holding(at, place, runs=cells[PLACES + place] != 0)
            self._write(_key_at(at, place), _NO_KEY)
            self._write_cell(at, PLACES + place, self._owner)
            row = _ROW.pack(fingerprint, _NO_NOTE, named)
            self._write(_row_at(at, place), row)
            self._write_cell(at, place, at_us)
            self._write(_key_at(at, place), key)
            return None

    def finish(self, key: bytes, note: bytes = _NO_NOTE) -> None:
        """The request has ended and the key is spent; whoever comes with it finds the note."""
        at = self._bucket_of(key)
        with self._memory.locked(at):
            place = self._own_place(at, key)
            if place >= 0:
                self._write(_row_at(at, place) + FINGERPRINT_BYTES, note)
                self._write_cell(at, PLACES + place, 0)

    def free(self, key: bytes) -> None:
        """The request has ended, and its key stands for nothing."""
        at = self._bucket_of(key)
        with self._memory.locked(at):
            place = self._own_place(at, key)
            if place >= 0:
                self._clear(at, place)

    def left_by(self, owner: int) -> list[LeftClaim]:
        """What a process that has ended still holds; what it had only half written is cleared."""
        found = []
        for at in range(self._at, self._at + self._buckets * _BUCKET_BYTES, _BUCKET_BYTES):
            cells = _CELLS.unpack_from(self._memory.view, at)
            if owner not in cells[PLACES:]:
                continue
            for place in range(PLACES):
                if cells[PLACES + place] != owner:
                    continue
                key_at = _key_at(at, place)
                if self._memory.view[key_at : key_at + CLAIM_KEY_BYTES] == _NO_KEY:
                    with self._memory.locked(at):
                        self._clear(at, place)
                else:
                    receipt = self._holding(at, place, runs=True).receipt
                    found.append(LeftClaim(at, place, receipt, cells[place]))
        return found

    def settle(self, left: LeftClaim, *, spent: bool) -> None:
        """Say of a process that has ended how its request did."""
        at = left.bucket_at
        with self._memory.locked(at):
            if spent:
                self._write_cell(at, PLACES + left.place, 0)
            else:
                self._clear(at, left.place)

    def _bucket_of(self, key: bytes) -> int:
        return self._at + int.from_bytes(key[:8], "little") % self._buckets * _BUCKET_BYTES

    def _own_place(self, at: int, key: bytes) -> int:
        """Where this process holds a key; -1 where it does not."""
        head = bytes(self._memory.view[at : at + _ROWS_AT])
        place = _place_of(head, key)
        if place < 0 or _CELLS.unpack_from(head)[PLACES + place] != self._owner:
            return -1
        return place

    def _holding(self, at: int, place: int, *, runs: bool) -> Holding:
        fingerprint, note, receipt = _ROW.unpack_from(self._memory.view, _row_at(at, place))
        return Holding(fingerprint, receipt.decode("ascii", "replace"), runs, note)

    def _clear(self, at: int, place: int) -> None:
        self._write(_key_at(at, place), _NO_KEY)
        self._write_cell(at, place, 0)
        self._write_cell(at, PLACES + place, 0)

    def _write_cell(self, at: int, cell: int, value: int) -> None:
        self._write(at + cell * _CELL.size, _CELL.pack(value))

    def _write(self, at: int, data: bytes) -> None:
        """The one way in which the table changes: a death comes before or after it."""
        self._memory.view[at : at + len(data)] = data


def _buckets(keys_max: int) -> int:
    return max(1, -(-keys_max // PLACES))


def _key_at(at: int, place: int) -> int:
    return at + _KEYS_AT + place * CLAIM_KEY_BYTES


def _row_at(at: int, place: int) -> int:
    return at + _ROWS_AT + place * _ROW.size


def _place_of(head: bytes, key: bytes) -> int:
    """The place of a key in its bucket; -1 where it is not there."""
    found = head.find(key, _KEYS_AT)
    while found >= 0 and (found - _KEYS_AT) % CLAIM_KEY_BYTES:
        found = head.find(key, found + 1)
    return -1 if found < 0 else (found - _KEYS_AT) // CLAIM_KEY_BYTES


def _room(cells: tuple[int, ...]) -> int:
    """A place that nobody holds: an empty one, else that of the oldest key."""
    best = -1
    for place in range(PLACES):
        if cells[PLACES + place] == 0 and (best < 0 or cells[place] < cells[best]):
            best = place
    if best < 0:
        raise OverflowError("every place that the key may have is held")
    return best
