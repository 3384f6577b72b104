"""The control process: opens its store, publishes, serves its two doors, stops. Told in `run`.

It may stop for a day: PoPs serve on by what they have. What it owes them after an act, the key
delta and then a release, is written in the background until it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import uvicorn
from starlette.applications import Starlette

from selvedge.adapters import write_atomically
from selvedge.control.admin_api import AdminApi
from selvedge.control.admin_routes import Rooms
from selvedge.control.alert_courier import Accounts, AlertCourier
from selvedge.control.database import Database, StoreAway
from selvedge.control.desk_seat import DeskSeat, SeatLost, words_of
from selvedge.control.fleet_desk import FleetDesk
from selvedge.control.grants import SYSTEM, Grants
from selvedge.control.home import ADMIN_KEY_FILE, CONTROL_FILE, ControlRunning, Home
from selvedge.control.lease_store import SqlGrants
from selvedge.control.oidc import Logins
from selvedge.control.pops_door import (
    CONNECTIONS_MAX,
    LEASES,
    MESSAGE_BYTES_MAX,
    SLACK_MS,
    PopHandler,
    PopsDoor,
)
from selvedge.control.probes import run_probes
from selvedge.control.publishing import Publisher
from selvedge.control.rows import GrantForm
from selvedge.control.seeding import adopt
from selvedge.control.settings import ControlSettings
from selvedge.control.small_server import SmallServer
from selvedge.control.store import Store
from selvedge.control.tenancy_acts import Tenancy
from selvedge.fabric import BadRelease, SelvedgeError, StoreFailed
from selvedge.pop import host_and_port

REQUESTS_MAX: Final = 256
STOP_S: Final = 5
SEAT_LOOK_S: Final = 2.0
FIRST_ADMIN: Final = "local"

log: Final = logging.getLogger("selvedge.control")


def open_store(settings: ControlSettings) -> Store:
    """The fleet's store, its tables brought to this version where it is embedded.

    Raises `StoreAway`, and `SelvedgeError` where it is another fleet's or of another version.
    """
    home = Home(Path(settings.home))
    database = Database(settings.database_url, wait_ms=settings.database_ms_max)
    if database.is_sqlite:
        database.upgrade()
    else:
        database.check()
    return Store(database, home.pepper())


def open_rooms(settings: ControlSettings, store: Store) -> Rooms:
    """What the admin API acts on."""
    publisher = Publisher(store, Home(Path(settings.home)))
    release = publisher.release
    if release is None:
        raise SelvedgeError(
            f"there is no release under {settings.home}; 'selvedge up' or 'selvedge fleet "
            "publish' makes the first"
        )
    store.open(release.fleet)
    adopt(store, Home(Path(settings.home)))
    inside = settings.webhooks_inside
    return Rooms(
        store,
        Tenancy(store, publisher.zones, publisher.check_tenant),
        Grants(store),
        publisher,
        inside,
    )


def open_desk(
    settings: ControlSettings, store: Store, publisher: Publisher, seat: DeskSeat | None = None
) -> FleetDesk:
    """The desk that grants leases by what is published; its grants outlive it in the store."""
    desk = FleetDesk(Home(Path(settings.home)).control_key(), SqlGrants(store.database, seat))
    publisher.tell(desk.hear)
    return desk


def open_courier(settings: ControlSettings, rooms: Rooms) -> AlertCourier:
    """The courier that tells customers' alerts."""
    accounts = Accounts(settings, lambda: rooms.publisher.release)
    return AlertCourier(settings, rooms.alerts, accounts, rooms.store.now_us)


def first_admin(home: Home, grants: Grants) -> None:
    """The admin key that commands on this machine use, minted where there is none yet."""
    path = home.directory / ADMIN_KEY_FILE
    if path.exists():
        return
    name = f"{FIRST_ADMIN}-{os.urandom(4).hex()}"
    made = grants.give(SYSTEM, name, GrantForm(role="owner", key=True))
    write_atomically(path, f"{made.secret}\n".encode(), 0o600)


