"""Shipments in, answers out: what comes together is written and synced together, then answered.

One group is under way at a time; what comes meanwhile is the next one. So under load an answer
waits for the sync of the group before it and for its own, however many ask.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from selvedge.exchange import collection
from selvedge.fabric import StoreFailed
from selvedge.ledger import BadBatch, CollectorLog, Taken

GROUP_BYTES_MAX: Final = 16 * 1024 * 1024
WAITING_BYTES_MAX: Final = 256 * 1024 * 1024

log: Final = logging.getLogger("selvedge.collector")


class Busy(StoreFailed):
    """More waits than may wait; nothing of the shipment was taken."""


class _Waiting:
    """One shipment and who waits for its answer."""

    __slots__ = ("answer", "key", "shipment", "size")

    def __init__(self, shipment: collection.Shipment, key: bytes, size: int) -> None:
        self.shipment = shipment
        self.key = key
        self.size = size
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()


class GroupCommit:
    """The door of one collector's log. Owned by one event loop."""

    def __init__(
        self, log_: CollectorLog, zone: str, pair_key_of: Callable[[str], bytes | None]
    ) -> None:
        self.log = log_
        self._zone = zone
        self._pair_key_of = pair_key_of
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._closing = False
        self._wake = asyncio.Event()
        self._syncer = ThreadPoolExecutor(1, "collector-sync")
        self.receipts = self.conflicts = self.alarms = self.groups = self.unverified = 0

    async def take(self, written: bytes) -> bytes:
        """The answer to a shipment, when what it brought is on disk.

        Raises `BadTicket`, `Busy`, `StoreFailed`; then nothing of it was taken.
        """
        shipment = collection.read_shipment(written, self._zone, self._pair_key_of)
        key = self._pair_key_of(shipment.pop)
        assert key is not None, "its MAC was just held by it"
        if self._bytes > WAITING_BYTES_MAX:
            raise Busy(f"more than {WAITING_BYTES_MAX} bytes wait for the disk; try again later")
        one = _Waiting(shipment, key, len(written))
        self._waiting.append(one)
        self._bytes += one.size
        self._wake.set()
        return await one.answer

    async def run(self) -> None:
        """Write group after group until cancelled, or until nothing can be written any more."""
        try:
            while self.log.broken is None:
                await self._wake.wait()
                await self._commit(self._next_group())
                self._roll()
                if not self._waiting:
                    self._wake.clear()
        finally:
            self._give_up(StoreFailed(self.log.broken or "the collector ends"))
            self._syncer.shutdown(wait=True)
        raise StoreFailed(str(self.log.broken))

    def _next_group(self) -> list[_Waiting]:
        size, count = 0, 0
        while count < len(self._waiting) and size < GROUP_BYTES_MAX:
            size += self._waiting[count].size
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        self._bytes -= size
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        lines: list[bytes] = []
        told: list[tuple[_Waiting, str | None]] = []
        for one in group:
            pop = one.shipment.pop
            try:
                taken = self.log.known.take(pop, one.shipment.batch)
            except BadBatch as error:
                self.alarm("nothing is taken of a shipment of PoP %s: %s", pop, error)
                told.append((one, str(error)))
                continue
            lines += taken.lines
            self._count(pop, taken)
            told.append((one, None))
        try:
            if lines:
                await self._write(lines)
        except StoreFailed as error:
            self.alarm("receipts cannot be written: %s", error)
            for one in group:
                _fail(one, error)
            return
        for one, problem in told:
            place = self.log.known.place(one.shipment.pop, one.shipment.batch.worker)
            if not one.answer.done():
                one.answer.set_result(collection.hold(one.shipment, place, problem, one.key))

    async def _write(self, lines: list[bytes]) -> None:
        self.groups += 1
        self.log.write(lines)
        syncing = asyncio.get_running_loop().run_in_executor(self._syncer, self.log.sync)
        await asyncio.shield(syncing)

    def close_segment(self) -> None:
        """Have a segment that holds anything closed soon, full or not."""
        self._closing = not self.log.empty
        self._wake.set()

    def _roll(self) -> None:
        try:
            self.log.roll(now=self._closing)
        except StoreFailed as error:
            self.alarm("a new segment cannot be started, the old one goes on: %s", error)
        self._closing = False

    def _count(self, pop: str, taken: Taken) -> None:
        self.receipts += taken.new
        self.conflicts += len(taken.conflicts)
        self.unverified += taken.unverified
        for words in taken.conflicts:
            self.alarm("%s: both are kept, the first counts", words)
        for words in taken.gaps:
            self.alarm("receipts are missing of %s", words)
        if taken.filled:
            log.warning("PoP %s: %d gaps are filled", pop, taken.filled)
        if taken.double:
            log.warning("PoP %s: %d receipts came again", pop, taken.double)

    def alarm(self, words: str, *values: object) -> None:
        """Something that an operator must look at: counted, and an error in the log."""
        self.alarms += 1
        log.error(words, *values)

    def _give_up(self, error: StoreFailed) -> None:
        for one in self._waiting:
            _fail(one, error)
        self._waiting.clear()


def _fail(one: _Waiting, error: StoreFailed) -> None:
    if not one.answer.done():
        one.answer.set_exception(error)
