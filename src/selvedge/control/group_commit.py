"""Shipments in, answers out: what comes together is written and synced together, then answered.

One group is under way at a time; what comes meanwhile is taken at once and written as the next. So
an answer waits for the rest of one sync and for its own, however many ask. Nobody is told of what
is not on disk: where a write fails, all that was taken on top of it is forgotten with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from selvedge.exchange import collection
from selvedge.fabric import StoreFailed
from selvedge.ledger import BadBatch, CollectorLog, Place, Taken

WAITING_BYTES_MAX: Final = 256 * 1024 * 1024

log: Final = logging.getLogger("selvedge.collector")


class Busy(StoreFailed):
    """More waits than may wait; nothing of the shipment was taken."""


class _Waiting:
    """A shipment that was taken, and who waits until that is on disk."""

    __slots__ = ("answer", "key", "place", "problem", "shipment")

    def __init__(
        self, shipment: collection.Shipment, key: bytes, place: Place, problem: str | None
    ) -> None:
        self.shipment = shipment
        self.key = key
        self.place = place
        self.problem = problem
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def tell(self) -> None:
        """Answer it."""
        if not self.answer.done():
            self.answer.set_result(
                collection.hold(self.shipment, self.place, self.problem, self.key)
            )


class GroupCommit:
    """The door of one collector's log. Owned by one event loop."""

    def __init__(
        self, log_: CollectorLog, zone: str, pair_key_of: Callable[[str], bytes | None]
    ) -> None:
        self.log = log_
        self._zone = zone
        self._pair_key_of = pair_key_of
        self._waiting: list[_Waiting] = []
        self._lines: list[bytes] = []
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
        if self.log.broken is not None:
            raise StoreFailed(self.log.broken)
        if self._bytes > WAITING_BYTES_MAX:
            raise Busy(f"more than {WAITING_BYTES_MAX} bytes wait for the disk; try again later")
        problem = self._take(shipment)
        place = self.log.known.place(shipment.pop, shipment.batch.worker)
        one = _Waiting(shipment, key, place, problem)
        self._waiting.append(one)
        self._wake.set()
        return await one.answer

    def _take(self, shipment: collection.Shipment) -> str | None:
        """Know it, while the group before it is still being synced; why not, where it does not
        hold.
        """
        try:
            taken = self.log.known.take(shipment.pop, shipment.batch)
        except BadBatch as error:
            self.alarm("nothing is taken of a shipment of PoP %s: %s", shipment.pop, error)
            return str(error)
        except StoreFailed as error:
            self.alarm("nothing is taken of a shipment of PoP %s: %s", shipment.pop, error)
            raise
        self._lines += taken.lines
        self._bytes += len(shipment.batch.lines)
        self._count(shipment.pop, taken)
        return None

    async def run(self) -> None:
        """Write group after group until cancelled, or until nothing can be written any more."""
        try:
            while self.log.broken is None:
                await self._wake.wait()
                self._wake.clear()
                await self._commit()
        finally:
            self._give_up(self._waiting, StoreFailed(self.log.broken or "the collector ends"))
            self._syncer.shutdown(wait=True)
        raise StoreFailed(str(self.log.broken))

    async def _commit(self) -> None:
        """One group: all that was taken since the one before it was written."""
        group, self._waiting = self._waiting, []
        lines, self._lines, self._bytes = self._lines, [], 0
        try:
            if lines:
                self.groups += 1
                self.log.write(lines)
            # All that is known is written, right now: a header may say it.
            header = self.log.next_header(now=self._closing)
            self._closing = False
            if lines or header is not None:
                loop = asyncio.get_running_loop()
                syncing = loop.run_in_executor(self._syncer, self._sync, header)
                await asyncio.shield(syncing)
        except StoreFailed as error:
            self.alarm("receipts cannot be written: %s", error)
            # What came meanwhile was taken on top of what is forgotten now.
            self._give_up(group + self._waiting, error)
            self._waiting, self._lines, self._bytes = [], [], 0
            return
        for one in group:
            one.tell()

    def _sync(self, header: bytes | None) -> None:
        """In a thread of its own: nothing is written meanwhile."""
        self.log.sync()
        if header is None:
            return
        try:
            self.log.start(header)
        except StoreFailed as error:
            self.alarm("a new segment cannot be started, the old one goes on: %s", error)

    def close_segment(self) -> None:
        """Have a segment that holds anything closed soon, full or not."""
        self._closing = not self.log.empty
        self._wake.set()

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

    def _give_up(self, waiting: list[_Waiting], error: StoreFailed) -> None:
        for one in waiting:
            if not one.answer.done():
                one.answer.set_exception(error)
