"""A whole fabric of real processes whose every cable is tapped: PoPs, engines, collectors, control.

    async with captured(tmp_path) as fabric:
        answer = await fabric.ask("cgk", "asean", chat(CANARY))
        assert not fabric.taps["cgk->fra"].there

Jakarta (`cgk`) has no engine, Singapore (`sin`) two and Frankfurt (`fra`) one, all scripted, in the
test's own loop. Every address that a process is given is a cable: other PoPs, engines, the
collectors of each zone, the control process. Peers speak without TLS, so that bytes can be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from selvedge.adapters import (
    operator_public_key,
    pop_public_key,
    read_config,
    seal_release,
    write_atomically,
)
from selvedge.control import Home, free_port
from selvedge.control.extra import seeding_of
from selvedge.control.home_collectors import collector_commands, plan_collectors
from selvedge.control.settings import ControlSettings
from selvedge.fabric import Collector, Control, Receipt, Release
from selvedge.ledger import receipts_of
from tests.support.script import Script
from tests.support.scripted_engine import ScriptedEngine
from tests.support.taps import Taps
from tests.support.wires import Response, Wire

POPS = ("cgk", "sin", "fra")
ENGINES = {"sin-a": "sin", "sin-b": "sin", "fra-a": "fra"}
READY_S_MAX = 60.0
LOOK_S = 0.05

POLICIES = """
@id("asean-sites")
permit (principal == Rule::"asean-only", action, resource)
when { resource.groups.contains("ASEAN") };
@id("no-cache")
forbid (principal == Rule::"asean-only", action == Action::"cache", resource);
"""

FLEET = """
fleet: captured
models:
  chat: {{ kind: chat, context_tokens_max: 65536 }}
pops:
  cgk: {{ city: Jakarta, country: ID, latitude: -6.2, longitude: 106.8, listen: "{cgk}" }}
  sin:
    city: Singapore
    country: SG
    latitude: 1.3
    longitude: 103.8
    listen: "{sin}"
    engines:
      sin-a: {{ url: "{sin-a}", profile: llama.cpp, serves: {{ chat: small }},
                honours: [zero-retention, no-training] }}
      sin-b: {{ url: "{sin-b}", serves: {{ chat: small }} }}
  fra:
    city: Frankfurt
    country: DE
    latitude: 50.1
    longitude: 8.7
    listen: "{fra}"
    engines:
      fra-a: {{ url: "{fra-a}", serves: {{ chat: small }}, honours: [zero-retention, no-training] }}
zones:
  asean: {{ groups: [ASEAN] }}
  world: {{ countries: [ID, SG, DE] }}
tenants:
  asean:
    classes:
      bound: {{ zone: asean, ingress: in-zone }}
      zero: {{ zone: asean, ingress: in-zone, handling: [zero-retention] }}
      ruled: {{ zone: world, ingress: in-zone, policy: asean-only, handling: [no-training] }}
  free:
    classes:
      open: {{ zone: world, ingress: in-zone }}
keys:
  bound: {{ tenant: asean, class: bound }}
  limited: {{ tenant: asean, class: bound, limits: {{ requests_per_minute: 1000 }} }}
  zero: {{ tenant: asean, class: zero }}
  ruled: {{ tenant: asean, class: ruled }}
  free: {{ tenant: free, class: open }}
