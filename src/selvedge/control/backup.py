"""Backup and restore of the store, as one file that either kind of database can take.

The file is JSON, a line for each row, with a head that says of which fleet and revision it is and
how many rows follow, and an end with their hash: what was cut short does not restore. It is read in
one transaction, beside a running control process. Restoring takes an empty database, and revokes
again what PoPs were told is revoked since: a backup never brings a revoked key back.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select, update

from selvedge.adapters import DELTA_FILE
from selvedge.control.database import Database
from selvedge.control.home import Home
from selvedge.control.publishing import read_delta
from selvedge.control.roles import Actor
from selvedge.control.store import Store, key_row
from selvedge.control.tables import COUNTERS, KEYS, OLD_TABLES, TABLES
from selvedge.fabric import KeyDelta, SelvedgeError, StoreFailed

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
    database.upgrade(head.revision)
    with database.write() as connection:
        batch: list[Values] = []
        name = ""
        for table_name, row in _rows(path):
            if batch and (table_name != name or len(batch) >= BATCH):
                connection.execute(insert(_table(name)), batch)
                batch = []
            name = table_name
            batch.append(row)
        if batch:
            connection.execute(insert(_table(name)), batch)
    database.upgrade()
    _revoke_again(Store(database, home.pepper()), home)
    return head


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
    except (OSError, EOFError, msgspec.MsgspecError) as error:
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


def _revoke_again(store: Store, home: Home) -> int:
    """What the delta beside the release says is revoked is revoked here too; how many were not."""
    delta = read_delta(home.release_file.with_name(DELTA_FILE), home.operator_key())
    if delta is None:
        return 0
    _catch_up(store, delta)
    count = 0
    for one in delta.revoked:
        with store.act(RESTORER) as act:
            row = act.connection.execute(
                select(KEYS).where(KEYS.c.id == one.id, KEYS.c.removed_us.is_(None))
            ).first()
            if row is None:
                continue
            before = key_row(row)
            version = before.version + 1
            values = {"version": version, "stamp": act.stamp, "removed_us": act.stamp}
            act.connection.execute(update(KEYS).where(KEYS.c.id == one.id).values(**values))
            after = msgspec.structs.replace(before, version=version, removed_us=act.stamp)
            act.record("key.revoke", f"key {one.id}", before, after)
            count += 1
    return count


def _catch_up(store: Store, delta: KeyDelta) -> None:
    """No act from now on is older than what PoPs were told."""
    with store.database.write() as connection:
        where = COUNTERS.c.stamp < delta.serial
        connection.execute(update(COUNTERS).where(where).values(stamp=delta.serial))
