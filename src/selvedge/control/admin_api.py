"""The admin API over HTTP: who asks, may they, what was sent; then a handler of the table.

Handlers run in threads and are bounded in time: whatever the database does, an answer is there
within `database_ms_max` and a little, and it is 503 where the database is the reason, never 401.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from selvedge.adapters import one_line
from selvedge.control.admin_errors import AdminRefused
from selvedge.control.admin_openapi import describe_admin_api
from selvedge.control.admin_routes import ADMIN_ROUTES, AdminRoute, Call, Rooms
from selvedge.control.database import StoreAway
from selvedge.control.grants import ADMIN_PREFIX
from selvedge.control.issuer_keys import AWAY, ISSUER_S_MAX, IssuerAway
from selvedge.control.oidc import Claims, Logins
from selvedge.control.roles import Actor
from selvedge.control.settings import ControlSettings
from selvedge.control.store import BadField, Changed, Conflict, Missing
from selvedge.fabric import NAME_PATTERN, BadRelease, SelvedgeError, StoreFailed

THREADS_MAX: Final = 16
ASKERS_MAX: Final = 4
SLACK_MS: Final = 500
READ_S_MAX: Final = 10.0
"""For a body: who sends slower keeps one of the few places from others."""
_VERSION: Final = re.compile(r'(?:W/)?"(\d{1,9})"')

_CODES: Final = ((Missing, "not_found"), (Conflict, "conflict"), (Changed, "version_changed"))

log: Final = logging.getLogger("selvedge.control")
T = TypeVar("T")


class AdminApi:
    """The application. ``acted`` is called after an act, from the event loop's thread."""

    def __init__(
        self, settings: ControlSettings, rooms: Rooms, logins: Logins, acted: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._rooms = rooms
        self._logins = logins
        self._acted = acted
        self._threads = anyio.CapacityLimiter(THREADS_MAX)
        self._askers = anyio.CapacityLimiter(ASKERS_MAX)
        self._described = msgspec.json.encode(describe_admin_api())

    def app(self) -> Starlette:
        """As ASGI."""
        by_path: dict[str, dict[str, AdminRoute]] = {}
        for row in ADMIN_ROUTES:
            by_path.setdefault(row.path, {})[row.method] = row
        routes = [Route(path, self._endpoint(rows)) for path, rows in by_path.items()]
        routes += [
            Route("/admin/v1/openapi.json", self._describe),
            Route("/healthz", self._healthy),
            Route("/{rest:path}", self._unknown),
        ]
        for route in routes:
            route.methods = None  # a wrong one is refused in our own shape
        return Starlette(routes=routes)

    def _endpoint(self, rows: dict[str, AdminRoute]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            request_id = f"adm_{secrets.token_hex(12)}"
            try:
                made = await self._answer(request, rows, request_id)
            except Exception as error:  # noqa: BLE001 (each becomes an answer, faults are logged)
                made = refuse(_refusal(error))
            made.headers["x-request-id"] = request_id
            made.headers["cache-control"] = "no-store"
            return made

        return answer

    async def _answer(
        self, request: Request, rows: dict[str, AdminRoute], request_id: str
    ) -> Response:
        route = rows.get(request.method)
        if route is None:
            words = f"{request.method[:16]} is not possible here; use {', '.join(rows)}"
            raise AdminRefused("method_not_allowed", words)
        sent = _bearer(request)
        body = await self._read(request, route)
        claims = await self._claims(sent)

        def work() -> tuple[Any, str | None]:  # Any: what the route answers
            actor = msgspec.structs.replace(self._holder(sent, claims), request_id=request_id)
            call = _call(request, route, body)
            if not any(actor.may(act) for act in route.acts):
                words = f"role {actor.role!r} may not do this ({route.acts[0]})"
                raise AdminRefused("forbidden", f"{words}; ask one whose role may")
            found = route.handler(self._rooms, actor, call)
            return found, self._publish() if route.writes else None

        found, published = await self._bounded(work)
        if route.writes:
            self._acted()
        headers = {} if published is None else {"selvedge-published": published}
        version = getattr(found, "version", None)
        if version is not None:
            headers["etag"] = f'"{version}"'
        return _respond(msgspec.json.encode(found), route.status, headers)

    async def _bounded(self, work: Callable[[], T]) -> T:
        limit_s = (self._settings.database_ms_max + SLACK_MS) / 1000
        try:
            with anyio.fail_after(limit_s):
                return await anyio.to_thread.run_sync(
                    work, abandon_on_cancel=True, limiter=self._threads
                )
        except TimeoutError as error:
            self._rooms.store.database.breaker.failed()
            words = "the control plane's database is slow; it may have been done: ask again"
            raise StoreAway(words) from error

    async def _read(self, request: Request, route: AdminRoute) -> bytes:
        if route.body is None:
            return b""
        return await read_body(request, self._settings.body_bytes_max)

    async def _claims(self, sent: str) -> Claims | None:
        """What an ID token says. The issuer may be slow: that is not the database's fault, and
        who comes with an admin key does not wait for it.
        """
        if sent.startswith(ADMIN_PREFIX):
            return None
        try:
            with anyio.fail_after(ISSUER_S_MAX + SLACK_MS / 1000):
                return await anyio.to_thread.run_sync(
                    self._logins.claims, sent, abandon_on_cancel=True, limiter=self._askers
                )
        except TimeoutError as error:
            raise IssuerAway(AWAY) from error

    def _holder(self, sent: str, claims: Claims | None) -> Actor:
        found = None
        if sent.startswith(ADMIN_PREFIX):
            found = self._rooms.grants.holder(sent)
        elif claims is not None:
            found = self._logins.holder(claims)
        if found is None:
            words = "the admin key or ID token is unknown, past its end, or gives no role"
            raise AdminRefused("invalid_admin_key", words)
        return found

    def _publish(self) -> str:
        """The delta follows the act; where it cannot now, it does in the background."""
        try:
            made = self._rooms.publisher.publish_delta()
        except (StoreFailed, BadRelease) as error:
            log.error("the key delta is not written, and will be: %s", error)
            return "pending"
        return str(made.serial) if made is not None and not made.waits else "pending"

    async def _describe(self, request: Request) -> Response:
        return _respond(self._described, 200, {})

    async def _healthy(self, request: Request) -> Response:
        away = self._rooms.store.database.breaker.is_open
        return _respond(msgspec.json.encode({"database": "away" if away else "here"}), 200, {})

    async def _unknown(self, request: Request) -> Response:
        return refuse(AdminRefused("not_found", "no such path; see /admin/v1/openapi.json"))


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body, in time. Raises `AdminRefused`."""
    parts: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(READ_S_MAX):
            async for part in request.stream():
                size += len(part)
                if size > bytes_max:
                    raise AdminRefused("request_too_large", f"the body exceeds {bytes_max} bytes")
                parts.append(part)
    except (TimeoutError, ClientDisconnect) as error:
        words = f"the body did not come within {READ_S_MAX:g} s; send it faster"
        raise AdminRefused("body_timeout", words) from error
    return b"".join(parts)


def refuse(refused: AdminRefused) -> Response:
    """A refusal as it is sent."""
    headers = {"x-should-retry": "true" if refused.kind.retry else "false"}
    if refused.retry_after_s is not None:
        headers["retry-after"] = str(refused.retry_after_s)
    if refused.kind.status in (408, 413):  # what is left of the body is not waited for
        headers["connection"] = "close"
    if refused.kind.status == 401:
        headers["www-authenticate"] = "Bearer"
    return _respond(refused.body, refused.kind.status, headers)


def _respond(body: bytes, status: int, headers: dict[str, str]) -> Response:
    return Response(body, status, headers, media_type="application/json")


def _refusal(error: Exception) -> AdminRefused:
    """The row of the table that an error is."""
    if isinstance(error, AdminRefused):
        return error
    if isinstance(error, BadField):
        return AdminRefused("invalid_value", str(error), error.field)
    if isinstance(error, BadRelease):
        return AdminRefused("release_refused", str(error), error.field)
    if isinstance(error, StoreFailed):
        log.error("%s", error)
        after_s = getattr(error, "retry_after_s", 2)
        return AdminRefused("store_unavailable", str(error), retry_after_s=after_s)
    for kind, code in (
        (Missing, "not_found"),
        (Conflict, "conflict"),
        (Changed, "version_changed"),
    ):
        if isinstance(error, kind):
            return AdminRefused(code, str(error))
    log.error("a fault of ours: %s", type(error).__name__, exc_info=error)
    words = str(error) if isinstance(error, SelvedgeError) else "a fault of ours; see the log"
    return AdminRefused("internal_error", words)


def _bearer(request: Request) -> str:
    kind, _, sent = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not sent.strip():
        words = "send an admin key or an ID token as 'Authorization: Bearer …'"
        raise AdminRefused("missing_admin_key", words)
    return sent.strip()


def _call(request: Request, route: AdminRoute, body: bytes) -> Call:
    names = {name: str(value) for name, value in request.path_params.items()}
    for name, value in names.items():
        if name == "grant" and not value.isprintable():
            raise AdminRefused("invalid_value", "grant holds a character that is none", name)
        if name != "grant" and not NAME_PATTERN.fullmatch(value):
            words = f"{name} is of a-z, 0-9, '.' and '-', at most 64 characters"
            raise AdminRefused("invalid_value", words, name)
    query = dict(request.query_params)
    for name, value in query.items():
        if name not in route.query:
            known = ", ".join(route.query) or "none"
            raise AdminRefused("invalid_value", f"{name[:64]!r} is not known; known: {known}", name)
        if not value.isprintable():
            raise AdminRefused("invalid_value", f"{name} holds a character that is none", name)
    return Call(names, query, _form(route, body), _expected(request))


def _form(route: AdminRoute, body: bytes) -> Any:  # Any: the form that the route names
    if route.body is None:
        return None
    try:
        return msgspec.json.decode(body or b"{}", type=route.body)
    except msgspec.ValidationError as error:
        field, _, _ = one_line(error).rpartition(": ")
        raise AdminRefused("invalid_value", one_line(error), field or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AdminRefused("invalid_json", f"the body is not JSON: {error}") from error


def _expected(request: Request) -> int | None:
    if request.headers.get("if-none-match") == "*":
        return 0
    sent = request.headers.get("if-match")
    if sent is None or sent == "*":
        return None
    found = _VERSION.fullmatch(sent.strip())
    if found is None:
        words = 'If-Match is a version as its ETag was, as "3"'
        raise AdminRefused("invalid_value", words, "If-Match")
    return int(found[1])
