"""The process beside a PoP's workers that embeds, searches, decides and writes the cache.

Workers ask it over a Unix socket and never wait for it longer than they like. It is the only writer
of the answers. Its loop does small things alone: embedding, commits, loading and the making of
indexes have threads, of which all but the first run at low priority. What fails is counted, and the
loop goes on; killed at any moment it loses some seconds' observations and the answers of its last
commit, and the next process finds the rest.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
from msgspec import structs

from selvedge.adapters.answer_store import BYTES_MAX, AnswerStore, Put, raw_id
from selvedge.adapters.answer_store_marks import Purge
from selvedge.adapters.answer_store_records import KeptAnswer, encode
from selvedge.adapters.cache_process_desk import Desk, Hit, Lookup, Tools
from selvedge.adapters.cache_process_engine import EngineJudges, JudgeWire, Spending
from selvedge.adapters.cache_process_frames import (
    VERSION,
    AskedName,
    AskExplain,
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
    to_process,
)
from selvedge.adapters.cache_process_judges import Judges, answer_text
from selvedge.adapters.cache_process_keeper import Keeper, answer_bytes, entry_bytes
from selvedge.adapters.cache_process_routes import Routes
from selvedge.adapters.cache_process_scopes import MEMORY_BYTES_MAX, Scopes
from selvedge.adapters.cache_process_stats import stats_of
from selvedge.adapters.embedder import Embedder, EmbedderFailed, EmbedQueue
from selvedge.adapters.scope_keys import ScopeKeys
from selvedge.adapters.vector_file import Row
from selvedge.adapters.vector_index import return_memory
from selvedge.adapters.vector_scope import Member
from selvedge.cache import Asked, Scope, why_not_kept
from selvedge.fabric import StoreFailed
from selvedge.fabric.value import Value

SOCKET: Final = "cache.sock"
KEY_FILE: Final = "cache.keys"
TURN_MS: Final = 1_000
KEEPING_MAX: Final = 2_000
REEMBEDDED_MAX: Final = 100_000
_SWITCH_S: Final = 0.000_5
_NICE: Final = 10


class CacheSettings(Value, frozen=True):
    """Where the process lives, and how much it may take."""

    directory: Path
    """Of the answers, their keys, the vectors and the socket."""
    bytes_max: int = BYTES_MAX
    """Of all answers; the files may take twice that, and 832 bytes a vector."""
    memory_bytes_max: int = MEMORY_BYTES_MAX
    """Of all scopes' codes and columns; the encoder takes 150 MB more."""
    judge_in_flight_max: int = 0
    """Judgements by a model at once."""
    judge_ms_max: int = 10_000
    """The longest time of one question to it."""

    @property
    def socket(self) -> Path:
        """Where workers find it."""
        return self.directory / SOCKET


def open_store(settings: CacheSettings, *, writes: bool = False) -> AnswerStore:
    """The answers of a PoP, as a worker reads them, or as this process writes them."""
    keys = ScopeKeys(settings.directory / KEY_FILE, writes=writes)
    place = settings.directory / "answers"
    return AnswerStore(place, keys, writes=writes, bytes_max=settings.bytes_max)


