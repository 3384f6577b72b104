"""Three numbers that all processes of a PoP's cache share: a small file that each of them maps.

``epoch`` names the directory of the answers: a damaged store is left and another begun under the
next number. ``generation`` goes up with whatever a reader must not miss: a purge, a key made or
deleted. It goes up *after* the change is readable, so a reader that sees the old number read before
the purge returned. The file is made once and never replaced.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

from selvedge.fabric import StoreFailed

_BYTES: Final = 4096
_EPOCH, _GENERATION, _MAP_BYTES = range(3)


class StoreState:
    """The mapped file. Aligned 64-bit numbers, written by one process, read whole by any."""

    def __init__(self, path: Path, *, writes: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT if writes else os.O_RDONLY
        try:
            if writes:
                path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
            try:
                if writes and os.fstat(fd).st_size < _BYTES:
                    os.ftruncate(fd, _BYTES)
                if os.fstat(fd).st_size < _BYTES:
                    raise OSError(0, "it is not whole")
                access = mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ
                self._memory = mmap.mmap(fd, _BYTES, access=access)
            finally:
                os.close(fd)
        except OSError as error:
            raise StoreFailed(f"{path} cannot be used: {error.strerror}") from error
        self._view = memoryview(self._memory)
        self._cells = self._view.cast("Q")

    @property
    def epoch(self) -> int:
        """Which directory holds the answers."""
        return self._cells[_EPOCH]

    @property
    def generation(self) -> int:
        """Another number than before: read marks and keys again."""
        return self._cells[_GENERATION]

    @property
    def map_bytes(self) -> int:
        """How much address space the answers' file may take."""
        return self._cells[_MAP_BYTES]

    def begin(self, epoch: int, map_bytes: int) -> None:
        """Point the readers to a directory."""
        self._cells[_MAP_BYTES] = map_bytes
        self._cells[_EPOCH] = epoch
        self.bump()

    def bump(self) -> None:
        """Have every reader read marks and keys again before its next answer."""
        self._cells[_GENERATION] = self._cells[_GENERATION] + 1

    def close(self) -> None:
        """Let go of the mapping."""
        self._cells.release()
        self._view.release()
        self._memory.close()
