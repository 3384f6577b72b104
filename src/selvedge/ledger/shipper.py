"""What of a journal goes to the collector of one zone, and from where. No I/O.

The collector alone knows how far it has come; a shipper that begins asks it. It reads the journal
from there, in order, and sends what belongs to its zone; of what does not, it tells the numbers
alone. Nothing moves on until the collector has said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from selvedge.fabric import StoreCorrupt
from selvedge.ledger.collected import (
    BEGINNING,
    Batch,
    Place,
    as_line,
    payload_of_line,
    read_receipt,
)
from selvedge.ledger.ranges import Ranges

READ_BYTES: Final = 64 * 1024
"""What one turn reads; a longer line takes more."""
QUIET_BYTES_MAX: Final = 8 * 1024 * 1024
"""So much of a journal without a receipt of the zone, and the collector is told the place."""

_encode: Final = msgspec.json.Encoder().encode


class Journal(Protocol):
    """The segments of one journal, as far as they may be shipped."""

    def sizes(self) -> Mapping[int, int]:
        """Segment -> how many bytes of it stand for ever."""

    def read(self, segment: int, offset: int, size: int) -> bytes:
        """Bytes of a segment; fewer where it ends."""


class Shipper:
    """One journal on its way to one collector.

    ``personal``: whether ciphertexts of personal fields go along.
    """

    def __init__(
        self,
        zone: str,
        worker: int,
        *,
        bytes_max: int = 256 * 1024,
        count_max: int = 1_000,
        personal: bool = False,
    ) -> None:
        self.zone = zone
        self.worker = worker
        self.damaged = 0
        """Lines that were passed over because they do not hold; their numbers will be missing."""
        self._bytes_max = bytes_max
        self._count_max = count_max
        self._personal = personal
        self.acknowledged: Place | None = None
        """What the collector has said last; None: it has not been asked yet."""
        self._forget(BEGINNING)

    def _forget(self, place: Place) -> None:
        self._at = self._start = place
        self._lines: list[bytes] = []
        self._bytes = 0
        self._quiet = 0
        self._elsewhere: dict[str, Ranges] = {}
        self._again = False

    @property
    def batch(self) -> Batch:
        """What has been gathered; without lines it only asks for, or tells, the place."""
        start = self._start if self.acknowledged is not None else BEGINNING
        return Batch(
            worker=self.worker,
            start=start,
            end=self._at,
            lines=b"".join(self._lines),
            elsewhere={tenant: list(runs) for tenant, runs in self._elsewhere.items()},
            again=self._again,
        )

    @property
    def full(self) -> bool:
        """Whether a batch should be sent before more is read."""
        return (
            self._bytes >= self._bytes_max
            or len(self._lines) >= self._count_max
            or self._quiet >= QUIET_BYTES_MAX
        )

    @property
    def due(self) -> bool:
        """Whether there is something to send."""
        return self.acknowledged is None or bool(self._lines) or self.full

    def take(self, place: Place) -> None:
        """The collector has come so far."""
        self.acknowledged = place
        self._forget(place)

    def unsure(self) -> None:
        """No answer came: ask where it is."""
        self.acknowledged = None
        self._forget(BEGINNING)

    def read(self, journal: Journal) -> int:
        """Gather a little more, unless the collector must be asked first; bytes read.

        0 where the journal has no more for now.
        """
        if self.acknowledged is None or self.full:
            return 0
        sizes = journal.sizes()
        if not sizes or not self._find(sizes):
            return 0
        segment, offset = self._at
        size = sizes[segment] - offset
        data, wanted = b"", READ_BYTES
        while not (end := data.rfind(b"\n") + 1):
            if len(data) >= size:
                return 0
            data = journal.read(segment, offset, min(wanted, size))
            wanted *= 2
            if len(data) < min(wanted // 2, size) and b"\n" not in data:
                return 0  # the segment is shorter than was said
        self._gather(segment, offset, data[:end])
        return self._at[1] - offset

    def _find(self, sizes: Mapping[int, int]) -> bool:
        """Settle where to read on; whether there is anything."""
        segment, offset = self._at
        oldest = min(sizes)
        is_here = segment in sizes and offset <= sizes[segment]
        if not is_here and self._at == BEGINNING:
            self._at = segment, offset = (oldest, 0)
        elif not is_here:
            # Set back, or cut off in front: all that there is, once more.
            self._forget((oldest, 0))
            self._again = True
            segment, offset = self._at
        if offset < sizes[segment]:
            return True
        later = [one for one in sizes if one > segment]
        if not later:
            return False
        self._at = (min(later), 0)
        return sizes[self._at[0]] > 0

    def _gather(self, segment: int, offset: int, data: bytes) -> None:
        for line in data.splitlines(keepends=True):
            offset += len(line)
            self._quiet += len(line)
            if line[:2] == b"R ":
                self._receipt(line)
            self._at = (segment, offset)
            if self.full:
                break

    def _receipt(self, line: bytes) -> None:
        try:
            sealed, facts = read_receipt(payload_of_line(line))
        except StoreCorrupt:
            self.damaged += 1
            return
        if facts.zone != self.zone:
            ranges = self._elsewhere.setdefault(facts.tenant, Ranges())
            ranges.add(facts.seq, facts.seq)
            return
        if sealed.personal is not None and not self._personal:
            sealed = msgspec.structs.replace(sealed, personal=None)
            line = as_line(b"R", _encode(sealed))
        self._lines.append(line)
        self._bytes += len(line)
