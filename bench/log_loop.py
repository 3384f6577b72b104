"""The kill loop with logs: a PoP, the log of its jurisdiction and the witness die by ``kill -9``.

All are the processes that a site runs. A life of the PoP ends as in the kill loop; meanwhile the
log or the witness may end as well, and is started again. Every checkpoint that either log published
is kept. In the end each receipt in the PoP's journals is a leaf exactly once, each checkpoint
begins the newest, and the jurisdiction's log has the PoP's newest.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.figures import Figures
from bench.kill_loop import POP, READY_S_MAX, KillLoop, KillLoopFailed, Result, _fleet
from bench.log_deaths import BARS
from bench.log_watch import Watch
from selvedge.adapters import ChildProcess, operator_public_key
from selvedge.control import free_port, log_commands, log_directory, plan_logs
from selvedge.fabric import JurisdictionLog
from selvedge.ledger import receipts_of
from selvedge.tlog import read_checkpoint

SETTLE_S_MAX = 30.0
LOOK_S = 0.02


class LogLoop(KillLoop):
    """Runs a plan in a directory, with a log and a witness."""

    def _begin(self) -> None:
        self._logs: tuple[JurisdictionLog, ...] = ()
        self._running: dict[str, ChildProcess] = {}
        self.other_deaths = 0
        self.watch = Watch([])
        self._wanted: Counter[bytes] = Counter()

    async def log(self) -> Result:
        """The whole loop. Raises `KillLoopFailed`; leaves no process behind."""
        self._begin()
        watching = asyncio.create_task(self._watch())
        try:
            return await self.run()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await asyncio.gather(*(one.stop() for one in self._running.values()))

    async def _watch(self) -> None:
        while True:
            self.watch.look()
            await asyncio.sleep(LOOK_S)

    @property
    def _pop_folder(self) -> Path:
        return self._home.pop(POP) / "log"

    def _lay_down(self, engine_port: int) -> Mapping[str, str]:
        listen = f"127.0.0.1:{self._port}"
        config = _fleet(engine_port, listen)
        self._logs = plan_logs(self._home, config, free_port)
        self._home.publish(config, {}, {}, {POP: listen}, logs=self._logs)
        directory = self._home.pop(POP)
        folders = [self._pop_folder, *(log_directory(self._home, one.id) for one in self._logs)]
        self.watch = Watch(folders)
        values = {
            "pop": POP,
            "listen": listen,
            "state_dir": str(directory.resolve()),
            "release_file": str(self._home.release_file.resolve()),
            "operator_public_key": operator_public_key(self._home.operator_key()),
            "pepper_file": str(self._home.pepper_file.resolve()),
            "log_tell_ms": 100,
        }
        # JSON is YAML.
        (directory / "settings.yaml").write_bytes(msgspec.json.encode(values))
        return self._home.keys()

    async def _round(self) -> None:
        for name in self._names():
            if name not in self._running:
                await self._start(name)
        ending = asyncio.create_task(self._end_one()) if self._rng.random() < 0.7 else None
        await super()._round()
        if ending is not None:
            await ending

    async def _end_one(self) -> None:
        """The log or the witness dies in the middle of what happens, and starts again."""
        await asyncio.sleep(self._rng.uniform(0, 1.0))
        name = self._rng.choice(self._names())
        child = self._running.pop(name)
        os.kill(child.pid, signal.SIGKILL)
        if await child.wait() != -signal.SIGKILL:
            raise KillLoopFailed(f"{name} ended by itself; see {child.log_path}")
        self.other_deaths += 1
        await self._start(name)

    def _names(self) -> list[str]:
        return [name for name, _, _ in log_commands(self._home, self._logs)]

    async def _start(self, name: str) -> None:
        for found, argv, url in log_commands(self._home, self._logs):
            if found == name:
                log = self._home.log(name.replace(" ", "-"))
                argv = [*argv, "--log-level", "warning"]
                child = await ChildProcess.start(name, argv, env=os.environ, log_path=log)
                self._running[name] = child
                await child.wait_ready(url, deadline_s=READY_S_MAX)

    async def _settle(self) -> None:
        """Until all is logged and told, or it takes too long, which is then what is lost."""
        for name in self._names():
            if name not in self._running:
                await self._start(name)
        late = time.monotonic() + SETTLE_S_MAX
        while time.monotonic() < late:
            if await asyncio.to_thread(self._is_whole):
                return
            await asyncio.sleep(1.0)

    def _is_whole(self) -> bool:
        self._wanted = Counter(
            one.leaf() for lines in self._journals() for one in receipts_of(lines)
        )
        return self._held() == self._wanted and self._is_told()

    def _held(self) -> Counter[bytes]:
        return Counter(one for one in self.watch.entries(self._pop_folder) if len(one) == 32)

    def _is_told(self) -> bool:
        """Whether the jurisdiction's log has a checkpoint that covers all receipts."""
        sizes = [
            read_checkpoint(entry)[0].size
            for one in self._logs
            for entry in self.watch.entries(log_directory(self._home, one.id))
        ]
        return max(sizes, default=0) >= self._wanted.total() > 0

    def figures(self, result: Result) -> Figures:
        """All of it as flat numbers."""
        held = self._held()
        return {
            **result.figures(),
            "other_deaths": self.other_deaths,
            "deaths": result.plan.rounds + self.other_deaths,
            "checkpoints_seen": self.watch.checkpoints,
            "leaves": held.total(),
            "log_lost": (self._wanted - held).total(),
            "log_double": (held - self._wanted).total(),
            "log_contradictions": len(self.watch.contradictions),
            "log_inconsistent": len(self.watch.inconsistent()),
            "log_untold": int(not self._is_told()),
        }


async def measure(loop: LogLoop) -> tuple[Figures, bool]:
    """Figures, and whether every bar was met."""
    result = await loop.log()
    figures = loop.figures(result)
    met = result.holds and not any(figures[name] for name in (*BARS, "log_untold"))
    return figures, met


__all__ = ["LogLoop", "measure"]
