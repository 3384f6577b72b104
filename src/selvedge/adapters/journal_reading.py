"""A journal as who ships it sees it: what stands, never what is just being written.

A write that fails is cut off again by its writer, at once. So only what was there at the look
before is read, and it is synced first: what a collector has must not be lost here with the power,
or its numbers would be given out a second time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from selvedge.fabric import StoreFailed

_PREFIX: Final = "receipts-"


def segment_path(directory: Path, segment: int) -> Path:
    """The file of a journal's segment."""
    return directory / f"{_PREFIX}{segment:08d}.log"


class FileJournal:
    """`ledger.Journal` over a directory that another thread or process writes to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: dict[int, int] = {}
        self._stands: Mapping[int, int] = {}
        self._synced: dict[int, int] = {}

    def look(self) -> None:
        """What was there at the look before stands from now on. Raises `StoreFailed`."""
        stands = self._seen
        try:
            seen = {}
            # Listed first: a segment that has a follower here has its last size when it is asked.
            for one in list(os.scandir(self._directory)):
                digits = one.name.removeprefix(_PREFIX).removesuffix(".log")
                if one.name == f"{_PREFIX}{digits}.log" and digits.isdecimal():
                    seen[int(digits)] = one.stat().st_size
            for number, size in stands.items():
                if number in seen and self._synced.get(number, -1) < size:
                    self._sync(number)
                    self._synced[number] = size
        except OSError as error:
            words = f"{self._directory} cannot be shipped: {error.strerror}"
            raise StoreFailed(words) from error
        self._seen = seen
        self._stands = {one: size for one, size in stands.items() if one in seen}

    def _sync(self, number: int) -> None:
        fd = os.open(segment_path(self._directory, number), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def sizes(self) -> Mapping[int, int]:
        """Segment -> how many bytes of it stand."""
        return self._stands

    def read(self, segment: int, offset: int, size: int) -> bytes:
        """Bytes of a segment; fewer where it ends. Raises `StoreFailed`."""
        path = segment_path(self._directory, segment)
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise StoreFailed(f"{path} cannot be read: {error.strerror}") from error

    def drop(self, segment: int) -> None:
        """Remove a segment. Raises `StoreFailed`."""
        path = segment_path(self._directory, segment)
        try:
            path.unlink()
        except OSError as error:
            raise StoreFailed(f"{path} cannot be dropped: {error.strerror}") from error

    def age_s(self, segment: int, now_s: float) -> float:
        """How long ago it was written last; 0 where it is not there."""
        try:
            return now_s - segment_path(self._directory, segment).stat().st_mtime
        except OSError:
            return 0.0
