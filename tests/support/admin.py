"""The admin API in this process, over a home with a release, asked without sockets.

api = make_api(tmp_path, url)
told = api.ask("GET", "/tenants")
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from selvedge.adapters import seal_release, write_atomically
from selvedge.control import ControlSettings, Home
from selvedge.control.admin_api import AdminApi
from selvedge.control.admin_routes import Rooms
from selvedge.control.database import Breaker, Database
from selvedge.control.grants import SYSTEM, Grants
from selvedge.control.oidc import Logins
from selvedge.control.pops_door import LEASES, PopsDoor
from selvedge.control.publishing import Publisher
from selvedge.control.rows import GrantForm
from selvedge.control.seeding import seed
from selvedge.control.store import Store
from selvedge.control.tenancy_acts import Tenancy
from selvedge.fabric import Release
from tests.support.fleets import make_release
from tests.support.stores import Clock

ASGI = Callable[..., Any]  # Any: as ASGI has it


@dataclass
class Told:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # Any: JSON
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        """The error's code."""
        assert set(self.json["error"]) == {"message", "type", "param", "code"}
        return str(self.json["error"]["code"])

    @property
    def message(self) -> str:
        return str(self.json["error"]["message"])


async def ask_app(
    app: ASGI, method: str, target: str, headers: dict[str, str], body: bytes
) -> Told:
    """One request of an ASGI application."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    sent: list[dict[str, Any]] = []  # Any: as ASGI has it
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if parts:
            return parts.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    named = {name.decode(): value.decode() for name, value in start["headers"]}
    return Told(start["status"], named, b"".join(one.get("body", b"") for one in sent[1:]))


def ask_door(door: PopsDoor, body: bytes, method: str = "POST", target: str = LEASES) -> Told:
    """One message at the door of the PoPs."""
    answer = asyncio.run(door.answer(method, target, body))
    return Told(answer.status, dict(answer.headers), answer.body)


@dataclass
class Api:
    """The API, what it acts on, and admin keys by role."""

    rooms: Rooms
    home: Home
    clock: Clock
    app: ASGI
    database: Database
    keys: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        role: str | None = "owner",
        **headers: str,
    ) -> Told:
        """One request, as the holder of a role; headers by name, with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if role is not None:
            sent["authorization"] = f"Bearer {self.key(role)}"
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        )
        return asyncio.run(ask_app(self.app, method, f"/admin/v1{path}", sent, raw))

    def key(self, role: str) -> str:
        """The admin key of a role; ``role@tenant`` for one of a tenant."""
        if role not in self.keys:
            name, _, tenant = role.partition("@")
            form = msgspec.convert({"role": name, "tenant": tenant or None, "key": True}, GrantForm)
            made = self.rooms.grants.give(SYSTEM, role.replace("@", "."), form)
            assert made.secret is not None
            self.keys[role] = made.secret
        return self.keys[role]

    def close(self) -> None:
        self.database.close()


def make_api(
    directory: Path,
    url: str,
    *,
    release: Release | None = None,
    wait_ms: int = 2_000,
    **settings: Any,  # Any: values of settings
) -> Api:
    """A store seeded from a release, and the API over it."""
    home = Home(directory / "home")
    database = Database(url, wait_ms=wait_ms, breaker=Breaker(open_s=0.2))
    database.upgrade()
    clock = Clock()
    store = Store(database, home.pepper(), clock)
    made = release or make_release()
    store.open(made.fleet)
    write_atomically(home.release_file, seal_release(seed(store, made), home.operator_key()))
    publisher = Publisher(store, home)
    rooms = Rooms(
        store, Tenancy(store, publisher.zones, publisher.check_tenant), Grants(store), publisher
    )
    told = ControlSettings(home=str(home.directory), database_ms_max=wait_ms, **settings)
    app = AdminApi(told, rooms, Logins(told, rooms.grants.login), lambda: None).app()
    return Api(rooms, home, clock, app, database)
