"""Tickets used at any worker of a PoP: a hashed table in shared memory, exact and bounded.

A ticket's id is hashed to 128 bits. Its bucket is a ring of entries, oldest overwritten first,
under a lock of its own; an entry that is still to be remembered is never overwritten: the ticket
that finds no room is refused. Memory is touched bucket by bucket, as tickets come.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from selvedge.adapters.shared_cells import Memory

BUCKETS: Final = 1 << 15
ENTRIES: Final = 64
"""Entries of a bucket: over a million tickets a minute before the first bucket is full."""
_DIGEST_BYTES: Final = 16
_TIME: Final = struct.Struct("<q")
_ENTRY_BYTES: Final = _DIGEST_BYTES + _TIME.size
_BUCKET_BYTES: Final = _TIME.size + ENTRIES * _ENTRY_BYTES


class SharedTickets:
    """Implements the wire's `UsedTickets` over all processes that map the memory."""

    def __init__(self, memory: Memory, buckets: int = BUCKETS) -> None:
        self._memory = memory
        self._buckets = buckets

    @staticmethod
    def bytes_for(buckets: int = BUCKETS) -> int:
        """Size of the memory."""
        return buckets * _BUCKET_BYTES

    def take(self, ticket_id: str, now_us: int, forget_us: int) -> bool:
        """Remember a ticket; False where it was used. Raises `OverflowError` where it has no room.

        What was used before ``forget_us`` may be overwritten.
        """
        digest = hashlib.blake2b(ticket_id.encode(), digest_size=_DIGEST_BYTES).digest()
        at = int.from_bytes(digest[:8], "little") % self._buckets * _BUCKET_BYTES
        with self._memory.locked(at):
            return self._take(at, digest, now_us, forget_us)

    def _take(self, at: int, digest: bytes, now_us: int, forget_us: int) -> bool:
        view = self._memory.view
        bucket = bytes(view[at : at + _BUCKET_BYTES])
        found = bucket.find(digest, _TIME.size)
        while found >= 0:
            if (found - _TIME.size) % _ENTRY_BYTES == 0:
                return False
            found = bucket.find(digest, found + 1)
        (count,) = _TIME.unpack_from(bucket)
        entry = _TIME.size + count % ENTRIES * _ENTRY_BYTES
        (used_us,) = _TIME.unpack_from(bucket, entry + _DIGEST_BYTES)
        if used_us >= forget_us and count >= ENTRIES:
            raise OverflowError("no room to remember a ticket")
        # The time first: an entry that a death leaves half-written is never forgotten too early.
        _TIME.pack_into(view, at + entry + _DIGEST_BYTES, now_us)
        view[at + entry : at + entry + _DIGEST_BYTES] = digest
        _TIME.pack_into(view, at, count + 1)
        return True
