"""Secrets of third parties' APIs, sealed at rest: one file of a PoP, for its owner alone.

AES-256-GCM (NIST SP 800-38D) under a key that is derived from the PoP's identity by HKDF-SHA-256
(RFC 5869), with a random nonce; the name is bound to the ciphertext, so that no entry can stand for
another. Whoever has the disk without `identity.key` has nothing; a copy at another PoP is of no
use there. Nothing here prints, logs or compares a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from selvedge.adapters.release_store import write_atomically
from selvedge.fabric import SECRET_NAME, BadSetting, StoreCorrupt, StoreFailed

SECRETS_FILE: Final = "provider-secrets.json"
SECRET_BYTES_MAX: Final = 16 * 1024
"""A service account's key file is the largest there is."""
SECRETS_MAX: Final = 256
_FILE_BYTES_MAX: Final = 8 * 1024 * 1024
_NONCE_BYTES: Final = 12
_INFO: Final = b"selvedge/provider-secrets/v1"
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]+")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    secrets: dict[str, bytes]
    """By name: nonce and ciphertext."""


class ProviderSecrets:
    """The sealed secrets of one PoP; ``identity`` is its private key of 32 bytes."""

    def __init__(self, directory: Path, identity: bytes) -> None:
        self._path = directory / SECRETS_FILE
        self._cipher = AESGCM(HKDF(hashes.SHA256(), 32, None, _INFO).derive(identity))

    def __repr__(self) -> str:
        return f"ProviderSecrets({self._path})"

    def mark(self) -> tuple[int, int, int]:
        """What changes whenever the file does; zeros where there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def names(self) -> list[str]:
        """What is kept, in order. Raises `StoreCorrupt`."""
        return sorted(self._read())

    def set(self, name: str, secret: str) -> None:
        """Keep a secret under a name, in the place of an older one. Raises `SelvedgeError`."""
        if not SECRET_NAME.fullmatch(name) or name.upper() == name:
            words = f"{name!r} is no name of a sealed secret: use a-z, 0-9, '.' and '-'"
            raise BadSetting("name", words + " (capitals are environment variables)")
        check_secret(secret)
        kept = dict(self._read())
        if name not in kept and len(kept) >= SECRETS_MAX:
            raise BadSetting("name", f"{SECRETS_MAX} secrets are kept already; drop one")
        nonce = os.urandom(_NONCE_BYTES)
        kept[name] = nonce + self._cipher.encrypt(nonce, secret.encode(), name.encode())
        self._write(kept)

    def drop(self, name: str) -> bool:
        """Forget a secret; whether there was one. Raises `SelvedgeError`."""
        kept = dict(self._read())
        if kept.pop(name, None) is None:
            return False
        self._write(kept)
        return True

    def open(self) -> tuple[Mapping[str, str], list[str]]:
        """The secrets by name, and the names of those that cannot be opened here.

        Raises `StoreCorrupt` where the whole file cannot be read.
        """
        found: dict[str, str] = {}
        damaged: list[str] = []
        for name, sealed in self._read().items():
            nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            try:
                found[name] = self._cipher.decrypt(nonce, body, name.encode()).decode()
            except (InvalidTag, ValueError):
                damaged.append(name)
        return found, damaged

    def _read(self) -> Mapping[str, bytes]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreFailed(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            if len(data) > _FILE_BYTES_MAX:
                raise msgspec.ValidationError("too large")
            found = msgspec.json.decode(data, type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            words = f"{self._path} is damaged; set its secrets again, or restore it"
            raise StoreCorrupt(words) from error
        if found.v != 1:
            raise StoreCorrupt(f"{self._path} is of form {found.v}; this version reads 1")
        return found.secrets

    def _write(self, kept: Mapping[str, bytes]) -> None:
        data = msgspec.json.encode(_File(1, dict(sorted(kept.items()))))
        write_atomically(self._path, data, 0o600)


def check_secret(secret: str) -> None:
    """Raises `BadSetting` where a text can be no secret: it never says what the text was."""
    if len(secret.encode()) > SECRET_BYTES_MAX:
        raise BadSetting("secret", f"is longer than {SECRET_BYTES_MAX} bytes")
    if not _LINE.fullmatch(secret):
        raise BadSetting("secret", "is empty, or holds a line break or another control character")
