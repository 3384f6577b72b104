"""A PoP of several workers as it runs in production: a keeper, its processes, real sockets.

    async with running_pop(tmp_path, workers=2) as pop:
        async with Wire.to(pop.port) as wire:
            assert (await wire.ask(pop.bearer, pop.body)).status == 200
        (receipt,) = pop.receipts()

The engine is the scripted one, in the test's own loop. A second PoP, `fra`, is in the release and
does not run: its key on disk makes tickets for this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from selvedge.adapters import (
    FleetConfig,
    journal_of,
    journals_of,
    open_release,
    operator_public_key,
    pair_keys,
    read_secret,
    read_segments,
)
from selvedge.control import Home, free_port
from selvedge.fabric import Receipt, Release, Route
from selvedge.ledger import Sealed, receipts_of
from selvedge.pop.state import now_us
from selvedge.wire import Ticket, body_hash, issue
from tests.support.script import Script
from tests.support.scripted_engine import ScriptedEngine
from tests.support.wires import Response, Wire, chat

POP = "sin"
UNTIL_S_MAX = 15.0
LOOK_S = 0.02
STOP_S_MAX = 60.0
WIRES_MAX = 400


class Pop:
    """One PoP over a home directory."""

    def __init__(
        self, home: Home, engine: ScriptedEngine, workers: int, rule: Mapping[str, object]
    ) -> None:
        self._rule = rule
        self.home = home
        self.engine = engine
        self.port = free_port()
        self.body = chat(stream=False)
        self.release: Release
        self._workers = workers
        self._process: asyncio.subprocess.Process | None = None
        self._log = home.directory / "pop.log"

    @property
    def state_dir(self) -> Path:
        """Where it keeps everything."""
        return self.home.pop(POP)

    @property
    def bearer(self) -> str:
        """What a client sends."""
        return f"Bearer {self.home.keys()['asean']}"

    @property
    def log(self) -> str:
        """What all its processes said."""
        return self._log.read_text("utf-8")

    @property
    def pid(self) -> int:
        """Of the keeper, or of the only process."""
        assert self._process is not None
        return self._process.pid

    def lay_down(self, in_flight_max: int, settings: dict[str, object]) -> None:
        """Its release and its settings."""
        listen = f"127.0.0.1:{self.port}"
        fleet = _fleet(self.engine.url, listen, in_flight_max, self._rule)
        self.release = self.home.publish(fleet, {}, {}, {POP: listen})
        values = {
            "pop": POP,
            "listen": listen,
            "peer_plaintext_loopback": True,
            "state_dir": str(self.state_dir.resolve()),
            "release_file": str(self.home.release_file.resolve()),
            "operator_public_key": operator_public_key(self.home.operator_key()),
            "pepper_file": str(self.home.pepper_file.resolve()),
            "drain_idle_ms": 300,
        }
        path = self.state_dir / "settings.yaml"
        path.write_bytes(msgspec.json.encode(values | settings))

    async def start(self) -> None:
        """Start it, and wait until all its workers serve."""
        settings = self.state_dir / "settings.yaml"
        argv = [sys.executable, "-m", "selvedge", "pop", "--settings", str(settings)]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *argv, "--workers", str(self._workers), stdout=log, stderr=log
            )
        await self.until_workers(self._workers)

    async def until_workers(self, count: int) -> None:
        """Wait until so many workers serve."""

        async def served() -> bool:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                return int((await self.page("/health")).json["workers"]) == count
            return False

        await self.until(served)

    async def until(self, happened: Callable[[], Any]) -> None:
        """Look again and again, within a bound."""
        for _ in range(round(UNTIL_S_MAX / LOOK_S)):
            if await happened():
                return
            await asyncio.sleep(LOOK_S)
        raise AssertionError(f"did not happen; its log:\n{self.log[-4000:]}")

    def signal(self, number: int) -> None:
        """Send a signal to the keeper."""
        os.kill(self.pid, number)

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S_MAX):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            raise AssertionError(f"does not stop; its log:\n{self.log[-4000:]}") from None

    def wire(self) -> contextlib.AbstractAsyncContextManager[Wire]:
        """A connection."""
        return Wire.to(self.port)

    async def wires(self, stack: contextlib.AsyncExitStack, count: int) -> dict[int, list[Wire]]:
        """Connections by the worker that accepted them, so many at least of each of two."""
        found: dict[int, list[Wire]] = {}
        for _ in range(WIRES_MAX):
            wire = await stack.enter_async_context(Wire.to(self.port))
            answer = await wire.ask(self.bearer, self.body)
            found.setdefault(self.journal_of(answer), []).append(wire)
            if len(found) > 1 and all(len(wires) >= count for wires in found.values()):
                return found
        raise AssertionError(f"{WIRES_MAX} connections, accepted by {found.keys()}")

    async def page(self, path: str) -> Response:
        """A GET on a connection of its own."""
        async with Wire.to(self.port) as wire:
            return await wire.get(path)

    async def metrics(self) -> dict[str, float]:
        """Every sample of `/metrics`, by its name and labels."""
        lines = (await self.page("/metrics")).body.decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def journals(self) -> dict[int, list[Receipt]]:
        """The receipts of each journal, in order."""
        return {
            number: [one.decode() for one in self._sealed(number)]
            for number in journals_of(self.state_dir)
        }

    def receipts(self) -> list[Receipt]:
        """All receipts."""
        return [one for found in self.journals().values() for one in found]

    def journal_of(self, response: Response) -> int:
        """The number of the journal that has the receipt of an answer."""
        name = response.headers["selvedge-receipt"]
        return next(one.worker for one in self.receipts() if one.id == name)

    def _sealed(self, number: int) -> list[Sealed]:
        directory = journal_of(self.state_dir, number) / "receipts"
        return list(receipts_of(read_segments(directory)))

    def children(self) -> list[int]:
        """The processes of its workers."""
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(one) for one in found.split()]

    def ticket(self, ticket_id: str) -> str:
        """A ticket as `fra` gives it, for `body`."""
        held = open_release(
            self.home.release_file.read_bytes(), operator_public_key(self.home.operator_key())
        )
        identity = read_secret(self.home.pop("fra") / "identity.key")
        made = Ticket(
            id=ticket_id,
            request_id="req_1",
            ingress="fra",
            serving=POP,
            tenant="asean",
            data_class="standard",
            rule="asean/standard",
            allowed=(POP,),
            release=held.release.version,
            release_hash=held.hash,
            route=Route.CHAT,
            model="chat",
            body_sha256=body_hash(self.body),
            deadline_ms=5000,
            issued_us=now_us(),
        )
        return issue(made, pair_keys(held.release, "fra", identity)[POP])


@contextlib.asynccontextmanager
async def running_pop(
    directory: Path,
    script: Script | None = None,
    *,
    workers: int = 2,
    in_flight_max: int = 64,
    rule: Mapping[str, object] = MappingProxyType({}),
    **settings: object,
) -> AsyncIterator[Pop]:
    """The PoP, running; stopped afterwards, whatever happens. ``rule`` is more of its class."""
    async with ScriptedEngine(script) as engine:
        pop = Pop(Home(directory / "home"), engine, workers, rule)
        pop.lay_down(in_flight_max, settings)
        try:
            await pop.start()
            yield pop
        finally:
            assert await pop.stop() == 0, pop.log
        assert "Traceback" not in pop.log, pop.log


def _fleet(url: str, listen: str, in_flight_max: int, rule: Mapping[str, object]) -> FleetConfig:
    places = {POP: ("Singapore", "SG", 1.29, 103.85), "fra": ("Frankfurt", "DE", 50.11, 8.68)}
    pops: dict[str, dict[str, object]] = {
        name: {"city": city, "country": country, "latitude": latitude, "longitude": longitude}
        for name, (city, country, latitude, longitude) in places.items()
    }
    engine = {"url": url, "serves": {"chat": "scripted"}, "in_flight_max": in_flight_max}
    pops[POP] |= {"listen": listen, "engines": {"gpu": engine}}
    pops["fra"] |= {"listen": "127.0.0.1:1"}
    values = {
        "fleet": "workers",
        "models": {"chat": {"kind": "chat", "context_tokens_max": 2048}},
        "pops": pops,
        "zones": {"asean": {"groups": ["ASEAN"]}},
        "tenants": {
            "asean": {
                "classes": {"standard": {"zone": "asean", "ingress": "transit-allowed", **rule}}
            }
        },
        "keys": {"asean": {"tenant": "asean", "class": "standard"}},
    }
    return msgspec.convert(json.loads(json.dumps(values)), FleetConfig)
