"""The desk's grants in the database: kept whole, found again, dropped; and the table's upgrade."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import event, insert, inspect

from selvedge.control.database import Database, StoreAway
from selvedge.control.lease_store import SqlGrants
from selvedge.control.tables import COUNTERS
from selvedge.fabric import LIMIT_MAX, StoreFailed
from selvedge.ledger import Granted
from tests.support.databases import Postgres, running_postgres

BOUND_S = 30.0
ROWS = 1_024  # in one question, at most
ROW = Granted("sin/0/ab", "key/free", 0, 0, 30, 1_000, 7)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    made.upgrade()
    yield made
    made.close()


def test_the_newest_row_of_each_holder_and_budget_stands(database: Database) -> None:
    store = SqlGrants(database)
    store.write([])
    assert list(store.load()) == []
    other = msgspec.structs.replace(ROW, holder="sin/1/ab")
    money = msgspec.structs.replace(ROW, kind=4, window=LIMIT_MAX, amount=LIMIT_MAX)
    newer = msgspec.structs.replace(ROW, amount=4, free_us=2_000, number=LIMIT_MAX)
    store.write([ROW, other, money])
    store.write([newer])
    found = {(row.holder, row.kind): row for row in SqlGrants(database).load()}
    assert found == {("sin/0/ab", 0): newer, ("sin/1/ab", 0): other, ("sin/0/ab", 4): money}
    store.drop(1_000)
    assert len(list(store.load())) == 3
    store.drop(1_001)
    assert list(store.load()) == [newer]


def test_a_whole_question_of_the_longest_names(database: Database) -> None:
    store = SqlGrants(database)
    holder = f"{'p' * 256}/{2**63}/{'e' * 64}"
    rows = [
        msgspec.structs.replace(ROW, holder=holder, level=f"{at:04d}".ljust(256, "x"))
        for at in range(ROWS)
    ]
    store.write(rows)
    store.write(rows)
    assert sorted(store.load(), key=lambda row: row.level) == rows


def test_all_of_a_write_or_nothing(database: Database) -> None:
    store = SqlGrants(database)
    store.write([ROW])
    with pytest.raises(StoreFailed):
        store.write(
            [msgspec.structs.replace(ROW, amount=1), msgspec.structs.replace(ROW, level=None)]
        )
    assert list(store.load()) == [ROW]


def test_a_commit_that_fails_is_told(database: Database) -> None:
    store = SqlGrants(database)

    def fail(_: object) -> None:
        raise StoreAway("no commit")

    event.listen(database.engine, "commit", fail)
    with pytest.raises(StoreFailed, match="no commit"):
        store.write([ROW])
    event.remove(database.engine, "commit", fail)
    assert list(store.load()) == []


def test_a_database_that_is_away_is_told_in_time() -> None:
    with running_postgres() as server:
        _away(server)


def _away(server: Postgres) -> None:
    database = Database(server.make_database(), wait_ms=1_000)
    database.upgrade()
    store = SqlGrants(database)
    store.write([ROW])
    server.stop()
    for act in (lambda: store.write([ROW]), store.load, lambda: store.drop(9_000)):
        started = time.monotonic()
        with pytest.raises(StoreFailed):
            act()
        assert time.monotonic() - started < BOUND_S
    server.start()
    started = time.monotonic()
    while True:
        try:
            assert list(store.load()) == [ROW]
            break
        except StoreFailed:
            assert time.monotonic() - started < BOUND_S
    database.close()


def test_a_store_of_the_first_revision_is_brought_up(database_url: str) -> None:
    database = Database(database_url)
    assert database.upgrade("0001") == (None, "0001")
    with database.write() as connection:
        row = {"id": 1, "stamp": 5, "fleet": "example", "pepper": "p"}
        connection.execute(insert(COUNTERS).values(**row))
        assert not inspect(connection).has_table("leases")
    assert database.upgrade() == ("0001", "0002")
    database.check()
    with database.read() as connection:
        assert connection.execute(COUNTERS.select()).one().stamp == 5
    SqlGrants(database).write([ROW])
    assert list(SqlGrants(database).load()) == [ROW]
    database.close()
