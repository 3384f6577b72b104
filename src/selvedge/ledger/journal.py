"""The PoP's journal as text: one line a record, each with its own checksum. No I/O here.

    <kind> <crc32 of kind and JSON, 8 hex digits> <JSON>\\n

Kinds: ``H`` opens a segment and carries what recovery needs of earlier ones (sequence numbers),
``I`` is an intent, ``R`` a sealed receipt, ``A`` an attestation given to a peer, ``S`` a summary of
unauthenticated refusals. What was not wholly written fails its checksum and can only be at the end;
a bad line with a good one after it is corruption and is reported, not skipped.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterable
from typing import Final

import msgspec

from selvedge.fabric import Attested, StoreCorrupt
from selvedge.ledger.records import Entry, Intent, Recovery, Sealed, SegmentHeader, Summary


class Kind(enum.StrEnum):
    """What a line of the journal is."""

    HEADER = "H"
    INTENT = "I"
    RECEIPT = "R"
    ATTESTATION = "A"
    SUMMARY = "S"


_KIND_OF: Final[dict[type, Kind]] = {
    SegmentHeader: Kind.HEADER,
    Intent: Kind.INTENT,
    Sealed: Kind.RECEIPT,
    Attested: Kind.ATTESTATION,
    Summary: Kind.SUMMARY,
}
_PREFIX_OF: Final = {
    type_: (kind.value.encode(), zlib.crc32(kind.value.encode()))
    for type_, kind in _KIND_OF.items()
}
# What must be canonical in a record is in it as bytes already.
_encoder: Final = msgspec.json.Encoder()
_DECODERS: Final[dict[bytes, msgspec.json.Decoder[Entry]]] = {
    kind.value.encode(): msgspec.json.Decoder(type_) for type_, kind in _KIND_OF.items()
}
VERSION: Final = 1
_PREFIX_BYTES: Final = len("K 01234567 ")


def write_line(record: Entry) -> bytes:
    """One record as one line."""
    kind, begun = _PREFIX_OF[type(record)]
    payload = _encoder.encode(record)
    return b"%b %08x %b\n" % (kind, zlib.crc32(payload, begun), payload)


def read_line(line: bytes) -> Entry:
    """The record of one line without its line end; raises `StoreCorrupt`."""
    decoder = _DECODERS.get(line[:1])
    payload = line[_PREFIX_BYTES:]
    if decoder is None or line[1:2] != b" " or line[10:11] != b" ":
        raise StoreCorrupt("a line of the journal has no known kind")
    if b"%08x" % _checksum(line[:1], payload) != line[2:10]:
        raise StoreCorrupt("a line of the journal fails its checksum")
    try:
        record: Entry = decoder.decode(payload)
        version = _version_of(record)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"a line of the journal is not a record: {error}") from error
    if version != VERSION:
        raise StoreCorrupt(f"a line of the journal has version {version}, not {VERSION}")
    return record


def _version_of(record: Entry) -> int:
    match record:
        case Sealed():
            return record.decode().v
        case Intent():
            return record.receipt.v
        case Attested():
            return record.decode().v
        case _:
            return record.v


def _checksum(kind: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(kind))


def recover(data: bytes) -> Recovery:
    """Fold a segment's bytes up to the last whole line.

    After power loss the unsynced end may hold anything: a bad line after which no line holds is the
    torn end. A bad line with a good one after it is damage: `StoreCorrupt`.
    """
    found = Recovery({}, {})
    lines = data.split(b"\n")
    tail = lines.pop()
    if lines and not lines[0].startswith(b"H "):
        raise StoreCorrupt("segment line 1: a segment begins with its header")
    for number, line in enumerate(lines, 1):
        try:
            _apply(found, read_line(line))
        except StoreCorrupt as error:
            if number == 1 or any(_holds(later) for later in lines[number:]):
                raise StoreCorrupt(f"segment line {number}: {error}") from error
            break
        found.whole_bytes += len(line) + 1
    else:
        found.torn_bytes = len(tail)
        return found
    found.torn_bytes = len(data) - found.whole_bytes
    return found


def _holds(line: bytes) -> bool:
    try:
        read_line(line)
    except StoreCorrupt:
        return False
    return True


def _apply(found: Recovery, record: Entry) -> None:
    match record:
        case SegmentHeader():
            found.pop, found.segment = record.pop, record.segment
            found.seqs.update(record.seqs)
            found.open.update((intent.receipt.id, intent) for intent in record.open)
        case Intent():
            found.open[record.receipt.id] = record
        case Sealed():
            receipt = record.decode()
            found.open.pop(receipt.id, None)
            found.seqs[receipt.tenant] = max(found.seqs.get(receipt.tenant, 0), receipt.seq)
        case _:
            pass


def receipts_of(lines: Iterable[bytes]) -> Iterable[Sealed]:
    """The sealed receipts among lines, in order; a torn last line is passed over."""
    for line in lines:
        if line.startswith(b"R ") and line.endswith(b"\n"):
            record = read_line(line[:-1])
            assert isinstance(record, Sealed), "the kind says so"
            yield record
