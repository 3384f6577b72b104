"""The keys of the answer cache: one per scope, in a file of their own.

Everything that the cache keeps of a scope is sealed under the scope's key, so deleting a key
deletes what was sealed, in the file, in copies of it and in backups that lack this one. A tenant's
scopes carry the tenant's mark: deleting a tenant deletes them all. Names are in no file: a scope
and a tenant are keyed hashes under a secret that lies in the first record.

The file is an array of records of one size, each with its own checksum. One process writes; it only
appends, and it deletes by overwriting in place, so that the key is gone from the disk's block too
where the file system writes in place. Readers read it again when the store's generation says so.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from selvedge.cache import Scope
from selvedge.fabric import StoreFailed

TAG_BYTES: Final = 16
_RECORD: Final = struct.Struct("<4sB3x16s16s32sQ")
_CHECK_BYTES: Final = 16
RECORD_BYTES: Final = _RECORD.size + _CHECK_BYTES
_MAGIC: Final = b"SVK1"
_SECRET: Final = 0
_SCOPE: Final = 1
_NAMES_MAX: Final = 100_000


class SealKey:
    """What one scope is sealed and named with."""

    __slots__ = ("_mark", "cipher", "names", "tag", "tenant")

    def __init__(self, tag: bytes, tenant: bytes, key: bytes) -> None:
        self.tag = tag
        self.tenant = tenant
        self._mark = hashlib.blake2b(key, digest_size=16, person=b"selvedge mark").digest()
        self.cipher = AESGCM(hashlib.blake2b(key, digest_size=32, person=b"selvedge seal").digest())
        self.names = hashlib.blake2b(key, digest_size=32, person=b"selvedge name").digest()

    def is_of(self, key: bytes) -> bool:
        """Whether this was made of that key: a scope whose key was deleted gets another one."""
        mark = hashlib.blake2b(key, digest_size=16, person=b"selvedge mark").digest()
        return hmac.compare_digest(self._mark, mark)

    def name(self, data: bytes) -> bytes:
        """A keyed hash (16 bytes) under which something of the scope is found on the disk."""
        return hashlib.blake2b(data, digest_size=TAG_BYTES, key=self.names).digest()


class ScopeKeys:
    """The key file of one PoP. With ``writes`` it may be made, appended to and deleted from."""

    def __init__(self, path: Path, *, writes: bool = False) -> None:
        self.path = path
        self.damaged = 0
        """Records that failed their check: their scopes' answers are lost."""
        self._writes = writes
        self._secret = b""
        self._keys: dict[bytes, SealKey] = {}
        self._places: dict[bytes, int] = {}
        self._tags: dict[Scope, bytes] = {}
        self._tenants: dict[str, bytes] = {}
        if writes:
            self._make()
        self.reload()

    def reload(self) -> None:
        """Read the file again; a file that is not there has no keys."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise StoreFailed(f"{self.path} cannot be read: {error.strerror}") from error
        secret, keys, places = b"", {}, {}
        self.damaged = 0
        for at, kind, tag, tenant, key in self._records(data):
            if kind == _SECRET:
                secret = secret or key
            else:
                known = self._keys.get(tag)
                same = known is not None and known.is_of(key)
                keys[tag] = known if known is not None and same else SealKey(tag, tenant, key)
                places[tag] = at
        if secret != self._secret:
            self._tags.clear()
            self._tenants.clear()
        self._secret, self._keys, self._places = secret, keys, places

    def tag(self, scope: Scope) -> bytes:
        """The scope's name on the disk."""
        tag = self._tags.get(scope)
        if tag is None:
            words = (scope.tenant, scope.data_class, scope.zone, scope.policy)
            tag = self.hide("scope", "".join(f"{len(word)}:{word}" for word in words))
            if len(self._tags) >= _NAMES_MAX:
                self._tags.clear()
            self._tags[scope] = tag
        return tag

    def tenant(self, name: str) -> bytes:
        """The tenant's mark on its scopes."""
        mark = self._tenants.get(name)
        if mark is None:
            if len(self._tenants) >= _NAMES_MAX:
                self._tenants.clear()
            mark = self._tenants[name] = self.hide("tenant", name)
        return mark

    def find(self, scope: Scope) -> SealKey | None:
        """The scope's key; None where nothing was ever kept in it, or its key was deleted."""
        return self._keys.get(self.tag(scope))

    def by_tag(self, tag: bytes) -> SealKey | None:
        """The same by the name on the disk."""
        return self._keys.get(tag)

    def tags(self) -> list[bytes]:
        """Every scope that has a key."""
        return list(self._keys)

    def ensure(self, scope: Scope, now_us: int) -> SealKey:
        """The scope's key, made and on the disk if need be. Raises `StoreFailed`."""
        tag = self.tag(scope)
        known = self._keys.get(tag)
        if known is None:
            mark, key = self.tenant(scope.tenant), os.urandom(32)
            self._places[tag] = self._append(_SCOPE, tag, mark, key, now_us)
            known = self._keys[tag] = SealKey(tag, mark, key)
        return known

    def drop(self, tags: list[bytes]) -> None:
        """Delete the keys of these scopes; on the disk when it returns. Raises `StoreFailed`."""
        places = [self._places[tag] for tag in tags if tag in self._places]
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                for at in places:
                    os.pwrite(fd, bytes(RECORD_BYTES), at)
                os.fdatasync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise StoreFailed(f"{self.path}: keys cannot be deleted: {error.strerror}") from error
        for tag in tags:
            self._keys.pop(tag, None)
            self._places.pop(tag, None)

    def of_tenant(self, tenant: str) -> list[bytes]:
        """The scopes of a tenant that have a key."""
        mark = self.tenant(tenant)
        return [tag for tag, key in list(self._keys.items()) if key.tenant == mark]

    def hide(self, kind: str, words: str) -> bytes:
        """A keyed hash (16 bytes) in place of a name, the same for every scope of the PoP."""
        return hmac.digest(self._secret, f"{kind}\0{words}".encode(), "sha256")[:TAG_BYTES]

    def _records(self, data: bytes) -> Iterator[tuple[int, int, bytes, bytes, bytes]]:
        for at in range(0, len(data) - RECORD_BYTES + 1, RECORD_BYTES):
            record = data[at : at + RECORD_BYTES]
            body = record[: _RECORD.size]
            if not any(record):
                continue
            magic, kind, tag, tenant, key, _ = _RECORD.unpack(body)
            if magic != _MAGIC or record[_RECORD.size :] != _check(body):
                self.damaged += 1
                continue
            yield at, kind, tag, tenant, key

    def _make(self) -> None:
        """Make the file, or cut what a crash left behind the last whole record."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(fd).st_size
                os.ftruncate(fd, size - size % RECORD_BYTES)
                first = os.pread(fd, RECORD_BYTES, 0)
            finally:
                os.close(fd)
        except OSError as error:
            raise StoreFailed(f"{self.path} cannot be used: {error.strerror}") from error
        if first and not any(
            kind == _SECRET for _, kind, *_ in self._records(first)
        ):  # Without the secret no name is found: nothing in the file opens anything any more.
            self.path.rename(self.path.with_name(f"{self.path.name}.damaged"))
            self._make()
        elif not first:
            self._append(_SECRET, bytes(TAG_BYTES), bytes(TAG_BYTES), os.urandom(32), 0)

    def _append(self, kind: int, tag: bytes, tenant: bytes, key: bytes, now_us: int) -> int:
        body = _RECORD.pack(_MAGIC, kind, tag, tenant, key, now_us)
        record = body + _check(body)
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                at = os.fstat(fd).st_size // RECORD_BYTES * RECORD_BYTES
                if os.pwrite(fd, record, at) != len(record):
                    os.ftruncate(fd, at)
                    raise OSError(0, "the disk is full")
                os.fdatasync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise StoreFailed(f"{self.path}: a key cannot be kept: {error.strerror}") from error
        return at


def _check(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES).digest()
