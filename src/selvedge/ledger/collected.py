"""What a collector of one zone knows: which receipts it holds, which it lacks, how far it has read.

Everything follows from the lines of its log; nothing is known that is not written there. A receipt
is known by (tenant, PoP, worker, seq), its key: the same bytes again are counted and dropped, other
bytes under one key are kept beside and said. Numbers that a journal gave to receipts of another
zone are told by the PoP, so that they are no gaps here. No I/O.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from selvedge.fabric import StoreCorrupt
from selvedge.ledger.ranges import Ranges, Run, missing
from selvedge.ledger.records import Sealed

Place = tuple[int, int]
"""A place in a journal: number of the segment, offset in it."""
BEGINNING: Final[Place] = (0, 0)
Stream = tuple[str, str, int]
"""Tenant, PoP, worker: receipts of one are numbered from 1."""
PREFIX_BYTES: Final = len("K 01234567 ")
RECEIPT_VERSION: Final = 1
SALT_CHARACTERS: Final = 44
INTEGER_MAX: Final = 2**53 - 1
SHOWN_MAX: Final = 20

Lookup = Callable[[Stream, Sequence[int]], Mapping[int, bytes]]
"""The digests of receipts that are in a partition already, without those that are there no more.
Raises `StoreFailed` where partitions cannot be read.
"""


class Facts(msgspec.Struct, frozen=True):
    """The fields of a receipt by which it is collected; whatever else it has is kept as it is."""

    tenant: str
    ingress_pop: str
    zone: str
    received_us: int
    seq: int
    worker: int = 0
    v: int = 1


_Read = tuple[bytes, bytes, Facts]
"""A receipt's line, its canonical bytes, and the facts of it."""


class Batch(msgspec.Struct, frozen=True):
    """Part of one journal of a PoP, from ``start`` up to ``end``, as far as one zone is concerned.

    ``lines`` are lines of receipts (kind R); ``elsewhere`` has the numbers of receipts of other
    zones, by tenant. ``again``: the journal does not have the place that the collector named, and
    is read from where it begins now.
    """

    worker: int
    start: Place
    end: Place
    lines: bytes
    elsewhere: dict[str, list[Run]]
    again: bool = False


class Mark(msgspec.Struct, frozen=True):
    """How far a journal has been read; written behind the receipts that it covers."""

    pop: str
    worker: int
    place: Place
    elsewhere: dict[str, list[Run]]


class Known(msgspec.Struct, frozen=True):
    """All of it, at the start of a segment. Streams are written as tenant, PoP and worker."""

    zone: str
    segment: int
    places: list[tuple[str, int, Place]]
    held: list[tuple[Stream, list[Run]]]
    elsewhere: list[tuple[Stream, list[Run]]]
    conflicts: list[tuple[Stream, int, list[bytes]]]
    doubles: int = 0
    v: int = 1


class Taken(msgspec.Struct):
    """What became of a batch: lines to be written, and what there is to say."""

    lines: list[bytes]
    new: int = 0
    double: int = 0
    unverified: int = 0
    conflicts: list[str] = []
    gaps: list[str] = []
    filled: int = 0


class BadBatch(StoreCorrupt):
    """A batch of which nothing is taken; the words say why."""


_sealed: Final = msgspec.json.Decoder(Sealed)
_facts: Final = msgspec.json.Decoder(Facts)
_mark: Final = msgspec.json.Decoder(Mark)
_known: Final = msgspec.json.Decoder(Known)
_encode: Final = msgspec.json.Encoder().encode


def as_line(kind: bytes, payload: bytes) -> bytes:
    """One line of a log, in the form of the journal."""
    return b"%b %08x %b\n" % (kind, zlib.crc32(payload, zlib.crc32(kind)), payload)


def payload_of_line(line: bytes) -> bytes:
    """The payload of a line with or without its line end. Raises `StoreCorrupt`."""
    line = line.removesuffix(b"\n")
    payload = line[PREFIX_BYTES:]
    if line[1:2] != b" " or b"%08x" % zlib.crc32(payload, zlib.crc32(line[:1])) != line[2:10]:
        raise StoreCorrupt("a line fails its checksum")
    return payload


def read_receipt(payload: bytes) -> tuple[Sealed, Facts]:
    """A sealed receipt and the facts of it. Raises `StoreCorrupt`."""
    try:
        sealed = _sealed.decode(payload)
        facts = _facts.decode(sealed.receipt)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"a line is not a sealed receipt: {error}") from error
    return sealed, facts


def _check(sealed: Sealed, facts: Facts) -> None:
    """One receipt that cannot be read would keep a whole segment from its partitions, and usage
    from everybody. Raises `BadBatch`.
    """
    if facts.v != RECEIPT_VERSION:
        words = f"a receipt has version {facts.v}, this collector reads {RECEIPT_VERSION}"
        raise BadBatch(f"{words}; start a newer collector first")
    try:
        receipt = sealed.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadBatch(f"a receipt is none that this collector reads: {error}") from error
    for name in ("received_us", "ended_us", "worker", "status"):
        if not 0 <= getattr(receipt, name) <= INTEGER_MAX:
            raise BadBatch(f"{name} of a receipt is not from 0 to {INTEGER_MAX}")


