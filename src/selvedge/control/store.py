"""The store of tenants, projects, keys and grants: what is read of it, and how an act is made.

An act is one transaction: it takes the next stamp (microseconds of the day, but always more than
the last), changes rows, and writes down who, what, before and after. Acts themselves are in
`tenancy_acts` and `grants`; what follows for PoPs is in `publishing`.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Select, Table, insert, select, tuple_, update
from sqlalchemy.sql import ColumnElement

from selvedge.control.alert_rows import AlertRow
from selvedge.control.database import Database
from selvedge.control.roles import Actor
from selvedge.control.rows import (
    AuditRow,
    ClassRule,
    GrantRow,
    KeyRow,
    ProjectRow,
    TenantRow,
)
from selvedge.control.tables import AUDIT, COUNTERS, GRANTS, KEYS, PROJECTS, TENANTS
from selvedge.fabric import Limits, SelvedgeError

PAGE_MAX: Final = 1_000

Clock = Callable[[], int]
Record = Row[Any]  # Any: a row of whatever was selected
Shown = TenantRow | ProjectRow | KeyRow | GrantRow | AlertRow


class Missing(SelvedgeError):
    """What is named is not there, or not this actor's to see."""


class Conflict(SelvedgeError):
    """What is to be made is there already, or what is named is gone."""


class Changed(SelvedgeError):
    """It is not of the version that the writer has read."""


class BadField(SelvedgeError):
    """A value that cannot be; ``field`` names it, the text says the limit and the remedy."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field} {why}")
        self.field = field


class Act:
    """One act under way, inside its transaction."""

    def __init__(self, connection: Connection, actor: Actor, stamp: int) -> None:
        self.connection = connection
        self.actor = actor
        self.stamp = stamp

    def record(self, act: str, what: str, before: Shown | None, after: Shown | None) -> None:
        """Write it down; once an act, for the stamp is the row's key."""
        self.connection.execute(
            insert(AUDIT).values(
                stamp=self.stamp,
                at_us=self.stamp,
                who=self.actor.who,
                act=act,
                what=what,
                before=_json(before),
                after=_json(after),
                request_id=self.actor.request_id,
            )
        )

    def next(self) -> None:
        """Go on to another act in the same transaction."""
        self.stamp += 1
        self.connection.execute(update(COUNTERS).values(stamp=self.stamp))


