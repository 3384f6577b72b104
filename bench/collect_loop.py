"""The kill loop with collectors: PoP and collectors die by ``kill -9``, again and again.

The PoP's two tenants live in two zones, so that each journal goes to two collectors. A life ends as
in the kill loop; in the middle of it a collector may end as well, and is started again. At the end
everything is shipped, and `reconcile` must find no difference: nothing lost, nothing double.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping

import msgspec

from bench.figures import Figures
from bench.kill_loop import (
    POP,
    READY_S_MAX,
    KillLoop,
    KillLoopFailed,
    Result,
    _fleet,
)
from selvedge.adapters import ChildProcess, FleetConfig, operator_public_key
from selvedge.control import (
    Reconciled,
    collector_commands,
    free_port,
    plan_collectors,
    reconcile,
)
from selvedge.fabric import Collector

SEGMENT_BYTES = 100_000
SETTLE_S_MAX = 30.0
"""So long without a receipt that is shipped, and the rest is the difference."""
LOOK_S = 1.0
OTHER = "sg"


class CollectLoop(KillLoop):
    """Runs a plan in a directory, with a collector for each zone."""

    def _begin(self) -> None:
        self._collectors: tuple[Collector, ...] = ()
        self._running: dict[str, ChildProcess] = {}
        self.collector_deaths = 0
        self.reconciled: Reconciled | None = None

    async def collect(self) -> Result:
        """The whole loop. Raises `KillLoopFailed`; leaves no process behind."""
        self._begin()
        try:
            return await self.run()
        finally:
            await asyncio.gather(*(one.stop() for one in self._running.values()))

    def _lay_down(self, engine_port: int) -> Mapping[str, str]:
        listen = f"127.0.0.1:{self._port}"
        config = self._config(engine_port, listen)
        self._collectors = plan_collectors(self._home, config, free_port)
        self._publish(config, {POP: listen})
        directory = self._home.pop(POP)
        values = {
            "pop": POP,
            "listen": listen,
            "state_dir": str(directory.resolve()),
            "release_file": str(self._home.release_file.resolve()),
            "operator_public_key": operator_public_key(self._home.operator_key()),
            "pepper_file": str(self._home.pepper_file.resolve()),
            "ship_ms": 20,
            "ship_batch_max": 20,
            **self._more_settings(),
        }
        # JSON is YAML.
        (directory / "settings.yaml").write_bytes(msgspec.json.encode(values))
        return self._home.keys()

    def _config(self, engine_port: int, listen: str) -> FleetConfig:
        return _two_zones(_fleet(engine_port, listen))

    def _publish(self, config: FleetConfig, listen: Mapping[str, str]) -> None:
        self._home.publish(config, {}, {}, listen, collectors=self._collectors)

    def _more_settings(self) -> Mapping[str, object]:
        """Of the PoP."""
        return {}

    async def _round(self) -> None:
        for name in self._names():
            if name not in self._running:
                await self._start(name)
        ending = asyncio.create_task(self._end_collector()) if self._rng.random() < 0.7 else None
        await super()._round()
        if ending is not None:
            await ending

    async def _end_collector(self) -> None:
        """One of them dies in the middle of what happens, and starts again."""
        await asyncio.sleep(self._rng.uniform(0, 0.6))
        name = self._rng.choice(self._names())
        child = self._running.pop(name)
        os.kill(child.pid, signal.SIGKILL)
        if await child.wait() != -signal.SIGKILL:
            raise KillLoopFailed(f"{name} ended by itself; see {child.log_path}")
        self.collector_deaths += 1
        await self._start(name)

    def _names(self) -> list[str]:
        return [f"collector {one.zone}" for one in self._collectors]

    async def _start(self, name: str) -> None:
        for found, argv, url in collector_commands(self._home, self._collectors):
            if found == name:
                more = ["--segment-bytes-max", str(SEGMENT_BYTES), "--log-level", "warning"]
                log = self._home.log(name.replace(" ", "-"))
                child = await ChildProcess.start(name, [*argv, *more], env=os.environ, log_path=log)
                self._running[name] = child
                await child.wait_ready(url, deadline_s=READY_S_MAX)

    async def _settle(self) -> None:
        """Until all is shipped, or it takes too long, which is then the difference."""
        for name in self._names():
            if name not in self._running:
                await self._start(name)
        late, least = time.monotonic() + SETTLE_S_MAX, 0
        while True:
            found = self.reconciled = await asyncio.to_thread(reconcile, self._home)
            if not found.difference or time.monotonic() > late:
                return
            if not least or found.difference < least:  # it goes on
                late, least = time.monotonic() + SETTLE_S_MAX, found.difference
            await asyncio.sleep(LOOK_S)

    def figures(self, result: Result) -> Figures:
        """All of it as flat numbers."""
        found = self.reconciled
        assert found is not None, "the last life settles"
        return {
            **result.figures(),
            "collector_deaths": self.collector_deaths,
            "deaths": result.plan.rounds + self.collector_deaths,
            "collected": found.collected,
            "stayed": found.waiting,
            "came_again": found.doubles,
            "reconcile_difference": found.difference,
        }


def _two_zones(config: FleetConfig) -> FleetConfig:
    """The second tenant lives in a zone of its own."""
    values = msgspec.to_builtins(config)
    values["zones"][OTHER] = {"countries": ["SG"]}
    values["tenants"]["weft"]["classes"]["standard"]["zone"] = OTHER
    return msgspec.convert(values, FleetConfig)


async def measure(loop: CollectLoop) -> tuple[Figures, bool]:
    """Figures, and whether every bar was met."""
    result = await loop.collect()
    found = loop.reconciled
    assert found is not None, "the last life settles"
    figures = loop.figures(result)
    whole = found.journalled == found.collected + found.waiting
    return figures, result.holds and found.difference == 0 and whole


__all__ = ["CollectLoop", "measure"]
