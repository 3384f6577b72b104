"""What the admin side shows and takes: the forms of tenants, projects, keys, grants and acts.

These are the bodies of the admin API, and what the store's rows are read into. A form checks what
can be checked without the store; names and limits check themselves in `selvedge.fabric`.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from selvedge.control.roles import Role
from selvedge.fabric import (
    NO_LIMITS,
    CacheRule,
    DataClass,
    Handling,
    Ingress,
    Key,
    Limits,
    Project,
    Tenant,
)


class ClassRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a kind of data may be processed, where it may enter, and how it is handled."""

    zone: str
    ingress: Ingress
    policy: str | None = None
    handling: tuple[Handling, ...] = ()
    cache: CacheRule | None = None

    def value(self, name: str) -> DataClass:
        """As a release has it."""
        return DataClass(name, self.zone, self.ingress, self.policy, self.handling, self.cache)


class TenantForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tenant is made of or changed to; what is left out of a change stays."""

    classes: dict[str, ClassRule] | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET


class ProjectForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a project is made of or changed to."""

    limits: Limits | UnsetType = UNSET


class KeyForm(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"data_class": "class"}
):
    """A key to be made. Without an ``id`` one is chosen."""

    tenant: str
    data_class: str
    project: str = "default"
    id: str | None = None
    expires_us: int | None = None
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS


class KeyChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a key is to change; whose it is never does."""

    expires_us: int | UnsetType | None = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    routes: tuple[str, ...] | UnsetType = UNSET
    zones: tuple[str, ...] | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET


class RotateForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second key like the first, which ends after the overlap."""

    id: str | None = None
    overlap_s: int = 86_400


class GrantForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role; with ``key`` an admin key of that name is made, else a person's login gets it."""

    role: Role
    tenant: str | None = None
    key: bool = False
    expires_us: int | None = None


class TenantRow(msgspec.Struct, frozen=True):
    """A tenant as the store has it."""

    id: str
    classes: dict[str, ClassRule]
    limits: Limits
    origin: str
    """``file`` where the fleet file names it, else ``admin``."""
    version: int
    created_us: int
    removed_us: int | None

    def value(self) -> Tenant:
        """As a release has it. Raises `BadRelease`."""
        classes = tuple(rule.value(name) for name, rule in self.classes.items())
        return Tenant(self.id, classes, self.limits)


class ProjectRow(msgspec.Struct, frozen=True):
    """A project as the store has it."""

    id: str
    tenant: str
    limits: Limits
    origin: str
    version: int
    created_us: int
    removed_us: int | None

    def value(self) -> Project:
        """As a release has it. Raises `BadRelease`."""
        return Project(self.id, self.tenant, self.limits)


class KeyRow(msgspec.Struct, frozen=True, rename={"data_class": "class"}):
    """A key as the store has it, without its hash. ``rotates`` is the key that it follows."""

    id: str
    tenant: str
    project: str
    data_class: str
    expires_us: int | None
    models: tuple[str, ...]
    routes: tuple[str, ...]
    zones: tuple[str, ...]
    limits: Limits
    origin: str
    rotates: str | None
    version: int
    created_us: int
    removed_us: int | None

    def value(self, hashed: str) -> Key:
        """As a release has it. Raises `BadRelease`."""
        return Key(
            id=self.id,
            tenant=self.tenant,
            data_class=self.data_class,
            hash=hashed,
            project=self.project,
            expires_us=self.expires_us,
            models=self.models,
            routes=self.routes,
            zones=self.zones,
            limits=self.limits,
        )


class MadeKey(msgspec.Struct, frozen=True):
    """A key just made. ``secret`` is the whole key, shown this once."""

    key: KeyRow
    secret: str

    def __repr__(self) -> str:
        return f"MadeKey({self.key.id!r})"


class GrantRow(msgspec.Struct, frozen=True):
    """A role that somebody has: by an admin key, or by a login."""

    id: str
    role: Role
    tenant: str | None
    key: bool
    expires_us: int | None
    version: int
    created_us: int
    removed_us: int | None


class MadeGrant(msgspec.Struct, frozen=True):
    """A grant just given; ``secret`` is the admin key, shown this once."""

    grant: GrantRow
    secret: str | None = None

    def __repr__(self) -> str:
        return f"MadeGrant({self.grant.id!r})"


class AuditRow(msgspec.Struct, frozen=True):
    """One act: who did what to what, and how it was before and after."""

    stamp: int
    at_us: int
    who: str
    act: str
    what: str
    before: msgspec.Raw | None
    after: msgspec.Raw | None
    request_id: str | None
