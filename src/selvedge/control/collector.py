"""The collector of one zone, as a process: takes receipts of PoPs, keeps them, partitions them.

It serves no client of the fleet. PoPs go on without it, for as long as their disks last; it goes on
without the control plane, by the last release that it has seen. Everything it knows is in its
directory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters import (
    CollectorFolder,
    Held,
    drop_days,
    find_digests,
    has_duckdb,
    open_release,
    pop_public_key,
    read_secret,
    service_key,
)
from selvedge.control.group_commit import Busy, GroupCommit
from selvedge.control.small_server import Answer, SmallServer
from selvedge.exchange import collection
from selvedge.fabric import BadRelease, BadSetting, BadTicket, SelvedgeError, StoreFailed
from selvedge.ledger import CollectorLog, Stream, in_words

LOOK_S: Final = 1.0
AGAIN_S: Final = 60.0
"""After partitions could not be written."""
SHOWN_MAX: Final = 100

log: Final = logging.getLogger("selvedge.collector")


class CollectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a collector is told; ``selvedge collector --help`` has the meanings."""

    zone: str
    listen: str
    directory: Path
    release_file: Path
    operator_public_key: str
    key_file: Path
    segment_bytes_max: int
    partition_s: int
    days_kept: int

    def __post_init__(self) -> None:
        host, _, port = self.listen.rpartition(":")
        if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise BadSetting("listen", f"{self.listen!r} is not host:port, as '127.0.0.1:8201'")


class PairKeys:
    """The keys shared with the PoPs of the newest good release; each reckoned when first asked."""

    def __init__(self, settings: CollectorSettings) -> None:
        self._settings = settings
        self._private = read_secret(settings.key_file)
        self._seen: tuple[int, int] = (0, 0)
        self._keys: dict[str, bytes] = {}
        self._public: dict[str, str] = {}
        self._fleet = ""
        self.version = 0

    def look(self) -> None:
        """Take a newer release. Raises `BadRelease`; the one before it stays."""
        path = self._settings.release_file
        try:
            stat = path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino)
            if seen == self._seen:
                return
            data = path.read_bytes()
            self._seen = seen
            held = open_release(data, self._settings.operator_public_key)
        except OSError as error:
            raise BadRelease("release", f"{path} cannot be read: {error.strerror}") from error
        if held.release.version > self.version:
            self._take(held)

    def _take(self, held: Held) -> None:
        zone, release = self._settings.zone, held.release
        own = next((one for one in release.collectors if one.zone == zone), None)
        if own is None:
            raise BadRelease(f"collectors.{zone}", "is not in the release; name it there")
        if own.public_key != pop_public_key(self._private):
            words = f"is not of the key in {self._settings.key_file}"
            raise BadRelease(f"collectors.{zone}.public_key", words)
        self._fleet, self.version = release.fleet, release.version
        self._public = {pop.id: pop.public_key for pop in release.pops}
        self._keys.clear()

    def of(self, pop: str) -> bytes | None:
        """The key shared with a PoP; None where the release has none of this name."""
        if pop not in self._keys:
            public = self._public.get(pop)
            if public is None:
                return None
            name = collection.name_of(self._settings.zone)
            self._keys[pop] = service_key(self._fleet, self._private, name, pop, public)
        return self._keys[pop]


