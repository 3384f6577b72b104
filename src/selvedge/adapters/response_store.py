"""Answers that a PoP keeps for their clients, to be read again and gone on from, sealed.

One SQLite file for all workers of a PoP. A row is found by a keyed hash of tenant, data class, zone
and id, and sealed under a key of those three: another's id is no row at all, looked for as any
other. Bounded by bytes and by time; what was used longest ago goes first. It refuses to know what
is in an answer, and who may keep one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from selvedge.adapters.identities import keep_secret
from selvedge.fabric import StoreFailed

Owner: TypeAlias = tuple[str, str, str]
"""Tenant, data class and zone."""

DATABASE: Final = "kept.db"
KEY_FILE: Final = "kept.key"
BUSY_MS: Final = 50
DROPPED_AT_ONCE: Final = 64
_NONCE_BYTES: Final = 12
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS kept (
    id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, used_us INTEGER NOT NULL,
    bytes INTEGER NOT NULL, sealed BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS kept_by_use ON kept (used_us);
CREATE TABLE IF NOT EXISTS total (bytes INTEGER NOT NULL);
INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM total);
CREATE TRIGGER IF NOT EXISTS kept_added AFTER INSERT ON kept
    BEGIN UPDATE total SET bytes = bytes + new.bytes; END;
CREATE TRIGGER IF NOT EXISTS kept_dropped AFTER DELETE ON kept
    BEGIN UPDATE total SET bytes = bytes - old.bytes; END;
"""


class ResponseStore:
    """Kept answers of one PoP, as one process of it sees them. Every method raises `StoreFailed`
    where the disk, or another process for too long, is in the way.
    """

    def __init__(self, directory: Path, bytes_max: int, ttl_us: int) -> None:
        self._bytes_max = bytes_max
        self._ttl_us = ttl_us
        with _translated():
            try:
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._key = keep_secret(directory / KEY_FILE, os.urandom(32))
            except OSError as error:
                raise StoreFailed(f"{directory} cannot be used: {error.strerror}") from error
            self._db = sqlite3.connect(
                directory / DATABASE, timeout=BUSY_MS / 1000, isolation_level=None
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        with _translated():
            self._db.close()

    @property
    def bytes_kept(self) -> int:
        """Of all that is kept, by all processes."""
        with _translated():
            return int(self._db.execute("SELECT bytes FROM total").fetchone()[0])

    def put(self, owner: Owner, response_id: str, value: bytes, now_us: int) -> bool:
        """Keep an answer; False where it alone is more than may be kept. It is read by every
        process of the PoP once this returns, and survives them; not the machine's own sudden end.
        """
        if len(value) > self._bytes_max:
            return False
        name = self._name(owner, response_id)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher(owner).encrypt(nonce, value, name)
        with _translated(), self._at_once():
            self._drop_expired(now_us)
            self._db.execute("DELETE FROM kept WHERE name = ?", (name,))
            self._db.execute(
                "INSERT INTO kept (name, used_us, bytes, sealed) VALUES (?, ?, ?, ?)",
                (name, now_us, len(sealed), sealed),
            )
            self._drop_oldest()
        return True

    def get(self, owner: Owner, response_id: str, now_us: int) -> bytes | None:
        """An answer; None where this owner has none of that id here (any more)."""
        name = self._name(owner, response_id)
        with _translated():
            row = self._db.execute(
                "SELECT sealed FROM kept WHERE name = ? AND used_us > ?",
                (name, now_us - self._ttl_us),
            ).fetchone()
        if row is None:
            return None
        sealed: bytes = row[0]
        try:
            return self._cipher(owner).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name)
        except InvalidTag:
            return None  # not what was sealed here: as good as lost

    def touch(self, owner: Owner, ids: Iterable[str], now_us: int) -> None:
        """These are in use: their time begins again."""
        with _translated(), self._at_once():
            self._db.executemany(
                "UPDATE kept SET used_us = ? WHERE name = ?",
                [(now_us, self._name(owner, one)) for one in ids],
            )

    def delete(self, owner: Owner, response_id: str) -> bool:
        """Forget an answer; whether there was one."""
        with _translated(), self._at_once():
            name = self._name(owner, response_id)
            return self._db.execute("DELETE FROM kept WHERE name = ?", (name,)).rowcount > 0

    def _drop_expired(self, now_us: int) -> None:
        self._db.execute(
            "DELETE FROM kept WHERE id IN (SELECT id FROM kept WHERE used_us <= ? LIMIT ?)",
            (now_us - self._ttl_us, DROPPED_AT_ONCE),
        )

    def _drop_oldest(self) -> None:
        while self.bytes_kept > self._bytes_max:
            self._db.execute(
                "DELETE FROM kept WHERE id = (SELECT id FROM kept ORDER BY used_us, id LIMIT 1)"
            )

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

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
    except sqlite3.Error as error:
        raise StoreFailed(f"kept answers cannot be used: {type(error).__name__}") from error
