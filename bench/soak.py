"""The soak: three PoPs with peers under mixed traffic for a long time, engines killed each minute.

Memory and file descriptors of every PoP are sampled each second. Flat means that the median of the
last third is within 2 % of that of the second third: the first third is warming up. The books of
all PoPs are audited at the end (`bench.audit`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

import msgspec

from bench.audit import Audit, Told, audit
from bench.charts import Chart, render
from bench.charts import Line as Curve
from bench.figures import Figures
from bench.kill_loop import ENGINE, FAULTS
from bench.line import until_ready
from bench.soak_clients import Outages, Score, SoakClient
from selvedge.adapters import ChildProcess, FleetConfig, operator_public_key, read_segments
from selvedge.control import Home, free_port

IMAGE = Path(__file__).parent.parent / "docs" / "img" / "soak.svg"
CITIES = {
    "sin": ("Singapore", "SG", 1.29, 103.85),
    "bkk": ("Bangkok", "TH", 13.76, 100.5),
    "cgk": ("Jakarta", "ID", -6.21, 106.85),
}
WITH_ENGINES = ("sin", "bkk")
TENANTS = ("warp", "weft")
READY_S_MAX = 30.0
FLAT = 0.02
FDS_SPARE = 16
"""Descriptors by which a median may differ: clients come and go."""
DOWN_S = 3.0
SAMPLE_S = 1.0


class SoakFailed(Exception):
    """The soak itself could not go on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how many, and how often an engine dies."""

    minutes: float = 15.0
    clients: int = 24
    seed: int = 1
    kill_every_s: float = 60.0


@dataclass(slots=True)
class Sampled:
    """One PoP's samples: seconds since the start, resident bytes, descriptors."""

    at_s: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)

    def growth(self) -> float:
        """Median memory of the last third over that of the second, less one."""
        second, last = _thirds(self.rss)
        return last / second - 1 if second else 0.0

    def fds_growth(self) -> float:
        """The same of descriptors, as a difference."""
        second, last = _thirds(self.fds)
        return last - second


@dataclass(slots=True)
class Result:
    """What a soak showed."""

    plan: Plan
    score: Score
    sampled: Mapping[str, Sampled]
    audits: Mapping[str, Audit]
    kills: int
    faults: int
    exit_codes: Mapping[str, int]
    took_s: float

    def figures(self) -> Figures:
        """All of it as flat numbers."""
        figures: Figures = {
            "minutes": round(self.took_s / 60, 2),
            "clients": self.plan.clients,
            "seed": self.plan.seed,
            "requests": sum(self.score.requests.values()),
            "engine_kills": self.kills,
            "explained": sum(self.score.explained.values()),
            "unexplained": self.score.unexplained_count,
            "receipts": sum(one.receipts for one in self.audits.values()),
            "receipts_wrong": sum(
                len(items) for one in self.audits.values() for items in one.faults.values()
            ),
            "faults": self.faults,
            "exit_codes_wrong": sum(code != 0 for code in self.exit_codes.values()),
        }
        for pop, one in self.sampled.items():
            figures[f"rss_mb_{pop}"] = round(median(one.rss[-10:]) / 1e6, 1)
            figures[f"rss_growth_{pop}"] = round(one.growth(), 4)
            figures[f"fds_{pop}"] = int(median(one.fds[-10:]))
            figures[f"fds_growth_{pop}"] = one.fds_growth()
        return figures


def bars(figures: Mapping[str, object]) -> dict[str, bool]:
    """Which bars were met."""
    met = {
        name: figures[name] == 0
        for name in ("unexplained", "receipts_wrong", "faults", "exit_codes_wrong")
    }
    for pop in CITIES:
        met[f"rss_growth_{pop}"] = float(str(figures[f"rss_growth_{pop}"])) <= FLAT
        met[f"fds_growth_{pop}"] = float(str(figures[f"fds_growth_{pop}"])) <= FDS_SPARE
    return met


