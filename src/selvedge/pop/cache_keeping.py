"""The cache's process beside a PoP: started where a class of the release has a cache, and kept up.

It runs beside whoever is the whole PoP: the one process that serves, or the keeper of several. A
process that ends is started again, later each time; until then requests are misses, and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters import (
    PARENT_VARIABLE,
    AnswerStore,
    CacheLink,
    CacheSettings,
    open_store,
)
from selvedge.fabric import Release, SelvedgeError
from selvedge.pop.settings import Settings

RUN_VARIABLE: Final = "SELVEDGE_CACHE_RUN"
CACHE_FOLDER: Final = "cache"
LOOK_S: Final = 1.0
LIVED_S: Final = 10.0
"""A process that lived so long is started again at once."""
BACK_OFF_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
GRACE_S: Final = 5.0
SOCKET_CHARS_MAX: Final = 100
"""The kernel takes paths of sockets up to 107 bytes."""

log: Final = logging.getLogger("selvedge.cache")


class CacheRun(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is told, through its environment."""

    directory: str
    bytes_max: int
    memory_bytes_max: int
    judge_in_flight_max: int = 0
    judge_ms_max: int = 10_000
    embedder_url: str | None = None
    embedder_model: str = ""
    embedder_dims: int = 0
    embedder_key_env: str | None = None
    core_dumps: bool = False

    @property
    def settings(self) -> CacheSettings:
        """Where it lives, and how much it may take."""
        return CacheSettings(
            Path(self.directory),
            self.bytes_max,
            self.memory_bytes_max,
            self.judge_in_flight_max,
            self.judge_ms_max,
        )


def run_of(settings: Settings) -> CacheRun:
    """What the cache's process of this PoP is told. Raises `SelvedgeError`."""
    directory = Path(settings.state_dir).absolute() / CACHE_FOLDER
    run = CacheRun(
        directory=str(directory),
        bytes_max=settings.cache_bytes_max,
        memory_bytes_max=settings.cache_memory_bytes_max,
        judge_in_flight_max=settings.cache_judge_in_flight_max,
        judge_ms_max=settings.cache_judge_ms_max,
        embedder_url=settings.cache_embedder_url,
        embedder_model=settings.cache_embedder_model or "",
        embedder_dims=settings.cache_embedder_dims,
        embedder_key_env=settings.cache_embedder_key_env,
        core_dumps=settings.core_dumps,
    )
    if len(os.fsencode(run.settings.socket)) > SOCKET_CHARS_MAX:
        words = f"state_dir {settings.state_dir!r} is too long for the cache's socket; "
        raise SelvedgeError(words + f"its path may have {SOCKET_CHARS_MAX} bytes")
    return run


def take_run(environment: MutableMapping[str, str]) -> CacheRun | None:
    """What this process was told, taken out of the environment."""
    written = environment.pop(RUN_VARIABLE, None)
    return msgspec.json.decode(written, type=CacheRun) if written else None


def has_cache(release: Release | None) -> bool:
    """Whether a class of this release has a cache."""
    tenants = release.tenants if release is not None else ()
    return any(one.cache is not None for tenant in tenants for one in tenant.classes)


def open_cache(settings: Settings) -> tuple[AnswerStore, CacheLink, CacheLink]:
    """A worker's way to the cache: its answers, and the process."""
    run = run_of(settings).settings
    store = open_store(run)
    link = CacheLink(run.socket, store, recall_ms_max=settings.cache_recall_ms_max)
    return store, link, link


class CacheKeeping:
    """Runs until cancelled. ``argv`` starts the process."""

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        argv: Sequence[str] = (sys.executable, "-m", "selvedge", "cache", "run"),
    ) -> None:
        self._settings = settings
        self._env = {
            name: value
            for name, value in environment.items()
            if not name.startswith("SELVEDGE_") or name == settings.cache_embedder_key_env
        }
        self._argv = list(argv)
        self._process: asyncio.subprocess.Process | None = None
        self._began = 0.0
        self._next = 0.0
        self.failures = 0
        """How often it ended by itself, one after the other."""

    @property
    def pid(self) -> int | None:
        """Of the process, where it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def watch(self, release: Callable[[], Release | None]) -> None:
        """Have it run while it is wanted."""
        try:
            while True:
                try:
                    await self.look(wanted=has_cache(release()))
                except (OSError, SelvedgeError) as error:
                    log.error("the cache's process cannot start: %s", error)
                    self._failed()
                await asyncio.sleep(LOOK_S)
        finally:
            await self._stop()

    async def look(self, *, wanted: bool) -> None:
        """Start it where it is wanted and does not run, and end it where it is not.

        Raises OSError and `SelvedgeError`.
        """
        process = self._process
        if process is not None and process.returncode is not None:
            log.error("the cache's process %d ended, code %d", process.pid, process.returncode)
            self._process = None
            if time.monotonic() - self._began > LIVED_S:
                self.failures = 0
            self._failed()
        if not wanted:
            await self._stop()
        elif self._process is None and time.monotonic() >= self._next:
            await self._start()

    def _failed(self) -> None:
        delay_s = BACK_OFF_S[min(self.failures, len(BACK_OFF_S) - 1)]
        self.failures += 1
        self._next = time.monotonic() + delay_s

    async def _start(self) -> None:
        self._began = time.monotonic()
        env = self._env | {
            PARENT_VARIABLE: str(os.getpid()),
            RUN_VARIABLE: msgspec.json.encode(run_of(self._settings)).decode(),
        }
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches its PoP alone
        )
        log.info("the cache's process is %d", self._process.pid)

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        except TimeoutError:
            log.error("the cache's process %d does not end; killed", process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
