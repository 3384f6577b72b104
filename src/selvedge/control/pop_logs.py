"""The PoPs' logs, read whole for a residency report: every entry, against the root that is signed.

A log is believed for its signature and nothing else: its checkpoint by a key that a release names,
each bundle of entries by the tile that it hashes to, each tile by the one above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from selvedge.adapters import LeafJoin, LogPlace, log_place
from selvedge.control.accounts import pop_directories
from selvedge.control.home import Home
from selvedge.control.kept_releases import KeptReleases
from selvedge.control.proving import Proving, home_log_of
from selvedge.fabric import (
    BadProof,
    Release,
    SelvedgeError,
    StoreFailed,
    jurisdiction_origin,
    log_of,
    pop_origin,
)
from selvedge.ledger import Sealed
from selvedge.plan import LogSeen, ReportAsked, SampledReceipt
from selvedge.pop import write_access
from selvedge.tlog import (
    HASH_BYTES,
    QUIET_US_MAX,
    TILE_WIDTH,
    PublishedLog,
    Trust,
    Verifier,
    find_checkpoint,
    heartbeat_time,
    keys_at,
    leaf_hash,
    month_of,
    open_log,
    pop_keys,
    read_checkpoint,
    shard_order,
)

LOG_FOLDER: Final = "log"
SILENCES_MAX: Final = 50
"""Of one log, so many are named; all are counted."""


def logs_are_kept(home: Home) -> bool:
    """Whether the release that serves names a key of any PoP's log."""
    release = home.release()
    return release is not None and any(pop.log_keys for pop in release.pops)


def note_access(home: Home, of: str) -> None:
    """Write down, at every PoP of this machine that keeps a log, that its receipts are read."""
    for pop in pop_directories(home):
        if (pop / LOG_FOLDER).is_dir():
            write_access(pop, "selvedge audit residency", of)


class LogsRead(NamedTuple):
    """The logs that were read; and, by PoP, why there is none."""

    seen: tuple[LogSeen, ...]
    missing: dict[str, str]


class LogSources(NamedTuple):
    """Where logs lie. ``folder`` has one for each PoP; None: each PoP's own below the home.

    ``homes`` are places of jurisdictions' logs by their id; else where the release says.
    """

    folder: Path | None = None
    homes: Mapping[str, str] = {}
    trust: Trust = Trust()


