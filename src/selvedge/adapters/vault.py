"""Personal fields: encrypted per subject, so that deleting one key forgets one person.

AES-256-GCM (NIST SP 800-38D) under a random 256-bit key per subject; the nonce is random, and a key
seals far fewer than the 2**32 messages at which random nonces become a concern. Subjects are a
tenant's end users, or, where a request names none, the tenant's day. Keys live in a file of their
own, never in the journal: erasing a line there erases the person. The receipt binds the ciphertext
by hash alone, so the ciphertext may be deleted as well.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Generator
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from selvedge.adapters.entropy import Entropy
from selvedge.fabric import Personal, StoreCorrupt, StoreFailed
from selvedge.fabric.value import Value

CACHE_MAX: Final = 10_000
_ID_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_LINE_BYTES_MAX: Final = 1024
_DAY_US: Final = 86_400_000_000


class _Entry(Value, frozen=True):
    id: str
    subject: str
    key: str
    v: int = 1


_decoder: Final = msgspec.json.Decoder(_Entry)
_encoder: Final = msgspec.json.Encoder()


class Vault:
    """Subject keys of one PoP, in an append-only file with a bounded memory of recent ones.

    Sealing never reads the file: a subject that is not in memory gets a further key, so a subject
    may have several. Forgetting a person deletes all lines of the subject.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._cut_torn_tail()
        except OSError as error:
            raise StoreFailed(f"{path} cannot be used: {error.strerror}") from error
        self._unsynced = False
        self._entropy = Entropy()
        self._recent: OrderedDict[str, tuple[bytes, AESGCM]] = OrderedDict()
        self._secret = self._subject_secret()

    def seal(self, tenant: str, personal: Personal, receipt_id: str, at_us: int) -> bytes:
        """The ciphertext: key id (16 bytes), nonce (12), AES-GCM; bound to the receipt's id.

        Raises `StoreFailed` where a new subject's key cannot be kept.
        """
        who = personal.end_user or f"day:{at_us // _DAY_US}"
        subject = f"{tenant}\n{who}"
        known = self._recent.get(subject)
        if known is None:
            known = self._recent[subject] = self._add(subject)
            if len(self._recent) > CACHE_MAX:
                self._recent.popitem(last=False)
        key_id, cipher = known
        nonce = self._entropy.take(_NONCE_BYTES)
        plain = _encoder.encode(personal)
        return key_id + nonce + cipher.encrypt(nonce, plain, receipt_id.encode())

    def open(self, ciphertext: bytes, receipt_id: str) -> Personal | None:
        """The personal fields, or None where the subject has been forgotten. Reads the file.

        Raises `StoreCorrupt` where the ciphertext is not this receipt's.
        """
        key_id, rest = ciphertext[:_ID_BYTES].hex(), ciphertext[_ID_BYTES:]
        cipher = self._look_up(key_id)
        if cipher is None:
            return None
        nonce, body = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        try:
            plain = cipher.decrypt(nonce, body, receipt_id.encode())
        except (InvalidTag, ValueError) as error:
            raise StoreCorrupt(f"personal fields of {receipt_id} fail their check") from error
        return msgspec.json.decode(plain, type=Personal)

    def sync(self) -> None:
        """Bring new keys to the disk; called from the journal's syncing thread."""
        if self._unsynced:
            self._unsynced = False
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Sync and close the key file."""
        os.fsync(self._fd)
        os.close(self._fd)

    def _add(self, subject: str) -> tuple[bytes, AESGCM]:
        key_id, key = os.urandom(_ID_BYTES), os.urandom(32)
        hidden = hmac.digest(self._secret, subject.encode(), "sha256").hex()
        self._append(_Entry(key_id.hex(), hidden, base64.b64encode(key).decode()))
        return key_id, AESGCM(key)

    def _append(self, entry: _Entry) -> None:
        self._unsynced = True
        line = msgspec.json.encode(entry) + b"\n"
        try:
            size = os.fstat(self._fd).st_size
            if os.write(self._fd, line) != len(line):
                # What is left of it would swallow the next line.
                os.ftruncate(self._fd, size)
                raise StoreFailed("a subject's key cannot be kept: the disk is full")
        except OSError as error:
            raise StoreFailed(f"a subject's key cannot be kept: {error.strerror}") from error

    def _cut_torn_tail(self) -> None:
        """A line that a crash cut short sealed nothing, and would swallow the next."""
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, _LINE_BYTES_MAX, max(0, size - _LINE_BYTES_MAX))
        torn = len(tail) - (tail.rfind(b"\n") + 1)
        if torn:
            os.ftruncate(self._fd, size - torn)

    def _look_up(self, key_id: str) -> AESGCM | None:
        with contextlib.closing(self._entries()) as entries:
            for entry in entries:
                if entry.id and entry.id == key_id:
                    return AESGCM(base64.b64decode(entry.key))
        return None

    def _entries(self) -> Generator[_Entry, None, None]:
        with self._path.open("rb") as file:
            for line in file:
                # A damaged line must not take the others with it.
                with contextlib.suppress(msgspec.MsgspecError):
                    yield _decoder.decode(line)

    def _subject_secret(self) -> bytes:
        """The first line keys the subject ids, so that they reveal no end user's name."""
        with contextlib.closing(self._entries()) as entries:
            for entry in entries:
                if not entry.id:
                    return base64.b64decode(entry.key)
        secret = os.urandom(32)
        self._append(_Entry("", "subjects", base64.b64encode(secret).decode()))
        return secret
