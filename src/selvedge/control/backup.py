"""Backup and restore of the store, as one file that either kind of database can take.

The file is JSON, a line for each row, with a head that says of which fleet and revision it is and
how many rows follow, and an end with their hash: what was cut short does not restore. It is read in
one transaction, beside a running control process. Restoring takes an empty database, and revokes
again what PoPs were told is revoked since: a backup never brings a revoked key back.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import CompileError, DBAPIError, StatementError

from selvedge.adapters import DELTA_FILE
from selvedge.control.database import Database, upgrade_in
from selvedge.control.home import Home
from selvedge.control.publishing import read_delta
from selvedge.control.roles import Actor
from selvedge.control.store import Store, key_row, maybe
from selvedge.control.tables import COUNTERS, KEYS, OLD_TABLES, TABLES
from selvedge.fabric import SelvedgeError, StoreFailed

FORMAT: Final = "selvedge/control-backup/v1"
BATCH: Final = 500
RESTORER: Final = Actor("restore", "owner")

Values = dict[str, Any]  # Any: what a column takes


class Head(msgspec.Struct, frozen=True):
    """The first line."""

    format: str
    revision: str
    fleet: str
    stamp: int
    rows: dict[str, int]


class Foot(msgspec.Struct, frozen=True):
    """The last line: the hash of all before it."""

    sha256: str


def back_up(database: Database, path: Path) -> Head:
    """Write all rows to ``path``, for the owner alone. Raises `StoreFailed`."""
    if not path.name or path.is_dir():
        raise StoreFailed(f"{path} is not the name of a file to write to")
    database.check()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
                head = _write(database, packed)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError as error:
        raise StoreFailed(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return head


def _write(database: Database, file: gzip.GzipFile) -> Head:
    hashed = hashlib.sha256()

    def put(value: object) -> None:
        line = msgspec.json.encode(value) + b"\n"
        hashed.update(line)
        file.write(line)

    with database.snapshot() as connection:
        counters = connection.execute(select(COUNTERS)).first()
        if counters is None:
            raise SelvedgeError("the store holds no fleet yet; there is nothing to back up")
        counts = {
            str(table.name): len(connection.execute(select(*table.primary_key)).all())
            for table in TABLES
        }
        head = Head(FORMAT, database.revision() or "", counters.fleet, counters.stamp, counts)
        put(head)
        for table in TABLES:
            for row in connection.execute(select(table).order_by(*table.primary_key)):
                put([str(table.name), {str(name): value for name, value in row._mapping.items()}])
    file.write(msgspec.json.encode(Foot(hashed.hexdigest())) + b"\n")
    return head


def restore(database: Database, path: Path, home: Home) -> Head:
    """Fill an empty database from a backup. Raises `SelvedgeError` and then leaves it as it was."""
    if not database.is_empty():
        raise SelvedgeError(
            "the database holds a store already; name an empty one, or move the file away"
        )
    head = _verify(path)
    store = Store(database, home.pepper())
    database.make_folder()
    with database.write() as connection:
        # One transaction, up to the keys that are revoked again: whatever ends it, nothing is left.
        upgrade_in(connection, head.revision)
        _fill(connection, path)
        upgrade_in(connection)
        _revoke_again(connection, store, home)
    return head


def _fill(connection: Connection, path: Path) -> None:
    batch: list[Values] = []
    name = ""
    try:
        for table_name, row in _rows(path):
            if batch and (table_name != name or len(batch) >= BATCH):
                connection.execute(insert(_table(name)), batch)
                batch = []
            name = table_name
            batch.append(row)
        if batch:
            connection.execute(insert(_table(name)), batch)
    except (CompileError, StatementError) as error:
        if isinstance(error, DBAPIError):
            raise
        words = f"rows of {name!r} are not of its revision ({str(error).splitlines()[0]})"
        raise SelvedgeError(f"{path} is damaged: {words}") from error


def _verify(path: Path) -> Head:
    """Read it through once before anything is written. Raises `SelvedgeError`."""
    hashed = hashlib.sha256()
    last = b""
    counts: dict[str, int] = {}
    head: Head | None = None
    try:
        with gzip.open(path, "rb") as file:
            for line in file:
                if last:
                    hashed.update(last)
                    if head is None:
                        head = msgspec.json.decode(last, type=Head)
                    else:
                        name = msgspec.json.decode(last, type=tuple[str, Values])[0]
                        counts[name] = counts.get(name, 0) + 1
                last = line
        foot = msgspec.json.decode(last, type=Foot)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise SelvedgeError(f"{path} is not a whole backup ({error})") from error
    if head is None or head.format != FORMAT or foot.sha256 != hashed.hexdigest():
        raise SelvedgeError(f"{path} is damaged: its hash is not that of its rows")
    if counts != {name: count for name, count in head.rows.items() if count}:
        raise SelvedgeError(f"{path} is damaged: rows are missing")
    return head


def _rows(path: Path) -> Iterator[tuple[str, Values]]:
    with gzip.open(path, "rb") as file:
        for at, line in enumerate(file):
            if at and line.startswith(b"["):
                yield msgspec.json.decode(line, type=tuple[str, Values])


def _table(name: str) -> Any:  # Any: a table
    found = next((table for table in (*TABLES, *OLD_TABLES) if table.name == name), None)
    if found is None:
        raise SelvedgeError(f"the backup has a table {name!r} that this version does not know")
    return found


def _revoke_again(connection: Connection, store: Store, home: Home) -> None:
    """What the delta beside the release says is revoked is revoked here too, and no act from now
    on is older than what PoPs were told.
    """
    delta = read_delta(home.release_file.with_name(DELTA_FILE), home.operator_key())
    if delta is None:
        return
    where = COUNTERS.c.stamp < delta.serial
    connection.execute(update(COUNTERS).where(where).values(stamp=delta.serial))
    act = store.begin(connection, RESTORER)
    for one in delta.revoked:
        row = maybe(connection, KEYS, id=one.id)
        if row is None or row.removed_us is not None:
            continue
        before = key_row(row)
        version = before.version + 1
        values = {"version": version, "stamp": act.stamp, "removed_us": act.stamp}
        connection.execute(update(KEYS).where(KEYS.c.id == one.id).values(**values))
        after = msgspec.structs.replace(before, version=version, removed_us=act.stamp)
        act.record("key.revoke", f"key {one.id}", before, after)
        act.next()
