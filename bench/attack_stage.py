"""A real PoP process and a scripted engine to attack, and a good client that goes on asking."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import quantile
from bench.kill_loop import POP, KillLoop, Plan
from bench.line import open_line, post
from selvedge.adapters import ChildProcess
from selvedge.control import Home, free_port

PATH = "/v1/chat/completions"
BODY = b'{"model":"scripted","messages":[{"role":"user","content":"hi"}]}'
ASK_EVERY_S = 0.02
FAULTS = ("a fault of ours", "Fatal error", "never retrieved", "Traceback")


@dataclass(slots=True)
class Stage:
    """What runs: its port, a key, the PoP's process id and its log."""

    port: int
    key: str
    pid: int
    log: Path

    def rss_kb(self) -> int:
        """Resident memory of the PoP now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def faults(self) -> int:
        """Lines of its log that tell of a fault of ours."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return sum(any(words in line for words in FAULTS) for line in lines)


@dataclass(slots=True)
class Good:
    """What a well-behaved client saw meanwhile."""

    ms: list[float] = field(default_factory=list)
    failed: int = 0
    rss_kb_max: int = 0

    def p(self, part: float) -> float:
        """A quantile of its answers' times, in milliseconds."""
        return round(quantile(self.ms, part), 2) if self.ms else float("inf")


@contextlib.asynccontextmanager
async def stage(directory: Path) -> AsyncIterator[Stage]:
    """One PoP, ready, with an engine that answers at once. Raises `KillLoopFailed`."""
    loop = KillLoop(directory, Plan(tokens=4, delay_ms=0.0))
    engine_port = free_port()
    keys = loop._lay_down(engine_port)
    engine = await loop._start_engine(engine_port)
    pop: ChildProcess | None = None
    try:
        pop, started = await loop._start_pop(2**26)
        await loop._until_ready(pop, started)
        yield Stage(loop._port, keys["warp"], pop.pid, Home(directory).log(POP))
    finally:
        if pop is not None:
            await pop.stop(grace_s=15.0)
        await engine.stop()


async def ask_on(at: Stage, good: Good) -> None:
    """Ask again and again on one connection until cancelled."""
    request = post(PATH, at.port, BODY, at.key)
    line = await open_line(at.port)
    try:
        while True:
            began = time.perf_counter()
            heard = await line.ask(request)
            good.ms.append((time.perf_counter() - began) * 1000)
            good.failed += heard.status != 200
            good.rss_kb_max = max(good.rss_kb_max, at.rss_kb())
            if not line.is_open:
                line = await open_line(at.port)
            await asyncio.sleep(ASK_EVERY_S)
    finally:
        line.close()
