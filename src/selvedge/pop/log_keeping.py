"""Keeps this PoP's log going: reads, signs each second, tells the jurisdiction's log, and says
what is wrong. It runs in the process that ships, and nobody who serves waits for it.

Whatever goes wrong costs the log time and nothing else: receipts lie in their journals, and the log
goes on from where its own state says.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from selvedge.adapters import (
    FileJournal,
    FolderFiles,
    HttpClient,
    Listener,
    NotTold,
    SetBack,
    Told,
    mark_closed,
    published,
    read_path,
)
from selvedge.fabric import (
    BadProof,
    JurisdictionLog,
    Release,
    SelvedgeError,
    StoreCorrupt,
    StoreFailed,
    log_of,
)
from selvedge.pop.log_writer import PopLog, is_away, read_before
from selvedge.pop.settings import Settings
from selvedge.pop.shared import Shared
from selvedge.tlog import TileTree, read_checkpoint, shard_order

LOOK_S: Final = 0.1
"""What is seen at one look may be read after the next: a leaf waits for two, and a checkpoint."""
ASKED_EACH_S: Final = 1.0
"""How often it is looked whether the operator asks for a new shard."""
SHARE: Final = 4
"""Where a process serves as well, reading has one part in so many of a thread's time."""
BACK_OFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
TARGET: Final = "add-pop-checkpoint"
FORBIDDEN: Final = 403

log: Final = logging.getLogger("selvedge.log")


