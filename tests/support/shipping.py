"""PoPs, collectors and what lies between them, in one thread and without a clock; all may die."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random

import msgspec

from selvedge.exchange import collection
from selvedge.fabric import BadTicket, Receipt, Usage
from selvedge.ledger import (
    BadBatch,
    CollectorLog,
    Intent,
    SegmentHeader,
    Shipper,
    Stream,
    digest,
    payload_of_line,
    read_receipt,
    seal,
    segment_name,
    write_line,
)
from tests.support.disks import Died, Disk

DAY_US = 86_400_000_000
SALT = bytes(range(32))
KEY = bytes(32)
Key = tuple[str, str, int, int]


def make_receipt(number: int, pop: str = "sin", **facts: object) -> Receipt:
    """A receipt of this number; ``facts`` replace its fields."""
    one = Receipt(
        id=f"rcpt_{pop}_{number}",
        request_id=f"req_{pop}_{number}",
        tenant="asean",
        project="default",
        key="asean",
        data_class="standard",
        route="/v1/chat/completions",
        ingress_pop=pop,
        ingress_country="SG",
        rule="asean/standard",
        zone="asean",
        release=1,
        release_hash="sha256:" + "0" * 64,
        received_us=1_700_000_000_000_000 + number * DAY_US // 10,
        transit=False,
        model="scripted",
        usage=Usage(input_uncached=number % 50 + 1, output=number % 7, provenance="reported"),
    )
    return msgspec.structs.replace(one, **facts)


class MemoryJournal:
    """A PoP's journal, written as a book writes it, in segments of a few receipts."""

    def __init__(self, pop: str, worker: int) -> None:
        self.pop = pop
        self.worker = worker
        self.segments: dict[int, bytes] = {}
        self.seqs: dict[str, int] = {}
        self.count = 0

    def roll(self) -> None:
        number = max(self.segments, default=0) + 1
        self.segments[number] = write_line(SegmentHeader(self.pop, number, dict(self.seqs)))

    def write(self, tenant: str, zone: str, **facts: object) -> bytes:
        """One request's intent and receipt; the canonical bytes."""
        if not self.segments:
            self.roll()
        self.count += 1
        receipt = make_receipt(
            self.worker * 100_000 + self.count, self.pop, tenant=tenant, zone=zone, **facts
        )
        seq = self.seqs[tenant] = self.seqs.get(tenant, 0) + 1
        sealed = seal(receipt, seq, SALT, "cGVyc29uYWw=", self.worker)
        newest = max(self.segments)
        self.segments[newest] += write_line(Intent(receipt)) + write_line(sealed)
        return bytes(sealed.receipt)

    def sizes(self) -> Mapping[int, int]:
        return {number: len(data) for number, data in self.segments.items()}

    def read(self, segment: int, offset: int, size: int) -> bytes:
        return self.segments[segment][offset : offset + size]


class Collector:
    """A collector's process over a disk that outlives it; partitions are files beside the log."""

    def __init__(self, zone: str, disk: Disk, bytes_max: int = 6_000) -> None:
        self.zone = zone
        self.disk = disk
        self.bytes_max = bytes_max
        self.deaths = 0
        self.conflicts: list[str] = []
        self.restart()

    def restart(self) -> None:
        """Start again until it stands: it may die while it reads."""
        while True:
            try:
                self.log = CollectorLog(self.disk, self.zone, self._lookup, self.bytes_max)
            except Died:
                self.died()
            else:
                return

    def died(self) -> None:
        self.deaths += 1
        self.disk.dies_at = 0

    def answer(self, written: bytes) -> bytes | None:
        """What a PoP is told; None where it died, or nothing was written."""
        keys = dict.fromkeys(("sin", "fra", "cgk"), KEY)
        shipment = collection.read_shipment(written, self.zone, keys.get)
        pop, worker = shipment.pop, shipment.batch.worker
        problem = None
        try:
            taken = self.log.known.take(pop, shipment.batch)
            self.conflicts += taken.conflicts
            self.log.write(taken.lines)
            self.log.sync()
            self.log.roll()
        except BadBatch as error:
            problem = str(error)
        return collection.hold(shipment, self.log.known.place(pop, worker), problem, KEY)

    def partition(self) -> None:
        """Closed segments become partitions by day, each whole; then they leave."""
        for segment in self.log.closed:
            days: dict[int, bytes] = {}
            for line in self.disk.read(segment_name(segment)).splitlines(keepends=True):
                if line[:1] == b"R":
                    _, facts = read_receipt(payload_of_line(line))
                    day = facts.received_us // DAY_US
                    days[day] = days.get(day, b"") + line
            for day, lines in days.items():
                self.disk.create(f"part-{segment:08d}-{day}", lines)
            self.log.remove(segment)

    def _parts(self) -> Iterable[str]:
        """Partitions that count: not those whose segment is still there."""
        names = self.disk.names()
        for name in names:
            if name.startswith("part-") and f"collected-{name[5:13]}.log" not in names:
                yield name

    def _lookup(self, stream: Stream, seqs: Sequence[int]) -> dict[int, bytes]:
        found = {}
        for name in self._parts():
            for line in self.disk.read(name).splitlines(keepends=True):
                sealed, facts = read_receipt(payload_of_line(line))
                own = (facts.tenant, facts.ingress_pop, facts.worker)
                if own == stream and facts.seq in seqs:
                    found[facts.seq] = digest(bytes(sealed.receipt))
        return found

    def held(self) -> Counter[bytes]:
        """Canonical bytes of all that counts, from log and partitions."""
        logs = [name for name in self.disk.names() if name.startswith("collected-")]
        found: Counter[bytes] = Counter()
        for name in [*logs, *self._parts()]:
            for line in self.disk.read(name).splitlines(keepends=True):
                if line[:1] == b"R":
                    sealed, _ = read_receipt(payload_of_line(line))
                    found[bytes(sealed.receipt)] += 1
        return found


class Sender:
    """The shippers of one journal, one for each zone."""

    def __init__(self, journal: MemoryJournal, zones: Iterable[str], rng: Random) -> None:
        self.journal = journal
        self._rng = rng
        self._zones = tuple(zones)
        self.deaths = 0
        self.begin()

    def begin(self) -> None:
        self.shippers = {
            zone: Shipper(zone, self.journal.worker, bytes_max=2_000, count_max=5)
            for zone in self._zones
        }

    def die(self) -> None:
        self.deaths += 1
        self.begin()

    def question(self, zone: str) -> collection.Shipment | None:
        """What is to be sent next, if anything is."""
        shipper = self.shippers[zone]
        while shipper.read(self.journal):
            pass
        if not shipper.due:
            return None
        nonce = self._rng.randbytes(collection.NONCE_BYTES)
        return collection.Shipment(self.journal.pop, zone, nonce, shipper.batch)

    def send(self, collector: Collector, loses: float = 0.0) -> bool:
        """One exchange over a network that loses and repeats; whether there was one to have."""
        zone, rng = collector.zone, self._rng
        question = self.question(zone)
        if question is None:
            return False
        shipper = self.shippers[zone]
        written = collection.ship(question, KEY)
        answer = None
        times = 0 if rng.random() < loses else 2 if rng.random() < loses else 1
        for _ in range(times):
            try:
                answer = collector.answer(written)
            except Died:
                collector.died()
                collector.restart()
                answer = None
        if answer is None or rng.random() < loses:
            shipper.unsure()
            return True
        try:
            holding = collection.read_holding(answer, question, KEY)
        except BadTicket:
            shipper.unsure()
            return True
        assert holding.problem is None, holding.problem
        shipper.take(holding.place)
        return True
