"""One PoP process before one engine, on cores of their own where there are two: for measuring."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bench.line import until_ready
from selvedge.adapters import ChildProcess, FleetConfig, operator_public_key
from selvedge.control import Home, free_port

POP = "sin"
READY_S_MAX = 30.0
MODEL = "json"
"""The mock answers by the model's name: about 0.5 KB of JSON."""


class OnePop:
    """Its home, its processes and its keys, by tenant. ``settings`` go to the PoP as they are;
    ``under`` is a command that runs the PoP's, ``cache`` the cache of every tenant's class.
    """

    def __init__(
        self,
        directory: Path,
        mock: Path,
        tenants: Sequence[str],
        settings: Mapping[str, object] | None = None,
        *,
        under: Sequence[str] = (),
        cache: Mapping[str, object] | None = None,
    ) -> None:
        self._mock = mock
        self._under = under
        self._cache = cache
        self._ready_s_max = READY_S_MAX * (10 if under else 1)
        self.home = Home(directory)
        self.port = free_port()
        self.keys: Mapping[str, str] = {}
        self._tenants = tenants
        self._settings = settings or {}
        self._children: list[ChildProcess] = []

    @property
    def pop_pid(self) -> int:
        """The PoP's process."""
        return self._children[-1].pid

    async def start(self) -> None:
        """Engine, then PoP; ready when this returns."""
        engine_port = free_port()
        listen = f"127.0.0.1:{self.port}"
        self.home.publish(
            _fleet(engine_port, listen, self._tenants, self._cache), {}, {}, {POP: listen}
        )
        self.keys = self.home.keys()
        directory = self.home.pop(POP)
        values = {
            "pop": POP,
            "listen": listen,
            "state_dir": str(directory.resolve()),
            "release_file": str(self.home.release_file.resolve()),
            "operator_public_key": operator_public_key(self.home.operator_key()),
            "pepper_file": str(self.home.pepper_file.resolve()),
            **self._settings,
        }
        (directory / "settings.yaml").write_bytes(msgspec.json.encode(values))
        await self._child("engine", [str(self._mock), str(engine_port)], 1)
        argv = [*self._under, sys.executable, "-m", "selvedge", "pop", "--settings"]
        pop = await self._child(
            "pop", [*argv, str(directory / "settings.yaml"), "--log-level", "warning"], 0
        )
        late = time.perf_counter() + self._ready_s_max
        await until_ready(
            self.port, lambda: pop.exit_code is not None or time.perf_counter() > late
        )
        if len(os.sched_getaffinity(0)) > 1:
            os.sched_setaffinity(0, {1})

    async def stop(self) -> int:
        """The PoP first; its exit code."""
        codes = [await child.stop(grace_s=self._ready_s_max) for child in reversed(self._children)]
        return codes[0] if codes else 0

    async def _child(self, name: str, argv: list[str], core: int) -> ChildProcess:
        child = await ChildProcess.start(name, argv, env=os.environ, log_path=self.home.log(name))
        self._children.append(child)
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(child.pid, {core})
        await asyncio.sleep(0)
        return child


def _fleet(
    engine_port: int, listen: str, tenants: Sequence[str], cache: Mapping[str, object] | None
) -> FleetConfig:
    kind = {"zone": "asean", "ingress": "in-zone"} | ({} if cache is None else {"cache": cache})
    url = f"http://127.0.0.1:{engine_port}"
    values = {
        "fleet": "one-pop",
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
        "tenants": {name: {"classes": {"standard": kind}} for name in tenants},
        "keys": {name: {"tenant": name, "class": "standard"} for name in tenants},
    }
    return msgspec.convert(values, FleetConfig)
