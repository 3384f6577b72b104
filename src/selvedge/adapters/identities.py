"""Keys of PoPs and of the release: X25519 for tickets, Ed25519 for the release's signature.

A PoP's private key never leaves its disk; the release carries the public ones, and each pair of
PoPs derives its ticket key by X25519 (RFC 7748) and HKDF-SHA-256 (RFC 5869): a release
holds no secret.
"""

from __future__ import annotations

import base64
import contextlib
import os
import threading
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from selvedge.fabric import BadRelease, Release, StoreFailed

_RAW: Final = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
_INFO: Final = "selvedge/pair/v1"


def keep_secret(path: Path, make: bytes) -> bytes:
    """The 32 bytes kept at ``path``; where there are none yet, ``make`` is kept and returned."""
    if not path.exists():
        keep_file(path, base64.b64encode(make) + b"\n")
    return read_secret(path)


def keep_file(path: Path, data: bytes) -> bytes:
    """What is kept at ``path``: ``data``, for the owner alone, unless another came first."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # A link fails where the name is taken: the first to come wins, whole.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        return path.read_bytes()
    except OSError as error:
        raise StoreFailed(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def read_secret(path: Path) -> bytes:
    """The 32 bytes kept at ``path``. Raises `StoreFailed` where they are not there."""
    try:
        secret = base64.b64decode(path.read_bytes())
    except OSError as error:
        raise StoreFailed(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise StoreFailed(f"{path} does not hold a 32-byte key in base64; restore or delete it")
    return secret


def pop_public_key(private: bytes) -> str:
    """The X25519 public key of a PoP, in base64, for the release."""
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(*_RAW)
    return base64.b64encode(public).decode()


def pair_keys(release: Release, here: str, private: bytes) -> dict[str, bytes]:
    """The ticket key this PoP shares with each other PoP of the release, by PoP id."""
    own = X25519PrivateKey.from_private_bytes(private)
    if release.pop(here).public_key != pop_public_key(private):
        raise BadRelease(f"pops.{here}.public_key", "is not the key on this PoP's disk")
    keys: dict[str, bytes] = {}
    for pop in release.pops:
        if pop.id != here:
            keys[pop.id] = _pair_key(release.fleet, own, here, pop.id, pop.public_key)
    return keys


def service_key(fleet: str, private: bytes, here: str, there: str, public: str) -> bytes:
    """The key of a pair in which one is no PoP: ``~collector/<zone>``, say, and a PoP's id.

    ``private`` is of ``here``, ``public`` of ``there``. Raises `BadRelease`.
    """
    own = X25519PrivateKey.from_private_bytes(private)
    return _pair_key(fleet, own, here, there, public)


def _pair_key(fleet: str, own: X25519PrivateKey, here: str, there: str, public: str) -> bytes:
    try:
        peer = X25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        shared = own.exchange(peer)
    except ValueError as error:
        raise BadRelease(f"pops.{there}.public_key", "is not an X25519 key in base64") from error
    first, second = sorted((here, there))
    info = f"{_INFO}\n{fleet}\n{first}\n{second}".encode()
    return HKDF(hashes.SHA256(), 32, None, info).derive(shared)


def operator_public_key(private: bytes) -> str:
    """The Ed25519 public key that PoPs pin, in base64."""
    public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes(*_RAW)
    return base64.b64encode(public).decode()


def sign(private: bytes, message: bytes) -> bytes:
    """Ed25519 signature (RFC 8032), 64 bytes."""
    return Ed25519PrivateKey.from_private_bytes(private).sign(message)


def verify(public: str, signature: bytes, message: bytes) -> None:
    """Raises `cryptography.exceptions.InvalidSignature` or `ValueError`."""
    Ed25519PublicKey.from_public_bytes(base64.b64decode(public)).verify(signature, message)
