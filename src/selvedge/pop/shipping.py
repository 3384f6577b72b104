"""Receipts on their way to the collectors, in the background: no request waits for anything here.

All journals of this PoP go, also those of workers that ended. Each zone has a task of its own, so
that a collector that is away holds up nobody else's receipts. One small read of a journal at a time
is handled, and a bound on bytes per second holds also after a day without a collector.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from selvedge.adapters import (
    Entropy,
    FileJournal,
    HttpClient,
    Outgoing,
    TransportFailed,
    held_tenants,
    journal_of,
    journals_of,
    service_key,
)
from selvedge.exchange import collection
from selvedge.fabric import BadRelease, BadTicket, Collector, Release, StoreFailed
from selvedge.ledger import BEGINNING, Backlog, Shipper
from selvedge.pop.settings import Settings
from selvedge.pop.shared import Shared
from selvedge.pop.shipped import drop_shipped
from selvedge.routing import Draws

TIMEOUT_S: Final = 30.0
DROP_EACH_S: Final = 60.0
BACK_OFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)

log: Final = logging.getLogger("selvedge.shipping")


class NotTaken(Exception):
    """The collector did not take a batch; the words say why."""


class Route:
    """The way of all journals to the collector of one zone."""

    def __init__(self, collector: Collector, key: bytes, tls: ssl.SSLContext | None) -> None:
        self.collector = collector
        self.key = key
        self.tls = tls
        self.shippers: dict[int, Shipper] = {}
        self.backlogs: dict[int, Backlog] = {}
        self.failures = 0
        self.due_s = 0.0
        self.shipped = 0
        self.task: asyncio.Task[None] | None = None

    def backlog(self, number: int) -> Backlog | None:
        """What waits of a journal; None where the collector is still to say how far it has come.

        One that is away when this process begins is taken to have nothing.
        """
        shipper, backlog = self.shippers.get(number), self.backlogs.get(number)
        if shipper is None:
            return backlog
        if shipper.acknowledged is not None or (backlog is None and self.failures):
            backlog = self.backlogs.setdefault(number, Backlog(self.collector.zone))
            backlog.acknowledge(shipper.acknowledged or BEGINNING)
        return backlog

    def outgoing(self, body: bytes) -> Outgoing:
        """A question to the collector. Plaintext stays inside this network."""
        url = urlsplit(self.collector.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        target = url.path.rstrip("/") + collection.TARGET
        return Outgoing(
            url.hostname or "", port, "POST", target, (), body, self.tls, plain_outside=False
        )


class Shipping:
    """Ships until it is cancelled. ``release_of`` gives the release that serves here, if any."""

    def __init__(
        self,
        settings: Settings,
        client: HttpClient,
        identity: bytes,
        release_of: Callable[[], Release | None],
        clock_s: Callable[[], float] = time.monotonic,
        *,
        shared: Shared | None = None,
        may_drop: Callable[[int, FileJournal], int] | None = None,
    ) -> None:
        """``may_drop``: of a journal and its number, the segment before which all may leave."""
        self._shared = shared
        self._may_drop = may_drop
        self._settings = settings
        self._client = client
        self._identity = identity
        self._release_of = release_of
        self._clock_s = clock_s
        self._entropy = Entropy()
        self._draws = Draws(f"shipping/{settings.pop}")
        self._version = 0
        self._drop_due_s = 0.0
        self.routes: dict[str, Route] = {}
        self.journals: dict[int, FileJournal] = {}

    async def watch(self) -> None:
        """Look and ship, again and again."""
        try:
            while True:
                await asyncio.sleep(self._settings.ship_ms / 1000)
                try:
                    await self.turn()
                except StoreFailed as error:
                    log.error("receipts are not shipped: %s", error)
                except Exception:
                    log.exception("a fault of ours: shipping receipts")
        finally:
            tasks = [one.task for one in self.routes.values() if one.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def turn(self) -> None:
        """See what there is, and set going what is due."""
        release = self._release_of()
        if release is None:
            return
        if release.version != self._version:
            self._meet(release)
        if not self.routes:
            self._show()
            return
        await asyncio.to_thread(self._look)
        if self._settings.receipts_kept_days and self._clock_s() >= self._drop_due_s:
            self._drop_due_s = self._clock_s() + DROP_EACH_S
            await asyncio.to_thread(self._drop)
        for route in self.routes.values():
            is_idle = route.task is None or route.task.done()
            if is_idle and route.due_s <= self._clock_s():
                route.task = asyncio.get_running_loop().create_task(self._run(route))
        await asyncio.to_thread(self._count)
        self._show()

    def _look(self) -> None:
        directory = Path(self._settings.state_dir)
        for number in journals_of(directory):
            if number not in self.journals:
                self.journals[number] = FileJournal(journal_of(directory, number) / "receipts")
        for journal in self.journals.values():
            journal.look()

    def _drop(self) -> None:
        """What every collector has, and is old enough."""
        before_s = self._settings.receipts_kept_days * 86_400.0
        held = held_tenants(Path(self._settings.state_dir))
        for number, journal in self.journals.items():
            upto = acknowledged(self.routes, number)
            if self._may_drop is not None:
                upto = min(upto, self._may_drop(number, journal))
            zones = self.routes.keys()
            for segment in drop_shipped(journal, upto, zones, before_s, time.time(), held=held):
                log.info("segment %d of journal %d is dropped: it is shipped", segment, number)

    def _count(self) -> None:
        """Read on what waits, no faster than receipts are shipped."""
        left = self._settings.ship_bytes_per_s_max * self._settings.ship_ms // 1000
        for route in self.routes.values():
            for number, journal in self.journals.items():
                backlog = route.backlog(number)
                while backlog is not None and left > 0 and (read := backlog.read(journal)):
                    left -= read

    def _show(self) -> None:
        if self._shared is None:
            return
        backlogs = [one for route in self.routes.values() for one in route.backlogs.values()]
        since = min((one.oldest_us for one in backlogs if one.oldest_us), default=0)
        self._shared.unshipped.set(sum(one.count for one in backlogs))
        self._shared.unshipped_bytes.set(sum(one.bytes for one in backlogs))
        self._shared.unshipped_since.set(since // 1_000_000)

    def _meet(self, release: Release) -> None:
        """A new release: other collectors, perhaps."""
        self._version = release.version
        wanted: dict[str, Route] = {}
        for collector in release.collectors:
            known = self.routes.get(collector.zone)
            if known is not None and known.collector == collector:
                wanted[collector.zone] = known
                continue
            try:
                wanted[collector.zone] = self._route(release, collector)
            except BadRelease as error:
                log.error("receipts of zone %s stay here: %s", collector.zone, error)
        for zone, route in self.routes.items():
            if wanted.get(zone) is not route and route.task is not None:
                route.task.cancel()
        self.routes = wanted

    def _route(self, release: Release, collector: Collector) -> Route:
        there = collection.name_of(collector.zone)
        key = service_key(
            release.fleet, self._identity, self._settings.pop, there, collector.public_key
        )
        is_tls = collector.url.startswith("https://")
        return Route(collector, key, ssl.create_default_context() if is_tls else None)

    async def _run(self, route: Route) -> None:
        """Ship what stands, journal by journal, until there is no more."""
        zone = route.collector.zone
        try:
            for number, journal in list(self.journals.items()):
                shipper = route.shippers.get(number)
                if shipper is None:
                    shipper = route.shippers[number] = self._shipper(zone, number)
                await self._ship(route, shipper, journal)
        except (NotTaken, TransportFailed, TimeoutError, BadTicket, StoreFailed) as error:
            self._failed(route, str(error) or f"no answer in {TIMEOUT_S:g} s")
        else:
            if route.failures:
                log.warning("receipts of zone %s are taken again", zone)
            route.failures = 0

    def _shipper(self, zone: str, number: int) -> Shipper:
        settings = self._settings
        return Shipper(
            zone,
            number,
            bytes_max=settings.ship_batch_bytes_max,
            count_max=settings.ship_batch_max,
            personal=settings.ship_personal,
        )

    async def _ship(self, route: Route, shipper: Shipper, journal: FileJournal) -> None:
        rate = self._settings.ship_bytes_per_s_max / len(self.routes)
        damaged = shipper.damaged
        while True:
            # A disk may stand still, so in a thread; what it then holds the others up with, the
            # handling of one read, takes a fraction of a millisecond.
            read = await asyncio.to_thread(shipper.read, journal)
            await asyncio.sleep(read / rate)
            if read and not shipper.full:
                continue
            if shipper.damaged > damaged:
                words = "%d damaged lines in journal %d are not shipped; their numbers will miss"
                log.error(words, shipper.damaged - damaged, shipper.worker)
                damaged = shipper.damaged
            if not shipper.due:
                return
            await self._send(route, shipper)

    async def _send(self, route: Route, shipper: Shipper) -> None:
        nonce = self._entropy.take(collection.NONCE_BYTES)
        zone, batch = route.collector.zone, shipper.batch
        shipment = collection.Shipment(self._settings.pop, zone, nonce, batch)
        written = collection.ship(shipment, route.key)
        try:
            answer = await self._client.fetch(
                route.outgoing(written),
                bytes_max=collection.ANSWER_BYTES_MAX,
                timeout_s=TIMEOUT_S,
            )
            if answer.status != 200:
                said = answer.body[:200].decode(errors="replace")
                raise NotTaken(f"the collector answered {answer.status}: {said}")
            holding = collection.read_holding(answer.body, shipment, route.key)
        except BaseException:
            shipper.unsure()
            raise
        shipper.take(holding.place)
        if holding.problem is not None:
            raise NotTaken(holding.problem)
        route.shipped += batch.lines.count(b"\n")

    def _failed(self, route: Route, why: str) -> None:
        """Try again later, and later each time; said at first, and then each time it is longest."""
        wait_s = BACK_OFF_S[min(route.failures, len(BACK_OFF_S) - 1)]
        if route.failures == 0 or route.failures >= len(BACK_OFF_S):
            zone = route.collector.zone
            log.error("receipts of zone %s wait here: %s", zone, why)
        route.failures += 1
        half_ms = int(wait_s * 500)
        route.due_s = self._clock_s() + wait_s / 2 + self._draws.below(half_ms) / 1000


def acknowledged(routes: Mapping[str, Route], number: int) -> int:
    """The segments of a journal before this one have gone to every collector; 0 where unknown."""
    places = []
    for route in routes.values():
        shipper = route.shippers.get(number)
        if shipper is None or shipper.acknowledged is None:
            return 0
        places.append(shipper.acknowledged[0])
    return min(places, default=0)
