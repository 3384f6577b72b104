"""Receipts on disk as PoPs and collectors leave them, for what is read from there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from selvedge.adapters import CollectorFolder, write_partitions
from selvedge.control import Home
from selvedge.fabric import Receipt
from selvedge.ledger import HOUR_US, Batch, CollectorLog, SegmentHeader, seal, write_line
from tests.support.shipping import SALT, make_receipt

BEGIN_US = 1_793_491_200_000_000
"""2026-11-01, 00:00 UTC: a Sunday."""
BEGIN_HOUR = BEGIN_US // HOUR_US


def asked_at(hour: float, pop: str = "sin", zone: str = "asean", **facts: object) -> Receipt:
    """A receipt of so many hours after the beginning."""
    at_us = BEGIN_US + round(hour * HOUR_US)
    return make_receipt(0, pop, zone=zone, received_us=at_us, ended_us=at_us, **facts)


def sealed_lines(receipts: Iterable[Receipt]) -> Iterator[tuple[Receipt, bytes]]:
    """Each with its line, numbered by tenant and PoP."""
    seqs: Counter[tuple[str, str]] = Counter()
    for receipt in receipts:
        stream = receipt.tenant, receipt.ingress_pop
        seqs[stream] += 1
        yield receipt, write_line(seal(receipt, seqs[stream], SALT, None, receipt.worker))


def write_journals(home: Home, receipts: Iterable[Receipt]) -> list[Path]:
    """The journal of each PoP; the files."""
    found: dict[Path, list[bytes]] = {}
    for receipt, line in sealed_lines(receipts):
        path = home.pop(receipt.ingress_pop) / "receipts" / "receipts-00000001.log"
        header = write_line(SegmentHeader(receipt.ingress_pop, 1, {}))
        found.setdefault(path, [header]).append(line)
    for path, lines in found.items():
        path.parent.mkdir(parents=True)
        path.write_bytes(b"".join(lines))
    return sorted(found)


def write_collectors(
    directory: Path, receipts: Iterable[Receipt], *, partitioned: int = 0
) -> list[Path]:
    """A collector's directory for each zone; so many batches of each go into partitions."""
    batches: dict[tuple[str, str], list[bytes]] = {}
    for receipt, line in sealed_lines(receipts):
        batches.setdefault((receipt.zone, receipt.ingress_pop), []).append(line)
    logs: dict[str, tuple[CollectorFolder, CollectorLog]] = {}
    for number, ((zone, pop), lines) in enumerate(sorted(batches.items())):
        place = directory / zone
        if zone not in logs:
            folder = CollectorFolder(place)
            logs[zone] = folder, CollectorLog(folder.files, zone)
        log = logs[zone][1]
        data = b"".join(lines)
        log.write(log.known.take(pop, Batch(0, (0, 0), (0, len(data)), data, {})).lines)
        if number < partitioned:
            log.roll(now=True)
            for segment in log.closed:
                write_partitions(place, segment)
                log.remove(segment)
    for folder, _ in logs.values():
        folder.close()
    return [directory / zone for zone in sorted(logs)]