class CacheProcess:
    """Everything of one process. Raises `StoreFailed` where another one runs."""

    def __init__(
        self,
        settings: CacheSettings,
        make_embedder: Callable[[], Embedder],
        *,
        draw: Callable[[], float] = random.random,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.bad_frames = 0
        self.unfit = 0
        """Answers that were not kept: of one person, or of their day."""
        self.errors = 0
        """Acts that failed otherwise than by the disk; the process went on."""
        self.no_embedder = ""
        """Why similar questions are not looked for; "": they are."""
        self.store = open_store(settings, writes=True)
        self._settings = settings
        self._clock_us = clock_us
        self._threads = {
            name: ThreadPoolExecutor(1, f"cache-{name}", initializer=begin)
            for name, begin in _THREADS
        }
        embedder = self._embedder(make_embedder)
        self.scopes = Scopes(
            self.store,
            settings.directory / "vectors",
            self._threads["load"],
            dims=0 if embedder is None else embedder.dims,
            embedder=b"" if embedder is None else embedder.mark,
            memory_bytes_max=settings.memory_bytes_max,
        )
        self.scopes.sweep_files()
        self.scopes.on_missing = self._embed_missing
        self.embedded = self._queue(embedder, "embed")
        self._later = self._queue(embedder, "judge")
        self.routes = Routes(self.store)
        spending = Spending(self.store, clock_us)
        engines = EngineJudges(spending, settings.judge_in_flight_max, settings.judge_ms_max)
        self.judges = Judges(self._later, engines)
        tools = Tools(self.store, self.scopes, self.routes, self.judges, self.embedded)
        self.desk = Desk(tools, draw)
        self.keeper = Keeper(self.store, self.scopes, self._threads["write"], clock_us)
        self._hits: dict[bytes, Counter[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._named: set[bytes] = set()
        self._server: asyncio.AbstractServer | None = None
        self._wires: set[_Wire] = set()

    async def start(self) -> None:
        """Listen, and begin the turns."""
        path = self._settings.socket
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        before = os.umask(0o177)
        try:
            self._server = await loop.create_unix_server(lambda: _Wire(self), str(path))
        finally:
            os.umask(before)
        self._do(self._turn_for_ever())

    async def stop(self) -> None:
        """Finish what is at hand, and let go."""
        if self._server is not None:
            self._server.close()
        for wire in list(self._wires):
            wire.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._save()
        for threads in self._threads.values():
            threads.shutdown(wait=True, cancel_futures=True)
        self.scopes.close()
        self.store.close()

    async def turn(self) -> None:
        """What is done every second: uses counted, learning saved, records swept, room made."""
        for tag, uses in self._hits.items():
            scope = self.scopes.loaded(tag)
            if scope is not None:
                scope.use(dict(uses))
        self._hits.clear()
        await self._save()
        await self.keeper.sweep()
        self.scopes.shrink()
        self.scopes.grow()
        self.keeper.make_room()

    # What workers say

    def heard(self, wire: _Wire, message: bytes) -> None:
        """A frame came. Raises `BadFrame`."""
        try:
            said = to_process.decode(message)
        except msgspec.MsgspecError as error:
            self.bad_frames += 1
            raise BadFrame("a worker speaks otherwise") from error
        if isinstance(said, Hello):
            wire.send(Hello())
            if said.version != VERSION:
                raise BadFrame(f"a worker is of version {said.version}, not {VERSION}")
        elif isinstance(said, AskRecall):
            self._recall(wire, said)
        elif isinstance(said, TellAnswer):
            self._remember(wire, said)
        elif isinstance(said, TellHit):
            self._hit(said)
        elif isinstance(said, SayJudged):
            wire.judged(said)
        else:
            self._do(self._answer(wire, said))

    def _recall(self, wire: _Wire, said: AskRecall) -> None:
        def tell(hit: Hit | None, why: str) -> None:
            found = SayFound(said.number, why=why)
            if hit is not None:
                self._count_hit(_scope(said.scope), hit.entry, 1)
                found = SayFound(said.number, hit.entry, hit.similarity, hit.bound, hit.why)
            wire.send(found)

        try:
            self.desk.recall(_lookup(said), tell)
        except Exception:  # noqa: BLE001 (a look-up may fail; the process and its others go on)
            self.errors += 1
            wire.send(SayFound(said.number, why="the look-up failed"))

    def _remember(self, wire: _Wire, said: TellAnswer) -> None:
        if len(self._tasks) >= KEEPING_MAX:
            self.keeper.dropped += 1
            if said.number:
                wire.send(SayDone(said.number, error="too many answers wait"))
            return
        self._do(self._keep(wire, said))

    async def _keep(self, wire: _Wire, said: TellAnswer) -> None:
        is_kept = await self._kept(wire, said)
        if said.number:
            error = "" if is_kept else "it could not be kept: see `selvedge cache stats`"
            wire.send(SayDone(said.number, error=error))

    async def _is_unfit(self, asked: Asked, kept: KeptAnswer) -> bool:
        """Whether an answer is one person's, or of its day; a long one takes a millisecond."""

        def why() -> str | None:
            # How it ended the worker has looked at.
            return why_not_kept(asked.text or asked.asks, answer_text(kept), "stop")

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads["write"], why) is not None

    async def _kept(self, wire: _Wire, said: TellAnswer) -> bool:
        """Keep an answer, learn from it, and make it an entry; whether that is on the disk."""
        scope, asked, kept = _scope(said.scope), _asked(said.asked), said.kept
        if not said.trusted and await self._is_unfit(asked, kept):
            self.unfit += 1
            return False
        put = Put(scope, asked.exact, kept)
        written = self.keeper.keep(put, said.rule.bytes_max)
        lookup = Lookup(scope, said.rule, asked, kept.made_us, said.key, through=wire)
        insert = await self.desk.judged(lookup, kept)
        entry = await written
        tag = self.store.keys.tag(scope)
        if insert.trust is not None:
            self.keeper.note(tag + insert.trust[0], encode(insert.trust[1]))
        if entry is None:
            return False
        self._name(tag, scope)
        raw = entry_bytes(entry)
        member = Member(raw, answer_bytes(put), kept.cost_micro)
        if insert.question is None:
            if self.scopes.loaded(tag) is not None:
                self.scopes.add(tag, member, None)
            return True
        question = structs.replace(insert.question, trusted=said.trusted)
        noted = self.keeper.note(tag + raw, encode(question))
        vector = None if self.embedded is None else await self.embedded.vector(asked.text, tag)
        if not await noted:
            return False  # Without its question nothing similar can be given it.
        row = None
        if vector is not None:
            half = vector.astype("float16").tobytes()
            row = Row(raw, question.bucket, question.cluster, half)
        self.scopes.add(tag, member, row)
        return True

    def _hit(self, said: TellHit) -> None:
        self._count_hit(_scope(said.scope), said.entry, said.count)

    def _count_hit(self, scope: Scope, entry: str, count: int) -> None:
        raw = raw_id(entry)
        if raw is not None:
            uses = self._hits.setdefault(self.store.keys.tag(scope), Counter())
            uses[raw] += count

    async def _answer(
        self, wire: _Wire, said: AskReport | AskPurge | AskStats | AskExplain
    ) -> None:
        body, error = b"", ""
        try:
            if isinstance(said, AskReport):
                error = await self._report(said)
            elif isinstance(said, AskPurge):
                await self._purge(said)
            elif isinstance(said, AskStats):
                body = msgspec.json.encode(stats_of(self, said.tenant))
            else:
                told = await self.desk.explain(_lookup(said))
                body = msgspec.json.encode(told)
        except StoreFailed as failed:
            error = str(failed)
        wire.send(SayDone(said.number, body, error))

    async def _report(self, said: AskReport) -> str:
        error = self.desk.report(said.tenant, said.entry, said.now_us)
        if not error:
            purge = Purge(tenant=said.tenant, entry=said.entry)
            await self.keeper.later(lambda: self.store.purge(purge, said.now_us))
        return error

    async def _purge(self, said: AskPurge) -> None:
        scope = None if said.scope is None else _scope(said.scope)
        if not said.keys:
            what = Purge(said.tenant, scope, said.entry, said.surrogate, said.model)
            await self.keeper.later(lambda: self.store.purge(what, said.now_us))
            return
        keys = self.store.keys
        tags = [keys.tag(scope)] if scope is not None else keys.of_tenant(said.tenant or "")
        # What was made before and comes in later is refused, not kept under a new key.
        what = Purge(said.tenant, scope)

        def forget() -> None:
            self.store.purge(what, said.now_us)
            self.store.forget(tags)

        await self.keeper.later(forget)
        for tag in tags:
            self.scopes.forget(tag)
            self.routes.forget(tag)
            self.judges.engines.spending.forget(tag)
            self._hits.pop(tag, None)
            self._named.discard(tag)

    # Inside

    def _embedder(self, make: Callable[[], Embedder]) -> Embedder | None:
        try:
            return make()
        except EmbedderFailed as error:
            self.no_embedder = str(error)
            return None

    def _queue(self, embedder: Embedder | None, name: str) -> EmbedQueue | None:
        return None if embedder is None else EmbedQueue(embedder, self._threads[name])

    def _embed_missing(self, tag: bytes, entries: list[bytes]) -> None:
        self._do(self._reembed(tag, entries[:REEMBEDDED_MAX]))

    async def _reembed(self, tag: bytes, entries: list[bytes]) -> None:
        """Vectors for entries that have a question and no (readable) vector."""
        for entry in entries:
            question = self.store.question(tag, entry, self._clock_us())
            if question is None or self._later is None:
                continue
            vector = await self._later.vector(question.text)
            if vector is not None:
                half = vector.astype("float16").tobytes()
                self.scopes.attach(tag, entry, Row(entry, question.bucket, question.cluster, half))

    def _name(self, tag: bytes, scope: Scope) -> None:
        """Keep the scope's name beside it, sealed, for who asks what there is."""
        if tag not in self._named:
            self._named.add(tag)
            words = [scope.tenant, scope.data_class, scope.zone, scope.policy]
            plain = msgspec.msgpack.encode(words)
            self._do(self._written(lambda: self.store.keep_small("scopes", [(tag, plain)])))

    async def _save(self) -> None:
        routes, things = self.routes.unsaved()
        things += self.judges.engines.spending.unsaved()
        if not things:
            return
        try:
            await self.keeper.later(lambda: self.store.keep_small("learned", things))
        except StoreFailed:
            self.keeper.failures += 1
            for route in routes:
                route.is_dirty = True

    async def _written(self, act: Callable[[], None]) -> None:
        try:
            await self.keeper.later(act)
        except StoreFailed:
            self.keeper.failures += 1

    async def _turn_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TURN_MS / 1000)
            try:
                await self.turn()
            except Exception:  # noqa: BLE001 (the turns go on whatever one of them met)
                self.errors += 1

    def _do(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._did)

    def _did(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.errors += 1

    def connected(self, wire: _Wire) -> None:
        """A worker is there."""
        self._wires.add(wire)

    def disconnected(self, wire: _Wire) -> None:
        """A worker is gone."""
        self._wires.discard(wire)


class _Wire(JudgeWire):
    """One worker's connection."""

    def __init__(self, process: CacheProcess) -> None:
        super().__init__()
        self._process = process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._process.connected(self)

    def message(self, message: bytes) -> None:
        """The worker says something."""
        self._process.heard(self, message)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._process.disconnected(self)

    def close(self) -> None:
        """Say what was said, and hang up."""
        if self._transport is not None:
            self._transport.close()


async def run_cache(
    settings: CacheSettings,
    make_embedder: Callable[[], Embedder],
    stopping: asyncio.Event,
    ready: Callable[[CacheProcess], None] = lambda _: None,
) -> None:
    """Run until ``stopping`` is set. Raises `StoreFailed` where it cannot begin."""
    sys.setswitchinterval(_SWITCH_S)
    return_memory()
    process = CacheProcess(settings, make_embedder)
    await process.start()
    ready(process)
    await stopping.wait()
    await process.stop()


def _calm() -> None:
    """This thread has time."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


# A name, and what the thread does first: embedding and writing are waited for.
_THREADS: Final = (("embed", None), ("write", None), ("judge", _calm), ("load", _calm))


def _scope(name: ScopeName) -> Scope:
    return Scope(name.tenant, name.data_class, name.zone, name.policy)


def _lookup(said: AskRecall | AskExplain) -> Lookup:
    return Lookup(_scope(said.scope), said.rule, _asked(said.asked), said.now_us, said.key)


def _asked(name: AskedName) -> Asked:
    return Asked(name.exact, name.bucket, name.text, name.model, name.asks)
