"""One PoP, its engine, collector and control process, whose database is made to fail.

PostgreSQL lies on a small disk of its own, behind a proxy that can hold back what it says; SQLite
in a file on the same kind of disk. Each fault is begun and ended by name.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.control_plane import ControlPlane
from bench.line import until_ready
from bench.one_pop import MODEL
from selvedge.adapters import ChildProcess, FleetConfig, operator_public_key
from selvedge.control import Home, collector_commands, free_port, plan_collectors
from tests.support.databases import NoSmallDisk, Postgres, SlowProxy, SmallDisk, find_postgres

POP = "sin"
READY_S_MAX = 60.0
DISK_MIB = 96
SLOW_S = 5.0
FILL_ACTS_MAX = 20_000
KEYS: Mapping[str, Mapping[str, int]] = {
    "plain": {},
    "wide": {"requests_per_minute": 600_000},
    "tight": {"requests_per_minute": 8_000, "concurrent_requests": 64},
}
"""A key without limits, one whose leases are long, one whose leases are renewed all the time."""

Step = Callable[[], Awaitable[None]]


class RigFailed(Exception):
    """What is measured could not be set up."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that can be wrong with a database, and how it comes and goes."""

    name: str
    begin: Step
    end: Step


class Rig:
    """All processes of it. ``store`` is the disk its database lies on, or None without one."""

    def __init__(self, directory: Path, mock: Path, database: str | None) -> None:
        self._mock = mock
        self.home = Home(directory)
        self.plane = ControlPlane(self.home, database)
        self.port, self.engine_port = free_port(), free_port()
        self.keys: Mapping[str, str] = {}
        self._children: list[ChildProcess] = []

    @property
    def pop_pid(self) -> int:
        """The PoP's process."""
        return self._children[-1].pid

    async def start(self) -> None:
        """Everything answers when this returns."""
        listen = f"127.0.0.1:{self.port}"
        config = _fleet(self.engine_port, listen)
        collectors = plan_collectors(self.home, config, free_port)
        self.plane.publish(config, {POP: listen}, collectors)
        self.keys = self.home.keys()
        await self._child("engine", [str(self._mock), str(self.engine_port)])
        for name, argv, url in collector_commands(self.home, collectors):
            child = await self._child(name.replace(" ", "-"), [*argv, "--log-level", "warning"])
            await child.wait_ready(url, deadline_s=READY_S_MAX)
        await self.plane.start()
        await self.plane.ready()
        await self._start_pop(listen)

    async def _start_pop(self, listen: str) -> None:
        directory = self.home.pop(POP)
        values = {
            "pop": POP,
            "listen": listen,
            "state_dir": str(directory.resolve()),
            "release_file": str(self.home.release_file.resolve()),
            "operator_public_key": operator_public_key(self.home.operator_key()),
            "pepper_file": str(self.home.pepper_file.resolve()),
        }
        path = directory / "settings.yaml"
        path.write_bytes(msgspec.json.encode(values))  # JSON is YAML.
        argv = [sys.executable, "-m", "selvedge", "pop", "--settings", str(path)]
        pop = await self._child("pop", [*argv, "--log-level", "warning"])
        late = time.perf_counter() + READY_S_MAX
        ended = lambda: pop.exit_code is not None or time.perf_counter() > late  # noqa: E731
        if not await until_ready(self.port, ended):
            raise RigFailed(f"the PoP did not get ready; see {pop.log_path}")

    async def stop(self) -> int:
        """The PoP first; its exit code."""
        codes = [await child.stop(grace_s=READY_S_MAX) for child in reversed(self._children)]
        await self.plane.stop()
        return codes[0] if codes else 0

    async def until_full(self) -> None:
        """Make projects, as fast as it goes, until the store has no room for one."""
        for number in range(FILL_ACTS_MAX):
            body = {"limits": {"requests_per_minute": 10**9 + number}}
            heard = await self.plane.ask("PUT", f"/tenants/warp/projects/full-{number}", body)
            if heard.status == 503:
                return
        raise RigFailed(f"{FILL_ACTS_MAX} acts fitted onto a disk that is full")

    async def until_back(self, late_s: float = READY_S_MAX) -> float:
        """Seconds until the admin API reads and writes again. Raises `RigFailed`."""
        started, number = time.monotonic(), 0
        while time.monotonic() - started < late_s:
            number += 1
            body = {"limits": {"requests_per_minute": time.time_ns() % 10**12}}
            heard = await self.plane.ask("PUT", "/tenants/warp/projects/back", body)
            if heard.status == 200:
                return time.monotonic() - started
            await asyncio.sleep(0.1)
        raise RigFailed(f"the admin API did not come back; see {self.plane.log}")

    async def _child(self, name: str, argv: list[str]) -> ChildProcess:
        child = await ChildProcess.start(name, argv, env=os.environ, log_path=self.home.log(name))
        self._children.append(child)
        return child


