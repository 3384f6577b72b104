"""Acts on tenants, projects and keys. Each is one transaction, and one or more lines of the audit.

Writing what is there already is no act. ``expected`` is the version that the writer has read (None:
whatever is there; 0: nothing yet), so that two who change one row do not undo each other. An id is
never used again: what was revoked stays revoked under that name.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Set
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET
from sqlalchemy import Table, insert, select, update

from selvedge.control.roles import Actor
from selvedge.control.rows import (
    KeyChange,
    KeyForm,
    KeyRow,
    MadeKey,
    ProjectForm,
    ProjectRow,
    RotateForm,
    TenantForm,
    TenantRow,
)
from selvedge.control.store import (
    Act,
    BadField,
    Changed,
    Conflict,
    Record,
    Store,
    key_row,
    maybe,
    one,
    project_row,
    tenant_row,
    to_json,
)
from selvedge.control.tables import KEYS, PROJECTS, TENANTS
from selvedge.fabric import LIMIT_MAX, NAME_PATTERN, NO_LIMITS, BadRelease, Tenant
from selvedge.ledger import hash_secret, write_key

SECRET_BYTES: Final = 24
OVERLAP_S_MAX: Final = 90 * 86_400
ADMIN: Final = "admin"
ANY_HASH: Final = "0" * 64
SCOPES: Final = ("models", "routes", "zones")
SCOPE_MAX: Final = 64
SCOPE_NAME_MAX: Final = 128

Closed = TypeVar("Closed", TenantRow, ProjectRow, KeyRow)
Values = dict[str, Any]  # Any: what a column takes


class Tenancy:
    """Writes to one store. ``zones`` are those that the fleet has; None where nobody knows yet.

    ``check`` raises `BadRelease` of a tenant that the fleet could not have.
    """

    def __init__(
        self,
        store: Store,
        zones: Callable[[], frozenset[str] | None],
        check: Callable[[Tenant], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._zones = zones
        self._check = check

    def put_tenant(
        self, actor: Actor, tenant: str, form: TenantForm, expected: int | None = None
    ) -> TenantRow:
        """Make a tenant, or change it."""
        with self._store.act(actor) as act:
            row = maybe(act.connection, TENANTS, id=tenant)
            _check_version("tenant", tenant, row, expected)
            before = tenant_row(row) if row is not None else None
            if before is None and (form.classes is UNSET or not form.classes):
                raise BadField("classes", "has at least one data class, as standard: zone, ingress")
            after = TenantRow(
                id=tenant,
                classes=before.classes if form.classes is UNSET and before else form.classes or {},
                limits=_kept(form.limits, before.limits if before else NO_LIMITS),
                origin=before.origin if before else ADMIN,
                version=before.version + 1 if before else 1,
                created_us=before.created_us if before else act.stamp,
                removed_us=None,
            )
            for name, rule in after.classes.items():
                self._check_zones(f"classes.{name}.zone", (rule.zone,))
            _checked(lambda: self._check(after.value()))
            if before is not None:
                _check_classes_used(act, tenant, before.classes.keys() - after.classes.keys())
            if before is not None and _same(before, after):
                return before
            values = {"classes": to_json(after.classes), "limits": to_json(after.limits)}
            _write(act, TENANTS, {"id": tenant}, after, values)
            act.record(
                "tenant.set" if before else "tenant.create", f"tenant {tenant}", before, after
            )
            return after

    def put_project(
        self,
        actor: Actor,
        place: tuple[str, str],
        form: ProjectForm,
        expected: int | None = None,
    ) -> ProjectRow:
        """Make a project, or change it. ``place`` is tenant and project."""
        tenant, project = place
        with self._store.act(actor) as act:
            _living(act, "tenant", one(act.connection, TENANTS, id=tenant))
            row = maybe(act.connection, PROJECTS, tenant=tenant, id=project)
            _check_version("project", f"{tenant}/{project}", row, expected)
            before = project_row(row) if row is not None else None
            after = ProjectRow(
                id=project,
                tenant=tenant,
                limits=_kept(form.limits, before.limits if before else NO_LIMITS),
                origin=before.origin if before else ADMIN,
                version=before.version + 1 if before else 1,
                created_us=before.created_us if before else act.stamp,
                removed_us=None,
            )
            _checked(lambda: after.value())
            if before is not None and _same(before, after):
                return before
            names = {"tenant": tenant, "id": project}
            _write(act, PROJECTS, names, after, {"limits": to_json(after.limits)})
            what = f"project {tenant}/{project}"
            act.record("project.set" if before else "project.create", what, before, after)
            return after

    def create_key(self, actor: Actor, form: KeyForm) -> MadeKey:
        """Mint a key; its secret is in the answer and nowhere else."""
        key_id = form.id or f"{form.tenant[:40]}-{secrets.token_hex(6)}"
        with self._store.act(actor) as act:
            made = KeyRow(
                id=key_id,
                tenant=form.tenant,
                project=form.project,
                data_class=form.data_class,
                expires_us=form.expires_us,
                models=form.models,
                routes=form.routes,
                zones=form.zones,
                limits=form.limits,
                origin=ADMIN,
                rotates=None,
                version=1,
                created_us=act.stamp,
                removed_us=None,
            )
            self._check_key(act, made, None)
            return self._mint(act, made, "key.create")

    def change_key(
        self, actor: Actor, key: str, form: KeyChange, expected: int | None = None
    ) -> KeyRow:
        """Change what a key may do and when it ends."""
        with self._store.act(actor) as act:
            row = one(act.connection, KEYS, id=key)
            _check_version("key", key, row, expected)
            before = key_row(row)
            given = {
                name: getattr(form, name)
                for name in form.__struct_fields__
                if getattr(form, name) is not UNSET
            }
            after = msgspec.structs.replace(before, version=before.version + 1, **given)
            if _same(before, after):
                return before
            self._check_key(act, after, before)
            _write(act, KEYS, {"id": key}, after, _key_values(after))
            act.record("key.set", f"key {key}", before, after)
            return after

    def rotate_key(
        self, actor: Actor, key: str, form: RotateForm, expected: int | None = None
    ) -> MadeKey:
        """A second key of the same rights; the first ends after the overlap."""
        if not 0 <= form.overlap_s <= OVERLAP_S_MAX:
            raise BadField("overlap_s", f"is from 0 to {OVERLAP_S_MAX} seconds")
        with self._store.act(actor) as act:
            row = one(act.connection, KEYS, id=key)
            _check_version("key", key, row, expected)
            before = key_row(row)
            self._check_key(act, before, before)
            end = act.stamp + form.overlap_s * 1_000_000
            if before.expires_us is not None:
                end = min(end, before.expires_us)
            after = msgspec.structs.replace(before, expires_us=end, version=before.version + 1)
            _write(act, KEYS, {"id": key}, after, _key_values(after))
            act.record("key.rotate", f"key {key}", before, after)
            act.next()
            heir = form.id or f"{key.split('.r', maxsplit=1)[0][:50]}.r{secrets.token_hex(4)}"
            made = msgspec.structs.replace(
                before, id=heir, rotates=key, version=1, created_us=act.stamp, origin=ADMIN
            )
            self._check_key(act, made, before)
            return self._mint(act, made, "key.create")

    def revoke_key(self, actor: Actor, key: str, expected: int | None = None) -> KeyRow:
        """End a key for good; doing it again changes nothing."""
        with self._store.act(actor) as act:
            row = one(act.connection, KEYS, id=key)
            if row.removed_us is not None:
                return key_row(row)
            _check_version("key", key, row, expected)
            return _revoke(act, row)

    def remove_tenant(self, actor: Actor, tenant: str, expected: int | None = None) -> TenantRow:
        """Close a tenant: its keys are revoked in the same act."""
        with self._store.act(actor) as act:
            row = one(act.connection, TENANTS, id=tenant)
            before = tenant_row(row)
            if row.removed_us is not None:
                return before
            _check_version("tenant", tenant, row, expected)
            after = _removed(act, TENANTS, {"id": tenant}, before)
            act.record("tenant.remove", f"tenant {tenant}", before, after)
            _revoke_all(act, KEYS.c.tenant == tenant)
            return after

    def remove_project(
        self, actor: Actor, place: tuple[str, str], expected: int | None = None
    ) -> ProjectRow:
        """Close a project: its keys are revoked in the same act."""
        tenant, project = place
        with self._store.act(actor) as act:
            row = one(act.connection, PROJECTS, tenant=tenant, id=project)
            before = project_row(row)
            if row.removed_us is not None:
                return before
            _check_version("project", f"{tenant}/{project}", row, expected)
            after = _removed(act, PROJECTS, {"tenant": tenant, "id": project}, before)
            act.record("project.remove", f"project {tenant}/{project}", before, after)
            _revoke_all(act, (KEYS.c.tenant == tenant) & (KEYS.c.project == project))
            return after

    def _mint(self, act: Act, made: KeyRow, name: str) -> MadeKey:
        if maybe(act.connection, KEYS, id=made.id) is not None:
            raise Conflict(
                f"key {made.id!r} is there already, and an id is never used again; "
                "choose another, or leave it out"
            )
        secret = secrets.token_hex(SECRET_BYTES)
        values = _key_values(made)
        values["hash"] = hash_secret(self._store.pepper, made.id, secret)
        _write(act, KEYS, {"id": made.id}, made, values)
        act.record(name, f"key {made.id}", None, made)
        return MadeKey(made, write_key(made.id, secret))

    def _check_key(self, act: Act, key: KeyRow, before: KeyRow | None) -> None:
        if before is not None and before.removed_us is not None:
            raise Conflict(f"key {key.id!r} is revoked, for good; make another")
        if key.expires_us is not None and not 0 < key.expires_us <= LIMIT_MAX:
            raise BadField("expires_us", f"is from 1 to {LIMIT_MAX} microseconds UTC, or left out")
        if not NAME_PATTERN.fullmatch(key.tenant):
            raise BadField("tenant", f"{key.tenant!r} is not a name of a tenant")
        _checked(lambda: key.value(ANY_HASH))
        for name in SCOPES:
            if before is None or getattr(key, name) != getattr(before, name):
                _check_scope(name, getattr(key, name))
        tenant = maybe(act.connection, TENANTS, id=key.tenant)
        if tenant is None or tenant.removed_us is not None:
            raise BadField("tenant", f"{key.tenant!r} is no tenant; make it first")
        classes = tenant_row(tenant).classes
        if key.data_class not in classes:
            known = ", ".join(sorted(classes))
            raise BadField("class", f"{key.data_class!r} is no data class of it; it has {known}")
        project = maybe(act.connection, PROJECTS, tenant=key.tenant, id=key.project)
        if project is not None and project.removed_us is not None:
            raise BadField("project", f"{key.project!r} is closed; name another")
        self._check_zones("zones", key.zones)

    def _check_zones(self, field: str, zones: tuple[str, ...]) -> None:
        known = self._zones()
        for zone in zones if known is not None else ():
            if zone not in (known or ()):
                names = ", ".join(sorted(known or ()))
                raise BadField(field, f"{zone!r} is no zone of the fleet; it has {names}")


def _revoke(act: Act, row: Record) -> KeyRow:
    before = key_row(row)
    after = _removed(act, KEYS, {"id": before.id}, before)
    act.record("key.revoke", f"key {before.id}", before, after)
    return after


def _revoke_all(act: Act, which: Any) -> None:  # Any: a condition of SQLAlchemy
    wanted = select(KEYS).where(which, KEYS.c.removed_us.is_(None)).order_by(KEYS.c.id)
    for row in act.connection.execute(wanted).all():
        act.next()
        _revoke(act, row)


def _removed(act: Act, table: Table, names: dict[str, str], before: Closed) -> Closed:
    after = msgspec.structs.replace(before, version=before.version + 1, removed_us=act.stamp)
    _write(act, table, names, after, {})
    return after


def _write(act: Act, table: Table, names: dict[str, str], after: Any, values: Values) -> None:
    # Any: a row's form
    shared = {"version": after.version, "stamp": act.stamp, "removed_us": after.removed_us}
    if after.version == 1:
        own = {"origin": after.origin, "created_us": after.created_us}
        act.connection.execute(insert(table).values(**names, **values, **shared, **own))
        return
    which = [table.c[name] == value for name, value in names.items()]
    act.connection.execute(update(table).where(*which).values(**values, **shared))


def _key_values(key: KeyRow) -> Values:
    values: Values = {
        "expires_us": key.expires_us,
        "models": to_json(key.models),
        "routes": to_json(key.routes),
        "zones": to_json(key.zones),
        "limits": to_json(key.limits),
    }
    if key.version == 1:
        values |= {"tenant": key.tenant, "project": key.project, "data_class": key.data_class}
        values["rotates"] = key.rotates
    return values


def _check_version(kind: str, name: str, row: Record | None, expected: int | None) -> None:
    if expected is None:
        return
    found = 0 if row is None else row.version
    if found != expected:
        state = f"is of version {found}" if found else "is not there"
        raise Changed(f"{kind} {name!r} {state}, not {expected}; read it again")


def _check_scope(field: str, names: tuple[str, ...]) -> None:
    """A release has room for every key of the fleet."""
    if len(names) > SCOPE_MAX or any(len(one) > SCOPE_NAME_MAX for one in names):
        raise BadField(
            field,
            f"has at most {SCOPE_MAX} names of at most {SCOPE_NAME_MAX} characters; name fewer, "
            "or none for all",
        )


def _check_classes_used(act: Act, tenant: str, gone: Set[str]) -> None:
    """No release could be made while a key is of a class that its tenant has not."""
    wanted = select(KEYS.c.id, KEYS.c.data_class).where(
        KEYS.c.tenant == tenant, KEYS.c.data_class.in_(sorted(gone)), KEYS.c.removed_us.is_(None)
    )
    row = act.connection.execute(wanted.order_by(KEYS.c.id)).first() if gone else None
    if row is not None:
        words = f"data class {row.data_class!r} has keys, as {row.id!r}"
        raise Conflict(f"{words}; revoke them first, or keep the class")


def _living(act: Act, kind: str, row: Record) -> None:
    if row.removed_us is not None:
        raise Conflict(f"{kind} {row.id!r} is closed; make it anew first")


def _same(before: Any, after: Any) -> bool:  # Any: two of one form
    return bool(msgspec.structs.replace(after, version=before.version) == before)


def _kept(given: Any, before: Any) -> Any:  # Any: a value, or that it was left out
    return before if given is UNSET else given


def _checked(make: Callable[[], object]) -> None:
    """Let the noun check itself. Raises `BadField` in words of the form."""
    try:
        make()
    except BadRelease as error:
        field = error.field.split(".")[-1]
        if field == error.field:  # the noun's own name
            field = "id"
        if len(error.field.split(".")) > 2 and "limits" in error.field:
            field = f"limits.{field}"
        raise BadField(field, str(error).partition(": ")[2]) from error