class LogKeeping:
    """Runs until cancelled. ``serves`` says whether this process answers requests as well."""

    def __init__(
        self,
        settings: Settings,
        client: HttpClient,
        own: PopLog,
        *,
        shared: Shared | None = None,
        serves: bool = True,
    ) -> None:
        self.own = own
        self.closed: str | None = None
        """Why the log signs nothing until the operator opens a new shard; None: it is not."""
        self._settings = settings
        self._client = client
        self._shared = shared
        self._serves = serves
        self._release: Release | None = None
        self._jurisdiction: JurisdictionLog | None = None
        self._listener: Listener | None = None
        self._behind: list[str] = []
        """Shards before the open one whose end the jurisdiction's log has not confirmed."""
        self._is_confirmed = False
        self._keyless: str | None = None
        self._failures = self._untold = 0
        self._due_s = self._tell_s = 0.0
        self._asked_s = float("-inf")
        self._said = ""

    @property
    def may_sign(self) -> bool:
        """Whether what was signed before is confirmed, and nothing speaks against it."""
        return self._is_confirmed and self.closed is None and self.own.is_open

    def may_drop(self, number: int, journal: FileJournal) -> int:
        """The segments of a journal before this one are in the log, where this PoP keeps one."""
        if self._release is None:
            return 0
        if not self._release.pop(self._settings.pop).log_keys:
            return max(journal.sizes(), default=0)
        return read_before(self.own.state, number)

    async def watch(self, release_of: Callable[[], Release | None]) -> None:
        """Look, write and tell, again and again."""
        telling: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                try:
                    release = release_of()
                    if release is None or not await self.ready(release):
                        continue
                    if telling is None or telling.done():
                        telling = self._begin_telling()
                    if self.may_sign:
                        await self.turn()
                except (StoreFailed, StoreCorrupt) as error:
                    self.failed(error)
                except Exception as error:
                    log.exception("a fault of ours: the log")
                    self.failed(StoreFailed(str(error)))
        finally:
            if telling is not None:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    async def ready(self, release: Release) -> bool:
        """Whether the log is open, or could be opened."""
        if self._release is None or release.version != self._release.version:
            why = await asyncio.to_thread(self.own.key, release)
            self._meet(release)
            self._keyless = why
        if self._keyless is not None:
            self._say(f"the log is not written: {self._keyless}")
            return False
        if time.monotonic() < self._due_s:
            return False
        if time.monotonic() >= self._asked_s + ASKED_EACH_S:
            self._asked_s = time.monotonic()
            if await asyncio.to_thread(lambda: self.own.is_to_reshard):
                await self._reshard()
        if self.closed is not None:
            return False
        if not self.own.is_open:
            await asyncio.to_thread(self.own.open)
            self._begin()
        return True

    def _meet(self, release: Release) -> None:
        """A new release: perhaps another jurisdiction's log, or other keys."""
        self._release = release
        country = release.pop(self._settings.pop).country
        found = log_of(release.logs, country)
        if found is None:
            self._say(f"no log of the release takes checkpoints of PoPs in {country}")
        if found != self._jurisdiction or self._listener is None:
            self._jurisdiction = found
            self._listener = Listener(self._client, found.url, TARGET) if found else None
        self._is_confirmed = self._is_confirmed or found is None

    def _begin(self) -> None:
        """The log is open: what was signed before is to be confirmed first."""
        if not self._is_confirmed:
            self._behind = self._shard_before()
        log.info("the log is open: shard %s, size %d", self.own.state.shard, self.own.state.size)

    async def _reshard(self) -> None:
        shard = await asyncio.to_thread(self.own.reshard)
        log.warning("shard %s is opened as the operator asks; the one before stays as it is", shard)
        self.closed = None
        mark_closed(self.own.folder, None)
        self._behind = []
        self._is_confirmed = self._jurisdiction is None
        self._due_s = self._tell_s = 0.0

    async def turn(self) -> None:
        """Take in what there is, and sign it where it is time to."""
        own, begun = self.own, time.perf_counter()
        read = await asyncio.to_thread(own.look_and_read)
        while read and not own.is_due:
            if self._serves:
                await asyncio.sleep((SHARE - 1) * (time.perf_counter() - begun))
            begun = time.perf_counter()
            read = await asyncio.to_thread(own.read)
        if own.is_due:
            await asyncio.to_thread(own.commit)
            self._went_well()
        if own.is_month_over and await asyncio.to_thread(own.turn_month):
            self._behind = [*self._behind, *self._shard_before()]
        self._show()

    def _shard_before(self) -> list[str]:
        """The one that ended with its month; one that the operator left is not told any more."""
        now = shard_order(self.own.state.shard)
        before = [one for one in self.own.store.shards() if shard_order(one) < now][-1:]
        return [one for one in before if shard_order(one)[0] < now[0]] if self._listener else []

    def _begin_telling(self) -> asyncio.Task[None] | None:
        """Tell the jurisdiction's log in the background, where it is time to."""
        listener, state = self._listener, self.own.state
        if listener is None or time.monotonic() < self._tell_s or self.closed is not None:
            return None
        origin = self.own.origin(state.shard)
        if listener.knows(origin) == state.size and not self._behind:
            return None
        return asyncio.get_running_loop().create_task(self.tell())

    async def tell(self) -> None:
        """Tell the jurisdiction's log what it has not confirmed. Raises nothing."""
        listener = self._listener
        assert listener is not None, "the release names a log for this PoP"
        try:
            while self._behind:
                await self._tell_end(listener, self._behind[0])
                self._behind.pop(0)
            state = self.own.state
            await self._tell_shard(listener, state.shard, state.note.encode())
        except NotTold as error:
            wait_s = BACK_OFF_S[min(self._untold, len(BACK_OFF_S) - 1)]
            self._tell_s = time.monotonic() + wait_s
            if self._untold == 0 or self._untold >= len(BACK_OFF_S):
                log.error("checkpoints wait here: %s", error)
            self._untold += 1
        except SetBack as error:
            self._close(str(error))
        except (BadProof, StoreFailed) as error:
            self._tell_s = time.monotonic() + BACK_OFF_S[-1]
            log.error("checkpoints cannot be told, a file of the log is damaged: %s", error)
            if self._behind:
                self._behind.pop(0)
        except Exception:
            self._tell_s = time.monotonic() + BACK_OFF_S[-1]
            log.exception("a fault of ours: telling the log")
        else:
            if self._untold:
                log.warning("checkpoints are taken again by %s", listener.url)
            self._untold = 0
            self._tell_s = time.monotonic() + self._settings.log_tell_ms / 1000
            if not self._is_confirmed:
                mark_closed(self.own.folder, None)
            self._is_confirmed = True
            if self._shared is not None:
                self._shared.log_told.set(int(time.time()))

    async def _tell_end(self, listener: Listener, shard: str) -> None:
        """The last checkpoint of a shard that is closed, where it can still be told."""
        try:
            await self._tell_shard(listener, shard, None)
        except (NotTold, SetBack) as error:
            if isinstance(error, NotTold) and error.status != FORBIDDEN:
                raise
            log.error("the end of shard %s is not taken any more: %s", shard, error)

    async def _tell_shard(self, listener: Listener, shard: str, note: bytes | None) -> None:
        files = FolderFiles(self.own.folder)
        if note is None:
            note = await asyncio.to_thread(files.read, published(shard))
            if note is None:
                return
        checkpoint, _ = read_checkpoint(note)
        tree = TileTree(checkpoint.size, checkpoint.root, read_path(files, shard))

        def prove(old_size: int) -> Sequence[bytes]:
            return tree.consistency_proof(old_size)

        await listener.tell(Told(self.own.origin(shard), checkpoint.size, note), prove)

    def _close(self, why: str) -> None:
        self.closed = why
        mark_closed(self.own.folder, why)
        self._is_confirmed = False
        log.critical("the log is closed: %s; see 'selvedge log reshard'", why)
        self._show()

    def failed(self, error: SelvedgeError) -> None:
        """Take the log up again later from its disk; at once nothing of it is in memory."""
        self.own.is_open = False
        if isinstance(error, StoreCorrupt) or not is_away(error):
            self._close(str(error))
            return
        self._due_s = time.monotonic() + BACK_OFF_S[min(self._failures, len(BACK_OFF_S) - 1)]
        if self._failures == 0 or self._failures >= len(BACK_OFF_S):
            log.error("receipts wait for the log: %s", error)
        self._failures += 1
        self._show()

    def _went_well(self) -> None:
        if self._failures:
            log.warning("the log is written again")
        self._failures = 0

    def _say(self, words: str) -> None:
        if words != self._said:
            self._said = words
            log.warning("%s", words)

    def _show(self) -> None:
        if self._shared is None:
            return
        state = self.own.state
        self._shared.log_size.set(state.size)
        self._shared.log_signed.set(state.time_us // 1_000_000)
        self._shared.log_closed.set(int(self.closed is not None))
