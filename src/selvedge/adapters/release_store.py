"""Releases on disk: signed by the operator, checked whole, kept by the PoP, never taken back.

A signed release is one JSON file: the release's exact bytes, their SHA-256, and an Ed25519
signature over domain and bytes. A PoP looks at its inbox, takes what is newer and holds in every
part, keeps it (so that a start without the inbox works), and refuses the rest with a reason while
the last good one serves on.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters.signed_files import (
    WatchedFile,
    check_envelope,
    hash_of,
    is_signed,
    signature_of,
)
from selvedge.fabric import BadRelease, Release, StaleRelease, StoreFailed

RELEASE_BYTES_MAX: Final = 64 * 1024 * 1024
DRAFT_S_MAX: Final = 60.0
_DRAFT: Final = re.compile(r"\..+\.[0-9]+")
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
    signature = signature_of(_DOMAIN, body, operator_private)
    return msgspec.json.encode(SignedRelease(msgspec.Raw(body), hash_of(body), signature))


def open_release(data: bytes, operator_public: str) -> Held:
    """Check a signed release in full. Raises `BadRelease` that names what does not hold."""
    if len(data) > RELEASE_BYTES_MAX:
        raise BadRelease("release", f"exceeds {RELEASE_BYTES_MAX} bytes")
    try:
        signed = msgspec.json.decode(data, type=SignedRelease)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRelease("release", f"is not a signed release: {error}") from error
    body = bytes(signed.release)
    if not is_signed(_DOMAIN, body, signed.signature, operator_public):
        raise BadRelease("signature", "is not the operator's")
    check_envelope("release", body, signed.hash, signed.v)
    try:
        return Held(msgspec.json.decode(body, type=Release), signed.hash)
    except msgspec.MsgspecError as error:
        raise BadRelease("release", str(error)) from error


class ReleaseStore:
    """One PoP's releases: the inbox it is handed, and the one it holds."""

    def __init__(self, directory: Path, inbox: Path, operator_public: str) -> None:
        self._current = directory / "release.json"
        self._inbox = WatchedFile(inbox)
        self._public = operator_public
        self._taken = b""
        directory.mkdir(parents=True, exist_ok=True)
        sweep_drafts(directory)

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
        return self._inbox.changed()

    def take(self, serving: Held | None) -> Held:
        """Check what is in the inbox. Raises `BadRelease`, and `StaleRelease` where not newer."""
        data = self._inbox.read("inbox", RELEASE_BYTES_MAX)
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


def sweep_drafts(directory: Path) -> int:
    """Remove what `write_atomically` left in a directory where it was killed; how many files.

    A draft that is a minute old is nobody's: a write takes some milliseconds.
    """
    old_s = time.time() - DRAFT_S_MAX
    swept = 0
    for path in directory.glob(".*"):
        if _DRAFT.fullmatch(path.name) is None:
            continue
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < old_s:
                path.unlink()
                swept += 1
    return swept
