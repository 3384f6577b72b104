"""The Ed25519 keys that a log signs with: one, or two while the new one follows the old.

A key is made where it is used and stays there; a release names the public parts, and a log signs
with each key that it has and that the release names. Files: ``log.key``, and during a change
``log-next.key`` or ``log-old.key`` beside it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from selvedge.adapters.identities import keep_secret, operator_public_key, read_secret
from selvedge.adapters.key_rotation import rotate_key

LOG_KEY_FILE: Final = "log.key"
_NEXT_FILE: Final = "log-next.key"
_OLD_FILE: Final = "log-old.key"
_FILES: Final = (LOG_KEY_FILE, _NEXT_FILE, _OLD_FILE)


def keep_log_keys(directory: Path) -> dict[str, bytes]:
    """Public key -> private key of a log's directory; the first is made where there is none."""
    keep_secret(directory / LOG_KEY_FILE, os.urandom(32))
    return read_log_keys(directory)


def read_log_keys(directory: Path) -> dict[str, bytes]:
    """The same without making any. Raises `StoreFailed` of one that cannot be read."""
    found: dict[str, bytes] = {}
    for name in _FILES:
        path = directory / name
        if path.exists():
            private = read_secret(path)
            found[operator_public_key(private)] = private
    return found


def rotate_log_key(directory: Path) -> int:
    """Prepare the next of the three releases of a rotation; which one it is, 1 to 3."""
    return rotate_key(directory, _FILES, lambda path: keep_secret(path, os.urandom(32)))
