"""The desk's grants in the database: kept whole, found again, dropped; and the table's upgrade."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import event, insert, inspect, update

from selvedge.control.database import Database, StoreAway
from selvedge.control.lease_store import SqlGrants
from selvedge.control.tables import COUNTERS, LEASE_PAGES, LEASES
from selvedge.fabric import LIMIT_MAX, StoreFailed
from selvedge.ledger import Granted, GrantedPage
from tests.support.databases import Postgres, running_postgres

BOUND_S = 30.0
ROWS = 1_024  # in one question, at most
ROW = Granted("key/free", 0, 0, 30, 1_000)
PAGE = GrantedPage("sin/0/ab", 0, 7, [ROW])


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    made.upgrade()
    yield made
    made.close()


def page_of(
    *rows: Granted, holder: str = "sin/0/ab", page: int = 0, number: int = 7
) -> GrantedPage:
    return GrantedPage(holder, page, number, list(rows))


def test_the_newest_of_each_page_stands(database: Database) -> None:
    store = SqlGrants(database)
    store.write([])
    assert list(store.load()) == []
    other = page_of(ROW, holder="sin/1/ab")
    money = page_of(Granted("key/free", 4, LIMIT_MAX, LIMIT_MAX, 1_000), page=1)
    newer = page_of(ROW, Granted("key/free", 1, 0, 4, 2_000), number=LIMIT_MAX)
    store.write([PAGE, other, money])
    store.write([newer])
    found = {(page.holder, page.page): page for page in SqlGrants(database).load()}
    assert found == {("sin/0/ab", 0): newer, ("sin/1/ab", 0): other, ("sin/0/ab", 1): money}
    store.drop(1_000)
    assert len(list(store.load())) == 3
    store.drop(1_001)
    assert list(store.load()) == [newer]


def test_a_whole_question_of_the_longest_names(database: Database) -> None:
    store = SqlGrants(database)
    holder = f"{'p' * 256}/{2**63}/{'e' * 64}"
    rows = [Granted(f"{at:04d}".ljust(256, "\u00e9"), 0, 0, 30, 1_000) for at in range(ROWS)]
    pages = [
        page_of(*rows[at : at + 32], holder=holder, page=at // 32) for at in range(0, ROWS, 32)
    ]
    store.write(pages)
    store.write(pages)
    assert sorted(store.load(), key=lambda page: page.page) == pages


def test_all_of_a_write_or_nothing(database: Database) -> None:
    store = SqlGrants(database)
    store.write([PAGE])
    with pytest.raises(StoreFailed):
        store.write([page_of(number=9), msgspec.structs.replace(PAGE, holder=None)])
    assert list(store.load()) == [PAGE]


def test_what_is_no_grant_is_told_and_grants_nothing(database: Database) -> None:
    SqlGrants(database).write([PAGE])
    with database.write() as connection:
        connection.execute(update(LEASE_PAGES).values(grants='[["key/free"]]'))
    with pytest.raises(StoreFailed, match="lease_pages"):
        SqlGrants(database).load()


def test_a_commit_that_fails_is_told(database: Database) -> None:
    store = SqlGrants(database)

    def fail(_: object) -> None:
        raise StoreAway("no commit")

    event.listen(database.engine, "commit", fail)
    with pytest.raises(StoreFailed, match="no commit"):
        store.write([PAGE])
    event.remove(database.engine, "commit", fail)
    assert list(store.load()) == []


def test_a_database_that_is_away_is_told_in_time() -> None:
    with running_postgres() as server:
        _away(server)


def _away(server: Postgres) -> None:
    database = Database(server.make_database(), wait_ms=1_000)
    database.upgrade()
    store = SqlGrants(database)
    store.write([PAGE])
    server.stop()
    for act in (lambda: store.write([PAGE]), store.load, lambda: store.drop(9_000)):
        started = time.monotonic()
        with pytest.raises(StoreFailed):
            act()
        assert time.monotonic() - started < BOUND_S
    server.start()
    started = time.monotonic()
    while True:
        try:
            assert list(store.load()) == [PAGE]
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
    assert database.upgrade() == ("0001", "0004")
    database.check()
    with database.read() as connection:
        assert connection.execute(COUNTERS.select()).one().stamp == 5
    SqlGrants(database).write([PAGE])
    assert list(SqlGrants(database).load()) == [PAGE]
    database.close()


def test_what_the_second_revision_had_granted_is_granted_still(database_url: str) -> None:
    database = Database(database_url)
    database.upgrade("0002")
    held = [("a/0/x", f"key/k{at:02d}", 0, 0, at, 1_000 + at, 7 + at) for at in range(40)]
    held.append(("b/0/x", "key/k00", 4, 24_000, 5, 9_000, 2))
    names = [column.name for column in LEASES.columns]
    with database.write() as connection:
        values = [dict(zip(names, row, strict=True)) for row in held]
        connection.execute(insert(LEASES), values)
    database.upgrade()
    pages = list(SqlGrants(database).load())
    assert sorted(
        (page.holder, row.level, row.kind, row.window, row.amount, row.free_us)
        for page in pages
        for row in page.rows
    ) == [row[:6] for row in held]
    assert {(page.holder, page.page, len(page.rows)) for page in pages} == {
        *(("a/0/x", 0, 32), ("a/0/x", 1, 8), ("b/0/x", 0, 1))
    }
    assert max(page.number for page in pages if page.holder == "a/0/x") == 46
    with database.read() as connection:
        assert not inspect(connection).has_table("leases")
    database.close()