class Background:
    """Publishes what is owed: after an act at once, and by the clock for other processes' acts."""

    def __init__(self, settings: ControlSettings, publisher: Publisher) -> None:
        self._settings = settings
        self._publisher = publisher
        self._nudge = asyncio.Event()
        self._failing: str | None = None

    def nudge(self) -> None:
        """There was an act."""
        self._nudge.set()

    async def run(self) -> None:
        """Until cancelled."""
        since: float | None = None
        while True:
            waits = await self._try(self._delta)
            after_s = self._settings.release_after_ms / 1000
            if waits and since is None:
                since = time.monotonic()
            if since is not None and after_s and time.monotonic() - since >= after_s:
                await self._try(self._release)
                since = None
            await self._pause(min(self._settings.poll_ms / 1000, after_s or 1e9, 60.0))

    async def _pause(self, most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._nudge.wait()
        self._nudge.clear()

    def _delta(self) -> bool:
        made = self._publisher.publish_delta()
        return made is not None and made.waits

    def _release(self) -> bool:
        made = self._publisher.publish_release(SYSTEM)
        log.info("release %d made of the store", made.release)
        return made.waits

    async def _try(self, work: object) -> bool:
        assert callable(work)
        try:
            done = bool(await asyncio.to_thread(work))
        except (StoreFailed, BadRelease) as error:
            if str(error) != self._failing:
                self._failing = str(error)
                log.error("not published, and tried again: %s", error)
            return False
        self._failing = None
        return done


class _Door(uvicorn.Server):
    """A server whose signals are the process's, not its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _door(app: Starlette, settings: ControlSettings) -> _Door:
    tls = settings.tls_cert_file is not None
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=REQUESTS_MAX,
        timeout_graceful_shutdown=STOP_S,
        ssl_certfile=settings.tls_cert_file if tls else None,
        ssl_keyfile=settings.tls_key_file if tls else None,
    )
    return _Door(config)


def _listen(name: str, address: str) -> socket.socket:
    host, port = host_and_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(128)
    except (OSError, TypeError, ValueError) as error:
        sock.close()
        why = error.strerror if isinstance(error, OSError) else error
        raise SelvedgeError(
            f"the control process cannot listen on {address}: {why}; "
            f"stop what uses it or change '{name}'"
        ) from error
    return sock


def _allow_files() -> None:
    """As many connections as the system allows: every worker of every PoP keeps one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def run_control(
    settings: ControlSettings, handlers: Mapping[str, PopHandler] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT. Raises `SelvedgeError` where it cannot start.

    ``handlers`` answer the PoPs, by path, beside the desk.
    """
    home = Home(Path(settings.home))
    _allow_files()
    socks = [
        _listen("admin_listen", settings.admin_listen),
        _listen("pops_listen", settings.pops_listen),
    ]
    try:
        store = await asyncio.to_thread(open_store, settings)
        try:
            # Before anything is written: a second process leaves the first one's store alone.
            seat = await asyncio.to_thread(DeskSeat, store.database, words_of(_url(socks[0])))
            try:
                rooms = await asyncio.to_thread(open_rooms, settings, store)
                await asyncio.to_thread(first_admin, home, rooms.grants)
                desk = await asyncio.to_thread(open_desk, settings, store, rooms.publisher, seat)
                handlers = {LEASES: desk.answer_all, **(handlers or {})}
                await _serve(settings, rooms, socks, handlers, seat)
            finally:
                await asyncio.to_thread(seat.leave)
        finally:
            await asyncio.to_thread(store.database.close)
    finally:
        for sock in socks:
            sock.close()


async def _serve(
    settings: ControlSettings,
    rooms: Rooms,
    socks: list[socket.socket],
    handlers: Mapping[str, PopHandler],
    seat: DeskSeat,
) -> None:
    background = Background(settings, rooms.publisher)
    logins = Logins(settings, rooms.grants.login)
    admin = AdminApi(settings, rooms, logins, background.nudge).app()
    with contextlib.suppress(StoreAway):
        await asyncio.to_thread(rooms.publisher.publish_delta)
    door = _door(admin, settings)
    wait_ms = settings.database_ms_max + SLACK_MS
    pops = SmallServer(PopsDoor(handlers, wait_ms).answer, MESSAGE_BYTES_MAX, CONNECTIONS_MAX)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await pops.listen_on(socks[1])
    serving = asyncio.create_task(door.serve(sockets=[socks[0]]))
    working = asyncio.create_task(background.run())
    telling = asyncio.create_task(open_courier(settings, rooms).run())
    probing = asyncio.create_task(
        run_probes(settings, lambda: rooms.publisher.release, rooms.store.now_us)
    )
    note = Path(settings.home) / CONTROL_FILE
    write_atomically(note, msgspec.json.encode(_running(socks, settings)))
    log.info("the control process serves on %s and %s", *(_url(sock) for sock in socks))
    keeping = asyncio.create_task(_keep(seat))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, keeping}, return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            keeping.result()
    finally:
        stopping.cancel()
        keeping.cancel()
        note.unlink(missing_ok=True)
        working.cancel()
        telling.cancel()
        probing.cancel()
        door.should_exit = True
        await pops.close()
        await asyncio.gather(working, telling, probing, serving, return_exceptions=True)


async def _keep(seat: DeskSeat) -> None:
    """Look now and then whether this process is the desk still. Raises `SelvedgeError`."""
    while True:
        await asyncio.sleep(SEAT_LOOK_S)
        try:
            await asyncio.to_thread(seat.keep)
        except SeatLost:
            raise
        except StoreFailed as error:
            log.warning("whether this process is the desk is not known now: %s", error)


def _running(socks: list[socket.socket], settings: ControlSettings) -> ControlRunning:
    scheme = "https" if settings.tls_cert_file is not None else "http"
    return ControlRunning(_url(socks[0], scheme), _url(socks[1]), os.getpid())


def _url(sock: socket.socket, scheme: str = "http") -> str:
    host, port = sock.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