class PopLogs:
    """The logs that one report is held against."""

    def __init__(
        self, home: Home, releases: KeptReleases, asked: ReportAsked, sources: LogSources
    ) -> None:
        self._home = home
        self._releases = releases
        self._asked = asked
        self._sources = sources

    def read(self, join: LeafJoin, pops: Iterable[str]) -> LogsRead:
        """Give the leaves of these PoPs' logs to ``join``, each under its log's number.

        Reads the shards of the period's months and the month after. Raises `BadProof` where a log
        is not what is signed, `StoreFailed` where it cannot be read.
        """
        seen: list[LogSeen] = []
        missing: dict[str, str] = {}
        for pop in pops:
            release = self._releases.with_pop(pop)
            if release is None or not release.pop(pop).log_keys:
                missing[pop] = "no release names a key of its log"
                continue
            try:
                place = log_place(str(self._place(pop)))
            except StoreFailed as error:
                missing[pop] = str(error)
                continue
            for shard in self._shards(place):
                log = self._open(release, pop, place, shard)
                seen.append(self._read(log, pop, join, len(seen)))
                known = self._known_beyond(release, pop, log)
                if known is not None:
                    missing[pop] = (
                        f"its log {shard} ends at {log.checkpoint.size}, and its jurisdiction's "
                        f"knows it at {known}: it was set back"
                    )
        return LogsRead(tuple(seen), missing)

    def _known_beyond(self, release: Release, pop: str, log: PublishedLog) -> int | None:
        """At which size the jurisdiction's log knows more of a PoP's log than there is; None where
        it does not, or cannot be asked.
        """
        by = log_of(release.logs, release.pop(pop).country)
        if by is None:
            return None
        base = jurisdiction_origin(release.log_domain, release.fleet, by.id, "")
        try:
            place = log_place(self._sources.homes.get(by.id) or home_log_of(self._home, by))
            for shard in place.shards(self._asked.since_us):
                keys = [key for one in self._releases.seen() for key in keys_at(one, base + shard)]
                keys += self._sources.trust.keys_of(base + shard)
                home = open_log(place.read(shard), base + shard, keys)
                found = find_checkpoint(home, log.origin, log.checkpoint.size)
                if found is not None:
                    return read_checkpoint(found[1])[0].size
        except SelvedgeError:
            return None  # the PoP's signature stands; proofs of the sample ask it as well
        return None

    def _place(self, pop: str) -> Path:
        if self._sources.folder is not None:
            return self._sources.folder / pop
        return self._home.pop(pop) / LOG_FOLDER

    def _shards(self, place: LogPlace) -> list[str]:
        year, month = map(int, month_of(self._asked.until_us - 1).split("-"))
        last = f"{year + month // 12:04d}-{month % 12 + 1:02d}"
        found = place.shards(self._asked.since_us)
        return sorted((one for one in found if shard_order(one)[0] <= last), key=shard_order)

    def _open(self, release: Release, pop: str, place: LogPlace, shard: str) -> PublishedLog:
        origin = pop_origin(release.log_domain, release.fleet, pop, shard)
        keys: list[Verifier] = []
        for one in self._releases.seen():
            if any(pop == known.id for known in one.pops):
                keys += pop_keys(one, pop, shard)
        keys += self._sources.trust.keys_of(origin)
        try:
            return open_log(place.read(shard), origin, list(dict.fromkeys(keys)))
        except BadProof as error:
            if error.what == origin:
                raise
            raise BadProof(origin, str(error)) from error

    def _read(self, log: PublishedLog, pop: str, join: LeafJoin, number: int) -> LogSeen:
        size = log.checkpoint.size
        leaves = 0
        beats = _Beats(self._asked)
        for bundle in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
            entries = log.tree.bundle(bundle)
            hashed = b"".join(map(leaf_hash, entries))
            if hashed != log.tree.tile(0, bundle, keep=False):
                words = f"bundle {bundle} does not hash to its tile: it is damaged"
                raise BadProof(log.origin, words)
            for entry in entries:
                if len(entry) == HASH_BYTES:
                    leaves += 1
                    join.log(number, entry)
                else:
                    beats.hear(heartbeat_time(entry))
        log.tree.check()
        return LogSeen(
            origin=log.origin,
            pop=pop,
            size=size,
            root=log.checkpoint.root.hex(),
            checkpoint=log.note.encode().decode(),
            leaves=0,
            others=leaves,
            heartbeats=beats.count,
            first_us=beats.first_us,
            last_us=beats.last_us,
            longest_gap_us=beats.longest_us,
            silence_count=beats.silences,
            silences=tuple(beats.named),
        )

    def prove(self, sampled: SampledReceipt) -> msgspec.Raw:
        """The bundle of one receipt. Raises `SelvedgeError` where it cannot be proved."""
        release = self._releases.with_pop(sampled.pop)
        if release is None:
            raise SelvedgeError(f"no release here has PoP {sampled.pop!r}")
        sealed = Sealed(sampled.receipt, sampled.salt)
        releases = [release, *(one for one in self._releases.seen() if one is not release)]
        proving = Proving(releases, sealed, self._sources.trust, self._home.operator_key())
        place = self._sources.homes.get(proving.log.id) or home_log_of(self._home, proving.log)
        data = proving.bundle(log_place(str(self._place(sampled.pop))), log_place(place))
        return msgspec.Raw(data.rstrip(b"\n"))


class _Beats:
    """When a log said that it lives, within a time."""

    def __init__(self, asked: ReportAsked) -> None:
        self._since_us, self._until_us = asked.since_us, asked.until_us
        self.count = self.silences = 0
        self.first_us = self.last_us = self.longest_us = 0
        self.named: list[tuple[int, int]] = []

    def hear(self, at_us: int | None) -> None:
        if at_us is None or not self._since_us <= at_us < self._until_us:
            return
        self.count += 1
        gap_us = at_us - self.last_us if self.last_us else 0
        self.longest_us = max(self.longest_us, gap_us)
        if gap_us > QUIET_US_MAX:
            self.silences += 1
            if len(self.named) < SILENCES_MAX:
                self.named.append((self.last_us, at_us))
        self.first_us = self.first_us or at_us
        self.last_us = max(self.last_us, at_us)
