"""Key deltas on disk: signed by the operator, watched by the PoP, kept, never taken back.

The envelope is the release's, in a domain of its own: the delta's exact bytes, their SHA-256 and an
Ed25519 signature. Beside the delta a PoP keeps which keys it knows to be revoked, for that outlives
the file that said so.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature

from selvedge.adapters.identities import sign, verify
from selvedge.adapters.release_store import write_atomically
from selvedge.fabric import BadRelease, KeyDelta

DELTA_FILE: Final = "key-delta.json"
"""Its name, beside the release."""
DELTA_BYTES_MAX: Final = 64 * 1024 * 1024
_DOMAIN: Final = b"selvedge/keys/v1\n"


class SignedDelta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The envelope: ``delta`` is verified as the bytes it is, never re-encoded."""

    delta: msgspec.Raw
    hash: str
    signature: str
    v: int = 1


class HeldDelta(msgspec.Struct, frozen=True):
    """A delta whose signature holds, and the file it came in."""

    delta: KeyDelta
    file: bytes


def seal_delta(delta: KeyDelta, operator_private: bytes) -> bytes:
    """The file of a signed delta."""
    body = msgspec.json.encode(delta)
    signature = sign(operator_private, _DOMAIN + body)
    return msgspec.json.encode(
        SignedDelta(msgspec.Raw(body), _hash(body), base64.b64encode(signature).decode())
    )


def open_delta(data: bytes, operator_public: str) -> HeldDelta:
    """Check a signed delta. Raises `BadRelease` that names what does not hold."""
    if len(data) > DELTA_BYTES_MAX:
        raise BadRelease("key delta", f"exceeds {DELTA_BYTES_MAX} bytes")
    try:
        signed = msgspec.json.decode(data, type=SignedDelta)
        body = bytes(signed.delta)
        signature = base64.b64decode(signed.signature, validate=True)
        verify(operator_public, signature, _DOMAIN + body)
    except msgspec.MsgspecError as error:
        raise BadRelease("key delta", f"is not a signed delta: {error}") from error
    except (InvalidSignature, ValueError) as error:
        raise BadRelease("key delta", "its signature is not the operator's") from error
    if signed.v != 1:
        raise BadRelease("v", f"{signed.v} is not a form this version reads; it reads 1")
    if signed.hash != _hash(body):
        raise BadRelease("hash", "is not the hash of the key delta")
    try:
        return HeldDelta(msgspec.json.decode(body, type=KeyDelta), data)
    except msgspec.MsgspecError as error:
        raise BadRelease("key delta", str(error)) from error


class KeyDeltaStore:
    """One PoP's deltas: the file it watches, and what it keeps of them."""

    def __init__(self, directory: Path, inbox: Path, operator_public: str) -> None:
        self._current = directory / DELTA_FILE
        self._revoked = directory / "revoked-keys.json"
        self._inbox = inbox
        self._public = operator_public
        self._seen: tuple[int, int, int] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def load(self) -> HeldDelta | None:
        """The delta kept from before. Raises `BadRelease` where there is one that does not hold."""
        try:
            return open_delta(self._current.read_bytes(), self._public)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadRelease("kept key delta", f"{self._current}: {error.strerror}") from error

    def load_revoked(self) -> dict[str, int]:
        """The revocations kept, id -> when. Raises `BadRelease` where they cannot be read."""
        try:
            return msgspec.json.decode(self._revoked.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            raise BadRelease("kept revocations", f"{self._revoked}: {error}") from error

    def changed(self) -> bool:
        """Whether the watched file is one not looked at yet. One stat(2)."""
        try:
            stat = self._inbox.stat()
        except OSError:
            return False
        now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if now == self._seen:
            return False
        self._seen = now
        return True

    def take(self) -> HeldDelta:
        """Check what is there. Raises `BadRelease`."""
        try:
            with self._inbox.open("rb") as file:
                data = file.read(DELTA_BYTES_MAX + 1)
        except OSError as error:
            raise BadRelease("key delta", f"{self._inbox}: {error.strerror}") from error
        return open_delta(data, self._public)

    def keep(self, held: HeldDelta) -> None:
        """Keep a delta; call it after it was put to use. Raises `StoreFailed`."""
        write_atomically(self._current, held.file)

    def keep_revoked(self, revoked: dict[str, int]) -> None:
        """Keep which keys are revoked. Raises `StoreFailed`."""
        write_atomically(self._revoked, msgspec.json.encode(revoked))


def _hash(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
