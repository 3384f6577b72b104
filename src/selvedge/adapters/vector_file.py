"""One scope's vectors on the disk: an array of sealed rows, mapped, opened one by one.

A vector tells much of its text, so a row is sealed like an answer (AES-256-GCM, the scope's key,
bound to its place in the file). Opening one takes two microseconds, and a look-up opens only the
candidates that an index in memory names: the map stays what is on the disk, and memory holds no
vector in full.

The file is a shadow of the answers: a row that is missing, damaged or of another embedder is made
again from the entry's question. A file with a header of another kind is begun anew.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag

from selvedge.adapters.answer_store_records import ID_BYTES
from selvedge.adapters.scope_keys import SealKey
from selvedge.fabric import StoreFailed
from selvedge.fabric.value import Value

BUCKET_BYTES: Final = 16
CLUSTER_BYTES: Final = 8
_FRONT: Final = ID_BYTES + BUCKET_BYTES + CLUSTER_BYTES
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_HEADER: Final = struct.Struct("<8sI16s")
_HEADER_BYTES: Final = 64
_MAGIC: Final = b"SVVEC\x00\x00\x01"
_ROWS_MORE: Final = 256


class Row(Value, frozen=True):
    """One entry's vector; ``half`` is its numbers in half precision."""

    entry: bytes
    bucket: bytes
    cluster: bytes
    half: bytes


class VectorFile:
    """The rows of a scope, by number. Raises `StoreFailed` where the disk refuses."""

    def __init__(self, path: Path, key: SealKey, dims: int, embedder: bytes) -> None:
        self.path = path
        self.damaged = 0
        """Rows, and files, that did not open."""
        self._key = key
        self._half_bytes = 2 * dims
        self._row_bytes = _NONCE_BYTES + _FRONT + self._half_bytes + _TAG_BYTES
        self._map: mmap.mmap | None = None
        header = _HEADER.pack(_MAGIC, dims, embedder).ljust(_HEADER_BYTES, b"\0")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            found = os.pread(self._fd, _HEADER_BYTES, 0)
            if found != header:
                self.damaged += bool(found)
                os.ftruncate(self._fd, 0)
                os.pwrite(self._fd, header, 0)
            self.rows = (os.fstat(self._fd).st_size - _HEADER_BYTES) // self._row_bytes
            self._remap()
        except OSError as error:
            raise StoreFailed(f"{path} cannot be used: {error.strerror}") from error

    def write(self, number: int, row: Row) -> None:
        """Write a row; one behind the end makes the file longer."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = row.entry + row.bucket + row.cluster + row.half
        sealed = nonce + self._key.cipher.encrypt(nonce, plain, self._place(number))
        self._write(number, sealed)

    def erase(self, numbers: Sequence[int]) -> None:
        """Overwrite rows with nothing."""
        for number in numbers:
            if number < self.rows:
                self._write(number, bytes(self._row_bytes))

    def half(self, number: int) -> bytes | None:
        """A row's numbers; None where there is none, or it does not open."""
        plain = self._open(number)
        return None if plain is None else plain[_FRONT:]

    def all(self) -> Iterator[tuple[int, Row]]:
        """Every row that opens."""
        for number in range(self.rows):
            plain = self._open(number)
            if plain is not None:
                bucket = ID_BYTES + BUCKET_BYTES
                yield (
                    number,
                    Row(
                        plain[:ID_BYTES],
                        plain[ID_BYTES:bucket],
                        plain[bucket:_FRONT],
                        plain[_FRONT:],
                    ),
                )

    def close(self) -> None:
        """Let go of the file."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Close and delete it."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _open(self, number: int) -> bytes | None:
        at = _HEADER_BYTES + number * self._row_bytes
        if self._map is None or number >= self.rows:
            return None
        sealed = self._map[at : at + self._row_bytes]
        nonce = sealed[:_NONCE_BYTES]
        if nonce == bytes(_NONCE_BYTES):
            return None
        try:
            return self._key.cipher.decrypt(nonce, sealed[_NONCE_BYTES:], self._place(number))
        except (InvalidTag, ValueError):
            self.damaged += 1
            return None

    def _write(self, number: int, sealed: bytes) -> None:
        try:
            if number >= self.rows:
                rows = number + number // 8 + _ROWS_MORE
                os.ftruncate(self._fd, _HEADER_BYTES + rows * self._row_bytes)
                self.rows = rows
                self._remap()
            if os.pwrite(self._fd, sealed, _HEADER_BYTES + number * self._row_bytes) != len(sealed):
                raise OSError(0, "the disk is full")
        except OSError as error:
            raise StoreFailed(f"{self.path}: {error.strerror}") from error

    def _remap(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
        size = _HEADER_BYTES + self.rows * self._row_bytes
        if self.rows:
            self._map = mmap.mmap(self._fd, size, access=mmap.ACCESS_READ)
            self._map.madvise(mmap.MADV_RANDOM)

    def _place(self, number: int) -> bytes:
        return self._key.tag + b"vec" + number.to_bytes(8, "little")
