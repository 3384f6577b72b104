"""Kept answers on a PoP's disk: one LMDB map, read by every worker, written by one process.

A look-up is two reads in one snapshot, without a lock, and one decryption. The scope's keyed hash
is the front of every key and the scope's own key seals every record: what another scope kept is
neither found nor opened. What is purged is marked first: every reader sees the mark in its first
look-up after `purge` has returned. The records themselves are removed by `sweep`, in slices.

A store that cannot be read is an empty one: look-ups find nothing and count it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import lmdb
from msgspec import structs

from selvedge.adapters.answer_store_map import AnswerMap, drop, is_sound
from selvedge.adapters.answer_store_marks import Marks, Purge, name_of
from selvedge.adapters.answer_store_records import (
    ID_BYTES,
    TAGS_MAX,
    Head,
    KeptAnswer,
    Question,
    encode,
    open_answer,
    open_question,
    open_small,
    pack_head,
    read_head,
    seal,
)
from selvedge.adapters.answer_store_state import StoreState
from selvedge.adapters.entropy import Entropy
from selvedge.adapters.scope_keys import TAG_BYTES, ScopeKeys, SealKey
from selvedge.cache import Scope
from selvedge.fabric import StoreCorrupt, StoreFailed
from selvedge.fabric.value import Value

BYTES_MAX: Final = 2**30
MAP_SHARE: Final = 2
"""The file may grow to so many times what may be kept: freed pages are used again, not given."""
_RETRY_US: Final = 1_000_000
_NONCE_BYTES: Final = 12
_PREFIX: Final = "ce_"
_PAGE: Final = 4096
_INLINE_BYTES_MAX: Final = 2000
"""A longer value takes whole pages."""


class Put(Value, frozen=True):
    """One answer to keep; with a question it may answer similar ones."""

    scope: Scope
    exact: bytes
    kept: KeptAnswer
    question: Question | None = None


class ScopeUse(Value, frozen=True):
    """What one scope takes on the disk."""

    entries: int = 0
    bytes: int = 0


class AnswerStore:
    """The store of one PoP under ``path``. Look-ups never raise.

    One process opens it with ``writes``: `StoreFailed` where another has it.
    """

    def __init__(
        self, path: Path, keys: ScopeKeys, *, writes: bool = False, bytes_max: int = BYTES_MAX
    ) -> None:
        self.path = path
        self.keys = keys
        self.bytes_max = bytes_max
        self.failures = 0
        """Reads and records that failed: each was a miss."""
        self.begun_anew = 0
        """How often a damaged map was left for an empty one."""
        self.used: dict[bytes, ScopeUse] = {}
        """What each scope takes (the writer's)."""
        self._writes = writes
        self._map: AnswerMap | None = None
        self._state: StoreState | None = None
        self._generation = -1
        self._epoch = -1
        self._retry_us = -1
        self._marks = Marks()
        self._seq = 0
        self._entropy = Entropy()
        self._lock_fd = -1
        if writes:
            self._open_to_write()

    # Reading

    def get(self, scope: Scope, exact: bytes, now_us: int) -> KeptAnswer | None:
        """The answer to the identical request, if it is kept, fresh and not purged."""
        if not self._ready(now_us):
            return None
        key, at = self.keys.find(scope), self._map
        if key is None or at is None:
            return None
        try:
            with at.env.begin() as txn:
                entry = txn.get(key.tag + key.name(exact), db=at.db["exact"])
                if entry is None:
                    return None
                record = txn.get(key.tag + entry, db=at.db["answers"])
        except lmdb.Error:
            self._fail(now_us)
            return None
        return None if record is None else self._opened(key, entry, record, now_us)

    def get_entry(self, scope: Scope, entry: str, now_us: int) -> KeptAnswer | None:
        """The answer with this id, if it is of this scope, fresh and not purged."""
        if not self._ready(now_us):
            return None
        key, raw = self.keys.find(scope), raw_id(entry)
        if key is None or raw is None:
            return None
        record = self._read("answers", key.tag + raw, now_us)
        return None if record is None else self._opened(key, raw, record, now_us)

    def answer(self, tag: bytes, entry: bytes, now_us: int) -> KeptAnswer | None:
        """The same by names on the disk."""
        key = self.keys.by_tag(tag) if self._ready(now_us) else None
        record = None if key is None else self._read("answers", tag + entry, now_us)
        if key is None or record is None:
            return None
        return self._opened(key, entry, record, now_us)

    def question(self, tag: bytes, entry: bytes, now_us: int) -> Question | None:
        """What was asked to get the answer with this id, if that may still be served."""
        key = self.keys.by_tag(tag) if self._ready(now_us) else None
        head = None if key is None else self._read("answers", tag + entry, now_us)
        record = None if head is None else self._read("questions", tag + entry, now_us)
        if key is None or head is None or record is None:
            return None
        try:
            if self._is_live(key, read_head(head), now_us):
                return open_question(key, tag + entry, record)
        except StoreCorrupt:
            self.failures += 1
        return None

    def small(self, name: str, place: bytes) -> bytes | None:
        """A sealed thing beside the answers (what deciders learned), opened."""
        key = self.keys.by_tag(place[:TAG_BYTES])
        record = None if key is None else self._read(name, place, 0)
        if key is None or record is None:
            return None
        try:
            return open_small(key, place, record)
        except StoreCorrupt:
            self.failures += 1
            return None

    def smalls(self, name: str, tag: bytes) -> Iterator[bytes]:
        """The places of such things of a scope."""
        if self._map is not None:
            for place, _ in self._map.range(name, tag):
                yield place

    def entries(self, tag: bytes) -> Iterator[tuple[bytes, Head, int]]:
        """Id, header and bytes of everything in a scope."""
        if self._map is not None:
            for place, record in self._map.range("answers", tag):
                with contextlib.suppress(StoreCorrupt):
                    yield place[TAG_BYTES:], read_head(record), _size(record)

    # Writing

    def put(self, one: Put, now_us: int) -> str | None:
        """Keep an answer; its id, or None where a purge came between its making and this."""
        return self.put_all([one], now_us)[0]

    def put_all(self, many: Sequence[Put], now_us: int) -> list[str | None]:
        """The same for several in one commit: all of them or, with `StoreFailed`, none."""
        keys = [self._ensured(one.scope, now_us) for one in many]
        used, seq = dict(self.used), self._seq
        try:
            with self._writing() as txn:
                return [self._put(txn, key, one) for key, one in zip(keys, many, strict=True)]
        except BaseException:
            self.used, self._seq = used, seq
            raise

    def keep_small(self, name: str, things: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep things of scopes sealed beside the answers: places that begin with the tag."""
        with self._writing() as txn:
            for place, plain in things:
                key = self.keys.by_tag(place[:TAG_BYTES])
                if key is not None:
                    record = seal(key, place, b"", plain, self._entropy.take(_NONCE_BYTES))
                    txn.put(place, record, db=self._db(name))

    def purge(self, what: Purge, now_us: int) -> None:
        """Make it unfindable for every process before returning; `sweep` removes it."""
        if what.entry is not None:
            self._purge_entry(what)
        else:
            name = name_of(what, self.keys)
            with self._writing() as txn:
                txn.put(name, self._marks.set(name, self._seq, now_us), db=self._db("marks"))
            self._bump()
        self.sync()  # what is gone stays gone, whatever becomes of the machine

    def forget(self, tags: list[bytes]) -> None:
        """Delete these scopes' keys: from here on nothing opens what they sealed."""
        self.keys.drop(tags)
        self._bump()

    def remove(self, tag: bytes, entries: Sequence[bytes]) -> None:
        """Delete these records (they were evicted)."""
        with self._writing() as txn:
            for entry in entries:
                self._remove(txn, tag + entry)

    def sweep(self, after: bytes, limit: int, now_us: int) -> tuple[bytes, list[bytes]]:
        """Remove what is expired, purged or without a key among the next ``limit`` records.

        Gives the place to go on from (empty: the end was reached) and those that were removed.
        """
        gone: list[bytes] = []
        last = b""
        assert self._map is not None
        for count, (place, record) in enumerate(self._map.range("answers", b"", after)):
            if count == limit:
                break
            last = place
            if not self._may_stay(place, record, now_us):
                gone.append(place)
        else:
            last = b""
        if gone:
            with self._writing() as txn:
                for place in gone:
                    self._remove(txn, place)
        return last, gone

    def forget_marks(self, before_us: int) -> None:
        """Drop marks whose records a whole sweep has removed since."""
        old = self._marks.drop_old(before_us)
        if old:
            with self._writing() as txn:
                for name in old:
                    txn.delete(name, db=self._db("marks"))
            self._bump()

    @property
    def bytes_used(self) -> int:
        """Of all scopes."""
        return sum(use.bytes for use in list(self.used.values()))

    def sync(self) -> None:
        """Free the slots of readers that died, and bring the last commit to the disk."""
        if self._map is not None:
            self._map.sync()

    def close(self) -> None:
        """Let go of everything."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._state is not None:
            self._state.close()
            self._state = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    # Opening

    def _open_to_write(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_fd = os.open(
                self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreFailed(f"{self.path} cannot be used: {error.strerror}") from error
        self._state = state = StoreState(self.path / "state", writes=True)
        epoch, map_bytes = state.epoch, self.bytes_max * MAP_SHARE
        if not is_sound(self._place(epoch)):
            epoch += 1
            self.begun_anew += 1
        try:
            self._take(epoch, map_bytes)
        except (lmdb.Error, StoreFailed, StoreCorrupt):
            # The first failure may be the map's; a second one is the disk's.
            if self._map is not None:
                self._map.close()
            epoch += 1
            self.begun_anew += 1
            self._take(epoch, map_bytes)
        state.begin(epoch, map_bytes)
        self._generation = state.generation
        for place in self.path.glob("answers-*"):
            if place != self._place(epoch):
                drop(place)

    def _take(self, epoch: int, map_bytes: int) -> None:
        """Open the map of an epoch and read what it has: sizes, marks, the last number."""
        self._map = AnswerMap(self._place(epoch), map_bytes, writes=True)
        self._epoch = epoch
        self.used, self._seq = {}, 0
        self._marks.read(self._map.range("marks", b""))
        for place, record in self._map.range("answers", b""):
            self._use(place[:TAG_BYTES], 1, _size(record))
            with contextlib.suppress(StoreCorrupt):
                self._seq = max(self._seq, read_head(record).seq)
        self._seq = max(self._seq, self._marks.newest())

    def _place(self, epoch: int) -> Path:
        return self.path / f"answers-{epoch}"

    def _ready(self, now_us: int) -> bool:
        state = self._state
        if state is not None and state.generation == self._generation:
            return True
        return self._refresh(now_us)

    def _refresh(self, now_us: int) -> bool:
        """Open the map if need be, and read keys and marks again."""
        if now_us < self._retry_us:
            return False
        try:
            if self._state is None:
                self._state = StoreState(self.path / "state", writes=False)
            generation = self._state.generation
            if self._map is None or self._epoch != self._state.epoch:
                self._reopen(self._state)
            self.keys.reload()
            assert self._map is not None
            self._marks.read(self._map.range("marks", b""))
        except (lmdb.Error, StoreFailed):
            self._retry_us = now_us + _RETRY_US
            return False
        self._generation = generation
        return True

    def _reopen(self, state: StoreState) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
        epoch = state.epoch
        self._map = AnswerMap(self._place(epoch), state.map_bytes, writes=False)
        self._epoch = epoch

    # Inside

    def _read(self, name: str, place: bytes, now_us: int) -> bytes | None:
        at = self._map
        if at is None:
            return None
        try:
            with at.env.begin() as txn:
                return txn.get(place, db=at.db[name])
        except lmdb.Error:
            self._fail(now_us)
            return None

    def _opened(self, key: SealKey, entry: bytes, record: bytes, now_us: int) -> KeptAnswer | None:
        try:
            if self._is_live(key, read_head(record), now_us):
                return open_answer(key, key.tag + entry, record)
        except StoreCorrupt:
            self.failures += 1
        return None

    def _is_live(self, key: SealKey, head: Head, now_us: int) -> bool:
        return now_us < head.expires_us and not self._marks.covers(key, head)

    def _may_stay(self, place: bytes, record: bytes, now_us: int) -> bool:
        key = self.keys.by_tag(place[:TAG_BYTES])
        try:
            return key is not None and self._is_live(key, read_head(record), now_us)
        except StoreCorrupt:
            return False

    def _fail(self, now_us: int) -> None:
        """A reader opens its map again, a second later: the writer may have left it."""
        self.failures += 1
        if not self._writes:
            if self._map is not None:
                self._map.close()
                self._map = None
            self._generation = -1
            self._retry_us = now_us + _RETRY_US

    def _bump(self) -> None:
        assert self._state is not None, "only the writer changes what readers see"
        self._state.bump()
        self._generation = self._state.generation

    def _db(self, name: str) -> Any:  # lmdb has no public name for a database
        assert self._map is not None
        return self._map.db[name]

    def _writing(self) -> contextlib.AbstractContextManager[lmdb.Transaction[bytes]]:
        if self._map is None:
            raise StoreFailed(f"{self.path} is closed")
        return self._map.writing()

    def _ensured(self, scope: Scope, now_us: int) -> SealKey:
        key = self.keys.find(scope)
        if key is None:
            key = self.keys.ensure(scope, now_us)
            self._bump()
        return key

    def _put(self, txn: lmdb.Transaction[bytes], key: SealKey, one: Put) -> str | None:
        self._seq += 1
        kept = one.kept
        head = Head(
            seq=self._seq,
            made_us=kept.made_us,
            expires_us=kept.made_us + kept.ttl_us,
            cost_micro=max(0, kept.cost_micro),
            exact=key.name(one.exact),
            model=self.keys.hide("model", kept.model),
            tags=tuple(self.keys.hide("tag", tag) for tag in kept.tags[:TAGS_MAX]),
        )
        if self._marks.refuses(key, head):
            return None
        raw = raw_id(kept.id) or self._entropy.take(ID_BYTES)
        kept = structs.replace(kept, id=entry_id(raw))
        place, name = key.tag + raw, key.tag + head.exact
        before = txn.get(name, db=self._db("exact"))
        if before is not None:
            self._remove(txn, key.tag + before)
        nonce = self._entropy.take(_NONCE_BYTES)
        record = seal(key, place, pack_head(head), encode(kept), nonce)
        txn.put(place, record, db=self._db("answers"))
        txn.put(name, raw, db=self._db("exact"))
        if one.question is not None:
            nonce = self._entropy.take(_NONCE_BYTES)
            sealed = seal(key, place, b"", encode(one.question), nonce)
            txn.put(place, sealed, db=self._db("questions"))
        self._use(key.tag, 1, _size(record))
        return kept.id

    def _remove(self, txn: lmdb.Transaction[bytes], place: bytes) -> None:
        record = txn.pop(place, db=self._db("answers"))
        txn.delete(place, db=self._db("questions"))
        if record is None:
            return
        self._use(place[:TAG_BYTES], -1, -_size(record))
        with contextlib.suppress(StoreCorrupt):
            name = place[:TAG_BYTES] + read_head(record).exact
            if txn.get(name, db=self._db("exact")) == place[TAG_BYTES:]:
                txn.delete(name, db=self._db("exact"))

    def _purge_entry(self, what: Purge) -> None:
        """One record is removed at once: its removal is as visible as a mark."""
        raw = raw_id(what.entry or "")
        if raw is None:
            return
        tags = [self.keys.tag(what.scope)] if what.scope else self.keys.of_tenant(what.tenant or "")
        with self._writing() as txn:
            for tag in tags:
                self._remove(txn, tag + raw)

    def _use(self, tag: bytes, entries: int, size: int) -> None:
        before = self.used.get(tag) or ScopeUse()
        self.used[tag] = ScopeUse(before.entries + entries, before.bytes + size)


def raw_id(entry: str) -> bytes | None:
    """The bytes of an entry's id; None where it is no id of ours."""
    if len(entry) != len(_PREFIX) + 2 * ID_BYTES or not entry.startswith(_PREFIX):
        return None
    try:
        return bytes.fromhex(entry[len(_PREFIX) :])
    except ValueError:
        return None


def entry_id(raw: bytes) -> str:
    """The id of an entry by its bytes."""
    return _PREFIX + raw.hex()


def _size(record: bytes) -> int:
    """What a record takes of the disk."""
    size = len(record)
    return size if size <= _INLINE_BYTES_MAX else (size + _PAGE) // _PAGE * _PAGE