class Store:
    """The rows of one fleet. ``pepper`` keys the hashes; ``clock`` gives microseconds UTC."""

    def __init__(self, database: Database, pepper: bytes, clock: Clock | None = None) -> None:
        self.database = database
        self.pepper = pepper
        self._clock = clock or (lambda: time.time_ns() // 1000)

    def now_us(self) -> int:
        """The clock's word."""
        return self._clock()

    def open(self, fleet: str) -> None:
        """Make the first row, or check that the store is this fleet's. Raises `SelvedgeError`."""
        known = hashlib.sha256(b"selvedge/pepper/v1\n" + self.pepper).hexdigest()
        with self.database.write() as connection:
            found = connection.execute(select(COUNTERS)).first()
            if found is None:
                row = {"id": 1, "stamp": 0, "fleet": fleet, "pepper": known}
                connection.execute(insert(COUNTERS).values(**row))
            elif found.fleet != fleet:
                raise SelvedgeError(
                    f"the store is of fleet {found.fleet!r}, not of {fleet!r}; "
                    "give this fleet a database of its own"
                )
            elif found.pepper != known:
                raise SelvedgeError(
                    "the store's keys were hashed under another pepper; restore the fleet's "
                    "pepper.key, or no key will hold"
                )

    @contextlib.contextmanager
    def act(self, actor: Actor) -> Iterator[Act]:
        """One act: whatever is raised inside, nothing of it is kept."""
        with self.database.write() as connection:
            yield self.begin(connection, actor)

    def begin(self, connection: Connection, actor: Actor) -> Act:
        """An act in a transaction that is open, and may hold others."""
        last = connection.execute(select(COUNTERS.c.stamp).with_for_update()).scalar()
        if last is None:
            raise SelvedgeError("the store has no fleet yet; run 'selvedge control upgrade'")
        stamp = max(int(last) + 1, self._clock())
        connection.execute(update(COUNTERS).values(stamp=stamp))
        return Act(connection, actor, stamp)

    def stamp(self) -> int:
        """The stamp of the last act."""
        with self.database.read() as connection:
            return int(connection.execute(select(COUNTERS.c.stamp)).scalar() or 0)

    def tenant(self, tenant: str) -> TenantRow:
        """Raises `Missing`."""
        with self.database.read() as connection:
            return tenant_row(one(connection, TENANTS, id=tenant))

    def project(self, tenant: str, project: str) -> ProjectRow:
        """Raises `Missing`."""
        with self.database.read() as connection:
            return project_row(one(connection, PROJECTS, tenant=tenant, id=project))

    def key(self, key: str) -> KeyRow:
        """Raises `Missing`."""
        with self.database.read() as connection:
            return key_row(one(connection, KEYS, id=key))

    def grant(self, grant: str) -> GrantRow:
        """Raises `Missing`."""
        with self.database.read() as connection:
            return grant_row(one(connection, GRANTS, id=grant))

    def tenants(self, after: str, count: int, only: str | None) -> list[TenantRow]:
        """A page, by id, of those after ``after``; of one tenant where ``only`` names it."""
        wanted = _page(TENANTS, [TENANTS.c.id], [after], count)
        return [tenant_row(row) for row in self._rows(_of(wanted, TENANTS.c.id, only))]

    def projects(self, after: str, count: int, only: str | None) -> list[ProjectRow]:
        """A page, by tenant and id; ``after`` is ``tenant/id``."""
        tenant, _, name = after.partition("/")
        wanted = _page(PROJECTS, [PROJECTS.c.tenant, PROJECTS.c.id], [tenant, name], count)
        return [project_row(row) for row in self._rows(_of(wanted, PROJECTS.c.tenant, only))]

    def keys(self, after: str, count: int, only: str | None) -> list[KeyRow]:
        """A page, by id."""
        wanted = _page(KEYS, [KEYS.c.id], [after], count)
        return [key_row(row) for row in self._rows(_of(wanted, KEYS.c.tenant, only))]

    def grants(self, after: str, count: int) -> list[GrantRow]:
        """A page, by id."""
        return [grant_row(row) for row in self._rows(_page(GRANTS, [GRANTS.c.id], [after], count))]

    def audit(self, before: int | None, count: int, what: str | None) -> list[AuditRow]:
        """The newest acts, or those before a stamp; of one thing where ``what`` names it."""
        wanted = select(AUDIT).order_by(AUDIT.c.stamp.desc()).limit(min(count, PAGE_MAX))
        if before is not None:
            wanted = wanted.where(AUDIT.c.stamp < before)
        if what is not None:
            wanted = wanted.where(AUDIT.c.what == what)
        return [
            AuditRow(
                row.stamp,
                row.at_us,
                row.who,
                row.act,
                row.what,
                _raw(row.before),
                _raw(row.after),
                row.request_id,
            )
            for row in self._rows(wanted)
        ]

    def _rows(self, wanted: Select[Any]) -> Sequence[Record]:  # Any: as in `Record`
        with self.database.read() as connection:
            return connection.execute(wanted).all()


def one(connection: Connection, table: Table, **names: str) -> Record:
    """The row of these names. Raises `Missing`."""
    found = maybe(connection, table, **names)
    if found is None:
        raise Missing(f"no {table.name.removesuffix('s')} {'/'.join(names.values())!r}")
    return found


def maybe(connection: Connection, table: Table, **names: str) -> Record | None:
    """The row of these names, if there is one."""
    wanted = select(table).where(*(table.c[name] == value for name, value in names.items()))
    return connection.execute(wanted).first()


def tenant_row(row: Record) -> TenantRow:
    """A tenant of its row."""
    return TenantRow(
        id=row.id,
        classes=msgspec.json.decode(row.classes, type=dict[str, ClassRule]),
        limits=_limits(row),
        origin=row.origin,
        version=row.version,
        created_us=row.created_us,
        removed_us=row.removed_us,
    )


def project_row(row: Record) -> ProjectRow:
    """A project of its row."""
    return ProjectRow(
        id=row.id,
        tenant=row.tenant,
        limits=_limits(row),
        origin=row.origin,
        version=row.version,
        created_us=row.created_us,
        removed_us=row.removed_us,
    )


def key_row(row: Record) -> KeyRow:
    """A key of its row."""
    return KeyRow(
        id=row.id,
        tenant=row.tenant,
        project=row.project,
        data_class=row.data_class,
        expires_us=row.expires_us,
        models=_names(row.models),
        routes=_names(row.routes),
        zones=_names(row.zones),
        limits=_limits(row),
        origin=row.origin,
        rotates=row.rotates,
        version=row.version,
        created_us=row.created_us,
        removed_us=row.removed_us,
    )


def grant_row(row: Record) -> GrantRow:
    """A grant of its row."""
    return GrantRow(
        id=row.id,
        role=row.role,
        tenant=row.tenant,
        key=row.hash is not None,
        expires_us=row.expires_us,
        version=row.version,
        created_us=row.created_us,
        removed_us=row.removed_us,
    )


def to_json(value: object) -> str:
    """How a value lies in a column."""
    return msgspec.json.encode(value).decode()


def _limits(row: Record) -> Limits:
    return msgspec.json.decode(row.limits, type=Limits)


def _names(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])


def _json(value: Shown | None) -> str | None:
    return None if value is None else to_json(value)


def _raw(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())


def _page(
    table: Table, by: list[ColumnElement[str]], after: list[str], count: int
) -> Select[Any]:  # Any: as in `Record`
    rest = tuple_(*by) > tuple_(*after) if len(by) > 1 else by[0] > after[0]
    return select(table).where(rest).order_by(*by).limit(min(count, PAGE_MAX))


def _of(wanted: Select[Any], tenant: ColumnElement[str], only: str | None) -> Select[Any]:
    return wanted if only is None else wanted.where(tenant == only)
