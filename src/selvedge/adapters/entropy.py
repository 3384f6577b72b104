"""Random bytes from the kernel, fetched a page at a time: a system call a request less, or four.

Ids, salts and nonces take a few dozen bytes each, several times a request. Not for keys: those ask
the kernel themselves, and nothing of them stays behind in a pool.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

POOL_BYTES: Final = 4096


class Entropy:
    """A pool of `os.urandom`; each byte is given once. Owned by one thread, never copied by a fork
    (no process of ours forks after its start).
    """

    __slots__ = ("_at", "_pool", "_source")

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._pool = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """That many random bytes, at most `POOL_BYTES`."""
        at = self._at
        end = at + size
        if end > len(self._pool):
            self._pool = self._source(POOL_BYTES)
            at, end = 0, size
        self._at = end
        return self._pool[at:end]
