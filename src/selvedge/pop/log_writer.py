"""The log of this PoP, written beside whatever serves: receipts in, a checkpoint a second out.

Every sealed receipt of every journal becomes a leaf, once: how far each journal has been read lies
in the log's own state, beside the checkpoint that covers it. Reading, hashing and the disk are
small steps in a thread, with pauses, so that no request waits for them. Before this log signs
anything in a process's life, the jurisdiction's log has confirmed what was signed before: one that
was brought back from an older copy signs nothing until the operator opens a new shard.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from selvedge.adapters import (
    RESHARD_FILE,
    FileJournal,
    FolderFiles,
    LogState,
    LogStore,
    journal_of,
    journals_of,
    read_log_keys,
)
from selvedge.fabric import Release, StoreCorrupt, StoreFailed, pop_origin
from selvedge.ledger import BEGINNING, LeafReader, Place
from selvedge.pop.access_record import AccessReader
from selvedge.pop.clock import now_us
from selvedge.pop.settings import Settings
from selvedge.tlog import (
    HEARTBEAT_US,
    Checkpoint,
    Signer,
    access_entry,
    heartbeat_entry,
    shard_anew,
    shard_at,
    sign_checkpoint,
)

LOG_FOLDER: Final = "log"
CHECKPOINT_S: Final = 0.8
"""From the beginning of one to the next: with what reading takes, about one a second."""
SETTLED_EACH: Final = 512
"""Tiles that are synced after a checkpoint."""
BACK_US: Final = 1_000_000
"""A clock that is so far behind the newest checkpoint was moved."""
ACCESS: Final = "access"

log: Final = logging.getLogger("selvedge.log")


class PopLog:
    """The log as a store, and what goes into it. All of it runs in threads, one call at a time."""

    def __init__(
        self,
        settings: Settings,
        clock_us: Callable[[], int] = now_us,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clock_us = clock_us
        self._monotonic_s = monotonic_s
        self._state_dir = Path(settings.state_dir)
        self.folder = self._state_dir / LOG_FOLDER
        self._seeds: list[bytes] = []
        self._names: tuple[str, str] = ("", "")
        self._journals: dict[int, FileJournal] = {}
        self._readers: dict[int, LeafReader] = {}
        self._access = AccessReader(self._state_dir)
        self._beat_s = self._committed_s = float("-inf")
        self._told_of_clock = False
        self.store = LogStore(FolderFiles(self.folder), self._sign)
        self.state = LogState()
        self.is_open = False

    def key(self, release: Release) -> str | None:
        """Take the keys that the release names; why there are none to sign with, or None."""
        own = release.pop(self._settings.pop)
        held = read_log_keys(self._state_dir)
        self._seeds = [held[public] for public in own.log_keys if public in held]
        self._names = (release.log_domain, release.fleet)
        if not own.log_keys:
            return "the release names no key of this PoP's log; publish it anew"
        if not self._seeds:
            return f"no key in {self._state_dir} is one of pops.{own.id}.log_keys of the release"
        return None

    def origin(self, shard: str) -> str:
        """The origin line of a shard."""
        domain, fleet = self._names
        return pop_origin(domain, fleet, self._settings.pop, shard)

    def _sign(self, shard: str, size: int, root: bytes) -> bytes:
        origin = self.origin(shard)
        signers = [Signer(origin, seed) for seed in self._seeds]
        return sign_checkpoint(Checkpoint(origin, size, root), signers)

    def open(self) -> None:
        """Take up the log where it was; a first shard where there is none.

        Raises `StoreCorrupt` where it must not go on, `StoreFailed` where it cannot just now.
        """
        self.is_open = False
        state = self.store.open()
        if not state.shard:
            self.store.begin(shard_at("", self._now()), self._now())
        elif state.note:
            self.store.publish(state.note.encode())
        self.state = self.store.state
        self._readers = {
            int(name): LeafReader(place)
            for name, place in self.state.sources.items()
            if name.isdecimal()
        }
        self._access.offset = self.state.sources.get(ACCESS, BEGINNING)[1]
        self.is_open = True

    def reshard(self) -> str:
        """Leave the shard as it is, for whoever wants to look, and open one behind it."""
        self.is_open = False
        known = [*self.store.shards(), self.state.shard]
        shard = shard_anew([one for one in known if one], self._now())
        self.store.reshard(shard, self._now())
        (self.folder / RESHARD_FILE).unlink(missing_ok=True)
        return shard

    @property
    def is_to_reshard(self) -> bool:
        """Whether the operator asks for a new shard."""
        return (self.folder / RESHARD_FILE).exists()

    def look(self) -> None:
        """See what journals there are; what was there at the look before may be read."""
        for number in journals_of(self._state_dir):
            if number not in self._journals:
                directory = journal_of(self._state_dir, number) / "receipts"
                self._journals[number] = FileJournal(directory)
            # Taken up again after a failure, a log knows no reader that no checkpoint told of yet.
            self._readers.setdefault(number, LeafReader())
        for journal in self._journals.values():
            journal.look()

    def look_and_read(self) -> int:
        """Both, in one go to a thread."""
        self.look()
        return self.read()

    def read(self) -> int:
        """Take in a little more of what may be read; bytes, 0 where there is no more."""
        if self.store.full:
            return 0
        for number, journal in self._journals.items():
            reader = self._readers[number]
            damaged, again = reader.damaged, reader.again
            read, leaves = reader.read(journal)
            self.store.add(leaves)
            if reader.damaged > damaged:
                words = "%d damaged lines of journal %d have no leaf; their numbers will miss"
                log.error(words, reader.damaged - damaged, number)
            if reader.again > again:
                log.error("journal %d was set back; its receipts are logged once more", number)
            if read:
                return read
        read, digests = self._access.read()
        self.store.add([access_entry(one) for one in digests])
        return read

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        if self.store.full:
            return True
        waits = self._monotonic_s() - self._committed_s >= CHECKPOINT_S
        return waits and (self.store.pending > 0 or self._is_quiet)

    @property
    def _is_quiet(self) -> bool:
        return (self._monotonic_s() - self._beat_s) * 1e6 >= HEARTBEAT_US

    def commit(self) -> None:
        """Sign and publish the checkpoint of what was taken in; a new month is a new shard."""
        time_us, beat_us = self._now(), 0
        begun_s = self._monotonic_s()
        if self._is_quiet:
            beat_us = max(time_us, self.state.beat_us + 1)
            self.store.add([heartbeat_entry(beat_us)])
        state = self.store.commit(time_us, self._places(), beat_us)
        self.store.publish(state.note.encode())
        self.state = state
        self._committed_s = begun_s
        if beat_us:
            self._beat_s = begun_s
        self.store.settle(SETTLED_EACH)

    @property
    def is_month_over(self) -> bool:
        """Whether the clock is in a later month than the open shard."""
        return shard_at(self.state.shard, self._clock_us()) != self.state.shard

    def turn_month(self) -> bool:
        """Open the month's shard where it has begun; whether it has. Nothing may be pending."""
        shard = shard_at(self.state.shard, self._clock_us())
        if shard == self.state.shard or self.store.pending:
            return False
        log.info("the log's shard %s ends at %d; %s begins", *self._ends(), shard)
        self.store.begin(shard, self._now())
        self.state = self.store.state
        self._beat_s = float("-inf")
        return True

    def _ends(self) -> tuple[str, int]:
        return self.state.shard, self.state.size

    def _places(self) -> dict[str, Place]:
        found = {str(number): reader.place for number, reader in self._readers.items()}
        return {**found, ACCESS: (0, self._access.offset)}

    def _now(self) -> int:
        """The time, which never goes back behind the newest checkpoint."""
        time_us, newest_us = self._clock_us(), self.state.time_us
        if time_us < newest_us - BACK_US:
            if not self._told_of_clock:
                words = "the clock was moved back: it is %.1f s behind the newest checkpoint"
                log.error(words, (newest_us - time_us) / 1e6)
            self._told_of_clock = True
        else:
            self._told_of_clock = False
        return max(time_us, newest_us)


def read_before(state: LogState, number: int) -> int:
    """The segments of a journal before this one are in the log; 0 where none is."""
    return state.sources.get(str(number), BEGINNING)[0]


def is_away(error: Exception) -> bool:
    """Whether the disk may do it later; else the log must not go on."""
    return isinstance(error, StoreFailed) and not isinstance(error, StoreCorrupt)
