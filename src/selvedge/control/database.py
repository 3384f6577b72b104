"""The store's database: SQLite beside one machine's files, or PostgreSQL by its URL, one code.

Every transaction is short and bounded: a database that is away, slow, locked or full is
`StoreAway`, which says when to ask again, and while it is away nobody waits for it (`Breaker`).
No PoP ever comes here.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Select, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from selvedge.control.bounded import connects
from selvedge.control.tables import METADATA
from selvedge.fabric import BadSetting, SelvedgeError, StoreFailed

WAIT_MS: Final = 2_000
"""For a lock, a connection, a statement."""
CONNECTIONS_MAX: Final = 8


class StoreAway(StoreFailed):
    """The database did not do it in time, or at all; ``retry_after_s`` is when to ask again."""

    retry_after_s = 2


class Breaker:
    """After a failure nobody asks for a while; then one does, and the rest follow if it worked."""

    def __init__(self, open_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_s = open_s
        self._clock = clock
        self._until: float | None = None
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether an asker is turned away now."""
        return self._until is not None and self._clock() < self._until

    def enter(self) -> None:
        """Raises `StoreAway` while the database is away; lets one asker through after that."""
        with self._lock:
            if self._until is None:
                return
            if self._clock() < self._until:
                raise StoreAway("the control plane's database is away; retry in a few seconds")
            self._until = self._clock() + self._open_s

    def worked(self) -> None:
        """The database answered."""
        with self._lock:
            self._until = None

    def failed(self) -> None:
        """It did not."""
        with self._lock:
            self._until = self._clock() + self._open_s


class Database:
    """One database, by URL: ``sqlite:///FILE`` or ``postgresql://…``."""

    def __init__(self, url: str, *, wait_ms: int = WAIT_MS, breaker: Breaker | None = None) -> None:
        self.url = _read_url(url)
        self.breaker = breaker or Breaker()
        self.engine = _engine(self.url, wait_ms)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file on this machine."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def file(self) -> Path | None:
        """The file of SQLite."""
        return Path(self.url.database or "") if self.is_sqlite else None

    def make_folder(self) -> None:
        """The folder of SQLite's file, and the file, for its owner alone. Raises `StoreFailed`."""
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # Never one that is there: to close it would end the locks that SQLite has on it.
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise StoreFailed(f"{self.file} cannot be made: {why}") from error

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that reads. Raises `StoreAway`."""
        with self._transaction(write=False) as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that writes: all of it or nothing. Raises `StoreAway`."""
        with self._transaction(write=True) as connection:
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """One transaction that reads all tables as they were at one moment."""
        with self._transaction(write=False, level="REPEATABLE READ") as connection:
            yield connection

    def session(self) -> Connection:
        """A connection of its own that lives until `hang_up`. Raises `StoreAway`."""
        self.breaker.enter()
        try:
            found = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            self.breaker.failed()
            raise StoreAway(f"the control plane's database failed: {_why(error)}") from error
        self.breaker.worked()
        return found

    def ask(self, session: Connection, what: Select[Any]) -> Any:  # Any: a column's value
        """One value, in a session. Raises `StoreAway`."""
        try:
            return session.execute(what).scalar()
        except DBAPIError as error:
            raise StoreAway(f"the control plane's database failed: {_why(error)}") from error

    def is_open(self, session: Connection) -> bool:
        """Whether a session was not cut off."""
        try:
            return not session.invalidated and self.ask(session, select(1)) == 1
        except StoreAway:
            self.hang_up(session)
            return False

    def hang_up(self, session: Connection) -> None:
        """End a session, and all that the database held for it."""
        with contextlib.suppress(SQLAlchemyError):
            session.invalidate()
        with contextlib.suppress(SQLAlchemyError):
            session.close()

    def revision(self) -> str | None:
        """Of the tables; None where there are none."""
        with self.read() as connection:
            return _revision(connection)

    @contextlib.contextmanager
    def _transaction(self, *, write: bool, level: str | None = None) -> Iterator[Connection]:
        self.breaker.enter()
        own = {"isolation_level": level} if level is not None and not self.is_sqlite else {}
        try:
            connecting = self.engine.connect().execution_options(selvedge_write=write, **own)
            with connecting as connection, connection.begin():
                yield connection
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            self.breaker.failed()
            raise StoreAway(f"the control plane's database failed: {_why(error)}") from error
        except DBAPIError as error:
            self.breaker.worked()
            raise StoreFailed(f"the control plane's database refused: {_why(error)}") from error
        except SelvedgeError:
            self.breaker.worked()
            raise
        self.breaker.worked()

    def upgrade(self, to: str = "head") -> tuple[str | None, str | None]:
        """Bring the tables to a revision; the one before and the one after. Raises `StoreAway`."""
        self.make_folder()
        with self.write() as connection:
            return upgrade_in(connection, to)

    def check(self) -> None:
        """Raises `SelvedgeError` where the tables are not of this version."""
        script = ScriptDirectory(str(resources.files("selvedge.control") / "migrations"))
        with self.read() as connection:
            found = _revision(connection)
        if found != script.get_current_head():
            raise SelvedgeError(
                f"the store is of revision {found or 'none'}, this version needs "
                f"{script.get_current_head()}; run 'selvedge control upgrade'"
            )

    def is_empty(self) -> bool:
        """Whether it has no table of ours."""
        with self.read() as connection:
            names = set(inspect(connection).get_table_names())
            return not names & set(METADATA.tables)

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def _read_url(url: str) -> URL:
    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise BadSetting("database", "is not a URL, as 'postgresql://user@host/name'") from error
    if found.get_backend_name() not in ("sqlite", "postgresql"):
        words = f"{found.get_backend_name()!r} is neither sqlite nor postgresql"
        raise BadSetting("database", words)
    if found.get_backend_name() == "sqlite":
        if not found.database or found.database == ":memory:":
            raise BadSetting("database", "names no file, as 'sqlite:///control.sqlite'")
        if found.query:
            raise BadSetting("database", "has options behind '?'; one of sqlite takes none")
        return found
    return found.set(drivername="postgresql+psycopg")


