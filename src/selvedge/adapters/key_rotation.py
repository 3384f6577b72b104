"""Replacing a key without a moment in which only one side knows the new one: three releases.

First old and new are named, then new and old, then the new one alone. Which of them is next is told
by the files that are there, so that a rotation that was cut short goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from selvedge.fabric import StoreFailed


def rotate_key(directory: Path, files: tuple[str, str, str], keep: Callable[[Path], object]) -> int:
    """Prepare the next of the three releases; which one it is, 1 to 3.

    ``files`` are names: of the key now, the following and the old. ``keep`` makes one where there
    is none. Raises `StoreFailed`.
    """
    now, following, old = (directory / name for name in files)
    try:
        if following.exists():
            old.unlink(missing_ok=True)  # a second name of `now`, where this was cut short
            old.hardlink_to(now)
            following.replace(now)
            return 2
        if old.exists():
            old.unlink()
            return 3
    except OSError as error:
        raise StoreFailed(f"{directory} cannot be changed: {error.strerror}") from error
    keep(now)
    keep(following)
    return 1
