"""Who is the desk of a store: one control process at a time, and whoever was it before is not.

Two things, because neither is enough alone. A lock that ends with its process says at once whether
another one runs: of a file beside SQLite, or an advisory lock of a PostgreSQL session. And a token
in the database, of whoever sat down last, is looked at in the transaction of every grant: a process
that lost its lock without knowing it, with its connection, grants nothing any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from selvedge.control.database import Database
from selvedge.control.tables import DESK_SEAT
from selvedge.fabric import SelvedgeError, StoreFailed

LOCK_SUFFIX: Final = ".desk"
KEY: Final = int.from_bytes(b"selvedge", "big")
"""Of the advisory lock; it is the database's own, of which each fleet has one."""
_WANTED: Final = select(DESK_SEAT.c.token, DESK_SEAT.c.owner).where(DESK_SEAT.c.id == 1)


class SeatTaken(SelvedgeError):
    """Another control process is the desk of this store."""


class SeatLost(StoreFailed):
    """Another control process has become the desk of this store."""


def words_of(admin_url: str) -> str:
    """This process, as another one on the same store is told of it."""
    return f"process {os.getpid()} on {socket.gethostname()}, {admin_url}"


class DeskSeat:
    """Held from when it is made until `leave`. Raises `SeatTaken`, and `StoreFailed` where the
    database is away.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._token = os.urandom(16).hex()
        self._owner = owner
        self._fd = -1
        self._session: Connection | None = None
        self._lock()
        try:
            self._write()
        except BaseException:
            self.leave()
            raise

    def check(self, connection: Connection) -> None:
        """Nobody else sits here until this transaction has ended. Raises `SeatLost`."""
        row = connection.execute(_WANTED.with_for_update(read=True)).first()
        if row is None or row.token != self._token:
            other = "nobody is written down" if row is None else f"{row.owner} is"
            raise SeatLost(f"this process is no longer the desk of its store: {other}; stop one")

    def keep(self) -> None:
        """Look whether it is held still; take the lock again where its session was cut off.

        Raises `SeatLost`, `SeatTaken`, and `StoreFailed` where that is not known now.
        """
        with self._database.read() as connection:
            self.check(connection)
        if self._session is None or self._database.is_open(self._session):
            return
        self._session = None
        self._lock()

    def leave(self) -> None:
        """Let another process sit down."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._session is not None:
            with contextlib.suppress(StoreFailed):
                self._database.ask(self._session, select(func.pg_advisory_unlock(KEY)))
            self._database.hang_up(self._session)
            self._session = None

    def _lock(self) -> None:
        file = self._database.file
        if file is not None:
            self._lock_file(file.with_name(file.name + LOCK_SUFFIX))
            return
        session = self._database.session()
        if not self._database.ask(session, select(func.pg_try_advisory_lock(KEY))):
            self._database.hang_up(session)
            raise self._taken()
        self._session = session

    def _lock_file(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreFailed(f"{path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise self._taken() from error
        except OSError as error:
            os.close(fd)
            raise StoreFailed(f"{path} cannot be locked: {error.strerror}") from error
        self._fd = fd

    def _taken(self) -> SeatTaken:
        with self._database.read() as connection:
            row = connection.execute(_WANTED).first()
        who = row.owner if row is not None else "one that is just starting"
        return SeatTaken(
            f"another control process works on this database ({who}), and a fleet has one; "
            "stop that one first, or give this one a 'database' of its own"
        )

    def _write(self) -> None:
        """From now on no grant of whoever sat here before is written."""
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        own = {"token": self._token, "owner": self._owner}
        put = insert(DESK_SEAT).values(id=1, **own)
        with self._database.write() as connection:
            connection.execute(put.on_conflict_do_update(index_elements=["id"], set_=own))
