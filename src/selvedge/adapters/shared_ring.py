"""Bytes that any worker of a PoP may read again for a while: a ring in shared memory.

Who writes takes a stretch of the ring under a lock and fills it without one; the oldest bytes are
overwritten. A position only grows, so a reader sees whether its bytes are still there. A writer
that was stopped in the middle may fill its stretch when the ring has gone round: whoever reads
must be able to tell that the bytes are its own, by a hash that it keeps elsewhere.
"""

from __future__ import annotations

import struct
from typing import Final

from selvedge.adapters.shared_cells import Memory

_HEAD: Final = struct.Struct("<q")


class SharedRing:
    """``size`` bytes from ``at`` on; the position of the next write lies before them."""

    def __init__(self, memory: Memory, at: int, size: int) -> None:
        self._memory = memory
        self._at = at
        self._size = size

    @staticmethod
    def bytes_for(size: int) -> int:
        """Size of the memory of a ring."""
        return _HEAD.size + size

    def put(self, data: bytes) -> int:
        """Keep bytes, not more than the ring has; their position."""
        size, length = self._size, len(data)
        assert length <= size, f"{length} bytes for a ring of {size}"
        with self._memory.locked(self._at):
            begin = self._head()
            if begin % size + length > size:
                begin += size - begin % size
            _HEAD.pack_into(self._memory.view, self._at, begin + length)
        at = self._place(begin)
        self._memory.view[at : at + length] = data
        return begin

    def get(self, begin: int, length: int) -> bytes | None:
        """The bytes at a position; None where they have been overwritten."""
        if not 0 < length <= self._size or self._head() - begin > self._size:
            return None
        at = self._place(begin)
        return bytes(self._memory.view[at : at + length])

    def _head(self) -> int:
        (head,) = _HEAD.unpack_from(self._memory.view, self._at)
        return int(head)

    def _place(self, begin: int) -> int:
        return self._at + _HEAD.size + begin % self._size
