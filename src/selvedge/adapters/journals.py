"""Where a PoP's journals lie: one for each worker that runs at once, numbered from 0.

Number 0 lies where a single process writes. One process at a time owns a journal, by its lock, and
whoever opens it next goes on counting: a number is a place on the disk, not a process.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from selvedge.fabric import StoreFailed

_WORKERS: Final = "workers"


def journal_of(state_dir: Path, number: int) -> Path:
    """The directory of one journal, and of the subject keys beside it: ``receipts`` is in it."""
    return state_dir if number == 0 else state_dir / _WORKERS / str(number)


def journals_of(state_dir: Path) -> list[int]:
    """Numbers of the journals that there are, in order."""
    found = {0} if (state_dir / "receipts").is_dir() else set()
    for one in state_dir.glob(f"{_WORKERS}/*/receipts"):
        if one.parent.name.isdecimal():
            found.add(int(one.parent.name))
    return sorted(found)


def is_free(directory: Path) -> bool:
    """Whether no living process owns the journal of this directory."""
    try:
        fd = os.open(directory / "receipts" / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def keep_whole(path: Path) -> int:
    """Lock a whole state directory for this process's life; the descriptor that holds the lock.

    Raises `StoreFailed` where another process has it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            words = "is in use by another process; stop it or choose another state directory"
        else:
            words = f"cannot be used: {error.strerror}"
        raise StoreFailed(f"{path} {words}") from error
    return fd
