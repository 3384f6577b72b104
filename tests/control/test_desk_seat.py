"""One desk for each store: a second process is refused, and one that lost its seat knows."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from selvedge.control.database import Database
from selvedge.control.desk_seat import LOCK_SUFFIX, DeskSeat, SeatLost, SeatTaken
from selvedge.control.lease_store import SqlGrants
from selvedge.ledger import Granted, GrantedPage
from tests.control.test_control_process import running, site
from tests.support.fabric import DEADLINE_S, Site

__all__ = ["site"]

PAGE = GrantedPage("sin/0/ab", 0, 7, [Granted("key/free", 0, 0, 30, 1_000)])


@pytest.fixture
def databases(database_url: str) -> Iterator[list[Database]]:
    """The same database as two processes have it."""
    made = [Database(database_url), Database(database_url)]
    made[0].upgrade()
    yield made
    for one in made:
        one.close()


def cut_off(database: Database) -> None:
    """What locks another process is gone, and it does not know."""
    if database.file is not None:
        database.file.with_name(database.file.name + LOCK_SUFFIX).unlink()
        return
    with database.write() as connection:
        query = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        assert connection.execute(text(query)).scalar()


def test_a_second_one_is_told_who_sits_there(databases: list[Database]) -> None:
    first = DeskSeat(databases[0], "process 7 on edge-1, http://127.0.0.1:8190")
    SqlGrants(databases[0], first).write([PAGE])
    first.keep()
    with pytest.raises(SeatTaken, match=r"process 7 on edge-1, http.* stop that one first, or"):
        DeskSeat(databases[1], "process 8")
    first.keep()
    first.leave()
    second = DeskSeat(databases[1], "process 8")
    second.keep()
    assert list(SqlGrants(databases[1], second).load()) == [PAGE]
    with pytest.raises(SeatTaken, match="process 8"):
        DeskSeat(databases[0], "process 9")
    second.leave()


def test_who_lost_its_lock_unknowingly_grants_nothing(databases: list[Database]) -> None:
    first = DeskSeat(databases[0], "process 7")
    store = SqlGrants(databases[0], first)
    cut_off(databases[1])
    second = DeskSeat(databases[1], "process 8")
    for act in (lambda: store.write([PAGE]), lambda: store.drop(10**9), first.keep):
        with pytest.raises(SeatLost, match="no longer the desk of its store: process 8 is"):
            act()
    assert list(store.load()) == []
    SqlGrants(databases[1], second).write([PAGE])
    second.keep()
    first.leave()
    second.keep()
    second.leave()


def test_a_session_that_was_cut_off_is_made_anew(databases: list[Database]) -> None:
    if databases[0].is_sqlite:
        pytest.skip("a file's lock ends with its process alone")
    first = DeskSeat(databases[0], "process 7")
    cut_off(databases[1])
    first.keep()
    with pytest.raises(SeatTaken, match="process 7"):
        DeskSeat(databases[1], "process 8")
    SqlGrants(databases[0], first).write([PAGE])
    first.leave()


def test_a_store_without_the_row_grants_nothing(databases: list[Database]) -> None:
    seat = DeskSeat(databases[0], "process 7")
    with databases[0].write() as connection:
        connection.execute(text("DELETE FROM desk_seat"))
    with pytest.raises(SeatLost, match="nobody is written down"):
        SqlGrants(databases[0], seat).write([PAGE])
    seat.leave()


def test_a_second_process_is_refused_until_the_first_has_ended(
    site: Site, database_url: str, tmp_path: Path
) -> None:
    database = ("--database", database_url)
    assert site.call("control", "upgrade", *database).code == 0
    free = ("--admin-listen", "127.0.0.1:0", "--pops-listen", "127.0.0.1:0")
    with running(site, *database) as process:
        told = site.command("control", "run", *free, *database)
        assert told.code == 1
        assert f"process {process.pid} on " in told.err
        assert "stop that one first" in told.err
        # It has taken nothing from the first one.
        assert site.call("tenant", "list").code == 0
        os.kill(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_S)
    with running(site, *database):
        assert site.call("tenant", "list").code == 0
