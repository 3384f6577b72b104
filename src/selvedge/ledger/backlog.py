"""Receipts of one journal that the collector of their zone has not acknowledged. No I/O.

A shipper reads no further than the collector takes; what waits behind that is counted here, by a
reading of its own. Twenty bytes are kept for each receipt that waits.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from typing import Final

from selvedge.ledger.collected import Place
from selvedge.ledger.shipper import Journal

READ_BYTES: Final = 64 * 1024
_ENDED: Final = re.compile(rb'"ended_us":(\d+)')


class _Waiting:
    """Receipts that were read at once: where each ends, its size, when its request ended."""

    __slots__ = ("ended_us", "ends", "first", "segment", "sizes")

    def __init__(self, segment: int) -> None:
        self.segment = segment
        self.ends = array("Q")
        self.sizes = array("I")
        self.ended_us = array("Q")
        self.first = 0
        """Those before are acknowledged."""


class Backlog:
    """What waits of one journal for one zone's collector."""

    def __init__(self, zone: str) -> None:
        self.count = 0
        self.bytes = 0
        self._zone = b'"zone":"%b"' % zone.encode()
        self._waiting: deque[_Waiting] = deque()
        self._place: Place | None = None
        self._at: Place = (0, 0)

    @property
    def oldest_us(self) -> int:
        """When the request of the oldest that waits ended; 0 where none waits."""
        if not self._waiting:
            return 0
        group = self._waiting[0]
        return group.ended_us[group.first]

    def acknowledge(self, place: Place) -> None:
        """The collector has come so far; where it was set back, all is counted anew."""
        if self._place is None or place < self._place:
            self._at = place
            self._waiting.clear()
            self.count = self.bytes = 0
        self._place = place
        self._at = max(self._at, place)
        while self._waiting:
            group = self._waiting[0]
            upto = len(group.ends)
            if group.segment == place[0]:
                upto = bisect_right(group.ends, place[1])
            elif group.segment > place[0]:
                upto = 0
            if upto > group.first:
                self.count -= upto - group.first
                self.bytes -= sum(group.sizes[group.first : upto])
                group.first = upto
            if group.first < len(group.ends):
                return
            self._waiting.popleft()

    def read(self, journal: Journal) -> int:
        """Count a little more; bytes read, 0 where there is no more. Raises `StoreFailed`."""
        sizes = journal.sizes()
        if not self._find(sizes):
            return 0
        segment, offset = self._at
        size = sizes[segment] - offset
        wanted = READ_BYTES
        data = journal.read(segment, offset, min(wanted, size))
        while not (end := data.rfind(b"\n") + 1) and len(data) == min(wanted, size) < size:
            wanted *= 2  # one line, longer than that
            data = journal.read(segment, offset, min(wanted, size))
        self._gather(segment, offset, data[:end])
        self._at = (segment, offset + end)
        return end

    def _find(self, sizes: Mapping[int, int]) -> bool:
        """Settle where to read on; whether there is anything."""
        segment, offset = self._at
        if segment in sizes and offset < sizes[segment]:
            return True
        later = [one for one in sizes if one > segment]
        if not later:
            return False
        self._at = (min(later), 0)
        return sizes[self._at[0]] > 0

    def _gather(self, segment: int, offset: int, data: bytes) -> None:
        group = _Waiting(segment)
        for line in data.splitlines(keepends=True):
            offset += len(line)
            if line[:2] != b"R " or self._zone not in line:
                continue
            ended = _ENDED.search(line)
            group.ends.append(offset)
            group.sizes.append(len(line))
            group.ended_us.append(int(ended[1]) if ended is not None else 0)
        if group.ends:
            self._waiting.append(group)
            self.count += len(group.ends)
            self.bytes += sum(group.sizes)
