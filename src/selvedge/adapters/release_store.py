"""Releases on disk: signed by the operator, checked whole, kept by the PoP, never taken back.

A signed release is one JSON file: the release's exact bytes, their SHA-256, and an Ed25519
signature over domain and bytes. A PoP looks at its inbox, takes what is newer and holds in every
part, keeps it (so that a start without the inbox works), and refuses the rest with a reason while
the last good one serves on.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature

from selvedge.adapters.identities import sign, verify
from selvedge.fabric import BadRelease, Release, StaleRelease, StoreFailed

RELEASE_BYTES_MAX: Final = 64 * 1024 * 1024
_DOMAIN: Final = b"selvedge/release/v1\n"


class SignedRelease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The envelope: ``release`` is verified as the bytes it is, never re-encoded."""

    release: msgspec.Raw
    hash: str
    signature: str
    v: int = 1


class Held(msgspec.Struct, frozen=True):
    """A release that has been checked, with its hash (``sha256:…``)."""

    release: Release
    hash: str


def seal_release(release: Release, operator_private: bytes) -> bytes:
    """The file of a signed release."""
    body = msgspec.json.encode(release)
    signature = sign(operator_private, _DOMAIN + body)
    return msgspec.json.encode(
        SignedRelease(msgspec.Raw(body), _hash(body), base64.b64encode(signature).decode())
    )


def open_release(data: bytes, operator_public: str) -> Held:
    """Check a signed release in full. Raises `BadRelease` that names what does not hold."""
    if len(data) > RELEASE_BYTES_MAX:
        raise BadRelease("release", f"exceeds {RELEASE_BYTES_MAX} bytes")
    try:
        signed = msgspec.json.decode(data, type=SignedRelease)
        body = bytes(signed.release)
        verify(operator_public, base64.b64decode(signed.signature), _DOMAIN + body)
        if base64.b64encode(base64.b64decode(signed.signature)).decode() != signed.signature:
            raise InvalidSignature
    except (InvalidSignature, ValueError, binascii.Error) as error:
        if isinstance(error, msgspec.MsgspecError):
            raise BadRelease("release", f"is not a signed release: {error}") from error
        raise BadRelease("signature", "is not the operator's") from error
    if signed.v != 1:
        raise BadRelease("v", f"{signed.v} is not a form this version reads; it reads 1")
    if signed.hash != _hash(body):
        raise BadRelease("hash", "is not the hash of the release")
    try:
        return Held(msgspec.json.decode(body, type=Release), signed.hash)
    except msgspec.MsgspecError as error:
        raise BadRelease("release", str(error)) from error


class ReleaseStore:
    """One PoP's releases: the inbox it is handed, and the one it holds."""

    def __init__(self, directory: Path, inbox: Path, operator_public: str) -> None:
        self._current = directory / "release.json"
        self._inbox = inbox
        self._public = operator_public
        self._seen: tuple[int, int, int] | None = None
        self._taken = b""
        directory.mkdir(parents=True, exist_ok=True)

    def load(self) -> Held | None:
        """The release kept from before, if there is one that still holds."""
        try:
            return open_release(self._current.read_bytes(), self._public)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadRelease("kept release", f"{self._current}: {error.strerror}") from error

    def changed(self) -> bool:
        """Whether the inbox holds a file not looked at yet."""
        try:
            stat = self._inbox.stat()
        except OSError:
            return False
        now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if now == self._seen:
            return False
        self._seen = now
        return True

    def take(self, serving: Held | None) -> Held:
        """Check what is in the inbox. Raises `BadRelease`, and `StaleRelease` where not newer."""
        try:
            with self._inbox.open("rb") as file:
                data = file.read(RELEASE_BYTES_MAX + 1)
        except OSError as error:
            raise BadRelease("inbox", f"{self._inbox}: {error.strerror}") from error
        held = open_release(data, self._public)
        if serving is not None and held.release.version <= serving.release.version:
            words = f"{held.release.version} is not newer than {serving.release.version}"
            raise StaleRelease("version", words, other=held.hash != serving.hash)
        self._taken = data
        return held

    def keep(self) -> None:
        """Keep the release taken last; call it after the release has been compiled."""
        write_atomically(self._current, self._taken)


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file whole: a reader sees the old or the new one, also after a crash."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise StoreFailed(f"{path} cannot be written: {error.strerror}") from error


def _hash(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
