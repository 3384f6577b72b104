"""A PoP's disk with journals and a log, written in virtual time."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from random import Random

import msgspec

from selvedge.adapters import (
    FolderFiles,
    keep_log_keys,
    public_folder,
    published,
    read_path,
    segment_path,
)
from selvedge.fabric import JurisdictionLog, Release, Zone, pop_origin
from selvedge.ledger import leaf
from selvedge.pop.log_writer import PopLog
from selvedge.pop.settings import Settings
from selvedge.tlog import TileTree, Verifier, open_checkpoint
from selvedge.tlog.notes import ED25519
from tests.support.fleets import make_pop
from tests.support.shipping import SALT, MemoryJournal

DOMAIN = "logs.example"
NOVEMBER_US = 1_793_500_000_000_000  # 2026-11-01, about
DAY_US = 86_400_000_000


class LogPlace:
    """One PoP's disk. ``turn`` is a second of its log."""

    def __init__(
        self, path: Path, *, pop: str = "sin", logs: tuple[JurisdictionLog, ...] = ()
    ) -> None:
        self.path = path
        self.pop = pop
        self.rng = Random(1)
        self.journals = {worker: MemoryJournal(pop, worker) for worker in (0, 2)}
        self.keys = keep_log_keys(path)
        self.release = self.make_release(1, logs)
        values = {
            "pop": pop,
            "listen": "127.0.0.1:1",
            "state_dir": str(path),
            "release_file": "none",
            "operator_public_key": "none",
            "pepper_file": "none",
            "log_tell_ms": 100,
        }
        self.settings = msgspec.convert(values, Settings)
        self.now_us = NOVEMBER_US
        self.ticks = 0.0
        self.receipts: list[bytes] = []
        self.log = self.begin()

    def make_release(self, version: int, logs: tuple[JurisdictionLog, ...] = ()) -> Release:
        one = msgspec.structs.replace(make_pop(self.pop), engines=(), log_keys=tuple(self.keys))
        zones = (Zone("asean", ("SG",)),)
        return Release(
            "example", version, 1, (), (one,), zones, (), (), log_domain=DOMAIN, logs=logs
        )

    def begin(self) -> PopLog:
        """A process begins: nothing is in memory."""
        self.log = PopLog(self.settings, lambda: self.now_us, lambda: self.ticks)
        assert self.log.key(self.release) is None
        return self.log

    def write(self, count: int) -> None:
        """Receipts in both journals."""
        for number in range(count):
            for journal in self.journals.values():
                self.receipts.append(journal.write("asean", "asean"))
                if number % 50 == 49:
                    journal.roll()
        self.save()

    def save(self) -> None:
        for worker, journal in self.journals.items():
            root = self.path if worker == 0 else self.path / "workers" / str(worker)
            (root / "receipts").mkdir(parents=True, exist_ok=True)
            for number, data in journal.segments.items():
                segment_path(root / "receipts", number).write_bytes(data)

    def turn(self) -> None:
        """A second: what is in the journals comes into a checkpoint."""
        self.now_us += 1_000_001
        self.ticks += 1.000_001
        log = self.log
        if not log.is_open:
            log.open()
        log.look()
        log.look()
        while log.read():
            pass
        if log.is_due:
            log.commit()
        log.turn_month()

    @property
    def files(self) -> FolderFiles:
        return FolderFiles(self.path / "log")

    def origin(self, shard: str) -> str:
        return pop_origin(DOMAIN, "example", self.pop, shard)

    def tree(self, shard: str) -> TileTree:
        """What the shard's published checkpoint says, checked with the release's keys."""
        origin = self.origin(shard)
        keys = [Verifier(origin, ED25519, raw_of(one)) for one in self.keys]
        data = self.files.read(published(shard))
        assert data is not None, f"nothing is published in {public_folder(shard)}"
        found = open_checkpoint(data, origin, keys)
        return TileTree(found.size, found.root, read_path(self.files, shard))

    def entries(self, *shards: str) -> list[bytes]:
        """Every entry of these shards."""
        trees = [self.tree(shard) for shard in shards]
        return [tree.entry(index) for tree in trees for index in range(tree.size)]

    def leaves(self) -> list[bytes]:
        """Of all receipts ever written, sorted."""
        return sorted(leaf(one, SALT) for one in self.receipts)


def digest_of(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def raw_of(public: str) -> bytes:
    return base64.b64decode(public)
