"""The transparency logs of a simulated month: a log a PoP, one a zone above them, witnessed.

The same store that a PoP's log is kept in is fed with the leaves of the month's receipts, in the
order in which their requests ended, and with a heartbeat every half minute. A checkpoint is signed
for each hour instead of each second, of which a month has 2.6 million.
"""

from __future__ import annotations

import base64
import shutil
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bench.month_world import DAYS, PLACES, START_US, ZONES, log_seed, witness
from selvedge.adapters import FolderFiles, LogStore, find_parts, rows_of_parts
from selvedge.fabric import Release, jurisdiction_origin, pop_origin
from selvedge.ledger import leaf
from selvedge.tlog import (
    HEARTBEAT_US,
    Checkpoint,
    Note,
    Signer,
    heartbeat_entry,
    month_of,
    read_note,
    sign_checkpoint,
)

HOUR_US = 3_600_000_000
END_US = START_US + DAYS * 24 * HOUR_US


class Pace(NamedTuple):
    """How often a log says that it lives, and how often it signs."""

    heartbeat_us: int
    commit_us: int


PACE = Pace(HEARTBEAT_US, HOUR_US)


def write_logs(
    directory: Path, release: Release, collectors: Iterable[Path], pace: Pace = PACE
) -> dict[str, int]:
    """Logs of all PoPs below ``pops``, and of all zones below ``zones``; entries by PoP."""
    shutil.rmtree(directory, ignore_errors=True)
    leaves = _leaves(collectors)
    homes = {zone: _Log(directory / "zones" / zone, _home(release, zone)) for zone in ZONES}
    logs = {pop: _Log(directory / "pops" / pop, _own(release, pop)) for pop in PLACES}
    order = {pop: sorted(found) for pop, found in leaves.items()}
    # A few requests end after the month.
    for now_us in range(START_US + pace.commit_us, END_US + 3 * pace.commit_us, pace.commit_us):
        notes: dict[str, list[bytes]] = {zone: [] for zone in homes}
        for pop, log in logs.items():
            entries = _entries(
                order.get(pop, []), (now_us - pace.commit_us, now_us), pace.heartbeat_us
            )
            log.commit(entries, now_us)
            notes[PLACES[pop][0]].append(log.note)
        for zone, home in homes.items():
            home.commit(notes[zone], now_us, zone)
    return {pop: log.count for pop, log in logs.items()}


class _Log:
    """One log, and what it signs as."""

    def __init__(self, folder: Path, names: tuple[str, bytes]) -> None:
        self._name, self._seed = names
        self.store = LogStore(FolderFiles(folder), self._sign)
        self.store.open()
        self.note = b""
        self.count = 0

    def _sign(self, shard: str, size: int, root: bytes) -> bytes:
        origin = f"{self._name}{shard}"
        return sign_checkpoint(Checkpoint(origin, size, root), [Signer(origin, self._seed)])

    def commit(self, entries: list[bytes], now_us: int, zone: str | None = None) -> None:
        """Add, sign, publish; with the witness's word where it is a zone's log."""
        shard = month_of(now_us - 1)
        if self.store.state.shard != shard:
            self.store.begin(shard, now_us)
        self.store.add(entries)
        self.count += len(entries)
        self.note = self.store.commit(now_us).note.encode()
        shown = self.note if zone is None else _cosigned(self.note, zone, now_us)
        self.store.publish(shown)


def _cosigned(note: bytes, zone: str, now_us: int) -> bytes:
    read = read_note(note)
    own = witness(zone).cosign(read.text, now_us // 1_000_000)
    return Note(read.text, (*read.signatures, own)).encode()


def _own(release: Release, pop: str) -> tuple[str, bytes]:
    return pop_origin(release.log_domain, release.fleet, pop, ""), log_seed(pop)


def _home(release: Release, zone: str) -> tuple[str, bytes]:
    return jurisdiction_origin(release.log_domain, release.fleet, zone, ""), log_seed(zone)


def _leaves(collectors: Iterable[Path]) -> dict[str, list[tuple[int, bytes]]]:
    """When each request ended, and its leaf, by the PoP where it came in."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    for directory in collectors:
        for row in rows_of_parts(find_parts(directory)):
            hashed = leaf(row.receipt.encode(), base64.b64decode(row.salt))
            found.setdefault(row.pop, []).append((row.ended_us, hashed))
    return found


def _entries(
    order: list[tuple[int, bytes]], span: tuple[int, int], heartbeat_us: int
) -> list[bytes]:
    """Leaves and heartbeats of a time, in order."""
    since_us, until_us = span
    low, high = bisect_left(order, (since_us, b"")), bisect_left(order, (until_us, b""))
    beats = range(-(-since_us // heartbeat_us) * heartbeat_us, until_us, heartbeat_us)
    found = [*order[low:high], *((at_us, heartbeat_entry(at_us)) for at_us in beats)]
    return [entry for _, entry in sorted(found)]
