"""Key deltas on disk: signed by the operator, watched by the PoP, kept, never taken back.

The envelope is the release's, in a domain of its own: the delta's exact bytes, their SHA-256 and an
Ed25519 signature. Beside the delta a PoP keeps which keys it knows to be revoked, for that outlives
the file that said so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters.release_store import write_atomically
from selvedge.adapters.signed_files import (
    WatchedFile,
    check_envelope,
    hash_of,
    is_signed,
    signature_of,
)
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
    signature = signature_of(_DOMAIN, body, operator_private)
    return msgspec.json.encode(SignedDelta(msgspec.Raw(body), hash_of(body), signature))


def open_delta(data: bytes, operator_public: str) -> HeldDelta:
    """Check a signed delta. Raises `BadRelease` that names what does not hold."""
    if len(data) > DELTA_BYTES_MAX:
        raise BadRelease("key delta", f"exceeds {DELTA_BYTES_MAX} bytes")
    try:
        signed = msgspec.json.decode(data, type=SignedDelta)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRelease("key delta", f"is not a signed delta: {error}") from error
    body = bytes(signed.delta)
    if not is_signed(_DOMAIN, body, signed.signature, operator_public):
        raise BadRelease("key delta", "its signature is not the operator's")
    check_envelope("key delta", body, signed.hash, signed.v)
    try:
        return HeldDelta(msgspec.json.decode(body, type=KeyDelta), data)
    except msgspec.MsgspecError as error:
        raise BadRelease("key delta", str(error)) from error


class KeyDeltaStore:
    """One PoP's deltas: the file it watches, and what it keeps of them."""

    def __init__(self, directory: Path, inbox: Path, operator_public: str) -> None:
        self._current = directory / DELTA_FILE
        self._revoked = directory / "revoked-keys.json"
        self._inbox = WatchedFile(inbox)
        self._public = operator_public
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
        except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
            raise BadRelease("kept revocations", f"{self._revoked}: {error}") from error

    def changed(self) -> bool:
        """Whether the watched file is one not looked at yet. One stat(2)."""
        return self._inbox.changed()

    def take(self) -> HeldDelta:
        """Check what is there. Raises `BadRelease`."""
        data = self._inbox.read("key delta", DELTA_BYTES_MAX)
        return open_delta(data, self._public)

    def keep(self, held: HeldDelta) -> None:
        """Keep a delta; call it after it was put to use. Raises `StoreFailed`."""
        write_atomically(self._current, held.file)

    def keep_revoked(self, revoked: dict[str, int]) -> None:
        """Keep which keys are revoked. Raises `StoreFailed`."""
        write_atomically(self._revoked, msgspec.json.encode(revoked))
