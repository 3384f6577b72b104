"""The fleet file's tenants, projects and keys, brought into the store when a release is made.

The file decides the data classes of the tenants it names, and whose its keys are. Its limits,
scopes and ends hold until an act changes the row: from then on they are the store's. What the file
named once and names no more is removed, as it was before there was a store; what was made or
revoked by an act stays as the act left it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select, update

from selvedge.adapters import (
    lay_down_release,
    open_release,
    operator_public_key,
    seal_release,
)
from selvedge.control.database import Database
from selvedge.control.home import Home
from selvedge.control.publishing import Publisher, amend, note_release
from selvedge.control.roles import Actor
from selvedge.control.rows import ClassRule, KeyRow, ProjectRow, TenantRow
from selvedge.control.settings import ControlSettings
from selvedge.control.store import (
    Act,
    Record,
    Store,
    key_row,
    maybe,
    project_row,
    tenant_row,
    to_json,
)
from selvedge.control.tables import AUDIT, KEYS, PROJECTS, RELEASES, TENANTS
from selvedge.fabric import BadRelease, Key, Project, Release, Tenant
from selvedge.ledger import PriceBook
from selvedge.residency import strandings

FILE: Final = "file"
WHO: Final = Actor("fleet file", "operator")
PRICES: Final = Actor("price book", "operator")

Values = dict[str, Any]  # Any: what a column takes


def seed(store: Store, release: Release) -> Release:
    """The release as it is to be published: its fleet, the store's tenants, projects and keys."""
    with store.act(WHO) as act:
        for tenant in release.tenants:
            _tenant(act, tenant)
        for project in release.projects:
            _project(act, project)
        for key in release.keys:
            _key(act, key)
        _drop(act, release)
        made = amend(act, release, release.version)
        for one in strandings(made):
            if one.is_now:  # somebody forced it
                act.record(
                    "release.force", f"tenant {one.tenant}/{one.data_class}: {one.why}", None, None
                )
                act.next()
        note_release(act, made)
        return made


def _tenant(act: Act, tenant: Tenant) -> None:
    row = maybe(act.connection, TENANTS, id=tenant.id)
    before = tenant_row(row) if row is not None else None
    kept = before is not None and _acted(act, f"tenant {tenant.id}")
    after = TenantRow(
        id=tenant.id,
        classes={
            one.id: ClassRule(one.zone, one.ingress, one.policy, one.handling, one.cache)
            for one in tenant.classes
        },
        limits=before.limits if before and kept else tenant.limits,
        origin=FILE,
        version=before.version + 1 if before else 1,
        created_us=before.created_us if before else act.stamp,
        removed_us=before.removed_us if before and not _file_removed(act, before) else None,
    )
    values = {"classes": to_json(after.classes), "limits": to_json(after.limits)}
    _put(act, (TENANTS, {"id": tenant.id}, f"tenant {tenant.id}"), before, after, values)


def _project(act: Act, project: Project) -> None:
    names = {"tenant": project.tenant, "id": project.id}
    row = maybe(act.connection, PROJECTS, **names)
    before = project_row(row) if row is not None else None
    kept = before is not None and _acted(act, f"project {project.tenant}/{project.id}")
    after = ProjectRow(
        id=project.id,
        tenant=project.tenant,
        limits=before.limits if before and kept else project.limits,
        origin=FILE,
        version=before.version + 1 if before else 1,
        created_us=before.created_us if before else act.stamp,
        removed_us=before.removed_us if before and not _file_removed(act, before) else None,
    )
    what = f"project {project.tenant}/{project.id}"
    _put(act, (PROJECTS, names, what), before, after, {"limits": to_json(after.limits)})


def _key(act: Act, key: Key) -> None:
    row = maybe(act.connection, KEYS, id=key.id)
    before = key_row(row) if row is not None else None
    made = KeyRow(
        id=key.id,
        tenant=key.tenant,
        project=key.project,
        data_class=key.data_class,
        expires_us=key.expires_us,
        models=key.models,
        routes=key.routes,
        zones=key.zones,
        limits=key.limits,
        origin=FILE,
        rotates=None,
        version=1,
        created_us=act.stamp,
        removed_us=None,
    )
    if before is not None:
        rights = before if _acted(act, f"key {key.id}") else made
        made = msgspec.structs.replace(
            before,
            expires_us=rights.expires_us,
            models=rights.models,
            routes=rights.routes,
            zones=rights.zones,
            limits=rights.limits,
            tenant=key.tenant,
            project=key.project,
            data_class=key.data_class,
            origin=FILE,
            version=before.version + 1,
            removed_us=None if _file_removed(act, before) else before.removed_us,
        )
    values: Values = {
        "tenant": made.tenant,
        "project": made.project,
        "data_class": made.data_class,
        "hash": key.hash,
        "expires_us": made.expires_us,
        "models": to_json(made.models),
        "routes": to_json(made.routes),
        "zones": to_json(made.zones),
        "limits": to_json(made.limits),
    }
    changed = row is not None and row.hash != key.hash
    _put(act, (KEYS, {"id": key.id}, f"key {key.id}"), before, made, values, anew=changed)


