"""The one writer of the answers: commits in groups, off the loop; makes room; sweeps.

Answers wait `GROUP_MS` for others and go into one commit. What a commit does not take, because the
disk or the map is full, is dropped and counted, and room is made. Room is made where a scope is
over its rule's bytes, and where all are over the store's: then of the tenants that are furthest
over their shares. Who leaves is `cache.value`'s word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final

from selvedge.adapters.answer_store import AnswerStore, Put, raw_id
from selvedge.adapters.cache_process_scopes import Scopes
from selvedge.adapters.vector_scope import VectorScope
from selvedge.cache import over_share, to_leave
from selvedge.fabric import StoreFailed

GROUP_MS: Final = 20
PENDING_MAX: Final = 2_000
PENDING_BYTES_MAX: Final = 64 * 2**20
FREE_PART: Final = 20
"""One part in so many is freed beyond what is needed, so that room is not made at each answer."""
SWEEP_RECORDS: Final = 2_000
MARKS_KEPT_US: Final = 3_600_000_000
_OVERHEAD_BYTES: Final = 200


class Keeper:
    """Writes for one process. Its face is the loop's; commits run one at a time in ``writing``."""

    def __init__(
        self,
        store: AnswerStore,
        scopes: Scopes,
        writing: Executor,
        clock_us: Callable[[], int],
    ) -> None:
        self.kept = 0
        self.dropped = 0
        """Answers that no commit took, or that waited in vain."""
        self.evicted = 0
        self.swept = 0
        self.failures = 0
        self._store = store
        self._scopes = scopes
        self._writing = writing
        self._clock_us = clock_us
        self._pending: list[tuple[Put, asyncio.Future[str | None]]] = []
        self._pending_bytes = 0
        self._questions: list[tuple[bytes, bytes, asyncio.Future[bool]]] = []
        self._flush: asyncio.TimerHandle | None = None
        self._limits: dict[bytes, int] = {}
        self._after = b""
        self._sweep_began_us = 0
        self._making_room = False

    def keep(self, put: Put, bytes_max: int) -> asyncio.Future[str | None]:
        """Keep an answer: its id, or None where it was dropped. ``bytes_max`` is its scope's."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str | None] = loop.create_future()
        size = answer_bytes(put)
        full = len(self._pending) >= PENDING_MAX or self._pending_bytes + size > PENDING_BYTES_MAX
        if full or size > bytes_max:
            self.dropped += 1
            done.set_result(None)
            return done
        self._limits[self._store.keys.tag(put.scope)] = bytes_max
        self._pending.append((put, done))
        self._pending_bytes += size
        if self._flush is None:
            self._flush = loop.call_later(GROUP_MS / 1000, self._commit)
        return done

    def note(self, place: bytes, question: bytes) -> asyncio.Future[bool]:
        """Keep an entry's question with the next commit; whether it was kept."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        self._questions.append((place, question, done))
        if self._flush is None:
            self._flush = loop.call_later(GROUP_MS / 1000, self._commit)
        return done

    def later(self, act: Callable[[], None]) -> asyncio.Future[None]:
        """Another change of the store, in its turn. Raises what ``act`` raises."""
        return asyncio.get_running_loop().run_in_executor(self._writing, act)

    def _commit(self) -> None:
        self._flush = None
        group, self._pending, self._pending_bytes = self._pending, [], 0
        questions, self._questions = self._questions, []
        puts, now_us = [put for put, _ in group], self._clock_us()
        things = [(place, plain) for place, plain, _ in questions]

        def act() -> list[str | None]:
            if things:
                self._store.keep_small("questions", things)
            return self._store.put_all(puts, now_us) if puts else []

        work = asyncio.get_running_loop().run_in_executor(self._writing, act)
        asked = [told for _, _, told in questions]
        work.add_done_callback(lambda done: self._committed(done, [t for _, t in group], asked))

    def _committed(
        self,
        done: asyncio.Future[list[str | None]],
        answers: list[asyncio.Future[str | None]],
        questions: list[asyncio.Future[bool]],
    ) -> None:
        failed = done.cancelled() or done.exception() is not None
        ids: list[str | None] = [None] * len(answers) if failed else done.result()
        for entry, told in zip(ids, answers, strict=True):
            self.kept += entry is not None
            self.dropped += entry is None
            if not told.done():
                told.set_result(entry)
        for asked in questions:
            if not asked.done():
                asked.set_result(not failed)
        self.failures += failed
        self.make_room(self._store.bytes_used // FREE_PART if failed else 0)

    def make_room(self, least: int = 0) -> None:
        """Evict where something is over its limit, and ``least`` bytes in any case."""
        if self._making_room:
            return
        leaving = self._over(least)
        if leaving:
            self._making_room = True
            task = asyncio.get_running_loop().create_task(self._evict(leaving))
            task.add_done_callback(self._made_room)

    def _made_room(self, done: asyncio.Task[None]) -> None:
        self._making_room = False
        if not done.cancelled() and done.exception() is not None:
            self.failures += 1

    def _over(self, least: int) -> dict[bytes, int]:
        """Bytes to free, by scope."""
        used = {tag: use.bytes for tag, use in list(self._store.used.items()) if use.entries}
        over: dict[bytes, int] = {}
        for tag, size in used.items():
            limit = self._limits.get(tag)
            if limit is not None and size > limit:
                over[tag] = size - limit + limit // FREE_PART
        total = sum(used.values()) - sum(over.values())
        most = self._store.bytes_max
        if total > most or least:
            most -= max(most // FREE_PART, least)
            tenants: dict[bytes, dict[bytes, int]] = {}
            for tag, size in used.items():
                key = self._store.keys.by_tag(tag)
                mine = tenants.setdefault(b"" if key is None else key.tenant, {})
                mine[tag] = size - over.get(tag, 0)
            sums = [sum(scopes.values()) for scopes in tenants.values()]
            goal = min(most, sum(sums) - least)
            for excess, scopes in zip(over_share(sums, goal), tenants.values(), strict=True):
                for tag in sorted(scopes, key=scopes.__getitem__, reverse=True):
                    part = min(excess, scopes[tag])
                    if part > 0:
                        over[tag] = over.get(tag, 0) + part
                        excess -= part
        return over

    async def _evict(self, over: dict[bytes, int]) -> None:
        for tag, size in over.items():
            scope = self._scopes.get(tag)
            if scope is None:
                continue  # It is being loaded: its turn comes with the next answer.
            entries = self._leaving(scope, size)
            await self.later(partial(self._store.remove, tag, entries))
            self._scopes.drop(tag, entries)
            self.evicted += len(entries)

    def _leaving(self, scope: VectorScope, size: int) -> list[bytes]:
        rows, values, sizes = scope.values()
        chosen, clock = to_leave(values.tolist(), sizes.tolist(), size)
        scope.clock = max(scope.clock, clock)
        return [scope.entry_of(int(rows[at])) for at in chosen]

    async def sweep(self) -> None:
        """Remove some of what is expired, purged or without a key."""
        now_us = self._clock_us()
        if not self._after:
            self._sweep_began_us = now_us
        gone: list[bytes] = []

        def act() -> None:
            self._after, places = self._store.sweep(self._after, SWEEP_RECORDS, now_us)
            gone.extend(places)
            if not self._after:
                self._store.forget_marks(self._sweep_began_us - MARKS_KEPT_US)
                self._store.sync()

        try:
            await self.later(act)
        except StoreFailed:
            self.failures += 1
            return
        self.swept += len(gone)
        by_scope: dict[bytes, list[bytes]] = {}
        for place in gone:
            by_scope.setdefault(place[:16], []).append(place[16:])
        for tag, entries in by_scope.items():
            self._scopes.drop(tag, entries)


def answer_bytes(put: Put) -> int:
    """What an answer takes of the disk, about."""
    text = 0 if put.question is None else len(put.question.text)
    kept = put.kept
    words = sum(map(len, kept.payloads)) + 3 * len(kept.payloads) + len(kept.body)
    return words + text + _OVERHEAD_BYTES


def entry_bytes(entry: str) -> bytes:
    """The bytes of an id that the store gave."""
    raw = raw_id(entry)
    assert raw is not None, entry
    return raw