def _fleet(engine_port: int, listen: str) -> FleetConfig:
    url = f"http://127.0.0.1:{engine_port}"
    values = {
        "fleet": "database-faults",
        "models": {MODEL: {"kind": "chat", "context_tokens_max": 200_000}},
        "pops": {
            POP: {
                "city": "Singapore",
                "country": "SG",
                "latitude": 1.29,
                "longitude": 103.85,
                "listen": listen,
                "engines": {"mock": {"url": url, "serves": {MODEL: MODEL}, "in_flight_max": 4096}},
            }
        },
        "zones": {"asean": {"groups": ["ASEAN"]}},
        "tenants": {"warp": {"classes": {"standard": {"zone": "asean", "ingress": "in-zone"}}}},
        "keys": {
            name: {"tenant": "warp", "class": "standard", "limits": limits}
            for name, limits in KEYS.items()
        },
    }
    return msgspec.convert(values, FleetConfig)


class PostgresStore:
    """The server, its disk where one can be mounted, and the proxy before it."""

    def __init__(self) -> None:
        programs = find_postgres()
        if programs is None:
            raise RigFailed("PostgreSQL is not installed (apt-get install postgresql)")
        self.disk, self.why_not = _small_disk()
        self.server = Postgres(programs, self.disk)
        self.server.start()
        self.proxy = SlowProxy(self.server.port)
        name = self.server.make_database().rpartition("/")[2]
        self.url = self.server.url(name, self.proxy.port)

    def faults(self, rig: Rig) -> list[Fault]:
        """What can be wrong with it."""
        found = [
            Fault("stopped", self._threaded(self.server.freeze), self._threaded(self.server.thaw)),
            Fault("killed", self._threaded(self.server.kill), self._threaded(self.server.start)),
            Fault("slow", self._delayed(SLOW_S), self._delayed(0.0)),
        ]
        if self.disk is not None:
            found.append(Fault("full", _filling(self.disk, rig), self._room))
        return found

    @staticmethod
    def _threaded(work: Callable[[], None]) -> Step:
        return lambda: asyncio.to_thread(work)

    def _delayed(self, delay_s: float) -> Step:
        async def delay() -> None:
            self.proxy.delay_s = delay_s

        return delay

    async def _room(self) -> None:
        """Room again; and a server that gave up is started, as somebody would."""
        assert self.disk is not None, "only a disk that is there is filled"
        self.disk.clear()
        if not self.server.is_running():
            self.server.reap()
            await asyncio.to_thread(self.server.start)

    def close(self) -> None:
        """Let go of all of it."""
        self.proxy.end()
        self.server.close()
        if self.disk is not None:
            self.disk.close()


class SqliteStore:
    """A file on a small disk where one can be mounted, else in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.disk, self.why_not = _small_disk()
        folder = self.disk.folder if self.disk is not None else directory
        self._file = folder / "control.sqlite"
        self.url = f"sqlite:///{self._file}"
        self._locking: sqlite3.Connection | None = None

    def faults(self, rig: Rig) -> list[Fault]:
        """What can be wrong with it."""
        found = [Fault("locked", self._lock, self._unlock)]
        if self.disk is not None:
            found.append(Fault("full", _filling(self.disk, rig), self._room))
        return found

    async def _lock(self) -> None:
        self._locking = sqlite3.connect(self._file, isolation_level=None, timeout=READY_S_MAX)
        self._locking.execute("BEGIN IMMEDIATE")

    async def _unlock(self) -> None:
        if self._locking is not None:
            self._locking.close()
            self._locking = None

    async def _room(self) -> None:
        assert self.disk is not None, "only a disk that is there is filled"
        self.disk.clear()

    def close(self) -> None:
        """Let go of the disk."""
        if self.disk is not None:
            self.disk.close()


def _small_disk() -> tuple[SmallDisk | None, str]:
    try:
        return SmallDisk(DISK_MIB), ""
    except NoSmallDisk as error:
        return None, str(error)


def _filling(disk: SmallDisk, rig: Rig) -> Step:
    async def fill() -> None:
        disk.fill()
        await rig.until_full()

    return fill