def chart(result: Result) -> str:
    """Memory and descriptors over time."""
    sampled = result.sampled.items()
    memory = [
        Curve(pop, [(at / 60, rss / 1e6) for at, rss in zip(one.at_s, one.rss, strict=True)])
        for pop, one in sampled
    ]
    fds = [
        Curve(pop, [(at / 60, float(n)) for at, n in zip(one.at_s, one.fds, strict=True)])
        for pop, one in sampled
    ]
    return render(
        [
            Chart("Resident memory of each PoP", "minutes", "MB", memory),
            Chart("Open file descriptors of each PoP", "minutes", "", fds),
        ]
    )


class Soak:
    """Runs a plan in a directory. ``on_second`` is told after each sample."""

    def __init__(
        self, directory: Path, plan: Plan, on_second: Callable[[Score], None] = lambda _: None
    ) -> None:
        self._home = Home(directory)
        self._plan = plan
        self._on_second = on_second
        self._ports = {pop: free_port() for pop in CITIES}
        self._peers = {pop: f"127.0.0.1:{free_port()}" for pop in CITIES}
        self._engine_ports = {pop: free_port() for pop in WITH_ENGINES}
        self._score = Score({pop: Told() for pop in CITIES})
        self._outages = Outages()
        self._pops: dict[str, ChildProcess] = {}
        self._engines: dict[str, ChildProcess] = {}
        self._sampled = {pop: Sampled() for pop in CITIES}
        self._kills = 0
        self._codes: dict[str, int] = {}

    async def run(self) -> Result:
        """The whole soak. Leaves no process behind."""
        started = time.perf_counter()
        try:
            await self._start()
            await self._load()
            for pop, process in self._pops.items():
                self._codes[pop] = await process.stop(grace_s=READY_S_MAX)
        finally:
            for process in [*self._pops.values(), *self._engines.values()]:
                await process.stop()
        return Result(
            self._plan,
            self._score,
            self._sampled,
            {
                pop: audit(read_segments(self._home.pop(pop) / "receipts"), self._score.told[pop])
                for pop in CITIES
            },
            self._kills,
            sum(self._faults(pop) for pop in CITIES),
            self._codes,
            time.perf_counter() - started,
        )

    async def _load(self) -> None:
        plan, keys = self._plan, list(self._home.keys().values())
        clients = [
            SoakClient(self._ports, keys, Random(f"{plan.seed}/{at}"), self._score, self._outages)
            for at in range(plan.clients)
        ]
        tasks = [asyncio.create_task(client.run()) for client in clients]
        killing = asyncio.create_task(self._kill_engines())
        try:
            await self._sample(plan.minutes * 60, [*tasks, killing])
        finally:
            killing.cancel()
            for client in clients:
                client.stopping = True
            await asyncio.gather(*tasks)
            await asyncio.gather(killing, return_exceptions=True)

    async def _sample(self, seconds: float, tasks: list[asyncio.Task[None]]) -> None:
        began = time.perf_counter()
        while (at_s := time.perf_counter() - began) < seconds:
            for pop, process in self._pops.items():
                if process.exit_code is not None:
                    raise SoakFailed(f"PoP {pop} ended; see {process.log_path}")
                sampled = self._sampled[pop]
                sampled.at_s.append(at_s)
                sampled.rss.append(_rss(process.pid))
                sampled.fds.append(_descriptors(process.pid))
            for task in tasks:
                if task.done():
                    task.result()  # a client that died says why
            self._on_second(self._score)
            await asyncio.sleep(SAMPLE_S)

    async def _kill_engines(self) -> None:
        """One after the other, with -9, and back after a while."""
        for number in range(1 << 30):
            await asyncio.sleep(self._plan.kill_every_s)
            pop = WITH_ENGINES[number % len(WITH_ENGINES)]
            self._outages.begin()
            os.kill(self._engines[pop].pid, signal.SIGKILL)
            await self._engines[pop].wait()
            self._kills += 1
            await asyncio.sleep(DOWN_S)
            await self._start_engine(pop)
            self._outages.end()

    async def _start(self) -> None:
        listen = {pop: f"127.0.0.1:{port}" for pop, port in self._ports.items()}
        self._home.publish(_fleet(self._engine_ports, listen), {}, {}, listen)
        for pop in WITH_ENGINES:
            await self._start_engine(pop)
        for pop in CITIES:
            await self._start_pop(pop, listen)

    async def _start_engine(self, pop: str) -> None:
        port = self._engine_ports[pop]
        argv = [sys.executable, "-c", ENGINE, "--port", str(port), "--model", "scripted"]
        argv += ["--tokens", "40", "--delay-ms", "5"]
        engine = await ChildProcess.start(
            "engine", argv, env=os.environ, log_path=self._home.log(f"engine-{pop}")
        )
        self._engines[pop] = engine
        await engine.wait_said(f"listening http://127.0.0.1:{port}", deadline_s=READY_S_MAX)

    async def _start_pop(self, pop: str, listen: Mapping[str, str]) -> None:
        directory = self._home.pop(pop)
        values = {
            "pop": pop,
            "listen": listen[pop],
            "state_dir": str(directory.resolve()),
            "release_file": str(self._home.release_file.resolve()),
            "operator_public_key": operator_public_key(self._home.operator_key()),
            "pepper_file": str(self._home.pepper_file.resolve()),
            "peer_listen": self._peers[pop],
            "peer_addresses": self._peers,
        }
        file = directory / "settings.yaml"
        file.write_bytes(msgspec.json.encode(values))  # JSON is YAML
        argv = [sys.executable, "-m", "selvedge", "pop", "--settings", str(file)]
        process = self._pops[pop] = await ChildProcess.start(
            pop, [*argv, "--log-level", "warning"], env=os.environ, log_path=self._home.log(pop)
        )
        late = time.perf_counter() + READY_S_MAX
        if not await until_ready(
            self._ports[pop],
            lambda: process.exit_code is not None or time.perf_counter() > late,
        ):
            raise SoakFailed(f"PoP {pop} did not get ready; see {process.log_path}")

    def _faults(self, pop: str) -> int:
        lines = self._home.log(pop).read_text(encoding="utf-8", errors="replace").splitlines()
        return sum(any(words in line for words in FAULTS) for line in lines)


