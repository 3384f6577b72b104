"""Probes: the control process asks each PoP for a word of each of its models, now and then.

A probe is an ordinary request under a key of the operator's own tenant (`PROBE_TENANT`); the PoP
writes its receipt as of any other, with the purpose ``probe``, and service levels of models with
few requests are measured by it. It never takes a slot from a customer: `Prefer: wait=0` has it
refused where all are busy, its answer is of four tokens at most, and of one PoP and model there is
one at a time.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zlib import crc32

import msgspec

from selvedge.adapters import ClientSettings, HttpClient, Outgoing, TransportFailed
from selvedge.control.home import Home
from selvedge.control.settings import ControlSettings
from selvedge.fabric import Release, Route, SelvedgeError
from selvedge.ledger import tenants_with_sla

USUAL_MS: Final = 60_000
"""How often, where a service level is promised and nothing else is set."""
TOKENS_MAX: Final = 4
ANSWER_S_MAX: Final = 30.0
AT_ONCE_MAX: Final = 8
LOOK_S: Final = 1.0

log: Final = logging.getLogger("selvedge.control")


class Probe(msgspec.Struct, frozen=True, order=True):
    """One thing to ask: which PoP, for which model, by which route."""

    pop: str
    model: str
    url: str
    route: Route

    @property
    def body(self) -> bytes:
        """What is asked: a word, to be answered by a few tokens."""
        if self.route is Route.EMBEDDINGS:
            return msgspec.json.encode({"model": self.model, "input": "a"})
        if self.route is Route.RERANK:
            asked = {"model": self.model, "query": "a", "documents": ["a"]}
            return msgspec.json.encode(asked)
        return msgspec.json.encode(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": "Say a."}],
                "max_tokens": TOKENS_MAX,
                "stream": True,
            }
        )


def probes_of(release: Release) -> list[Probe]:
    """Every PoP with every model that its engines serve."""
    kinds = {one.id: one.kind for one in release.models}
    return sorted(
        {
            Probe(pop.id, one.model, pop.url.rstrip("/"), _route(kinds.get(one.model, "chat")))
            for pop in release.pops
            for engine in pop.engines
            for one in engine.serves
        }
    )


def _route(kind: str) -> Route:
    return {"embedding": Route.EMBEDDINGS, "rerank": Route.RERANK}.get(kind, Route.CHAT)


class ProbeTimes:
    """When each probe is due: once every ``every_us``, all spread over that time, none made up for.

    Which moment of it is a probe's own, and the same after a restart.
    """

    def __init__(self, every_us: int, since_us: int) -> None:
        self._every_us = every_us
        self._since_us = since_us
        self._turns: dict[Probe, int] = {}

    def due(self, probes: list[Probe], now_us: int) -> list[Probe]:
        """Those whose turn came since it was last asked."""
        found = []
        for probe in probes:
            turn = self._turn(probe, now_us)
            if turn > self._turns.get(probe, self._turn(probe, self._since_us)):
                found.append(probe)
            self._turns[probe] = turn
        for gone in self._turns.keys() - set(probes):
            del self._turns[gone]
        return found

    def _turn(self, probe: Probe, at_us: int) -> int:
        own = crc32(f"{probe.pop}/{probe.model}".encode()) * 1_000 % self._every_us
        return (at_us - own) // self._every_us


Ask = Callable[[Probe], Awaitable[int]]


def probe_every_ms(settings: ControlSettings) -> int:
    """How often probes are sent; 0: never. Raises `SelvedgeError`.

    Without a setting: where the newest published price book promises somebody something.
    """
    if settings.probe_key_file is None:
        return 0
    if settings.probes_every_ms is not None:
        return settings.probes_every_ms
    held = Home(Path(settings.home)).prices().newest()
    return USUAL_MS if held is not None and tenants_with_sla(held.book) else 0


class Prober:
    """One per control process. ``ask`` sends one probe and tells the status of its answer."""

    def __init__(self, times: ProbeTimes, release: Callable[[], Release | None], ask: Ask) -> None:
        self._times = times
        self._release = release
        self._ask = ask
        self._running: dict[Probe, asyncio.Task[None]] = {}

    def step(self, now_us: int) -> list[Probe]:
        """Send what is due; which that was. What is still being asked is left out."""
        release = self._release()
        if release is None:
            return []
        sent = []
        for probe in self._times.due(probes_of(release), now_us):
            if probe not in self._running and len(self._running) < AT_ONCE_MAX:
                self._running[probe] = asyncio.create_task(self._one(probe))
                sent.append(probe)
        return sent

    async def _one(self, probe: Probe) -> None:
        try:
            status = await self._ask(probe)
            if status in (401, 403):
                log.error("PoP %s refuses the probe's key: %d", probe.pop, status)
        except (TransportFailed, OSError) as error:
            log.warning("PoP %s cannot be probed: %s", probe.pop, error or "no answer in time")
        finally:
            del self._running[probe]

    async def close(self) -> None:
        """Leave what is being asked."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)


class PopAsker:
    """Probes over HTTP, under one key."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._client = HttpClient(ClientSettings())
        self._tls = ssl.create_default_context()

    async def ask(self, probe: Probe) -> int:
        """Raises `TransportFailed`, `TimeoutError`."""
        parts = urlsplit(probe.url)
        secure = parts.scheme == "https"
        request = Outgoing(
            host=parts.hostname or "",
            port=parts.port or (443 if secure else 80),
            method="POST",
            target=f"{parts.path}{probe.route.value}",
            headers=(
                ("authorization", f"Bearer {self._key}"),
                ("content-type", "application/json"),
                ("prefer", "wait=0"),
                ("cache-control", "no-store"),
            ),
            body=probe.body,
            tls=self._tls if secure else None,
        )
        answer = await self._client.fetch(request, timeout_s=ANSWER_S_MAX)
        return answer.status

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()


async def run_probes(
    settings: ControlSettings, release: Callable[[], Release | None], clock: Callable[[], int]
) -> None:
    """Until cancelled; at once over where nothing is to be probed."""
    try:
        every_ms = await asyncio.to_thread(probe_every_ms, settings)
        if not every_ms:
            return
        key = await asyncio.to_thread(_key, Path(settings.probe_key_file or ""))
    except SelvedgeError as error:
        log.error("nothing is probed: %s", error)
        return
    asker = PopAsker(key)
    prober = Prober(ProbeTimes(every_ms * 1_000, clock()), release, asker.ask)
    try:
        while True:
            prober.step(clock())
            await asyncio.sleep(LOOK_S)
    finally:
        await prober.close()
        await asker.close()


def _key(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SelvedgeError(f"probe_key_file {path} cannot be read: {error}") from error
