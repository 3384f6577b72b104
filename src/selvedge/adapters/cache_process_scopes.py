"""Which scopes are in memory: loaded when they are asked for, under one cap, in fair shares.

Loading reads a scope's entries and opens its file of vectors, in a thread; until then the scope
finds nothing similar. Over the cap, what was used least lately of the tenant that is furthest over
its share leaves memory (not the disk). A tenant alone may have it all.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Final

from selvedge.adapters.answer_store import AnswerStore
from selvedge.adapters.vector_file import Row, VectorFile
from selvedge.adapters.vector_index import VectorIndex, return_memory
from selvedge.adapters.vector_scope import ROW_BYTES, Grown, Member, VectorScope
from selvedge.cache import over_share
from selvedge.fabric import StoreFailed

MEMORY_BYTES_MAX: Final = 2**29
_LATE_MAX: Final = 10_000


class Scopes:
    """The scopes of a process. Everything but the loading runs on the loop's thread."""

    def __init__(
        self,
        store: AnswerStore,
        directory: Path,
        slow: Executor | None,
        *,
        dims: int = 0,
        embedder: bytes = b"",
        memory_bytes_max: int = MEMORY_BYTES_MAX,
    ) -> None:
        self.loads = 0
        self.unloads = 0
        self.damaged = 0
        """Files and rows that did not open."""
        self.unplaced = 0
        """Entries whose vectors found no room, in memory or on the disk."""
        self.on_missing: Callable[[bytes, list[bytes]], None] = lambda tag, entries: None
        """Told of entries that should have a vector and have none."""
        self._store = store
        self._directory = directory
        self._slow = slow
        self._dims = dims
        self._embedder = embedder
        self._memory_bytes_max = memory_bytes_max
        self._loaded: OrderedDict[bytes, VectorScope] = OrderedDict()
        self._late: dict[bytes, list[tuple[Member, Row | None]]] = {}
        self._growing = False

    def path(self, tag: bytes) -> Path:
        """A scope's file of vectors."""
        return self._directory / f"{tag.hex()}.vec"

    def get(self, tag: bytes) -> VectorScope | None:
        """The scope, where it is in memory; else it is being fetched now."""
        scope = self._loaded.get(tag)
        if scope is None:
            self.want(tag)
        else:
            self._loaded.move_to_end(tag)
        return scope

    def loaded(self, tag: bytes) -> VectorScope | None:
        """The scope, where it is in memory."""
        return self._loaded.get(tag)

    def put_loaded(self, tag: bytes, scope: VectorScope) -> None:
        """Take a scope that was loaded elsewhere."""
        self._loaded[tag] = scope

    def want(self, tag: bytes) -> None:
        """Have the scope loaded."""
        if tag in self._late or self._store.keys.by_tag(tag) is None:
            return
        self._late[tag] = []
        work = asyncio.get_running_loop().run_in_executor(self._slow, self._load, tag)
        work.add_done_callback(lambda done: self._take(tag, done))

    def add(self, tag: bytes, member: Member, row: Row | None) -> None:
        """A new entry, with its vector. A scope that is not in memory reads it when it is."""
        scope = self._loaded.get(tag)
        if scope is None:
            self.want(tag)
            late = self._late.get(tag)
            if late is not None and len(late) < _LATE_MAX:
                late.append((member, row))
            else:
                self.unplaced += 1
            return
        self._add(scope, member, row)

    def drop(self, tag: bytes, entries: list[bytes]) -> None:
        """Entries are gone."""
        scope = self._loaded.get(tag)
        if scope is not None and entries:
            try:
                scope.drop(entries)
            except StoreFailed:
                self.unplaced += 1

    def forget(self, tag: bytes) -> None:
        """A scope is gone, with its file."""
        scope = self._loaded.pop(tag, None)
        if scope is not None:
            scope.close()
        self.path(tag).unlink(missing_ok=True)

    def sweep_files(self) -> None:
        """Remove files of scopes that have no key."""
        if self._directory.is_dir():
            known = {self.path(tag).name for tag in self._store.keys.tags()}
            for path in self._directory.glob("*.vec"):
                if path.name not in known:
                    path.unlink(missing_ok=True)

    def grow(self) -> None:
        """Make one index of a bucket that has become large, in a thread."""
        if self._growing:
            return
        for scope in self._loaded.values():
            for wanted in scope.to_grow():
                self._growing = True
                wanted.begin()
                work = asyncio.get_running_loop().run_in_executor(self._slow, wanted.make)
                work.add_done_callback(partial(self._grown, wanted))
                return

    def shrink(self) -> None:
        """Let scopes go until the cap holds; the last one asked for stays."""
        tenants: dict[bytes, list[bytes]] = {}
        for tag in self._loaded:
            key = self._store.keys.by_tag(tag)
            tenants.setdefault(b"" if key is None else key.tenant, []).append(tag)
        used = [sum(self._loaded[tag].memory_bytes for tag in tags) for tags in tenants.values()]
        for over, tags in zip(
            over_share(used, self._memory_bytes_max), tenants.values(), strict=True
        ):
            for tag in tags:
                if over <= 0 or len(self._loaded) == 1:
                    break
                scope = self._loaded.pop(tag)
                over -= scope.memory_bytes
                scope.close()
                self.unloads += 1

    @property
    def memory_bytes(self) -> int:
        """What they take, estimated."""
        return sum(scope.memory_bytes for scope in self._loaded.values())

    def close(self) -> None:
        """Let go of all."""
        for scope in self._loaded.values():
            scope.close()
        self._loaded.clear()

    def _add(self, scope: VectorScope, member: Member, row: Row | None) -> None:
        if scope.memory_bytes + ROW_BYTES > self._memory_bytes_max:
            self.unplaced += 1
            return
        try:
            scope.add(member, row)
        except StoreFailed:
            # The entry stays without a vector: identical requests find it.
            self.unplaced += 1
            scope.add(member, None)

    def _load(self, tag: bytes) -> tuple[VectorScope, list[bytes]] | None:
        key = self._store.keys.by_tag(tag)
        if key is None:
            return None
        file = None
        if self._dims:
            file = VectorFile(self.path(tag), key, self._dims, self._embedder)
        scope = VectorScope(file, self._dims)
        members = (
            Member(entry, size, head.cost_micro) for entry, head, size in self._store.entries(tag)
        )
        missing = scope.load(members)
        if file is not None:
            self.damaged += file.damaged
        return scope, missing

    def _take(
        self, tag: bytes, done: asyncio.Future[tuple[VectorScope, list[bytes]] | None]
    ) -> None:
        late = self._late.pop(tag, [])
        if done.cancelled() or done.exception() is not None or done.result() is None:
            self.unplaced += len(late)
            return
        made = done.result()
        assert made is not None
        scope, missing = made
        self.loads += 1
        self._loaded[tag] = scope
        for member, row in late:
            if not scope.find([member.entry]):
                self._add(scope, member, row)
            elif row is not None:
                self._attach(scope, member.entry, row)
        self.shrink()
        told = {member.entry for member, row in late if row is not None}
        missing = [entry for entry in missing if entry not in told]
        if missing:
            self.on_missing(tag, missing)

    def attach(self, tag: bytes, entry: bytes, row: Row) -> None:
        """An entry gets the vector that it lacked."""
        scope = self._loaded.get(tag)
        if scope is not None:
            self._attach(scope, entry, row)

    def _attach(self, scope: VectorScope, entry: bytes, row: Row) -> None:
        try:
            scope.attach(entry, row)
        except StoreFailed:
            self.unplaced += 1

    def _grown(self, wanted: Grown, done: asyncio.Future[VectorIndex]) -> None:
        self._growing = False
        failed = done.cancelled() or done.exception() is not None
        wanted.put(None if failed else done.result())
        return_memory()