def _thirds(values: list[int]) -> tuple[float, float]:
    third = len(values) // 3
    if not third:
        return 0.0, 0.0
    return median(values[third : 2 * third]), median(values[2 * third :])


def _descriptors(pid: int) -> int:
    """How many are open; 0 where this user may not look into a process that leaves no core."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        return 0


def _rss(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _fleet(engine_ports: Mapping[str, int], listen: Mapping[str, str]) -> FleetConfig:
    pops = {}
    for pop, (city, country, latitude, longitude) in CITIES.items():
        pops[pop] = {
            "city": city,
            "country": country,
            "latitude": latitude,
            "longitude": longitude,
            "listen": listen[pop],
            "engines": {},
        }
        if pop in engine_ports:
            url = f"http://127.0.0.1:{engine_ports[pop]}"
            serves = {"scripted": "scripted", "vectors": "vectors"}
            pops[pop]["engines"] = {"own": {"url": url, "serves": serves}}
    values = {
        "fleet": "soak",
        "models": {
            "scripted": {"kind": "chat", "context_tokens_max": 2048},
            "vectors": {"kind": "embedding", "context_tokens_max": 512},
        },
        "pops": pops,
        "zones": {"asean": {"groups": ["ASEAN"]}},
        "tenants": {
            name: {"classes": {"standard": {"zone": "asean", "ingress": "in-zone"}}}
            for name in TENANTS
        },
        "keys": {name: {"tenant": name, "class": "standard"} for name in TENANTS},
    }
    return msgspec.convert(values, FleetConfig)


async def measure(plan: Plan, keep: Path | None, on_second: Callable[[Score], None]) -> Result:
    """In a temporary directory, or in one that is kept; the chart is written too."""
    with tempfile.TemporaryDirectory(prefix="selvedge-soak-") as directory:
        result = await Soak(keep or Path(directory), plan, on_second).run()
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    IMAGE.write_text(chart(result), encoding="utf-8")
    return result
