"""Which leaves of receipts are entries of a log, for any number of either, in little memory.

Both sides go to files by the first byte of a leaf, which is as good as random; then each pair of
files is compared by itself. The files are in a temporary directory that goes with the object.
"""

from __future__ import annotations

import contextlib
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from selvedge.fabric import StoreFailed

BUCKETS: Final = 64
_WANTED: Final = struct.Struct(">32sHQ")
_LOGGED: Final = struct.Struct(">32sH")
_BUFFER: Final = 64 * 1024


class Unlogged(NamedTuple):
    """A receipt whose leaf is in no log that was read, or is there more than once."""

    stream: int
    seq: int
    times: int


class LeafJoin:
    """Receipts' leaves on one side, a log's on the other. Raises `StoreFailed` of the disk."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._wanted = [self._open(f"wanted-{one}") for one in range(BUCKETS)]
        self._logged = [self._open(f"logged-{one}") for one in range(BUCKETS)]
        self.wanted = self.found = 0
        self.found_in: Counter[int] = Counter()
        """How many of the wanted are in each log, once all were compared."""

    def _open(self, name: str) -> BinaryIO:
        return self._stack.enter_context((self._directory / name).open("wb", buffering=_BUFFER))

    def want(self, stream: int, seq: int, leaf: bytes) -> None:
        """A receipt's leaf; ``stream`` is a number of the caller's."""
        self.wanted += 1
        self._put(self._wanted, leaf, _WANTED.pack(leaf, stream, seq))

    def log(self, number: int, leaf: bytes) -> None:
        """An entry of a log, which the caller numbers."""
        self._put(self._logged, leaf, _LOGGED.pack(leaf, number))

    def _put(self, files: Sequence[BinaryIO], leaf: bytes, record: bytes) -> None:
        try:
            files[leaf[0] % BUCKETS].write(record)
        except OSError as error:
            words = f"{self._directory} cannot be written: {error.strerror}"
            raise StoreFailed(f"{words}; set TMPDIR to where there is room") from error

    def differing(self) -> Iterator[Unlogged]:
        """Receipts that are not exactly once among the entries; counts those that are found."""
        try:
            for file in (*self._wanted, *self._logged):
                file.flush()
            for bucket in range(BUCKETS):
                yield from self._compare(bucket)
        except OSError as error:
            words = f"{self._directory} cannot be used: {error.strerror}"
            raise StoreFailed(f"{words}; set TMPDIR to where there is room") from error

    def _compare(self, bucket: int) -> Iterator[Unlogged]:
        data = (self._directory / f"logged-{bucket}").read_bytes()
        logs: dict[bytes, list[int]] = {}
        for leaf, number in _LOGGED.iter_unpack(data):
            logs.setdefault(leaf, []).append(number)
        wanted = (self._directory / f"wanted-{bucket}").read_bytes()
        for leaf, stream, seq in _WANTED.iter_unpack(wanted):
            found = logs.get(leaf, [])
            self.found += bool(found)
            self.found_in.update(found)
            if len(found) != 1:
                yield Unlogged(stream, seq, len(found))

    def close(self) -> None:
        """Let go of the disk."""
        self._stack.close()
