"""Who may act on the admin side: admin keys, and roles of people who log in elsewhere.

An admin key reads ``sa-<id>-<secret>`` and is kept as a tenant's key is: a keyed hash. A login is
named as configuration makes its name of an identity's claims (`oidc`).
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from sqlalchemy import insert, select, update

from selvedge.control.roles import Actor, Role
from selvedge.control.rows import GrantForm, GrantRow, MadeGrant
from selvedge.control.store import (
    BadField,
    Changed,
    Conflict,
    Record,
    Store,
    grant_row,
    maybe,
    one,
)
from selvedge.control.tables import GRANTS, TENANTS
from selvedge.fabric import LIMIT_MAX, NAME_PATTERN
from selvedge.ledger import hash_secret

ADMIN_PREFIX: Final = "sa-"
SYSTEM: Final = Actor("system", "owner")
_DOMAIN: Final = "admin:"


class Grants:
    """The grants of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def give(self, actor: Actor, name: str, form: GrantForm) -> MadeGrant:
        """Give a role to a name that has none. Raises `Conflict` where it has one."""
        if form.key:
            if not NAME_PATTERN.fullmatch(name):
                raise BadField("id", "is of a-z, 0-9, '.' and '-', at most 64 characters")
        elif not 0 < len(name) <= 128 or not name.isprintable():
            raise BadField("id", "is a login's name of 1 to 128 characters")
        if form.expires_us is not None and not 0 < form.expires_us <= LIMIT_MAX:
            raise BadField("expires_us", f"is from 1 to {LIMIT_MAX} microseconds UTC, or left out")
        if form.tenant is not None and not NAME_PATTERN.fullmatch(form.tenant):
            raise BadField("tenant", f"{form.tenant!r} is not a name of a tenant")
        with self._store.act(actor) as act:
            found = maybe(act.connection, GRANTS, id=name)
            if found is not None and (form.key or found.removed_us is None):
                words = "has a role already; take it away first" if not form.key else "was used"
                raise Conflict(f"{name!r} {words}")
            if form.tenant is not None and maybe(act.connection, TENANTS, id=form.tenant) is None:
                raise BadField("tenant", f"{form.tenant!r} is no tenant; make it first")
            secret = secrets.token_hex(24) if form.key else None
            row = GrantRow(
                id=name,
                role=form.role,
                tenant=form.tenant,
                key=form.key,
                expires_us=form.expires_us,
                version=found.version + 1 if found is not None else 1,
                created_us=act.stamp,
                removed_us=None,
            )
            values = {
                "role": row.role,
                "tenant": row.tenant,
                "hash": self._hash(name, secret) if secret else None,
                "expires_us": row.expires_us,
                "version": row.version,
                "stamp": act.stamp,
                "created_us": row.created_us,
                "removed_us": None,
            }
            if found is None:
                act.connection.execute(insert(GRANTS).values(id=name, **values))
            else:
                act.connection.execute(update(GRANTS).where(GRANTS.c.id == name).values(**values))
            act.record("grant.give", f"grant {name}", None, row)
            return MadeGrant(row, f"{ADMIN_PREFIX}{name}-{secret}" if secret else None)

    def take(self, actor: Actor, name: str, expected: int | None = None) -> GrantRow:
        """Take a role away; the last owner's without an end stays, or nobody could give one
        again.
        """
        with self._store.act(actor) as act:
            row = one(act.connection, GRANTS, id=name)
            before = grant_row(row)
            if before.removed_us is not None:
                return before
            if expected is not None and before.version != expected:
                words = f"is of version {before.version}, not {expected}; read it again"
                raise Changed(f"grant {name!r} {words}")
            if before.role == "owner" and before.tenant is None and before.expires_us is None:
                owners = select(GRANTS.c.id).where(
                    GRANTS.c.role == "owner",
                    GRANTS.c.tenant.is_(None),
                    GRANTS.c.expires_us.is_(None),
                    GRANTS.c.removed_us.is_(None),
                )
                if len(act.connection.execute(owners).all()) < 2:
                    raise Conflict(
                        f"{name!r} is the last owner without an end; give the role to another first"
                    )
            values = {"version": before.version + 1, "stamp": act.stamp, "removed_us": act.stamp}
            act.connection.execute(update(GRANTS).where(GRANTS.c.id == name).values(**values))
            after = grant_row(one(act.connection, GRANTS, id=name))
            act.record("grant.take", f"grant {name}", before, after)
            return after

    def holder(self, key: str) -> Actor | None:
        """Whose admin key this is; None where it holds for nobody."""
        name, _, secret = key.removeprefix(ADMIN_PREFIX).rpartition("-")
        if not key.startswith(ADMIN_PREFIX) or not name:
            return None
        with self._store.database.read() as connection:
            row = maybe(connection, GRANTS, id=name)
        kept = row.hash if row is not None and row.hash else "0" * 64
        same = hmac.compare_digest(self._hash(name, secret), kept)
        return _actor(row, f"key:{name}", self._store.now_us()) if same else None

    def login(self, name: str) -> Actor | None:
        """The role of a login, if it was given one."""
        with self._store.database.read() as connection:
            row = maybe(connection, GRANTS, id=name)
        if row is None or row.hash is not None:
            return None
        return _actor(row, f"login:{name}", self._store.now_us())

    def _hash(self, name: str, secret: str) -> str:
        return hash_secret(self._store.pepper, _DOMAIN + name, secret)


def _actor(row: Record | None, who: str, now_us: int) -> Actor | None:
    if row is None or row.removed_us is not None:
        return None
    if row.expires_us is not None and now_us >= row.expires_us:
        return None
    role: Role = row.role
    return Actor(who, role, row.tenant)