policies: policies.cedar
"""


class Captured:
    """The processes, the cables between them and the engines at their ends."""

    def __init__(self, directory: Path, taps: Taps) -> None:
        self.directory = directory
        self.home = Home(directory / "home")
        self.taps = taps
        self.engines: dict[str, ScriptedEngine] = {}
        self.ports = {pop: free_port() for pop in POPS}
        self.doors: dict[str, int] = {}
        """Where clients enter: cables too."""
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.release: Release
        self._argv: dict[str, list[str]] = {}
        self._logs = directory / "logs"
        self._logs.mkdir()

    def inbox(self, pop: str) -> Path:
        """The release file of one PoP."""
        return self.home.pop(pop) / "inbox.json"

    def log(self, name: str) -> Path:
        """What a process said, on stdout and stderr."""
        return self._logs / f"{name}.log"

    async def lay_down(self) -> None:
        """Cables, release and settings."""
        for pop in POPS:
            self.doors[pop] = await self.taps.lay(f"client->{pop}", self.ports[pop])
        places = {pop: f"127.0.0.1:{port}" for pop, port in self.ports.items()}
        for name, pop in ENGINES.items():
            port = await self.taps.lay(f"{pop}->{name}", self.engines[name].port)
            places[name] = f"http://127.0.0.1:{port}"
        path = self.directory / "fleet.yaml"
        (self.directory / "policies.cedar").write_text(POLICIES, "utf-8")
        path.write_text(FLEET.format(**places), "utf-8")
        config = read_config(path)
        listen = {pop: places[pop] for pop in POPS}
        control = ControlSettings(
            home=str(self.home.directory.resolve()),
            admin_listen=f"127.0.0.1:{free_port()}",
            pops_listen=f"127.0.0.1:{free_port()}",
        )
        self.home.lock()
        planned = plan_collectors(self.home, config, free_port)
        tapped = []
        for one in planned:
            port = await self.taps.lay(f"pops->collector-{one.zone}", _port(one.url))
            tapped.append(Collector(one.zone, f"http://127.0.0.1:{port}", one.public_key))
        port = await self.taps.lay("pops->control", _port(control.pops_listen))
        self.release = self.home.publish(
            config,
            {},
            {},
            listen,
            collectors=tuple(tapped),
            control=Control(f"http://127.0.0.1:{port}", pop_public_key(self.home.control_key())),
            tenancy=seeding_of(self.home.directory, control),
        )
        for name, argv, _ in collector_commands(self.home, planned):
            self._argv[name.replace(" ", "-")] = argv
        written = self.directory / "control.yaml"
        written.write_bytes(msgspec.json.encode(msgspec.to_builtins(control)))
        own = [sys.executable, "-m", "selvedge"]
        self._argv["control"] = [*own, "control", "run", "--settings", str(written)]
        for pop in POPS:
            await self._settle(pop)

    async def _settle(self, pop: str) -> None:
        """One PoP's settings: all peers by cable."""
        peers = {}
        for other in POPS:
            if other != pop:
                port = await self.taps.lay(f"{pop}->{other}", self.ports[other])
                peers[other] = f"127.0.0.1:{port}"
        directory = self.home.pop(pop)
        write_atomically(self.inbox(pop), self.home.release_file.read_bytes())
        values: dict[str, Any] = {
            "pop": pop,
            "listen": f"127.0.0.1:{self.ports[pop]}",
            "peer_plaintext_loopback": True,
            "peer_addresses": peers,
            "state_dir": str(directory.resolve()),
            "release_file": str(self.inbox(pop).resolve()),
            "operator_public_key": operator_public_key(self.home.operator_key()),
            "pepper_file": str(self.home.pepper_file.resolve()),
            "drain_idle_ms": 100,
            "report_ms": 100,
            "ship_ms": 100,
            "ship_personal": True,
            "body_bytes_max": 100_000,
        }
        (directory / "settings.yaml").write_bytes(msgspec.json.encode(values))
        argv = [sys.executable, "-m", "selvedge", "pop"]
        settings = str(directory / "settings.yaml")
        self._argv[pop] = [*argv, "--settings", settings, "--log-level", "debug"]

    async def start(self, name: str) -> None:
        """Start one process, and wait until it serves."""
        with self.log(name).open("ab") as log:
            self.processes[name] = await asyncio.create_subprocess_exec(
                *self._argv[name], stdout=log, stderr=log, cwd=self.directory
            )
        if name in POPS:
            await self.until(lambda: self._serves(name))

    @property
    def names(self) -> list[str]:
        """Every process."""
        return list(self._argv)

    async def _serves(self, pop: str) -> bool:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with Wire.to(self.ports[pop]) as wire:
                return (await wire.get("/readyz")).status == 200
        return False

    async def until(self, happened: Callable[[], Any]) -> None:
        """Look again and again, within a bound."""
        for _ in range(round(READY_S_MAX / LOOK_S)):
            if await happened():
                return
            await asyncio.sleep(LOOK_S)
        raise AssertionError("did not happen; see the logs")

    def lay(self, pop: str, release: Release) -> None:
        """Another release for one PoP."""
        write_atomically(self.inbox(pop), seal_release(release, self.home.operator_key()))

    async def until_released(self, pop: str, version: int) -> None:
        """Wait until a PoP serves by this release."""

        async def served() -> bool:
            async with Wire.to(self.ports[pop]) as wire:
                return bool((await wire.get("/health")).json["release"]["version"] == version)

        await self.until(served)

    def bearer(self, key: str) -> str:
        """What a client sends."""
        return f"Bearer {self.home.keys()[key]}"

    async def ask(self, pop: str, key: str | None, body: bytes, more: str = "") -> Response:
        """One request by a connection of its own."""
        async with Wire.to(self.doors[pop]) as wire:
            return await wire.ask(self.bearer(key) if key else None, body, more=more)

    async def page(self, pop: str, path: str) -> bytes:
        """A page of a PoP, past the cable."""
        async with Wire.to(self.ports[pop]) as wire:
            return (await wire.get(path, self.bearer("free"))).body

    def receipts(self, pop: str) -> list[Receipt]:
        """What a PoP wrote down, from its disk."""
        found = []
        for path in sorted((self.home.pop(pop) / "receipts").glob("*")):
            lines = path.read_bytes().splitlines(keepends=True)
            found += [sealed.decode() for sealed in receipts_of(lines)]
        return found

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.processes[name].send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """End every process, PoPs first."""
        for name in [*POPS, *(one for one in self._argv if one not in POPS)]:
            process = self.processes.get(name)
            if process is None or process.returncode is not None:
                continue
            process.terminate()
            try:
                async with asyncio.timeout(30):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


@contextlib.asynccontextmanager
async def captured(directory: Path) -> AsyncIterator[Captured]:
    """The fabric, running; stopped afterwards, whatever happens."""
    async with contextlib.AsyncExitStack() as stack:
        taps = await stack.enter_async_context(Taps())
        fabric = Captured(directory, taps)
        for name in ENGINES:
            fabric.engines[name] = await stack.enter_async_context(ScriptedEngine(Script()))
        await fabric.lay_down()
        stack.push_async_callback(fabric.stop)
        for name in fabric.names:
            await fabric.start(name)
        yield fabric


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
