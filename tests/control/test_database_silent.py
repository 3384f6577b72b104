"""A database that stands still, or whose disk is full: nobody waits for ever, nothing is halved."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from selvedge.adapters import seal_release, write_atomically
from selvedge.control import Home
from selvedge.control.database import Breaker, Database, StoreAway
from selvedge.control.pops_door import LEASES, PopsDoor
from selvedge.control.small_server import Answer
from selvedge.fabric import BadTicket
from tests.control.test_control_process import running
from tests.support.admin import Api, make_api
from tests.support.databases import (
    NoSmallDisk,
    Postgres,
    SmallDisk,
    find_postgres,
    running_postgres,
)
from tests.support.fabric import Site
from tests.support.fleets import make_release

WAIT_MS = 500
BOUND_S = 30.0  # a machine that has other work to do adds to it, but does not make it endless
KEY = {"tenant": "free", "class": "default"}
ACTS_MAX = 20_000


@pytest.fixture(autouse=True)
def left_connections() -> Iterator[None]:
    """SQLAlchemy leaves a connection that broke for the collector to close."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def server() -> Iterator[Postgres]:
    """One that a test may stop."""
    with running_postgres() as made:
        yield made


def open_database(url: str) -> Database:
    return Database(url, wait_ms=WAIT_MS, breaker=Breaker(open_s=0.0))


def answer(database: Database) -> object:
    with database.read() as connection:
        return connection.execute(text("SELECT 1")).scalar()


def test_a_server_that_stands_still_is_given_up(server: Postgres) -> None:
    database = open_database(server.make_database())
    assert answer(database) == 1
    server.freeze()
    started = time.monotonic()
    with pytest.raises(StoreAway):
        answer(database)
    assert time.monotonic() - started < BOUND_S
    server.thaw()
    assert answer(database) == 1
    database.close()


@pytest.mark.parametrize("at", ["statement", "commit"])
def test_one_that_stops_in_the_middle_of_a_transaction(server: Postgres, at: str) -> None:
    database = open_database(server.make_database())
    with database.write() as connection:
        connection.execute(text("CREATE TABLE kept (a int)"))

    def write() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO kept VALUES (1)"))
            server.freeze()
            if at == "statement":
                connection.execute(text("INSERT INTO kept VALUES (2)"))

    with pytest.raises(StoreAway, match="silent for 1 s"):
        write()
    server.thaw()
    with database.read() as connection:
        kept = connection.execute(text("SELECT count(*) FROM kept")).scalar()
    # A commit that was not answered may have been done.
    assert kept == 0 or (at, kept) == ("commit", 1)
    database.close()


def test_an_answer_that_comes_bit_by_bit_is_waited_for(server: Postgres) -> None:
    database = open_database(server.make_database())
    rows = "SELECT repeat('x', 1000) FROM generate_series(1, 20000)"
    with database.read() as connection:
        assert len(connection.execute(text(rows)).all()) == 20_000
    database.close()


def test_pops_are_answered_while_it_stands_still(server: Postgres) -> None:
    database = open_database(server.make_database())
    assert answer(database) == 1
    ended = threading.Event()

    def grant(bodies: Sequence[bytes]) -> list[bytes | BadTicket]:
        try:
            answer(database)
        finally:
            ended.set()
        return list(bodies)

    async def ask() -> list[Answer]:
        door = PopsDoor({LEASES: grant}, wait_ms=WAIT_MS)
        return [await door.answer("POST", LEASES, b"?") for _ in range(3)]

    server.freeze()
    started = time.monotonic()
    told = asyncio.run(ask())
    assert time.monotonic() - started < BOUND_S
    assert [one.status for one in told] == [503] * 3
    assert all(b"store_unavailable" in one.body for one in told)
    assert ended.wait(BOUND_S), "nobody waits on behind an answer that was given"
    server.thaw()
    database.close()


@pytest.fixture
def full() -> Iterator[tuple[Postgres, SmallDisk]]:
    """A server on a small disk of its own."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    try:
        disk = SmallDisk(96)
    except NoSmallDisk as error:
        pytest.skip(str(error))
    server = Postgres(programs, disk)
    try:
        server.start()
        yield server, disk
    finally:
        disk.clear()
        server.close()
        disk.close()


def until_away(api: Api) -> int:
    """Make keys until one finds no room; its number."""
    for at in range(ACTS_MAX):
        started = time.monotonic()
        told = api.ask("POST", "/keys", {**KEY, "id": f"k{at}"})
        assert time.monotonic() - started < BOUND_S
        if told.status != 201:
            assert (told.status, told.code) == (503, "store_unavailable")
            return at
    raise AssertionError("a disk that is full took all of them")


def until_here(api: Api, server: Postgres) -> None:
    """There is room again; a server that gave up is started, as somebody would."""
    started = time.monotonic()
    while api.ask("GET", "/me").status != 200:
        assert time.monotonic() - started < BOUND_S, "the API did not come back"
        if not server.is_running():
            server.reap()
            server.start()


def test_a_full_disk_under_postgresql(tmp_path: Path, full: tuple[Postgres, SmallDisk]) -> None:
    server, disk = full
    api = make_api(tmp_path, server.make_database(), wait_ms=2_000)
    assert api.ask("POST", "/keys", {**KEY, "id": "before"}).status == 201
    disk.fill()
    at = until_away(api)
    disk.clear()
    until_here(api, server)
    store = api.rooms.store
    rows = {row.id for row in store.keys("", 1_000, "free")}
    after = "k"
    while page := store.keys(after, 1_000, "free"):
        rows |= {row.id for row in page}
        after = page[-1].id
    assert {"before", *(f"k{one}" for one in range(at))} <= rows
    # The one that was not answered is there with its line of the audit, or is not there.
    lines = [row.act for row in store.audit(None, 10, f"key k{at}")]
    assert lines == (["key.create"] if f"k{at}" in rows else [])
    assert api.ask("POST", "/keys", {**KEY, "id": "after"}).status == 201
    api.close()


def test_the_control_process_ends_while_it_stands_still(tmp_path: Path, server: Postgres) -> None:
    home = Home(tmp_path / "home")
    write_atomically(home.release_file, seal_release(make_release(), home.operator_key()))
    site, url = Site(home.directory), server.make_database()
    assert site.call("control", "upgrade", "--database", url).code == 0
    with running(site, "--database", url) as process:
        server.freeze()
        # An act is under way, and so is what is published by the clock.
        told = site.call("tenant", "list")
        assert (told.code, "database" in told.err) == (1, True)
        process.terminate()
        assert process.wait(BOUND_S) == 0
    server.thaw()
