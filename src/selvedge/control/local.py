"""A whole fleet on one machine: its engines, emulated links and PoPs, started and stopped together.

This is what ``selvedge up`` runs. Every process is the one a real site runs; only the links between
PoPs are emulated, and only because loopback has no distance.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.adapters import (
    BUNDLED,
    READY,
    ChildProcess,
    EmbeddedEngine,
    FleetConfig,
    Link,
    Speculation,
    forgets,
    model_digest,
    model_path,
    operator_public_key,
    render_links,
    write_atomically,
)
from selvedge.control.extra import seeding_of
from selvedge.control.home import Home, Running, RunningPoP
from selvedge.control.home_collectors import collector_commands, plan_collectors
from selvedge.control.home_control import named_control
from selvedge.control.home_logs import Commands, log_commands, plan_logs
from selvedge.control.settings import ControlSettings
from selvedge.fabric import Collector, Release, SelvedgeError, WanModel

ENGINE_READY_S: Final = 120.0
POP_READY_S: Final = 30.0
FREE_DISK_BYTES_MIN: Final = 200_000_000

Say = Callable[[str], None]


class LocalFabric:
    """Starts a fleet's processes and stops every one of them. ``settings`` are a PoP's own."""

    def __init__(
        self,
        home: Home,
        config: FleetConfig,
        *,
        wan: bool,
        any_port: bool,
        settings: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
        control: ControlSettings | None = None,
        proves: bool = False,
    ) -> None:
        """``control`` are a control process's settings; None: none is started, nothing stored.

        ``proves``: whether logs of jurisdictions, and a witness, run as well.
        """
        self._home = home
        self._proves = proves
        self._control = control
        self._settings = settings
        self._config = config
        self._wan = wan
        self._ports = _named_ports(config)
        self._listen = {
            pop_id: f"127.0.0.1:{self._new_port()}" if any_port else pop.listen
            for pop_id, pop in config.pops.items()
        }
        self._peer_listen = {
            pop_id: (pop.peer if pop.peer and not any_port else f"127.0.0.1:{self._new_port()}")
            for pop_id, pop in config.pops.items()
        }
        if control is not None and any_port:
            self._control = msgspec.structs.replace(
                control,
                admin_listen=f"127.0.0.1:{self._new_port()}",
                pops_listen=f"127.0.0.1:{self._new_port()}",
            )
        self._children: list[ChildProcess] = []
        self._dead: list[ChildProcess] = []
        self._rtts: dict[str, float] = {}

    async def start(self, cache_dir: Path, say: Say) -> Running:
        """Start everything; returns when all of it answers. ``say`` is told of each step."""
        self._home.lock()
        self._check_machine()
        digests = weights_digests(self._config, cache_dir, say)
        ports = self._engine_ports()
        collectors = plan_collectors(self._home, self._config, self._new_port)
        release = self._publish(digests, ports, collectors)
        say(f"release {release.version} signed")
        await self._start_collectors(collectors, say)
        if self._proves:
            await self._start_services(log_commands(self._home, release.logs), say)
        await self._start_engines(ports, cache_dir, say)
        addresses = await self._start_links(release, say)
        await self._start_pops(release, addresses, say)
        await self._start_control(say)
        running = self._running(release)
        self._home.write_running(running)
        return running

    async def stop(self) -> int:
        """End every process that was started, PoPs first, and wait for each; how many."""
        self._home.forget_running()
        count = len(self._children)
        pops = [one for one in self._children if one.name.startswith("pop ")]
        others = [one for one in self._children if one not in pops]
        for group in (pops, others):
            await asyncio.gather(*(child.stop() for child in group))
        self._children.clear()
        return count

    async def next_death(self) -> ChildProcess:
        """Wait until a process ends that should not have; each is told of once."""
        alive = [child for child in self._children if child not in self._dead]
        waits = {asyncio.create_task(child.wait()): child for child in alive}
        if not waits:
            await asyncio.Event().wait()
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        dead = waits[done.pop()]
        self._dead.append(dead)
        return dead

    def _publish(
        self,
        digests: Mapping[str, str],
        ports: Mapping[str, int],
        collectors: tuple[Collector, ...],
    ) -> Release:
        tenancy = seeding_of(self._home.directory, self._control)
        logs = plan_logs(self._home, self._config, self._new_port) if self._proves else ()
        return self._home.publish(
            self._config,
            digests,
            ports,
            self._listen,
            self._peer_listen,
            collectors=collectors,
            control=named_control(self._home, self._control),
            logs=logs,
            tenancy=tenancy,
        )

    async def _start_control(self, say: Say) -> None:
        if self._control is None:
            return
        path = self._home.directory / "control.yaml"
        values = msgspec.to_builtins(self._control)
        # JSON is YAML.
        write_atomically(path, msgspec.json.format(msgspec.json.encode(values)) + b"\n", 0o600)
        argv = [sys.executable, "-m", "selvedge", "control", "run", "--settings", str(path)]
        child = await self._spawn("control", argv)
        url = f"http://{self._control.admin_listen}/healthz"
        await child.wait_ready(url, deadline_s=POP_READY_S)
        say("control process")

    def _check_machine(self) -> None:
        disk = os.statvfs(self._home.directory)
        if disk.f_bavail * disk.f_frsize < FREE_DISK_BYTES_MIN:
            raise SelvedgeError(
                f"the disk of {self._home.directory} has less than "
                f"{FREE_DISK_BYTES_MIN // 1_000_000} MB free; make room or give another --home"
            )
        places = {f"PoP {pop_id}": listen for pop_id, listen in self._listen.items()}
        if self._control is not None:
            places["the control process"] = self._control.admin_listen
            places["the control process's door for PoPs"] = self._control.pops_listen
        for place, listen in places.items():
            host, _, port = listen.rpartition(":")
            trouble = _why_not(host, int(port))
            if trouble == errno.EADDRINUSE:
                raise SelvedgeError(
                    f"port {port} of {place} is taken; stop what uses it, or run with --any-port"
                )
            if trouble is not None:
                raise SelvedgeError(
                    f"{place} cannot listen on {listen}: {os.strerror(trouble).lower()}; "
                    f"change 'listen', or run with --any-port"
                )

    def _engine_ports(self) -> dict[str, int]:
        return {
            f"{pop_id}/{engine_id}": engine.embedded.port or self._new_port()
            for pop_id, pop in self._config.pops.items()
            for engine_id, engine in pop.engines.items()
            if engine.embedded is not None
        }

    async def _start_collectors(self, collectors: tuple[Collector, ...], say: Say) -> None:
        await self._start_services(collector_commands(self._home, collectors), say)

    async def _start_services(self, commands: Commands, say: Say) -> None:
        started = [(await self._spawn(name, argv), url) for name, argv, url in commands]
        for child, url in started:
            await child.wait_ready(url, deadline_s=POP_READY_S)
            say(child.name)

    async def _start_engines(self, ports: dict[str, int], cache_dir: Path, say: Say) -> None:
        started: list[tuple[str, ChildProcess, str]] = []
        for place, port in ports.items():
            pop_id, _, engine_id = place.partition("/")
            argv = self._engine_argv(pop_id, engine_id, port, cache_dir)
            url = f"http://127.0.0.1:{port}"
            child = await self._spawn(f"engine {place}", argv)
            started.append((place, child, url))
        for place, child, url in started:
            await child.wait_ready(f"{url}/health", deadline_s=ENGINE_READY_S)
            say(f"engine {place}")

    def _engine_argv(self, pop_id: str, engine_id: str, port: int, cache_dir: Path) -> list[str]:
        embedded = self._config.pops[pop_id].engines[engine_id].embedded
        if embedded is None:
            raise ValueError(f"{pop_id}/{engine_id} is not embedded")
        return embedded_argv(self._config, embedded, port, cache_dir)

    async def _start_links(self, release: Release, say: Say) -> dict[str, dict[str, str]]:
        """Emulated links between all pairs; gives each PoP the addresses of its peers."""
        if not self._wan or len(release.pops) < 2:
            return {}
        model = WanModel(path_inflation=release.wan.path_inflation, fixed_ms=release.wan.fixed_ms)
        links: list[Link] = []
        addresses: dict[str, dict[str, str]] = {}
        for a in release.pops:
            for b in release.pops:
                if a.id == b.id:
                    continue
                rtt_ms = model.rtt_ms((a.latitude, a.longitude), (b.latitude, b.longitude))
                host, _, port = b.peer.rpartition(":")
                listen_port = self._new_port()
                link = Link(f"{a.id}-{b.id}", listen_port, host, int(port), round(rtt_ms, 3))
                links.append(link)
                addresses.setdefault(a.id, {})[b.id] = f"127.0.0.1:{link.listen_port}"
                self._rtts[link.name] = link.rtt_ms
        spec = self._home.directory / "links.json"
        write_atomically(spec, render_links(tuple(links)))
        argv = [sys.executable, "-m", "selvedge.adapters.wan_link", "--spec", str(spec)]
        child = await self._spawn("links", argv)
        await child.wait_said(READY, deadline_s=POP_READY_S)
        say("emulated links")
        return addresses

    async def _start_pops(
        self, release: Release, addresses: dict[str, dict[str, str]], say: Say
    ) -> None:
        public = operator_public_key(self._home.operator_key())
        started = []
        for pop in release.pops:
            settings = self._write_settings(pop.id, public, addresses.get(pop.id, {}))
            argv = [sys.executable, "-m", "selvedge", "pop", "--settings", str(settings)]
            started.append((pop, await self._spawn(f"pop {pop.id}", argv)))
        for pop, child in started:
            url = f"http://{self._listen[pop.id]}/readyz"
            await child.wait_ready(url, deadline_s=POP_READY_S)
            say(f"PoP {pop.id}")

    def _write_settings(self, pop_id: str, public: str, addresses: dict[str, str]) -> Path:
        directory = self._home.pop(pop_id)
        path = directory / "settings.yaml"
        values = {
            "pop": pop_id,
            "listen": self._listen[pop_id],
            "peer_listen": self._peer_listen[pop_id],
            "state_dir": str(directory.resolve()),
            "release_file": str(self._home.release_file.resolve()),
            "operator_public_key": public,
            "pepper_file": str(self._home.pepper_file.resolve()),
            "peer_addresses": addresses,
            "wan_emulated": bool(addresses),
            "drain_idle_ms": 100,
            **({"log_tell_ms": 1_000} if self._proves else {}),
            **self._settings.get(pop_id, {}),
        }
        # JSON is YAML.
        write_atomically(path, msgspec.json.format(msgspec.json.encode(values)) + b"\n")
        return path

    def _new_port(self) -> int:
        """A free port that no other part of this fabric was given or is named for."""
        port = free_port()
        while port in self._ports:
            port = free_port()
        self._ports.add(port)
        return port

    async def _spawn(self, name: str, argv: list[str]) -> ChildProcess:
        log = self._home.log(name.replace(" ", "-").replace("/", "-"))
        child = await ChildProcess.start(name, argv, env=os.environ, log_path=log)
        self._children.append(child)
        return child

    def _running(self, release: Release) -> Running:
        pids = {child.name: child.pid for child in self._children}
        return Running(
            fleet=release.fleet,
            pid=os.getpid(),
            started_us=time.time_ns() // 1000,
            release=release.version,
            wan=dict(self._rtts),
            pops={
                pop.id: RunningPoP(
                    url=f"http://{self._listen[pop.id]}",
                    country=pop.country,
                    city=pop.city,
                    pid=pids[f"pop {pop.id}"],
                    engines={engine.id: engine.url for engine in pop.engines},
                )
                for pop in release.pops
            },
            processes=pids,
            keys=[key.id for key in release.keys if key.passes_to is None],
            control=self._home.control() if self._control is not None else None,
            chat_model=next((one.id for one in release.models if one.kind == "chat"), None),
        )


def weights_digests(config: FleetConfig, cache_dir: Path, say: Say) -> dict[str, str]:
    """The digest of every model whose weights are named. Raises `SelvedgeError` without them."""
    digests: dict[str, str] = {}
    for model_id, model in config.models.items():
        if model.weights is not None:
            say(f"weights of {model_id}")
            path = _weights(model.weights, cache_dir, model.quantisation)
            digests[model_id] = model_digest(path, cache_dir)
    return digests


def embedded_argv(
    config: FleetConfig, embedded: EmbeddedEngine, port: int, cache_dir: Path
) -> list[str]:
    """How an embedded engine is started, with its model's settings."""
    model = config.models[embedded.model]
    argv = [sys.executable, "-m", "selvedge.adapters.embedded_engine"]
    argv += ["--model", model.weights or "", "--alias", embedded.model, "--port", str(port)]
    argv += ["--slots", str(embedded.slots), "--threads", str(embedded.threads)]
    argv += ["--context-per-slot", str(model.context_tokens_max)]
    argv += ["--cache-dir", str(cache_dir), "--quantisation", model.quantisation]
    argv += ["--zero-retention"] if forgets(config, embedded) else []
    if model.kind == "embedding":
        return [*argv, "--embeddings"]
    argv += _speculation_argv(model.speculation)
    return [*argv, "--batch", str(embedded.prompt_batch_tokens)]


def _speculation_argv(speculation: Speculation) -> list[str]:
    """The embedded engine's options."""
    if speculation.kind == "none":
        return []
    argv = ["--speculation", speculation.kind, "--draft-tokens", str(speculation.draft_tokens)]
    if speculation.model is not None:
        return [*argv, "--draft-model", speculation.model]
    return [*argv, "--lookup-tokens", str(speculation.lookup_tokens)]


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _named_ports(config: FleetConfig) -> set[int]:
    pops = config.pops.values()
    engines = [engine for pop in pops for engine in pop.engines.values()]
    addresses = [address for pop in pops for address in (pop.listen, pop.peer) if address]
    ports = {int(address.rpartition(":")[2]) for address in addresses}
    return ports | {one.embedded.port for one in engines if one.embedded and one.embedded.port}


def _why_not(host: str, port: int) -> int | None:
    """The error number of listening there, or None where it is possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            return error.errno
        return None


def _weights(name: str, cache_dir: Path, quantisation: str) -> Path:
    if name in BUNDLED:
        return model_path(name, cache_dir, quantisation)
    path = Path(name)
    if not path.is_file():
        known = ", ".join(BUNDLED)
        raise SelvedgeError(f"weights {name!r} are neither a file nor bundled ({known})")
    return path
