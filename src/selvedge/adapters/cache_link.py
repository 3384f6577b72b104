"""A worker's way to the cache process: one Unix socket, callbacks, and never a reason to wait.

Whatever is wrong is a miss: no process, a slow one, a broken one, a full queue. Each look-up has a
deadline on the loop's clock. A lost connection is made again, later each time up to
`RETRY_MS_MAX`; what was asked on it is told at once that there is nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from selvedge.adapters.answer_store import AnswerStore
from selvedge.adapters.answer_store_marks import Purge
from selvedge.adapters.answer_store_records import KeptAnswer
from selvedge.adapters.cache_process_frames import (
    VERSION,
    AskedName,
    AskExplain,
    AskJudge,
    AskPurge,
    AskRecall,
    AskReport,
    AskStats,
    BadFrame,
    Hello,
    SayDone,
    SayFound,
    SayJudged,
    ScopeName,
    TellAnswer,
    TellHit,
    to_worker,
)
from selvedge.adapters.cache_wire import CacheWire
from selvedge.cache import Asked, Scope
from selvedge.fabric import CacheRule, StoreFailed
from selvedge.fabric.value import Value

RETRY_MS_MIN: Final = 50
RETRY_MS_MAX: Final = 5_000
RECALL_MS_MAX: Final = 40
ASK_MS_MAX: Final = 10_000
QUEUE_BYTES_MAX: Final = 16 * 2**20
"""Of answers on their way to the process; what comes on top is dropped and counted."""
ASKED_MAX: Final = 1024
_SCOPES_MAX: Final = 10_000


class Found(Value, frozen=True):
    """An answer to a similar question, and why it may be given."""

    entry: KeptAnswer
    similarity: float
    bound: float
    why: str


class Judge(Protocol):
    """Asks models for the process."""

    def begin(self, asked: AskJudge, tell: Callable[[SayJudged], None]) -> None:
        """Ask; ``tell`` hears what came of it, once."""

    def forsake(self) -> None:
        """Nobody waits for what runs."""


class CacheDown(StoreFailed):
    """The cache process did not answer; whatever was asked of it may or may not be done."""


class LinkCounts:
    """What came of it all."""

    __slots__ = ("connections", "down", "dropped", "found", "late", "none")

    def __init__(self) -> None:
        self.found = 0
        self.none = 0
        self.late = 0
        """Look-ups that were over their deadline."""
        self.down = 0
        """Look-ups without a process, or with too many before them."""
        self.dropped = 0
        """Answers and hits that could not be handed over."""
        self.connections = 0


class CacheLink:
    """One worker's. `start` it on the loop whose thread calls everything else."""

    def __init__(
        self,
        path: Path,
        store: AnswerStore,
        *,
        recall_ms_max: int = RECALL_MS_MAX,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
    ) -> None:
        self.counts = LinkCounts()
        self._path = path
        self._store = store
        self._recall_s = recall_ms_max / 1000
        self._queue_bytes_max = queue_bytes_max
        self._wire: _Wire | None = None
        self._numbers = 0
        self._asked: dict[int, _Recalling] = {}
        self._waiting: dict[int, asyncio.Future[SayDone]] = {}
        self._names: dict[Scope, ScopeName] = {}
        self._retry_ms = RETRY_MS_MIN
        self._retry: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._stopped = True
        self._judge: Judge | None = None

    @property
    def is_up(self) -> bool:
        """Whether the process is there, and speaks this version."""
        return self._wire is not None and self._wire.greeted

    def start(self) -> None:
        """Connect, and again whenever the connection is lost."""
        self._stopped = False
        self._connect()

    def stop(self) -> None:
        """Let go; whoever waits is told that there is nothing."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
        self._nothing()

    def judge_by(self, judge: Judge) -> None:
        """Have models asked by it; without one the process hears that nobody can."""
        self._judge = judge

    def recall(
        self,
        scope: Scope,
        rule: CacheRule,
        asked: Asked,
        now_us: int,
        tell: Callable[[Found | None], None],
        *,
        key: str = "",
    ) -> None:
        """Ask for the answer to a similar question; ``tell`` is called once, in time or with None.

        ``key`` is the id of the API key that asks: what one key had kept is served to another only
        once it has been judged right.
        """
        wire = self._wire
        if wire is None or not wire.greeted or len(self._asked) >= ASKED_MAX:
            self.counts.down += 1
            tell(None)
            return
        self._numbers = number = self._numbers + 1
        loop = asyncio.get_running_loop()
        late = loop.call_later(self._recall_s, self._late, number)
        self._asked[number] = _Recalling(scope, now_us, tell, late)
        wire.send(AskRecall(number, self._name(scope), rule, _asked(asked), now_us, key))

    def remember(
        self, scope: Scope, rule: CacheRule, asked: Asked, kept: KeptAnswer, *, key: str = ""
    ) -> None:
        """Have an answer kept. Dropped, and counted, where the process is away or behind."""
        self._hand(TellAnswer(self._name(scope), rule, _asked(asked), kept, key))

    def hit(self, scope: Scope, entry: str) -> None:
        """An entry was served: it is worth more."""
        self._hand(TellHit(self._name(scope), entry))

    async def warm(self, scope: Scope, rule: CacheRule, asked: Asked, kept: KeptAnswer) -> None:
        """Have an operator's answer kept, trusted. On the disk when it returns.

        Raises `CacheDown`, or `StoreFailed` with the reason.
        """
        name = self._name(scope)
        await self._ask(
            lambda number: TellAnswer(name, rule, _asked(asked), kept, trusted=True, number=number)
        )

    async def report_bad(self, tenant: str, entry: str, now_us: int) -> None:
        """An entry was wrong for what it was served to: it leaves, and the cache learns.

        Raises `CacheDown`, or `StoreFailed` where the tenant has no such entry.
        """
        await self._ask(lambda number: AskReport(number, tenant, entry, now_us))

    async def purge(self, what: Purge, now_us: int) -> None:
        """Make it unfindable: no worker of this PoP finds it once this has returned.

        Raises `CacheDown` or `StoreFailed`.
        """
        scope = None if what.scope is None else self._name(what.scope)
        await self._ask(
            lambda number: AskPurge(
                number, now_us, what.tenant, scope, what.entry, what.tag, what.model
            )
        )

    async def forget(self, tenant: str, now_us: int) -> None:
        """Delete the keys of a tenant's scopes: nothing opens what they sealed any more.

        Raises `CacheDown` or `StoreFailed`.
        """
        await self._ask(lambda number: AskPurge(number, now_us, tenant, keys=True))

    async def stats(self, tenant: str | None = None) -> bytes:
        """What is kept, used and counted, as JSON. Raises `CacheDown`."""
        return await self._ask(lambda number: AskStats(number, tenant))

    async def explain(
        self, scope: Scope, rule: CacheRule, asked: Asked, now_us: int, *, key: str = ""
    ) -> bytes:
        """What would be said to a request, and why, as JSON. Raises `CacheDown`."""
        name = self._name(scope)
        return await self._ask(
            lambda number: AskExplain(number, name, rule, _asked(asked), now_us, key)
        )

    # Inside

    def heard(self, wire: _Wire, message: bytes) -> None:
        """A frame came. Raises `BadFrame`."""
        try:
            said = to_worker.decode(message)
        except msgspec.MsgspecError as error:
            raise BadFrame("the cache process speaks otherwise") from error
        if isinstance(said, Hello):
            if said.version != VERSION:
                raise BadFrame(f"the cache process is of version {said.version}, not {VERSION}")
            wire.greeted = True
            self._retry_ms = RETRY_MS_MIN
        elif isinstance(said, SayFound):
            self._found(said)
        elif isinstance(said, AskJudge):
            if self._judge is None:
                wire.send(SayJudged(said.number, why="unknown"))
            else:
                self._judge.begin(said, wire.send)
        else:
            waits = self._waiting.pop(said.number, None)
            if waits is not None and not waits.done():
                waits.set_result(said)

    def lost(self, wire: _Wire) -> None:
        """The connection is gone."""
        if wire is self._wire:
            self._wire = None
            self._nothing()
            if self._judge is not None:
                self._judge.forsake()
            self._again()

    def _found(self, said: SayFound) -> None:
        asked = self._asked.pop(said.number, None)
        if asked is None:
            return
        asked.late.cancel()
        kept = None
        if said.entry:
            kept = self._store.get_entry(asked.scope, said.entry, asked.now_us)
        if kept is None:
            self.counts.none += 1
            asked.tell(None)
        else:
            self.counts.found += 1
            asked.tell(Found(kept, said.similarity, said.bound, said.why))

    def _late(self, number: int) -> None:
        asked = self._asked.pop(number, None)
        if asked is not None:
            self.counts.late += 1
            asked.tell(None)

    def _nothing(self) -> None:
        asked, self._asked = self._asked, {}
        for one in asked.values():
            one.late.cancel()
            self.counts.down += 1
            one.tell(None)
        waiting, self._waiting = self._waiting, {}
        for number, done in waiting.items():
            if not done.done():
                done.set_result(SayDone(number, error="the cache process is away"))

    def _hand(self, message: msgspec.Struct) -> None:
        wire = self._wire
        if wire is None or not wire.greeted or wire.waiting_bytes > self._queue_bytes_max:
            self.counts.dropped += 1
        else:
            wire.send(message)

    async def _ask(self, message: Callable[[int], msgspec.Struct]) -> bytes:
        wire = self._wire
        if wire is None or not wire.greeted:
            raise CacheDown("the cache process is away: see its log")
        self._numbers = number = self._numbers + 1
        done: asyncio.Future[SayDone] = asyncio.get_running_loop().create_future()
        self._waiting[number] = done
        try:
            wire.send(message(number))
            async with asyncio.timeout(ASK_MS_MAX / 1000):
                said = await done
        except TimeoutError:
            raise CacheDown(f"the cache process did not answer in {ASK_MS_MAX} ms") from None
        finally:
            self._waiting.pop(number, None)
        if said.error:
            raise StoreFailed(said.error)
        return said.body

    def _name(self, scope: Scope) -> ScopeName:
        name = self._names.get(scope)
        if name is None:
            if len(self._names) >= _SCOPES_MAX:
                self._names.clear()
            name = ScopeName(scope.tenant, scope.data_class, scope.zone, scope.policy)
            self._names[scope] = name
        return name

    def _connect(self) -> None:
        self._retry = None
        self._connecting = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, wire = await loop.create_unix_connection(lambda: _Wire(self), str(self._path))
        except OSError:
            self._again()
            return
        if self._stopped:
            wire.close()
            return
        self.counts.connections += 1
        self._wire = wire
        wire.send(Hello())

    def _again(self) -> None:
        if not self._stopped and self._retry is None:
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(self._retry_ms / 1000, self._connect)
            self._retry_ms = min(RETRY_MS_MAX, self._retry_ms * 2)


class _Recalling:
    __slots__ = ("late", "now_us", "scope", "tell")

    def __init__(
        self,
        scope: Scope,
        now_us: int,
        tell: Callable[[Found | None], None],
        late: asyncio.TimerHandle,
    ) -> None:
        self.scope = scope
        self.now_us = now_us
        self.tell = tell
        self.late = late


class _Wire(CacheWire):
    """One connection."""

    def __init__(self, link: CacheLink) -> None:
        super().__init__()
        self.greeted = False
        self._link = link

    @property
    def waiting_bytes(self) -> int:
        """What the process has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def message(self, message: bytes) -> None:
        """The process says something."""
        self._link.heard(self, message)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._link.lost(self)


def _asked(asked: Asked) -> AskedName:
    return AskedName(asked.exact, asked.bucket, asked.text, asked.model, asked.asks)