def _put(
    act: Act, place: Any, before: Any, after: Any, values: Values, *, anew: bool = False
) -> None:  # Any: table, names and words; two rows of one form
    table, names, what = place
    if before is not None and not anew:
        same = msgspec.structs.replace(after, version=before.version) == before
        if same:
            return
    shared = {
        "origin": after.origin,
        "version": after.version,
        "stamp": act.stamp,
        "removed_us": after.removed_us,
    }
    if before is None:
        own = {"created_us": after.created_us}
        act.connection.execute(insert(table).values(**names, **values, **shared, **own))
    else:
        which = [table.c[name] == value for name, value in names.items()]
        act.connection.execute(update(table).where(*which).values(**values, **shared))
    act.record("file.set", what, before, after)
    act.next()


def _drop(act: Act, release: Release) -> None:
    """Remove what the file named once and does not any more."""
    tenants = {one.id for one in release.tenants}
    projects = {(one.tenant, one.id) for one in release.projects}
    keys = {one.id for one in release.keys}
    for row in _of_file(act, KEYS):
        if row.id not in keys:
            _remove(act, KEYS, {"id": row.id}, f"key {row.id}", key_row(row))
    for row in _of_file(act, PROJECTS):
        if (row.tenant, row.id) not in projects:
            names = {"tenant": row.tenant, "id": row.id}
            _remove(act, PROJECTS, names, f"project {row.tenant}/{row.id}", project_row(row))
    for row in _of_file(act, TENANTS):
        if row.id not in tenants and not _has_keys(act, row.id):
            _remove(act, TENANTS, {"id": row.id}, f"tenant {row.id}", tenant_row(row))


def _of_file(act: Act, table: Any) -> list[Record]:  # Any: a table
    wanted = select(table).where(table.c.origin == FILE, table.c.removed_us.is_(None))
    return list(act.connection.execute(wanted))


def _has_keys(act: Act, tenant: str) -> bool:
    wanted = select(KEYS.c.id).where(KEYS.c.tenant == tenant, KEYS.c.removed_us.is_(None))
    return act.connection.execute(wanted).first() is not None


def _remove(act: Act, table: Any, names: dict[str, str], what: str, before: Any) -> None:
    # Any: a table; a row's form
    version = before.version + 1
    after = msgspec.structs.replace(before, version=version, removed_us=act.stamp)
    which = [table.c[name] == value for name, value in names.items()]
    values = {"version": version, "stamp": act.stamp, "removed_us": act.stamp}
    act.connection.execute(update(table).where(*which).values(**values))
    act.record("file.drop", what, before, after)
    act.next()


def _acted(act: Act, what: str) -> bool:
    """Whether somebody's act changed it, and not the file alone."""
    wanted = select(AUDIT.c.stamp).where(
        AUDIT.c.what == what, AUDIT.c.act.not_in(("file.set", "file.drop"))
    )
    return act.connection.execute(wanted.limit(1)).first() is not None


def _file_removed(act: Act, before: Any) -> bool:  # Any: a row's form
    """Whether it was the file that removed it, and no act of anybody."""
    if before.removed_us is None:
        return False
    wanted = select(AUDIT.c.act).where(AUDIT.c.stamp == before.removed_us)
    return act.connection.execute(wanted).scalar() == "file.drop"


def adopt(store: Store, home: Home) -> bool:
    """Fill a store that is empty from the release that serves, which was made before there was
    one: its tenants and keys would be gone from the next. False where there is nothing to do.
    """
    with home.publishing():
        with store.database.read() as connection:
            if connection.execute(select(RELEASES.c.version).limit(1)).first() is not None:
                return False
        operator = home.operator_key()
        data = home.release_file.read_bytes()
        release = open_release(data, operator_public_key(operator)).release
        made = seed(store, msgspec.structs.replace(release, version=release.version + 1))
        lay_down_release(home.release_file, seal_release(made, operator))
        return True


def open_seeding(settings: ControlSettings) -> Callable[[Release], Release]:
    """What puts the store's rows into a release that is made of a fleet file.

    Raises `StoreAway`, and `SelvedgeError` where the store is another fleet's.
    """
    pepper = Home(Path(settings.home)).pepper()
    database = Database(settings.database_url, wait_ms=settings.database_ms_max)

    def seeding(release: Release) -> Release:
        try:
            database.upgrade()
            store = Store(database, pepper)
            store.open(release.fleet)
            return seed(store, release)
        finally:
            database.close()

    return seeding


def publish_prices(settings: ControlSettings, prices: PriceBook) -> None:
    """Make the next release of the store at these prices, beside a control process or without.

    Raises `BadPriceBook`, `BadRelease`, `StoreAway`.
    """
    home = Home(Path(settings.home))
    database = Database(settings.database_url, wait_ms=settings.database_ms_max)
    try:
        database.upgrade()
        store = Store(database, home.pepper())
        publisher = Publisher(store, home)
        release = publisher.release
        if release is None:
            raise BadRelease("release", "there is none yet; 'selvedge fleet publish' makes it")
        store.open(release.fleet)
        adopt(store, home)
        publisher.publish_release(PRICES, prices)
    finally:
        database.close()