def digest(receipt: bytes) -> bytes:
    """What two receipts under one key are compared by."""
    return hashlib.sha256(receipt).digest()[:16]


def in_words(stream: Stream) -> str:
    """A stream as people read it."""
    tenant, pop, worker = stream
    return f"tenant {tenant}, PoP {pop}, worker {worker}"


class Collected:
    """What is held of one zone. ``lookup`` answers for receipts that have left the log."""

    def __init__(self, zone: str, lookup: Lookup = lambda *_: {}) -> None:
        self.zone = zone
        self.places: dict[tuple[str, int], Place] = {}
        self.held: dict[Stream, Ranges] = {}
        self.elsewhere: dict[Stream, Ranges] = {}
        self._counted: dict[Stream, Ranges] = {}
        """Both together: one run where nothing is missing, however a tenant's zones alternate."""
        self.conflicts: dict[tuple[Stream, int], list[bytes]] = {}
        self.doubles = 0
        self.segment = 0
        """Where what is taken from now on is written."""
        self._lookup = lookup
        self._digests: dict[int, dict[Stream, dict[int, bytes]]] = {}

    # Taking batches.

    def place(self, pop: str, worker: int) -> Place:
        """How far this journal has been read."""
        return self.places.get((pop, worker), BEGINNING)

    def take(self, pop: str, batch: Batch) -> Taken:
        """Take a batch whole; its lines are to be written before anyone is told.

        A batch that does not begin where this journal was left is not taken: what it says is
        known, or something before it is not. Raises `BadBatch`, and `StoreFailed` where it cannot
        be compared with what is held; then nothing has changed.
        """
        taken = Taken([])
        is_question = batch.start == batch.end and not batch.lines
        is_next = batch.start == self.place(pop, batch.worker) or batch.again
        if is_question or not is_next:
            return taken
        found = [self._read(pop, batch, line) for line in batch.lines.splitlines(keepends=True)]
        left = self._left(pop, batch.worker, [facts for _, _, facts in found])
        before = self._gaps_of(pop, batch.worker, found, batch.elsewhere)
        for one in found:
            stream = (one[2].tenant, pop, batch.worker)
            self._add(stream, one, taken, left.get(stream, {}))
        mark = Mark(pop, batch.worker, batch.end, batch.elsewhere)
        self._apply_mark(mark)
        taken.lines.append(as_line(b"P", _encode(mark)))
        after = self._gaps_of(pop, batch.worker, found, batch.elsewhere)
        taken.gaps = sorted(after - before)[:SHOWN_MAX]
        taken.filled = len(before - after)
        return taken

    def _read(self, pop: str, batch: Batch, line: bytes) -> _Read:
        if line[:2] != b"R " or line[-1:] != b"\n":
            raise BadBatch("a line of the batch is not a receipt's")
        try:
            sealed, facts = read_receipt(payload_of_line(line))
        except StoreCorrupt as error:
            raise BadBatch(str(error)) from error
        _check(sealed, facts)
        if (facts.ingress_pop, facts.worker) != (pop, batch.worker):
            raise BadBatch(f"a receipt is of PoP {facts.ingress_pop}, worker {facts.worker}")
        if facts.zone != self.zone:
            raise BadBatch(f"a receipt is of zone {facts.zone!r}, here is {self.zone!r}")
        if facts.seq < 1 or len(sealed.salt) != SALT_CHARACTERS:
            raise BadBatch("a receipt has no number or no salt of 32 bytes")
        return line, bytes(sealed.receipt), facts

    def _left(
        self, pop: str, worker: int, found: Iterable[Facts]
    ) -> dict[Stream, Mapping[int, bytes]]:
        """The digests of what comes again and has left the log."""
        again: dict[Stream, list[int]] = {}
        for facts in found:
            stream = (facts.tenant, pop, worker)
            ranges = self.held.get(stream)
            if ranges is None or facts.seq > ranges.last or facts.seq not in ranges:
                continue
            if self._digest_of(stream, facts.seq) is None:
                again.setdefault(stream, []).append(facts.seq)
        return {stream: self._lookup(stream, seqs) for stream, seqs in again.items()}

    def _add(self, stream: Stream, one: _Read, taken: Taken, left: Mapping[int, bytes]) -> None:
        line, receipt, facts = one
        seq = facts.seq
        ranges = self.held.setdefault(stream, Ranges())
        own = digest(receipt)
        if seq not in ranges:
            ranges.add(seq, seq)
            self._count(stream, seq, seq)
            self._keep(stream, seq, own)
            taken.lines.append(line)
            taken.new += 1
            return
        known = self._digest_of(stream, seq) or left.get(seq)
        others = self.conflicts.get((stream, seq), [])
        if known is None or known == own or own in others:
            self.doubles += 1
            taken.double += 1
            taken.unverified += known is None
            return
        self.conflicts.setdefault((stream, seq), []).append(own)
        taken.lines.append(as_line(b"K", payload_of_line(line)))
        taken.conflicts.append(f"{in_words(stream)}: two receipts with number {seq}")

    def _count(self, stream: Stream, first: int, last: int) -> None:
        counted = self._counted.get(stream)
        if counted is None:
            counted = self._counted[stream] = Ranges()
        counted.add(first, last)

    def _keep(self, stream: Stream, seq: int, own: bytes) -> None:
        # Innermost are numbers and bytes: Python's collector never looks into such dictionaries.
        self._digests.setdefault(self.segment, {}).setdefault(stream, {})[seq] = own

    def _digest_of(self, stream: Stream, seq: int) -> bytes | None:
        for streams in self._digests.values():
            found = streams.get(stream, {}).get(seq)
            if found is not None:
                return found
        return None

    # Gaps.

    def gaps(self) -> dict[Stream, list[Run]]:
        """Numbers that are missing, by stream; none where there are none."""
        found = {}
        for stream in sorted(self._counted):
            runs = self._gaps_in(stream)
            if runs:
                found[stream] = runs
        return found

    def _gaps_in(self, stream: Stream) -> list[Run]:
        counted = self._counted.get(stream)
        return missing(counted) if counted is not None else []

    def _gaps_of(
        self,
        pop: str,
        worker: int,
        found: Iterable[_Read],
        elsewhere: Mapping[str, list[Run]],
    ) -> set[str]:
        tenants = {facts.tenant for _, _, facts in found} | elsewhere.keys()
        streams = [(tenant, pop, worker) for tenant in tenants]
        return {
            f"{in_words(stream)}: {first} to {last}"
            for stream in streams
            for first, last in self._gaps_in(stream)
        }

    # The log.

    def header(self, segment: int) -> bytes:
        """The first line of a segment: all that is known."""
        known = Known(
            zone=self.zone,
            segment=segment,
            places=[(pop, worker, at) for (pop, worker), at in self.places.items()],
            held=[(stream, list(runs)) for stream, runs in self.held.items()],
            elsewhere=[(stream, list(runs)) for stream, runs in self.elsewhere.items()],
            conflicts=[(*key, digests) for key, digests in self.conflicts.items()],
            doubles=self.doubles,
        )
        return as_line(b"H", _encode(known))

    def begin(self, line: bytes, *, first: bool) -> None:
        """Go on from a segment's header; only the first that is left says what was before."""
        known = read_header(line)
        if known.zone != self.zone:
            raise StoreCorrupt(f"it holds receipts of zone {known.zone!r}, not of {self.zone!r}")
        self.segment = known.segment
        if not first:
            return
        self.places = {(pop, worker): at for pop, worker, at in known.places}
        self.held = {stream: Ranges(runs) for stream, runs in known.held}
        self.elsewhere = {stream: Ranges(runs) for stream, runs in known.elsewhere}
        together: dict[Stream, list[Run]] = {}
        for stream, runs in (*known.held, *known.elsewhere):
            together.setdefault(stream, []).extend(runs)
        self._counted = {stream: Ranges(sorted(runs)) for stream, runs in together.items()}
        self.conflicts = {(stream, seq): digests for stream, seq, digests in known.conflicts}
        self.doubles = known.doubles

    def apply(self, line: bytes) -> None:
        """Go on from a line that was written earlier. Raises `StoreCorrupt`."""
        payload, kind = payload_of_line(line), line[:1]
        if kind == b"P":
            self._apply_mark(_mark.decode(payload))
            return
        if kind not in (b"R", b"K"):
            raise StoreCorrupt("a line has no known kind")
        sealed, facts = read_receipt(payload)
        stream, own = (facts.tenant, facts.ingress_pop, facts.worker), digest(sealed.receipt)
        if kind == b"K":
            self.conflicts.setdefault((stream, facts.seq), []).append(own)
            return
        self.held.setdefault(stream, Ranges()).add(facts.seq, facts.seq)
        self._count(stream, facts.seq, facts.seq)
        self._keep(stream, facts.seq, own)

    def _apply_mark(self, mark: Mark) -> None:
        self.places[mark.pop, mark.worker] = mark.place
        for tenant, runs in mark.elsewhere.items():
            stream = (tenant, mark.pop, mark.worker)
            ranges = self.elsewhere.setdefault(stream, Ranges())
            for first, last in runs:
                ranges.add(first, last)
                self._count(stream, first, last)

    def left(self, segment: int) -> None:
        """The receipts of this segment have gone to partitions."""
        self._digests.pop(segment, None)


def read_header(line: bytes) -> Known:
    """What a segment's first line says. Raises `StoreCorrupt`."""
    if line[:2] != b"H ":
        raise StoreCorrupt("a segment begins with its header")
    try:
        known = _known.decode(payload_of_line(line))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"the header is not one: {error}") from error
    if known.v != 1:
        raise StoreCorrupt(f"the header has version {known.v}, not 1")
    return known
