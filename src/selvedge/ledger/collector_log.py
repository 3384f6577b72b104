"""A collector's log: segments of receipts and marks, over files that may die at any moment. No I/O.

A group of batches is one write and one sync; who asked is told after both. What was not wholly
written is cut at the next start, by whole lines: receipts without their mark are sent again and
known by their keys. A segment that is full is closed for ever; it leaves when its receipts lie in
partitions, and its removal is the moment at which they count there and not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from selvedge.fabric import StoreCorrupt, StoreFailed
from selvedge.ledger.collected import Collected, Lookup, payload_of_line

SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024
_NAME: Final = "collected-{:08d}.log"
_PREFIX: Final = "collected-"


class Files(Protocol):
    """Files of one directory. Names sort as they were given."""

    def names(self) -> list[str]:
        """All of them."""

    def read(self, name: str) -> bytes:
        """A whole file."""

    def create(self, name: str, data: bytes) -> None:
        """A new file, whole and synced, or none; raises `StoreFailed`."""

    def append(self, name: str, data: bytes) -> None:
        """Write behind what is there; raises `StoreFailed`, and a part may be there then."""

    def sync(self, name: str) -> None:
        """What was written survives a loss of power; raises `StoreFailed`."""

    def cut(self, name: str, size: int) -> None:
        """Drop what is behind ``size``, and sync; raises `StoreFailed`."""

    def remove(self, name: str) -> None:
        """Drop a file; raises `StoreFailed`."""


def segment_name(segment: int) -> str:
    """The file of a segment."""
    return _NAME.format(segment)


def segment_number(name: str) -> int | None:
    """The segment of a file, or None where it is none."""
    number = name.removeprefix(_PREFIX).removesuffix(".log")
    is_one = number.isdecimal() and name == _NAME.format(int(number))
    return int(number) if is_one else None


class CollectorLog:
    """The log of one zone. Owned by one process."""

    def __init__(
        self,
        files: Files,
        zone: str,
        lookup: Lookup = lambda *_: {},
        bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> None:
        self._files = files
        self._zone = zone
        self._lookup = lookup
        self._bytes_max = bytes_max
        self._segment = 0
        self._size = self._header_bytes = 0
        self.torn_bytes = 0
        self.broken: str | None = None
        """Why nothing can be written any more, or None."""
        self.known = Collected(zone, lookup)
        self.open()

    def open(self) -> None:
        """Read what there is. Raises `StoreCorrupt` that names file and line."""
        self.known = Collected(self._zone, self._lookup)
        segments = self.segments()
        for segment in segments:
            self._read(segment, first=segment == segments[0], last=segment == segments[-1])
        if not segments:
            self.start(self.known.header(1))
        self.known.segment = self._segment

    def segments(self) -> list[int]:
        """The segments that there are, oldest first; the last is written to."""
        found = [segment_number(name) for name in self._files.names()]
        return sorted(one for one in found if one is not None)

    @property
    def closed(self) -> list[int]:
        """Segments that nothing is added to any more."""
        return self.segments()[:-1]

    @property
    def empty(self) -> bool:
        """Whether the segment that is written to holds nothing yet."""
        return self._size == self._header_bytes

    def write(self, lines: Sequence[bytes]) -> None:
        """Write lines. Raises `StoreFailed`; then nothing of them is there, and all that follows
        from them is forgotten.
        """
        if self.broken is not None:
            raise StoreFailed(self.broken)
        data = b"".join(lines)
        name = segment_name(self._segment)
        try:
            self._files.append(name, data)
        except StoreFailed:
            self._undo(name)
            raise
        self._size += len(data)

    def sync(self) -> None:
        """Have it survive a loss of power. Raises `StoreFailed`; nothing is written after that: who
        reads it again must not take what the disk refused for what is on it.
        """
        try:
            self._files.sync(segment_name(self._segment))
        except StoreFailed as error:
            self.broken = str(error)
            raise

    def next_header(self, *, now: bool = False) -> bytes | None:
        """The header of the next segment, where it is time (or ``now``, and there is anything).

        To be asked when all that is known is written: what is taken after it goes behind it, once
        `sync` and `start` have returned.
        """
        if self.broken is not None or not (self._size >= self._bytes_max or now):
            return None
        if self.empty:
            return None
        header = self.known.header(self._segment + 1)
        self.known.segment = self._segment + 1
        return header

    def start(self, header: bytes) -> None:
        """Start the next segment; the one before it must be synced.

        Raises `StoreFailed`; then the old one goes on.
        """
        self._files.create(segment_name(self._segment + 1), header)
        self._segment += 1
        self._size = self._header_bytes = len(header)

    def roll(self, *, now: bool = False) -> bool:
        """Close the segment where it is full (or ``now``) and has receipts; whether it did."""
        header = self.next_header(now=now)
        if header is None:
            return False
        self.sync()
        self.start(header)
        return True

    def remove(self, segment: int) -> None:
        """Drop a closed segment: its receipts lie in partitions."""
        if segment >= self._segment:
            raise ValueError(f"segment {segment} is written to")
        self._files.remove(segment_name(segment))
        self.known.left(segment)

    def _undo(self, name: str) -> None:
        try:
            self._files.cut(name, self._size)
            self.open()
        except (StoreFailed, StoreCorrupt) as error:
            self.broken = f"{name} ends in what was not written whole: {error}"

    def _read(self, segment: int, *, first: bool, last: bool) -> None:
        name = segment_name(segment)
        lines = self._files.read(name).splitlines(keepends=True)
        size = 0
        for number, line in enumerate(lines, 1):
            try:
                if not line.endswith(b"\n"):
                    raise StoreCorrupt("it is cut short")
                if number == 1:
                    self.known.begin(line, first=first)
                else:
                    self.known.apply(line)
            except (StoreCorrupt, UnicodeDecodeError, msgspec.MsgspecError) as error:
                if number == 1 or not last or any(_holds(one) for one in lines[number:]):
                    words = f"{name} line {number}: {error}; restore it or move it away"
                    raise StoreCorrupt(words) from error
                self.torn_bytes = sum(map(len, lines[number - 1 :]))
                self._files.cut(name, size)
                break
            size += len(line)
            if number == 1:
                self._header_bytes = size
        if not lines:
            raise StoreCorrupt(f"{name} is empty; restore it or move it away")
        if self.known.segment != segment:
            raise StoreCorrupt(f"{name}: its header is not its own; restore it or move it away")
        self._segment, self._size = segment, size


def _holds(line: bytes) -> bool:
    try:
        payload_of_line(line)
    except StoreCorrupt:
        return False
    return line.endswith(b"\n")
