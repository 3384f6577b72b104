"""The kill loop: a real PoP, a scripted engine, merciless clients, and ``kill -9`` again and again.

A round is one life of the PoP process: started on the same port and directory, loaded, killed at a
seeded moment. Some lives end early: before the PoP is ready, or as soon as it begins to write what
the last death left open. After the last round the PoP is started once more, drained, and its whole
journal audited. Nothing waits on the clock but the moment of the kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec

from bench.audit import Audit, audit_all
from bench.clients import Client, Tally
from bench.figures import Figures, quantile
from bench.line import until_ready
from selvedge.adapters import (
    ChildProcess,
    FleetConfig,
    journal_of,
    journals_of,
    operator_public_key,
    read_segments,
)
from selvedge.control import Home, free_port
from selvedge.ledger import recover

POP = "sin"
READY_S_MAX = 30.0
GOAL_S_MAX = 30.0
SPIN_S_MAX = 5.0
DEATH_S_MAX = 5.0
FAULTS = ("a fault of ours", "Fatal error", "never retrieved", "Traceback")
ENGINE = (
    "from selvedge.adapters import die_with_parent; die_with_parent(); "
    "from tests.support.scripted_engine import main; main()"
)


class KillLoopFailed(Exception):
    """The loop itself could not go on: the PoP did not start, or answered nobody."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard. Everything random comes from ``seed``.

    A life ends ``late_ms_max`` or less after a number of acknowledgements below ``goal_max``. A
    share of ``early`` lives ends within ``early_ms_max`` of its start, half of them at the first
    byte that recovery writes. Each life has a journal of segments of one of ``segment_bytes``.
    """

    rounds: int = 200
    clients: int = 12
    seed: int = 1
    goal_max: int = 250
    late_ms_max: float = 20.0
    early: float = 0.2
    early_ms_max: float = 700.0
    segment_bytes: tuple[int, ...] = (8_192, 65_536, 1_048_576, 67_108_864)
    tokens: int = 8
    delay_ms: float = 2.0
    workers: int = 1


@dataclass(slots=True)
class Result:
    """What a loop showed."""

    plan: Plan
    tally: Tally
    audit: Audit
    ready_ms: list[float] = field(default_factory=list)
    early_deaths: int = 0
    recovery_deaths: int = 0
    faults: int = 0
    took_s: float = 0.0

    @property
    def faults_by_kind(self) -> dict[str, int]:
        """How many of each thing that should not exist."""
        found = {kind: len(items) for kind, items in self.audit.faults.items()}
        failed = self.audit.outcomes["failed"]  # The engine never fails.
        return {**found, "failed": failed, "faults": self.faults, "stuck": self.tally.stuck}

    @property
    def holds(self) -> bool:
        """Whether every bar was met."""
        return not any(self.faults_by_kind.values())

    def figures(self) -> Figures:
        """All of it as flat numbers."""
        tally, books = self.tally, self.audit
        figures: Figures = {
            "rounds": self.plan.rounds,
            "early_deaths": self.early_deaths,
            "recovery_deaths": self.recovery_deaths,
            "clients": self.plan.clients,
            "workers": self.plan.workers,
            "seed": self.plan.seed,
            "requests": sum(tally.started.values()),
            "acknowledged": len(tally.told.acknowledged),
            "acknowledged_200": sum(one == 200 for one in tally.told.acknowledged.values()),
            "cut_off": tally.cut_off,
            "hung_up": tally.hung_up,
            "intents": books.intents,
            "receipts": books.receipts,
            "segments": books.segments,
        }
        for outcome in ("complete", "interrupted", "client_gone", "refused"):
            figures[outcome] = books.outcomes[outcome]
        figures.update(self.faults_by_kind)
        figures["ready_ms_p50"] = round(quantile(self.ready_ms, 0.5), 1)
        figures["ready_ms_p99"] = round(quantile(self.ready_ms, 0.99), 1)
        figures["took_s"] = round(self.took_s, 1)
        return figures


class KillLoop:
    """Runs a plan in a directory. ``on_round`` is told after each round."""

    def __init__(
        self, directory: Path, plan: Plan, on_round: Callable[[Tally], None] = lambda _: None
    ) -> None:
        self._home = Home(directory)
        self._plan = plan
        self._on_round = on_round
        self._rng = Random(plan.seed)
        self._port = free_port()
        self._tally = Tally()
        self._up = asyncio.Event()
        self._ready_ms: list[float] = []
        self._early_deaths = 0
        self._recovery_deaths = 0

    async def run(self) -> Result:
        """The whole loop. Raises `KillLoopFailed`; leaves no process behind."""
        started = time.perf_counter()
        engine_port = free_port()
        keys = self._lay_down(engine_port)
        engine = await self._start_engine(engine_port)
        clients = [
            Client(self._port, keys, Random(f"{self._plan.seed}/{at}"), self._tally, self._up)
            for at in range(self._plan.clients)
        ]
        tasks = [asyncio.create_task(client.run()) for client in clients]
        try:
            for _ in range(self._plan.rounds):
                await self._round()
                self._on_round(self._tally)
            await self._last_life(clients, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await engine.stop()
        return Result(
            self._plan,
            self._tally,
            audit_all(self._journals(), self._tally.told),
            self._ready_ms,
            self._early_deaths,
            self._recovery_deaths,
            _count_faults(self._home.log(POP)),
            time.perf_counter() - started,
        )

    def _journals(self) -> list[Iterator[bytes]]:
        """Of every worker."""
        directory = self._home.pop(POP)
        numbers = journals_of(directory)
        return [read_segments(journal_of(directory, one) / "receipts") for one in numbers]

    def _open_intents(self) -> int:
        """How many requests the dead left open, in all journals."""
        directory = self._home.pop(POP)
        numbers = journals_of(directory)
        return sum(_open_intents(journal_of(directory, one) / "receipts") for one in numbers)

    @property
    def _journal(self) -> Path:
        return self._home.pop(POP) / "receipts"

    async def _round(self) -> None:
        is_early = self._rng.random() < self._plan.early
        segment_bytes = self._rng.choice(self._plan.segment_bytes)
        await (self._early_life(segment_bytes) if is_early else self._loaded_life(segment_bytes))

    async def _loaded_life(self, segment_bytes: int) -> None:
        rng, plan = self._rng, self._plan
        pop, started = await self._start_pop(segment_bytes)
        try:
            await self._until_ready(pop, started)
            self._tally.next_round(rng.randrange(plan.goal_max))
            self._up.set()
            await self._until_goal(pop)
            await asyncio.sleep(rng.uniform(0, plan.late_ms_max) / 1000)
        finally:
            self._up.clear()
            await _kill(pop)

    async def _early_life(self, segment_bytes: int) -> None:
        """Nobody asks. Every second one dies while recovery writes, or just after it has."""
        self._early_deaths += 1
        left = self._open_intents()
        life_s = self._rng.uniform(0, self._plan.early_ms_max) / 1000
        pop, _ = await self._start_pop(segment_bytes)
        try:
            if left and self._rng.random() < 0.5:
                _spin_until_recovering(self._journal)
            else:
                await asyncio.sleep(life_s)
        finally:
            await _kill(pop)
        self._recovery_deaths += 0 < self._open_intents() < left

    async def _last_life(self, clients: list[Client], tasks: list[asyncio.Task[None]]) -> None:
        """Once more, to the orderly end: what was interrupted has its receipt by then."""
        pop, started = await self._start_pop(self._plan.segment_bytes[-1])
        try:
            await self._until_ready(pop, started)
            self._tally.next_round(len(clients))
            self._up.set()
            await self._until_goal(pop)
            for client in clients:
                client.stopping = True
            await asyncio.gather(*tasks)
            await self._settle()
        finally:
            self._up.clear()
            code = await pop.stop(grace_s=READY_S_MAX)
        if code != 0:
            raise KillLoopFailed(f"the PoP ended with code {code}; see {pop.log_path}")

    async def _settle(self) -> None:
        """What is to be waited for before the last PoP ends; nothing here."""

    async def _start_pop(self, segment_bytes: int) -> tuple[ChildProcess, float]:
        settings = str(self._home.pop(POP) / "settings.yaml")
        argv = [sys.executable, "-m", "selvedge", "pop", "--settings", settings]
        argv += ["--workers", str(self._plan.workers)]
        started = time.perf_counter()
        env = {**os.environ, "SELVEDGE_SEGMENT_BYTES_MAX": str(segment_bytes)}
        pop = await ChildProcess.start(
            "pop", [*argv, "--log-level", "warning"], env=env, log_path=self._home.log(POP)
        )
        return pop, started

    async def _until_ready(self, pop: ChildProcess, started: float) -> None:
        late = started + READY_S_MAX
        ready = await until_ready(
            self._port, lambda: pop.exit_code is not None or time.perf_counter() > late
        )
        if not ready:
            raise KillLoopFailed(f"the PoP did not get ready; see {pop.log_path}")
        self._ready_ms.append((time.perf_counter() - started) * 1000)

    async def _until_goal(self, pop: ChildProcess) -> None:
        try:
            async with asyncio.timeout(GOAL_S_MAX):
                await self._tally.reached.wait()
        except TimeoutError as error:
            raise KillLoopFailed(f"the PoP answers nobody; see {pop.log_path}") from error

    async def _start_engine(self, port: int) -> ChildProcess:
        plan = self._plan
        argv = [sys.executable, "-c", ENGINE, "--port", str(port), "--model", "scripted"]
        argv += ["--tokens", str(plan.tokens), "--delay-ms", str(plan.delay_ms)]
        log = self._home.log("engine")
        engine = await ChildProcess.start("engine", argv, env=os.environ, log_path=log)
        await engine.wait_said(f"listening http://127.0.0.1:{port}", deadline_s=READY_S_MAX)
        return engine

    def _lay_down(self, engine_port: int) -> Mapping[str, str]:
        """The release, the keys and the PoP's settings; the keys by id."""
        listen = f"127.0.0.1:{self._port}"
        self._home.publish(_fleet(engine_port, listen), {}, {}, {POP: listen})
        directory = self._home.pop(POP)
        values = {
            "pop": POP,
            "listen": listen,
            "state_dir": str(directory.resolve()),
            "release_file": str(self._home.release_file.resolve()),
            "operator_public_key": operator_public_key(self._home.operator_key()),
            "pepper_file": str(self._home.pepper_file.resolve()),
        }
        # JSON is YAML.
        (directory / "settings.yaml").write_bytes(msgspec.json.encode(values))
        return self._home.keys()