def _engine(url: URL, wait_ms: int) -> Engine:
    pool: dict[str, Any] = {  # Any: keywords of create_engine
        "pool_size": CONNECTIONS_MAX,
        "max_overflow": 0,
        "pool_timeout": wait_ms / 1000,
    }
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": wait_ms / 1000}, **pool)
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    wait = f"-c statement_timeout={wait_ms} -c lock_timeout={wait_ms}"
    wait += f" -c idle_in_transaction_session_timeout={wait_ms * 5}"
    # What a machine that vanished had locked is free within half a minute.
    wait += " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    seconds = max(1, wait_ms // 1000)
    own = {"connect_timeout": seconds, "options": wait, "tcp_user_timeout": wait_ms}
    engine = create_engine(url, connect_args=own, pool_pre_ping=True, **pool)
    event.listen(engine, "do_connect", connects(wait_ms))
    return engine


def _tune_sqlite(connection: Any, _: object) -> None:  # Any: sqlite3's, or a stand-in of SQLAlchemy
    # Transactions are begun by `_begin_sqlite`, not when the driver thinks it sees a write.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("selvedge_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def upgrade_in(connection: Connection, to: str = "head") -> tuple[str | None, str | None]:
    """Bring the tables to a revision, in a transaction that is open; as `Database.upgrade`."""
    script = ScriptDirectory(str(resources.files("selvedge.control") / "migrations"))
    before = _revision(connection)
    known = [one.revision for one in script.walk_revisions()]
    for what, revision in (("store", before), ("backup", None if to == "head" else to)):
        if revision is not None and revision not in known:
            raise SelvedgeError(
                f"the {what} is of revision {revision}, which is newer than this version knows "
                f"({known[0]}); run the version that wrote it, or restore a backup of this one"
            )
    _migrate(script, connection, to)
    return before, _revision(connection)


def _migrate(script: ScriptDirectory, connection: Connection, to: str) -> None:
    def steps(revision: Any, _: Any) -> Any:  # Any: Alembic's own signature
        return script._upgrade_revs(to, revision)

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection, target_metadata=METADATA)
        environment.run_migrations()


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(found) if found is not None else None


def _why(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