class Collector:
    """One running collector."""

    def __init__(self, settings: CollectorSettings) -> None:
        self._settings = settings
        self.keys = PairKeys(settings)
        self.keys.look()
        self.folder = CollectorFolder(settings.directory)
        log_ = CollectorLog(
            self.folder.files, settings.zone, self._digests, settings.segment_bytes_max
        )
        if log_.torn_bytes:
            log.warning("after an unclean end: %d torn bytes are cut", log_.torn_bytes)
        self.commit = GroupCommit(log_, settings.zone, self.keys.of)
        self.server = SmallServer(self.answer, collection.QUESTION_BYTES_MAX)

    def _digests(self, stream: Stream, seqs: Sequence[int]) -> Mapping[int, bytes]:
        return find_digests(self._settings.directory, stream, seqs) if has_duckdb() else {}

    async def answer(self, method: str, target: str, body: bytes) -> Answer:
        """The answer to one request."""
        match method, target.partition("?")[0]:
            case "POST", collection.TARGET:
                return await self._take(body)
            case "GET", "/healthz":
                return Answer(200, b'{"status":"ok"}')
            case "GET", "/status":
                return Answer(200, msgspec.json.encode(self.status()))
            case _:
                return _error(404, "not_found", f"POST {collection.TARGET}, or GET /status")

    async def _take(self, body: bytes) -> Answer:
        try:
            answer = await self.commit.take(body)
        except BadTicket as error:
            self.commit.alarm("a shipment is refused: %s", error)
            return _error(403, "refused", str(error))
        except Busy as error:
            return _error(503, "busy", str(error))
        except StoreFailed as error:
            return _error(503, "not_written", str(error))
        return Answer(200, answer, "application/msgpack")

    def status(self) -> dict[str, object]:
        """What is held and what is wrong, for people and for alarms."""
        commit, known = self.commit, self.commit.log.known
        gaps = [
            f"{in_words(stream)}: {first} to {last}"
            for stream, runs in known.gaps().items()
            for first, last in runs
        ]
        return {
            "zone": self._settings.zone,
            "release": self.keys.version,
            "held": sum(one.count for one in known.held.values()),
            "taken": commit.receipts,
            "doubles": known.doubles,
            "unverified": commit.unverified,
            "conflicts": [f"{in_words(stream)}: {seq}" for stream, seq in known.conflicts],
            "gaps": len(gaps),
            "gaps_shown": gaps[:SHOWN_MAX],
            "alarms": commit.alarms,
            "groups": commit.groups,
            "segments": commit.log.segments(),
            "broken": commit.log.broken,
        }

    async def watch_release(self) -> None:
        """Look for newer releases until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.keys.look()
            except BadRelease as error:
                self.commit.alarm("release refused, the last good one counts: %s", error)

    async def watch_segments(self) -> None:
        """Close segments in time, partition those that are closed, drop old days."""
        settings = self._settings
        if not has_duckdb():
            log.warning("no partitions without DuckDB: pip install 'selvedge[control]'")
            return
        since = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            if time.monotonic() - since >= settings.partition_s:
                since = time.monotonic()
                self.commit.close_segment()
                self._drop_days()
            for segment in self.commit.log.closed:
                if not await self._partition(segment):
                    await asyncio.sleep(AGAIN_S)
                    break

    def _drop_days(self) -> None:
        if not self._settings.days_kept:
            return
        oldest = datetime.now(UTC).date() - timedelta(days=self._settings.days_kept)
        try:
            for day in drop_days(self._settings.directory, oldest.isoformat()):
                log.info("the receipts of %s are dropped", day)
        except StoreFailed as error:
            self.commit.alarm("%s", error)

    async def _partition(self, segment: int) -> bool:
        """Write a closed segment's partitions in a process beside, then let the segment go."""
        argv = ["-m", "selvedge.adapters.partitioning", str(self._settings.directory)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *argv, str(segment), stderr=asyncio.subprocess.PIPE
        )
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            words = said.decode(errors="replace").strip()
            self.commit.alarm("segment %d stays in the log: %s", segment, words)
            return False
        try:
            self.commit.log.remove(segment)
        except StoreFailed as error:
            self.commit.alarm("%s", error)
            return False
        return True


def _error(status: int, code: str, words: str) -> Answer:
    return Answer(status, msgspec.json.encode({"error": {"code": code, "message": words}}))


async def run_collector(settings: CollectorSettings) -> None:
    """Collect until SIGTERM or SIGINT. Raises `SelvedgeError` where it cannot start or go on."""
    collector = Collector(settings)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, _, port = settings.listen.rpartition(":")
    try:
        await collector.server.listen(host.strip("[]"), int(port))
    except OSError as error:
        raise SelvedgeError(
            f"the collector of {settings.zone} cannot listen on {settings.listen}: "
            f"{os.strerror(error.errno or 0)}; stop what uses it or change 'listen'"
        ) from error
    log.info("the collector of zone %s serves on %s", settings.zone, settings.listen)
    committing = loop.create_task(collector.commit.run())
    stopping = loop.create_task(stop.wait())
    beside = [
        loop.create_task(collector.watch_release()),
        loop.create_task(collector.watch_segments()),
    ]
    await asyncio.wait({committing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await collector.server.close()
    for task in (stopping, committing, *beside):
        task.cancel()
    ended = await asyncio.gather(committing, stopping, *beside, return_exceptions=True)
    collector.folder.close()
    if isinstance(ended[0], SelvedgeError):
        raise ended[0]
