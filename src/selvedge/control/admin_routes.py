"""The admin API's routes, as one table: path, act, forms, and what it does.

The router, the authorization and the OpenAPI description are all made of it. A handler is plain
and synchronous: it gets who asks and what was sent, and returns what is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import UNSET

from selvedge.control.admin_errors import AdminRefused
from selvedge.control.alert_rows import AlertForm, AlertRow, EventRow, MadeAlert
from selvedge.control.alerts import Alerts
from selvedge.control.grants import Grants
from selvedge.control.publishing import Published, Publisher
from selvedge.control.roles import ALERT, AUDIT, GRANT, KEYS, LIMIT, PUBLISH, READ, WRITE, Actor
from selvedge.control.rows import (
    AuditRow,
    GrantForm,
    GrantRow,
    KeyChange,
    KeyForm,
    KeyRow,
    MadeGrant,
    MadeKey,
    ProjectForm,
    ProjectRow,
    RotateForm,
    TenantForm,
    TenantRow,
)
from selvedge.control.store import Conflict, Missing, Store
from selvedge.control.tenancy_acts import Tenancy
from selvedge.fabric import Limits, wider_limit

PAGE: Final = 100
Row = TypeVar("Row")


class Page(msgspec.Struct, Generic[Row], frozen=True):
    """A part of a list. ``next`` is the cursor (``after``) of the next part; None at the end."""

    data: list[Row]
    next: str | None


class Call(msgspec.Struct, frozen=True):
    """What was sent. ``expected`` is the version in If-Match; 0 for ``If-None-Match: *``."""

    names: dict[str, str]
    query: dict[str, str]
    body: Any  # Any: the form that the route names
    expected: int | None = None

    @property
    def count(self) -> int:
        """How many rows a page is to have."""
        text = self.query.get("limit", str(PAGE))
        if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= 1000:
            raise AdminRefused("invalid_value", "limit is from 1 to 1000", "limit")
        return int(text)


class Rooms(msgspec.Struct, frozen=True):
    """What the handlers act on."""

    store: Store
    tenancy: Tenancy
    grants: Grants
    publisher: Publisher
    webhooks_inside: bool = False

    @property
    def alerts(self) -> Alerts:
        """The alerts of the store."""
        return Alerts(self.store, inside=self.webhooks_inside)


Handler = Callable[[Rooms, Actor, Call], Any]  # Any: what the route says it answers


class AdminRoute(msgspec.Struct, frozen=True):
    """One row. ``acts``: one of them must be allowed; ``writes``: the delta follows it."""

    method: str
    path: str
    acts: tuple[str, ...]
    handler: Handler
    summary: str
    answer: Any  # Any: a type
    body: Any = None  # Any: a type
    query: tuple[str, ...] = ()
    status: int = 200
    writes: bool = False


def _need(actor: Actor, act: str) -> None:
    if not actor.may(act):
        words = f"role {actor.role!r} may not do this ({act}); ask one whose role may"
        raise AdminRefused("forbidden", words)


def _fleet_wide(actor: Actor) -> None:
    if actor.tenant is not None:
        words = "a tenant's own limits and data classes are set by those who run the fleet"
        raise AdminRefused("forbidden", words)


def _limited(row: TenantRow | ProjectRow, what: str, expected: int | None) -> int:
    """The version that limits are set of: to set them is not to make anew what was closed."""
    if row.removed_us is not None:
        raise Conflict(f"{what} is closed; ask one whose role may make it anew")
    return row.version if expected is None else expected


def _reach(actor: Actor, tenant: str, what: str) -> None:
    if not actor.reaches(tenant):
        raise Missing(f"no {what}")


def _only(actor: Actor, call: Call) -> str | None:
    asked = call.query.get("tenant")
    if asked is not None:
        _reach(actor, asked, f"tenant {asked!r}")
    return asked or actor.tenant


def _page(rows: list[Any], count: int, cursor: Callable[[Any], str]) -> Page[Any]:
    # Any: rows of one form
    return Page(rows, cursor(rows[-1]) if len(rows) == count else None)


def _me(rooms: Rooms, actor: Actor, call: Call) -> Actor:
    return actor


def _status(rooms: Rooms, actor: Actor, call: Call) -> Published | None:
    return rooms.publisher.publish_delta()


def _publish(rooms: Rooms, actor: Actor, call: Call) -> Published:
    return rooms.publisher.publish_release(actor)


def _list_tenants(rooms: Rooms, actor: Actor, call: Call) -> Page[TenantRow]:
    rows = rooms.store.tenants(call.query.get("after", ""), call.count, _only(actor, call))
    return _page(rows, call.count, lambda row: str(row.id))


def _show_tenant(rooms: Rooms, actor: Actor, call: Call) -> TenantRow:
    name = call.names["tenant"]
    _reach(actor, name, f"tenant {name!r}")
    return rooms.store.tenant(name)


def _put_tenant(rooms: Rooms, actor: Actor, call: Call) -> TenantRow:
    form: TenantForm = call.body
    _fleet_wide(actor)
    name = call.names["tenant"]
    if form.classes is not UNSET or form.limits is UNSET:
        _need(actor, WRITE)
    expected = call.expected
    if not actor.may(WRITE):
        expected = _limited(rooms.store.tenant(name), f"tenant {name!r}", expected)
    return rooms.tenancy.put_tenant(actor, name, form, expected)


def _remove_tenant(rooms: Rooms, actor: Actor, call: Call) -> TenantRow:
    _fleet_wide(actor)
    return rooms.tenancy.remove_tenant(actor, call.names["tenant"], call.expected)


def _list_projects(rooms: Rooms, actor: Actor, call: Call) -> Page[ProjectRow]:
    rows = rooms.store.projects(call.query.get("after", ""), call.count, _only(actor, call))
    return _page(rows, call.count, lambda row: f"{row.tenant}/{row.id}")


def _place(actor: Actor, call: Call) -> tuple[str, str]:
    tenant, project = call.names["tenant"], call.names["project"]
    _reach(actor, tenant, f"project {tenant}/{project}")
    return tenant, project


def _show_project(rooms: Rooms, actor: Actor, call: Call) -> ProjectRow:
    return rooms.store.project(*_place(actor, call))


def _put_project(rooms: Rooms, actor: Actor, call: Call) -> ProjectRow:
    place = _place(actor, call)
    expected = call.expected
    if not actor.may(WRITE):
        # Whoever may set limits alone sets them of a project that is there.
        row = rooms.store.project(*place)
        expected = _limited(row, f"project {'/'.join(place)!r}", expected)
    return rooms.tenancy.put_project(actor, place, call.body, expected)


def _remove_project(rooms: Rooms, actor: Actor, call: Call) -> ProjectRow:
    return rooms.tenancy.remove_project(actor, _place(actor, call), call.expected)


def _list_keys(rooms: Rooms, actor: Actor, call: Call) -> Page[KeyRow]:
    rows = rooms.store.keys(call.query.get("after", ""), call.count, _only(actor, call))
    return _page(rows, call.count, lambda row: str(row.id))


def _own_key(rooms: Rooms, actor: Actor, call: Call) -> str:
    name = call.names["key"]
    _reach(actor, rooms.store.key(name).tenant, f"key {name!r}")
    return name


def _show_key(rooms: Rooms, actor: Actor, call: Call) -> KeyRow:
    return rooms.store.key(_own_key(rooms, actor, call))


def _create_key(rooms: Rooms, actor: Actor, call: Call) -> MadeKey:
    form: KeyForm = call.body
    _reach(actor, form.tenant, f"tenant {form.tenant!r}")
    return rooms.tenancy.create_key(actor, form)


def _change_key(rooms: Rooms, actor: Actor, call: Call) -> KeyRow:
    form: KeyChange = call.body
    name = _own_key(rooms, actor, call)
    if any(getattr(form, one) is not UNSET for one in form.__struct_fields__ if one != "limits"):
        _need(actor, KEYS)
    expected = call.expected
    if form.limits is not UNSET and not actor.may(LIMIT):
        expected = _lowered(rooms.store.key(name), form.limits, expected)
    return rooms.tenancy.change_key(actor, name, form, expected)


def _lowered(row: KeyRow, limits: Limits, expected: int | None) -> int:
    """The version whose limits are lowered: raising what others have set is not for every role."""
    field = wider_limit(row.limits, limits)
    if field is not None:
        words = f"this role may lower a key's limits, not raise {field.removeprefix('limits.')}"
        raise AdminRefused("forbidden", f"{words}; ask one whose role may", field)
    return row.version if expected is None else expected


def _rotate_key(rooms: Rooms, actor: Actor, call: Call) -> MadeKey:
    name = _own_key(rooms, actor, call)
    return rooms.tenancy.rotate_key(actor, name, call.body, call.expected)


def _revoke_key(rooms: Rooms, actor: Actor, call: Call) -> KeyRow:
    return rooms.tenancy.revoke_key(actor, _own_key(rooms, actor, call), call.expected)


def _list_grants(rooms: Rooms, actor: Actor, call: Call) -> Page[GrantRow]:
    rows = rooms.store.grants(call.query.get("after", ""), call.count)
    return _page(rows, call.count, lambda row: str(row.id))


def _give(rooms: Rooms, actor: Actor, call: Call) -> MadeGrant:
    return rooms.grants.give(actor, call.names["grant"], call.body)


def _take(rooms: Rooms, actor: Actor, call: Call) -> GrantRow:
    return rooms.grants.take(actor, call.names["grant"], call.expected)


def _audit(rooms: Rooms, actor: Actor, call: Call) -> Page[AuditRow]:
    after = call.query.get("after")
    if after is not None and not (after.isascii() and after.isdigit() and len(after) < 19):
        raise AdminRefused("invalid_value", "after is the cursor of the page before", "after")
    before = int(after) if after is not None else None
    rows = rooms.store.audit(before, call.count, call.query.get("what"))
    return _page(rows, call.count, lambda row: str(row.stamp))


def _list_alerts(rooms: Rooms, actor: Actor, call: Call) -> Page[AlertRow]:
    rows = rooms.alerts.alerts(call.query.get("after", ""), call.count, _only(actor, call))
    return _page(rows, call.count, lambda row: str(row.id))


def _create_alert(rooms: Rooms, actor: Actor, call: Call) -> MadeAlert:
    form: AlertForm = call.body
    _reach(actor, form.tenant, f"tenant {form.tenant!r}")
    return rooms.alerts.create(actor, form)


def _own_alert(rooms: Rooms, actor: Actor, call: Call) -> str:
    name = call.names["alert"]
    _reach(actor, rooms.alerts.alert(name).tenant, f"alert {name!r}")
    return name


def _remove_alert(rooms: Rooms, actor: Actor, call: Call) -> AlertRow:
    return rooms.alerts.remove(actor, _own_alert(rooms, actor, call))


def _test_alert(rooms: Rooms, actor: Actor, call: Call) -> EventRow:
    return rooms.alerts.test(_own_alert(rooms, actor, call))


def _list_events(rooms: Rooms, actor: Actor, call: Call) -> Page[EventRow]:
    rows = rooms.alerts.events(call.query.get("after", ""), call.count, _only(actor, call))
    return _page(rows, call.count, lambda row: str(row.id))


_LIST: Final = ("after", "limit")
_PROJECT: Final = "/tenants/{tenant}/projects/{project}"


def _row(
    where: str, acts: str, handler: Handler, summary: str, **more: Any
) -> AdminRoute:  # Any: fields of the row
    method, path = where.split(" ")
    return AdminRoute(
        method=method,
        path=f"/admin/v1{path}",
        acts=tuple(acts.split()),
        handler=handler,
        summary=summary,
        **more,
    )


def _tenancy_rows() -> tuple[AdminRoute, ...]:
    tenants: dict[str, Any] = {"answer": Page[TenantRow], "query": (*_LIST, "tenant")}
    projects: dict[str, Any] = {"answer": Page[ProjectRow], "query": (*_LIST, "tenant")}
    tenant: dict[str, Any] = {"answer": TenantRow}
    project: dict[str, Any] = {"answer": ProjectRow}
    both = f"{WRITE} {LIMIT}"
    one = "/tenants/{tenant}"
    return (
        _row("GET /tenants", READ, _list_tenants, "List tenants.", **tenants),
        _row(f"GET {one}", READ, _show_tenant, "Show a tenant.", **tenant),
        _row(
            f"PUT {one}",
            both,
            _put_tenant,
            "Make a tenant, or change it.",
            body=TenantForm,
            writes=True,
            **tenant,
        ),
        _row(
            f"DELETE {one}",
            WRITE,
            _remove_tenant,
            "Close a tenant and revoke its keys.",
            writes=True,
            **tenant,
        ),
        _row("GET /projects", READ, _list_projects, "List projects.", **projects),
        _row(f"GET {_PROJECT}", READ, _show_project, "Show a project.", **project),
        _row(
            f"PUT {_PROJECT}",
            both,
            _put_project,
            "Make a project, or change it.",
            body=ProjectForm,
            writes=True,
            **project,
        ),
        _row(
            f"DELETE {_PROJECT}",
            WRITE,
            _remove_project,
            "Close a project and revoke its keys.",
            writes=True,
            **project,
        ),
    )


def _key_rows() -> tuple[AdminRoute, ...]:
    keys: dict[str, Any] = {"answer": Page[KeyRow], "query": (*_LIST, "tenant")}
    key: dict[str, Any] = {"answer": KeyRow}
    made: dict[str, Any] = {"answer": MadeKey, "status": 201, "writes": True}
    return (
        _row("GET /keys", READ, _list_keys, "List keys.", **keys),
        _row("POST /keys", KEYS, _create_key, "Mint a key, shown once.", body=KeyForm, **made),
        _row("GET /keys/{key}", READ, _show_key, "Show a key.", **key),
        _row(
            "PATCH /keys/{key}",
            f"{KEYS} {LIMIT}",
            _change_key,
            "Change what a key may do, or its end.",
            body=KeyChange,
            writes=True,
            **key,
        ),
        _row(
            "DELETE /keys/{key}",
            KEYS,
            _revoke_key,
            "Revoke a key, for good.",
            writes=True,
            **key,
        ),
        _row(
            "POST /keys/{key}/rotate",
            KEYS,
            _rotate_key,
            "Mint a second key of the same rights; the first ends after the overlap.",
            body=RotateForm,
            **made,
        ),
    )


def _other_rows() -> tuple[AdminRoute, ...]:
    return (
        _row("GET /me", READ, _me, "Who asks, and in which role.", answer=Actor),
        _row("GET /status", READ, _status, "What PoPs are given now.", answer=Published | None),
        _row("POST /releases", PUBLISH, _publish, "Publish a release.", answer=Published),
        _row(
            "GET /grants",
            GRANT,
            _list_grants,
            "List who has which role.",
            answer=Page[GrantRow],
            query=_LIST,
        ),
        _row(
            "PUT /grants/{grant}",
            GRANT,
            _give,
            "Give a role, by an admin key shown once or to a login.",
            answer=MadeGrant,
            body=GrantForm,
            status=201,
        ),
        _row("DELETE /grants/{grant}", GRANT, _take, "Take a role away.", answer=GrantRow),
        _row(
            "GET /audit",
            AUDIT,
            _audit,
            "Who did what, newest first.",
            answer=Page[AuditRow],
            query=(*_LIST, "what"),
        ),
    )


def _alert_rows() -> tuple[AdminRoute, ...]:
    query = (*_LIST, "tenant")
    alerts: dict[str, Any] = {"answer": Page[AlertRow], "query": query}
    events: dict[str, Any] = {"answer": Page[EventRow], "query": query}
    made: dict[str, Any] = {"answer": MadeAlert, "body": AlertForm, "status": 201}
    tried: dict[str, Any] = {"answer": EventRow, "status": 202}
    one = "/alerts/{alert}"
    return (
        _row("GET /alerts", READ, _list_alerts, "List alerts.", **alerts),
        _row("POST /alerts", ALERT, _create_alert, "Make an alert.", **made),
        _row(f"DELETE {one}", ALERT, _remove_alert, "Remove an alert.", answer=AlertRow),
        _row(f"POST {one}/test", ALERT, _test_alert, "Send something that says nothing.", **tried),
        _row("GET /alert-events", READ, _list_events, "What was told, or is to be.", **events),
    )


ADMIN_ROUTES: Final = (*_tenancy_rows(), *_key_rows(), *_alert_rows(), *_other_rows())