async def _kill(pop: ChildProcess) -> None:
    """``kill -9`` of the PoP and its workers. Raises `KillLoopFailed` where it had died before."""
    workers = _workers(pop) if pop.exit_code is None else {}
    if pop.exit_code is None:
        os.kill(pop.pid, signal.SIGKILL)
    for pid, descriptor in workers.items():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        select.select([descriptor], [], [], DEATH_S_MAX)
        os.close(descriptor)
    code = await pop.wait()
    if code != -signal.SIGKILL:
        raise KillLoopFailed(f"the PoP ended by itself with code {code}; see {pop.log_path}")


def _workers(pop: ChildProcess) -> dict[int, int]:
    """The processes that the PoP's keeper started, each with a descriptor that tells its end."""
    found: dict[int, int] = {}
    children = Path(f"/proc/{pop.pid}/task/{pop.pid}/children").read_text("utf-8")
    for pid in map(int, children.split()):
        with contextlib.suppress(ProcessLookupError):
            found[pid] = os.pidfd_open(pid)
    return found


def _count_faults(log: Path) -> int:
    """Lines of a log that tell of a fault of ours."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return sum(any(words in line for words in FAULTS) for line in lines)


def _newest(journal: Path) -> Path | None:
    return max(journal.glob("receipts-*.log"), default=None)


def _spin_until_recovering(journal: Path) -> None:
    """Return at the first receipt that a start writes: recovery takes less than any sleep would.

    It goes to the newest segment, or, where that is full, behind the header of the next.
    """
    newest = _newest(journal)
    if newest is None:
        return
    following = newest.with_name(f"receipts-{int(newest.stem[-8:]) + 1:08d}.log")
    size, late = newest.stat().st_size, time.perf_counter() + SPIN_S_MAX
    while time.perf_counter() < late:
        if newest.stat().st_size > size:
            return
        if newest is not following and following.exists():
            newest, size = following, following.stat().st_size


def _open_intents(journal: Path) -> int:
    """How many requests the dead left open."""
    newest = _newest(journal)
    return 0 if newest is None else len(recover(newest.read_bytes()).open)


def _fleet(engine_port: int, listen: str) -> FleetConfig:
    """One PoP with the scripted engine in two guises, and two tenants."""
    url = f"http://127.0.0.1:{engine_port}"
    model = {"kind": "chat", "context_tokens_max": 2048}
    values = {
        "fleet": "torture",
        "models": {"scripted": model, "scripted-llama": model},
        "pops": {
            POP: {
                "city": "Singapore",
                "country": "SG",
                "latitude": 1.29,
                "longitude": 103.85,
                "listen": listen,
                "engines": {
                    "plain": {"url": url, "serves": {"scripted": "scripted"}},
                    "llama": {
                        "url": url,
                        "profile": "llama.cpp",
                        "serves": {"scripted-llama": "scripted"},
                    },
                },
            }
        },
        "zones": {"asean": {"groups": ["ASEAN"]}},
        "tenants": {
            name: {"classes": {"standard": {"zone": "asean", "ingress": "in-zone"}}}
            for name in ("warp", "weft")
        },
        "keys": {name: {"tenant": name, "class": "standard"} for name in ("warp", "weft")},
    }
    return msgspec.convert(values, FleetConfig)
