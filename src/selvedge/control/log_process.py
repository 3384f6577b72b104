"""``selvedge log run`` and ``selvedge witness run`` as processes: sockets, releases, a clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters import (
    ClientSettings,
    HttpClient,
    keep_log_keys,
    keep_whole,
    public_folder,
    published,
)
from selvedge.control.jurisdiction_log import CHECKPOINT_S, JurisdictionLogKeeper
from selvedge.control.small_server import Answer, SmallServer
from selvedge.control.watched_release import WatchedRelease
from selvedge.control.witness import WitnessProcess, WitnessSettings
from selvedge.fabric import BadProof, BadRelease, SelvedgeError, StoreFailed
from selvedge.tlog import ADD_BYTES_MAX, SHARD_PATTERN, TileName

LOOK_S: Final = 1.0
ADD: Final = "/add-pop-checkpoint"
BINARY: Final = "application/octet-stream"
TEXT: Final = "text/plain; charset=utf-8"
FOR_EVER: Final = (("cache-control", "public, max-age=31536000, immutable"),)
NOW: Final = (("cache-control", "no-cache"),)

log: Final = logging.getLogger("selvedge.log")


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a jurisdiction's log is told; ``selvedge log run --help`` has the meanings."""

    log: str
    listen: str
    directory: Path
    release_file: Path
    operator_public_key: str


class LogProcess:
    """One running log of a jurisdiction: its keeper, and the door to it."""

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._lock_fd = keep_whole(settings.directory)
        keep_log_keys(settings.directory)
        self.client = HttpClient(ClientSettings())
        self.keeper = JurisdictionLogKeeper(settings.log, settings.directory, self.client)
        self.release = WatchedRelease(settings.release_file, settings.operator_public_key)
        self.look()
        self.server = SmallServer(self.answer, ADD_BYTES_MAX)

    def look(self) -> None:
        """Take a newer release. Raises `BadRelease`; the last one counts on."""
        if self.release.look() and self.release.release is not None:
            self.keeper.meet(self.release.release)

    async def answer(self, method: str, target: str, body: bytes) -> Answer:
        """The answer to one request."""
        path = target.partition("?")[0]
        if method == "POST" and path == ADD:
            refusal = await self.keeper.add(body)
            if refusal is None:
                return Answer(200, b"", TEXT)
            return Answer(refusal.status, refusal.body.encode(), refusal.content_type)
        if method != "GET":
            return Answer(404, f"POST {ADD}, or GET /status\n".encode(), TEXT)
        match path:
            case "/healthz":
                return Answer(200, b'{"status":"ok"}')
            case "/status":
                return Answer(200, msgspec.json.encode(self.keeper.status()))
            case "/metrics":
                return Answer(200, self._metrics(), TEXT)
            case _:
                return await self._static(path)

    async def _static(self, path: str) -> Answer:
        """A file of the log, as a plain web server over its folder would give it."""
        shard, _, rest = path.lstrip("/").partition("/")
        where, kind, headers = f"{public_folder(shard)}/{rest}", BINARY, FOR_EVER
        if rest == "checkpoint":
            where, kind, headers = published(shard), TEXT, NOW
        elif not _is_tile(rest):
            shard = ""
        data = None
        if SHARD_PATTERN.fullmatch(shard):
            with contextlib.suppress(StoreFailed):
                data = await asyncio.to_thread(self.keeper.files.read, where)
        if data is None:
            return Answer(404, b"no such file; GET /<yyyy-mm>/checkpoint\n", TEXT)
        return Answer(200, data, kind, headers)

    def _metrics(self) -> bytes:
        status = self.keeper.status()
        rows = {
            "selvedge_log_size": status["size"],
            "selvedge_log_published_size": status["published"],
            "selvedge_log_checkpoint_timestamp_seconds": self.keeper.published_us // 1_000_000,
            "selvedge_log_closed": int(self.keeper.closed is not None),
        }
        label = f'{{log="{self.keeper.id}"}}'
        lines = [f"# TYPE {name} gauge\n{name}{label} {value}\n" for name, value in rows.items()]
        return "".join(lines).encode()

    async def watch_release(self) -> None:
        """Look for newer releases until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.look()
            except BadRelease as error:
                log.error("release refused, the last good one counts: %s", error)

    async def watch(self) -> None:
        """Sign and publish, once a second, until cancelled."""
        while True:
            try:
                await self.keeper.turn()
            except Exception:
                log.exception("a fault of ours: the log")
            await asyncio.sleep(CHECKPOINT_S)

    async def close(self) -> None:
        """Let go of the directory and of all connections."""
        await self.client.close()
        os.close(self._lock_fd)


def _is_tile(path: str) -> bool:
    try:
        TileName.parse(path)
    except BadProof:
        return False
    return True


async def run_log(settings: LogSettings) -> None:
    """Keep a jurisdiction's log until SIGTERM or SIGINT. Raises `SelvedgeError`."""
    process = LogProcess(settings)
    await _listen(process.server, settings.listen, f"log {settings.log}")
    try:
        await _until_signal(process.watch(), process.watch_release())
    finally:
        await process.server.close()
        await process.close()


async def run_witness(settings: WitnessSettings) -> None:
    """Witness until SIGTERM or SIGINT. Raises `SelvedgeError`."""
    process = WitnessProcess(settings)
    await _listen(process.server, settings.listen, f"witness {settings.name}")
    log.info("the witness's key is %s", process.key)
    try:
        await _until_signal(process.watch_release())
    finally:
        await process.server.close()
        process.close()


async def _listen(server: SmallServer, listen: str, what: str) -> None:
    host, _, port = listen.rpartition(":")
    try:
        await server.listen(host.strip("[]"), int(port))
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno or 0) if isinstance(error, OSError) else "is not host:port"
        raise SelvedgeError(
            f"the {what} cannot listen on {listen}: {why}; stop what uses it or change 'listen'"
        ) from error
    log.info("the %s serves on %s", what, listen)


async def _until_signal(*beside: Coroutine[None, None, None]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [loop.create_task(one) for one in beside]
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
