"""The leaves of one journal on their way into the log, and how far it has been read. No I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from selvedge.fabric import StoreCorrupt
from selvedge.ledger.collected import BEGINNING, Place, payload_of_line
from selvedge.ledger.records import LEAF_DOMAIN, Sealed
from selvedge.ledger.shipper import Journal

READ_BYTES: Final = 64 * 1024
"""What one turn reads; a longer line takes more."""

_sealed: Final = msgspec.json.Decoder(Sealed)


class LeafReader:
    """Reads a journal once, in order, from ``place``: each sealed receipt is one leaf."""

    def __init__(self, place: Place = BEGINNING) -> None:
        self.place = place
        self.damaged = 0
        """Lines that were passed over because they do not hold."""
        self.again = 0
        """How often the journal was found set back, and its segment read once more."""

    def read(self, journal: Journal, read_bytes: int = READ_BYTES) -> tuple[int, list[bytes]]:
        """A little more: bytes read, 0 where there is no more for now, and the leaves in them.

        Raises `StoreFailed`.
        """
        sizes = journal.sizes()
        if not self._find(sizes):
            return 0, []
        segment, offset = self.place
        size, wanted = sizes[segment] - offset, read_bytes
        data = journal.read(segment, offset, min(wanted, size))
        while not (end := data.rfind(b"\n") + 1) and len(data) == min(wanted, size) < size:
            wanted *= 2  # one line, longer than that
            data = journal.read(segment, offset, min(wanted, size))
        self.place = (segment, offset + end)
        return end, self._leaves(data[:end])

    def _find(self, sizes: Mapping[int, int]) -> bool:
        """Settle where to read on; whether there is anything."""
        segment, offset = self.place
        if sizes and (max(sizes) < segment or offset > sizes.get(segment, offset)):
            # Set back to an older copy: rather a receipt twice than one that is missing.
            self.again += 1
            self.place = segment, offset = (min(segment, max(sizes)), 0)
        if segment in sizes and offset < sizes[segment]:
            return True
        later = [one for one in sizes if one > segment]
        if not later or sizes[min(later)] == 0:
            return False
        self.place = (min(later), 0)
        return True

    def _leaves(self, data: bytes) -> list[bytes]:
        found = []
        at = 0 if data.startswith(b"R ") else data.find(b"\nR ") + 1
        while data.startswith(b"R ", at):
            end = data.find(b"\n", at)
            one = _leaf(data[at:end])
            if one is not None:
                found.append(one)
            else:
                self.damaged += 1
            at = end + 1 if data.startswith(b"R ", end + 1) else data.find(b"\nR ", end) + 1 or end
        return found


def _leaf(line: bytes) -> bytes | None:
    """The leaf of a sealed receipt's line; None where the line does not hold."""
    try:
        sealed = _sealed.decode(payload_of_line(line))
        salt = base64.b64decode(sealed.salt, validate=True)
    except (StoreCorrupt, msgspec.MsgspecError, UnicodeDecodeError, binascii.Error):
        return None
    hashed = hashlib.sha256(LEAF_DOMAIN + salt)
    hashed.update(sealed.receipt)
    return hashed.digest()
