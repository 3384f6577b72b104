"""Answers that a PoP keeps for their clients, to be read again and gone on from, sealed.

One LMDB map for all workers of a PoP: readers take no lock, and nobody calls a database. A record
is found by a keyed hash of tenant, data class, zone and id, and sealed under a key of those three:
another's id is no record at all, looked for as any other. Bounded by bytes and by time; what was
used longest ago goes first. It refuses to know what is in an answer, and who may keep one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import lmdb
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from selvedge.adapters.answer_store_map import is_sound
from selvedge.adapters.identities import keep_secret
from selvedge.fabric import StoreFailed

Owner: TypeAlias = tuple[str, str, str]
"""Tenant, data class and zone."""

MAP: Final = "kept"
KEY_FILE: Final = "kept.key"
DROPPED_AT_ONCE: Final = 64
_NONCE_BYTES: Final = 12
_ROOM_BYTES: Final = 64 * 2**20
"""Of the map beyond what it may hold: pages that readers still hold, and the tree."""
_READERS_MAX: Final = 512
_USED: Final = struct.Struct(">Q")
_TOTAL: Final = b"bytes"


class ResponseStore:
    """Kept answers of one PoP, as one process of it sees them. Every method raises `StoreFailed`
    where the disk is in the way.
    """

    def __init__(self, directory: Path, bytes_max: int, ttl_us: int) -> None:
        self._bytes_max = bytes_max
        self._ttl_us = ttl_us
        place = directory / MAP
        with _translated():
            try:
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._key = keep_secret(directory / KEY_FILE, os.urandom(32))
            except OSError as error:
                raise StoreFailed(f"{directory} cannot be used: {error.strerror}") from error
            if not is_sound(place):  # LMDB itself trusts its pages; 4 ms a MB
                raise StoreFailed(f"{place} is damaged; remove it, with the PoP stopped")
            self._env = lmdb.open(
                str(place),
                map_size=2 * bytes_max + _ROOM_BYTES,
                max_dbs=3,
                max_readers=_READERS_MAX,
                # What the last commits kept may be lost with the power; nothing else is.
                metasync=False,
                sync=False,
                readahead=False,
                mode=0o600,
            )
            # By name: when it was used, and the sealed answer. By use, then name: nothing.
            self._kept: Any = self._env.open_db(b"kept")  # lmdb names no type of these
            self._used: Any = self._env.open_db(b"used")
            self._sums: Any = self._env.open_db(b"sums")

    @staticmethod
    def is_at(directory: Path) -> bool:
        """Whether something has been kept there."""
        return (directory / MAP).is_dir()

    def close(self) -> None:
        """Let go of the map."""
        with _translated():
            self._env.close()

    @property
    def bytes_kept(self) -> int:
        """Of all that is kept, by all processes."""
        with _translated(), self._env.begin() as txn:
            return self._total(txn)

    def put(self, owner: Owner, response_id: str, value: bytes, now_us: int) -> bool:
        """Keep an answer; False where it alone is more than may be kept. It is read by every
        process of the PoP once this returns, and survives them; not the machine's own sudden end.
        """
        nonce = os.urandom(_NONCE_BYTES)
        name = self._name(owner, response_id)
        sealed = nonce + self._cipher(owner).encrypt(nonce, value, name)
        if len(sealed) > self._bytes_max:
            return False
        with _translated(), self._env.begin(write=True) as txn:
            self._drop(txn, name)
            self._drop_oldest(txn, now_us, len(sealed))
            used = _USED.pack(now_us)
            txn.put(name, used + sealed, db=self._kept)
            txn.put(used + name, b"", db=self._used)
            self._add(txn, len(sealed))
        return True

    def get(self, owner: Owner, response_id: str, now_us: int) -> bytes | None:
        """An answer; None where this owner has none of that id here (any more)."""
        name = self._name(owner, response_id)
        with _translated(), self._env.begin() as txn:
            record = txn.get(name, db=self._kept)
        if record is None or len(record) < _USED.size + _NONCE_BYTES:
            return None
        if _USED.unpack_from(record)[0] <= now_us - self._ttl_us:
            return None
        sealed = record[_USED.size :]
        try:
            return self._cipher(owner).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name)
        except InvalidTag:
            return None  # not what was sealed here: as good as lost

    def touch(self, owner: Owner, ids: Iterable[str], now_us: int) -> None:
        """These are in use: their time begins again."""
        used = _USED.pack(now_us)
        with _translated(), self._env.begin(write=True) as txn:
            for name in {self._name(owner, one) for one in ids}:
                record = txn.get(name, db=self._kept)
                if record is not None:
                    txn.delete(record[: _USED.size] + name, db=self._used)
                    txn.put(name, used + record[_USED.size :], db=self._kept)
                    txn.put(used + name, b"", db=self._used)

    def delete(self, owner: Owner, response_id: str) -> bool:
        """Forget an answer; whether there was one."""
        with _translated(), self._env.begin(write=True) as txn:
            return self._drop(txn, self._name(owner, response_id))

    def _drop(self, txn: lmdb.Transaction[bytes], name: bytes) -> bool:
        record = txn.pop(name, db=self._kept)
        if record is None:
            return False
        txn.delete(record[: _USED.size] + name, db=self._used)
        self._add(txn, _USED.size - len(record))
        return True

    def _drop_oldest(self, txn: lmdb.Transaction[bytes], now_us: int, more: int) -> None:
        """What is over, a few at a time, and whatever has to go for ``more`` bytes."""
        over_us, dropped = now_us - self._ttl_us, 0
        while True:
            with txn.cursor(db=self._used) as cursor:
                if not cursor.first():
                    return
                oldest = cursor.key()
            is_over = _USED.unpack_from(oldest)[0] <= over_us and dropped < DROPPED_AT_ONCE
            if not is_over and self._total(txn) + more <= self._bytes_max:
                return
            dropped += 1
            if not self._drop(txn, oldest[_USED.size :]):
                txn.delete(oldest, db=self._used)

    def _total(self, txn: lmdb.Transaction[bytes]) -> int:
        return int.from_bytes(txn.get(_TOTAL, db=self._sums) or b"", "big")

    def _add(self, txn: lmdb.Transaction[bytes], count: int) -> None:
        total = max(0, self._total(txn) + count)
        txn.put(_TOTAL, total.to_bytes(8, "big"), db=self._sums)

    def _name(self, owner: Owner, response_id: str) -> bytes:
        return self._keyed(b"selvedge name", (*owner, response_id), 16)

    def _cipher(self, owner: Owner) -> AESGCM:
        return AESGCM(self._keyed(b"selvedge seal", owner, 32))

    def _keyed(self, person: bytes, parts: tuple[str, ...], size: int) -> bytes:
        data = b"".join(len(one).to_bytes(4, "big") + one for one in map(str.encode, parts))
        hashed = hashlib.blake2b(data, digest_size=size, key=self._key, person=person)
        return hashed.digest()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        raise StoreFailed(f"kept answers cannot be used: {type(error).__name__}") from error
