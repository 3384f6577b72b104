"""A witness of logs (c2sp.org/tlog-witness): cosigns what goes on from what it has seen.

It remembers one checkpoint of each log and nothing else. What it cosigns is on its disk, synced,
before it says so: killed at any moment, it never cosigns a second history. It knows the logs of a
release, and those named on its command line, so that partners may run it without a release.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import time
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters import FolderFiles, keep_secret, keep_whole
from selvedge.control.small_server import Answer, SmallServer
from selvedge.control.watched_release import WatchedRelease
from selvedge.fabric import BadRelease, StoreCorrupt, StoreFailed, jurisdiction_origin
from selvedge.tlog import (
    ADD_BYTES_MAX,
    COSIGNATURE,
    ED25519,
    SHARD_PATTERN,
    Checkpoint,
    Refusal,
    Signer,
    Verifier,
    WitnessedLog,
    witness_checkpoint,
)

SEEN: Final = "seen"
KEY_FILE: Final = "witness.key"
LOOK_S: Final = 1.0

log: Final = logging.getLogger("selvedge.witness")


class WitnessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a witness is told; ``selvedge witness run --help`` has the meanings."""

    name: str
    listen: str
    directory: Path
    release_file: Path | None = None
    operator_public_key: str = ""
    logs: tuple[tuple[str, str], ...] = ()
    """Origin without its shard, and Ed25519 public key in base64."""


class Seen(msgspec.Struct, frozen=True):
    """The last checkpoint of a log that was cosigned."""

    origin: str
    size: int
    root: str
    v: int = 1


class SeenBook:
    """What was cosigned, by origin: on disk for good before anybody is told."""

    def __init__(self, files: FolderFiles) -> None:
        self._files = files
        self._seen: dict[str, Seen] = {}
        for name in files.names(SEEN):
            data = files.read(f"{SEEN}/{name}") or b""
            try:
                one = msgspec.json.decode(data, type=Seen)
            except msgspec.MsgspecError as error:
                words = "restore it; a witness that forgets may cosign a second history"
                raise StoreCorrupt(f"{SEEN}/{name} does not hold ({error}); {words}") from error
            self._seen[one.origin] = one

    def last(self, origin: str) -> Seen | None:
        """The last of a log; None where none was cosigned."""
        return self._seen.get(origin)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Remember a checkpoint. Raises `StoreFailed`; then it must not be cosigned."""
        one = Seen(checkpoint.origin, checkpoint.size, checkpoint.root.hex())
        name = hashlib.sha256(one.origin.encode()).hexdigest()
        self._files.replace(f"{SEEN}/{name}.json", msgspec.json.encode(one))
        self._seen[one.origin] = one

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes by origin."""
        return {one.origin: one.size for one in self._seen.values()}


class WitnessProcess:
    """One running witness."""

    def __init__(self, settings: WitnessSettings) -> None:
        self._settings = settings
        self._lock_fd = keep_whole(settings.directory)
        self._files = FolderFiles(settings.directory)
        self.book = SeenBook(self._files)
        seed = keep_secret(settings.directory / KEY_FILE, os.urandom(32))
        self.signer = Signer(settings.name, seed, COSIGNATURE)
        self._one_at_a_time = asyncio.Lock()
        self._keys: dict[str, tuple[str, ...]] = {}
        self._named = {name.rstrip("/"): (key,) for name, key in settings.logs}
        self.refusals = 0
        self.release: WatchedRelease | None = None
        if settings.release_file is not None:
            self.release = WatchedRelease(settings.release_file, settings.operator_public_key)
        self.look()
        self.server = SmallServer(self.answer, ADD_BYTES_MAX)

    @property
    def key(self) -> str:
        """Its verifier key, as a log names it."""
        return self.signer.verifier.text

    def look(self) -> None:
        """Take a newer release. Raises `BadRelease`; the last one counts on."""
        watched = self.release
        if watched is None or not watched.look() or watched.release is None:
            return
        found = watched.release
        domain, fleet = found.log_domain, found.fleet
        self._keys = {
            jurisdiction_origin(domain, fleet, one.id, "").rstrip("/"): one.public_keys
            for one in found.logs
        }

    def find(self, origin: str) -> WitnessedLog | None:
        """A log that is witnessed here, as it was seen last."""
        name, _, shard = origin.rpartition("/")
        publics = (*self._keys.get(name, ()), *self._named.get(name, ()))
        if not publics or SHARD_PATTERN.fullmatch(shard) is None:
            return None
        keys = tuple(Verifier(origin, ED25519, base64.b64decode(one)) for one in publics)
        seen = self.book.last(origin)
        if seen is None:
            return WitnessedLog(keys)
        return WitnessedLog(keys, seen.size, bytes.fromhex(seen.root))

    async def answer(self, method: str, target: str, body: bytes) -> Answer:
        """The answer to one request."""
        match method, target.partition("?")[0]:
            case "POST", "/add-checkpoint":
                return await self._add(body)
            case "GET", "/healthz":
                return Answer(200, b'{"status":"ok"}')
            case "GET", "/status":
                return Answer(200, msgspec.json.encode(self.status()))
            case _:
                return Answer(404, b"POST /add-checkpoint, or GET /status\n", "text/plain")

    async def _add(self, body: bytes) -> Answer:
        async with self._one_at_a_time:
            found = witness_checkpoint(body, self.find, self.signer, int(time.time()))
            if isinstance(found, Refusal):
                if found.status in (409, 422):
                    self.refusals += 1
                    log.warning("a checkpoint is refused: %s", found.why)
                return Answer(found.status, found.body.encode(), found.content_type)
            try:
                await asyncio.to_thread(self.book.keep, found.checkpoint)
            except StoreFailed as error:
                log.error("nothing is cosigned: %s", error)
                return Answer(503, f"{error}\n".encode(), "text/plain")
        return Answer(found.status, found.body.encode(), found.content_type)

    def status(self) -> dict[str, object]:
        """What it knows, for people and for alarms."""
        return {"key": self.key, "sizes": self.book.sizes, "refusals": self.refusals}

    async def watch_release(self) -> None:
        """Look for newer releases until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.look()
            except BadRelease as error:
                log.error("release refused, the last good one counts: %s", error)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._lock_fd)
