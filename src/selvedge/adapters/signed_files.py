"""What signed files have in common: the operator's signature over bytes, and a look by one stat(2).

An envelope carries the exact bytes that were signed, their SHA-256 and an Ed25519 signature over a
domain and them. Refuses to know what the bytes say.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature

from selvedge.adapters.identities import sign, verify
from selvedge.fabric import BadRelease

VERSION: Final = 1


def hash_of(body: bytes) -> str:
    """``sha256:`` and 64 digits."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def signature_of(domain: bytes, body: bytes, operator_private: bytes) -> str:
    """The operator's signature, in base64."""
    return base64.b64encode(sign(operator_private, domain + body)).decode()


def is_signed(domain: bytes, body: bytes, signature: str, operator_public: str) -> bool:
    """Whether the signature is the operator's, written in the one way that it may be."""
    try:
        raw = base64.b64decode(signature)
        verify(operator_public, raw, domain + body)
    except (InvalidSignature, ValueError):
        return False
    return base64.b64encode(raw).decode() == signature


def check_envelope(what: str, body: bytes, hash_: str, version: int) -> None:
    """The rest of an envelope whose signature holds. Raises `BadRelease`."""
    if version != VERSION:
        raise BadRelease("v", f"{version} is not a form this version reads; it reads {VERSION}")
    if hash_ != hash_of(body):
        raise BadRelease("hash", f"is not the hash of the {what}")


class WatchedFile:
    """A file that another process replaces whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Whether it is one that was not looked at yet."""
        try:
            stat = self.path.stat()
        except OSError:
            return False
        now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if now == self._seen:
            return False
        self._seen = now
        return True

    def read(self, what: str, bytes_max: int) -> bytes:
        """Its bytes, at most one beyond ``bytes_max``. Raises `BadRelease`; it is `changed` then
        as before, so that a process that is out of files for a moment looks again.
        """
        try:
            with self.path.open("rb") as file:
                return file.read(bytes_max + 1)
        except OSError as error:
            self._seen = None
            raise BadRelease(what, f"{self.path}: {error.strerror}") from error
