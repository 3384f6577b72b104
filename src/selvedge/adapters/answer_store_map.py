"""The LMDB map under the answer store: its databases, and what is done about a damaged one.

LMDB survives `kill -9` and a loss of power by its design, but it trusts its pages: a page that a
disk has changed may end the process that reads it. So the writer, before it opens a map, has its
structure checked by a walker in plain Python, which cannot crash (3 to 4 s a GB); what does not
pass is left behind, and an empty map is begun in the next directory.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import lmdb
from lmdb import verify

from selvedge.fabric import StoreFailed

DATABASES: Final = ("answers", "exact", "questions", "marks", "learned", "scopes")
READERS_MAX: Final = 512


class AnswerMap:
    """One opened map. ``db`` holds its databases by name."""

    def __init__(self, place: Path, map_bytes: int, *, writes: bool) -> None:
        self._place = place
        try:
            if writes:
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.env = lmdb.open(
                str(place),
                map_size=map_bytes,
                max_dbs=len(DATABASES),
                max_readers=READERS_MAX,
                readonly=not writes,
                create=writes,
                # What the last commits kept may be lost with the power; nothing else is.
                metasync=False,
                readahead=False,
                mode=0o600,
            )
            # lmdb has no public name for a database: Any
            self.db: dict[str, Any] = {
                name: self.env.open_db(name.encode(), create=writes) for name in DATABASES
            }
        except (lmdb.Error, OSError) as error:
            raise StoreFailed(f"{place} cannot be used: {error}") from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[lmdb.Transaction[bytes]]:
        """One commit. Raises `StoreFailed`: then nothing of it is kept."""
        try:
            with self.env.begin(write=True) as txn:
                yield txn
        except (lmdb.Error, OSError) as error:
            raise StoreFailed(f"{self._place}: nothing can be kept: {error}") from error

    def range(self, name: str, front: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys with ``front``, and their values, from behind ``after`` on."""
        with self.env.begin() as txn, txn.cursor(db=self.db[name]) as cursor:
            if not cursor.set_range(after or front or b"\0"):
                return
            for key, value in cursor:
                if not key.startswith(front):
                    return
                if key != after:
                    yield key, value

    def sync(self) -> None:
        """Free the slots of readers that died, and bring the last commit to the disk."""
        with contextlib.suppress(lmdb.Error):
            self.env.reader_check()
            self.env.sync(True)

    def close(self) -> None:
        """Let go."""
        self.env.close()


def is_sound(place: Path) -> bool:
    """Whether a map may be opened: there is none yet, or its structure holds."""
    try:
        if not (place / "data.mdb").exists():
            return True
        return not verify.verify(str(place), subdir=True)  # type: ignore[no-untyped-call]
    except (verify.VerifyError, OSError, struct.error):
        return False


def drop(place: Path) -> None:
    """Remove a map; what cannot be removed stays, unread."""
    shutil.rmtree(place, ignore_errors=True)
