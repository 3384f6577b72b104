"""Receipts of a simulation, collected as a fleet's are: sealed, by zone, into Parquet partitions.

One collector's directory a zone, filled by the collector's own code: batches of each PoP's journal
are taken by `Collected`, written to the log, and closed segments become partitions. Salts follow
from the receipts' names: the same run gives the same rows.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from selvedge.adapters import CollectorFolder, write_partitions
from selvedge.fabric import Receipt
from selvedge.ledger import Batch, CollectorLog, Sums, seal, sums_of, write_line

BATCH = 500
"""Receipts of one PoP that are taken at once."""


class Books:
    """Every zone's collector, and what was handed to them, counted apart."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._zones: dict[str, _Zone] = {}
        self._waiting: dict[tuple[str, str], list[Receipt]] = {}
        self.receipts = 0
        self.sums: dict[str, Sums] = {}
        """By tenant, of what was handed over: nothing is read back for it."""

    @property
    def directories(self) -> list[Path]:
        """The collectors' directories."""
        return sorted(one.directory for one in self._zones.values())

    def take(self, receipt: Receipt) -> None:
        """A PoP has written this receipt."""
        key = receipt.zone, receipt.ingress_pop
        waiting = self._waiting.setdefault(key, [])
        waiting.append(receipt)
        self.receipts += 1
        if len(waiting) == BATCH:
            self._ship(*key)

    def close(self) -> None:
        """Ship the rest, and have all of it in partitions."""
        for zone, pop in sorted(self._waiting):
            self._ship(zone, pop)
        for one in self._zones.values():
            one.close()

    def _ship(self, zone: str, pop: str) -> None:
        found = self._waiting.pop((zone, pop))
        if zone not in self._zones:
            self._zones[zone] = _Zone(self._directory / zone, zone)
        self._zones[zone].take(pop, found)
        by_tenant: dict[str, list[Receipt]] = {}
        for receipt in found:
            by_tenant.setdefault(receipt.tenant, []).append(receipt)
        for tenant, theirs in by_tenant.items():
            self.sums[tenant] = self.sums.get(tenant, Sums()) + sums_of(theirs)


class _Zone:
    """One collector."""

    def __init__(self, directory: Path, zone: str) -> None:
        self.directory = directory
        self._folder = CollectorFolder(directory)
        self._log = CollectorLog(self._folder.files, zone)

    def take(self, pop: str, receipts: list[Receipt]) -> None:
        """Receipts of one PoP, in the order of its journal."""
        lines = b"".join(map(_line, receipts))
        start = self._log.known.place(pop, 0)
        end = start[0], start[1] + len(lines)
        taken = self._log.known.take(pop, Batch(0, start, end, lines, {}))
        assert taken.new == len(receipts), "a receipt was there already"
        assert not taken.gaps, taken.gaps
        self._log.write(taken.lines)
        if self._log.roll():
            self._partition()

    def close(self) -> None:
        """Everything into partitions; the log goes on empty."""
        assert not self._log.known.gaps(), "numbers are missing"
        self._log.roll(now=True)
        self._partition()
        self._folder.close()

    def _partition(self) -> None:
        for segment in self._log.closed:
            write_partitions(self.directory, segment)
            self._log.remove(segment)


def _line(receipt: Receipt) -> bytes:
    salt = hashlib.sha256(f"salt of {receipt.id}".encode()).digest()
    return write_line(seal(receipt, receipt.seq, salt, None, receipt.worker))
