"""The database stopped, slow or full: the admin API says so in bounded time, and no PoP notices."""

from __future__ import annotations

import ast
import gc
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from selvedge.control.database import Breaker, Database, StoreAway
from selvedge.control.extra import NEEDED
from selvedge.control.store import Store
from tests.control.test_publishing import PoP
from tests.support.admin import Api, Told, make_api
from tests.support.databases import Postgres, SlowProxy, running_postgres

SOURCE = Path(__file__).parents[2] / "src/selvedge"
WAIT_MS = 2_000
SLOW_S = 120.0
BOUND_S = 30.0  # a machine that has other work to do adds to WAIT_MS, but not so much
KEY = {"tenant": "free", "class": "default"}


@pytest.fixture
def server() -> Iterator[Postgres]:
    """One that a test may stop."""
    with running_postgres() as made:
        yield made


@pytest.fixture(autouse=True)
def left_connections() -> Iterator[None]:
    """SQLAlchemy leaves a connection whose first questions failed for the collector to close."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def bounded(api: Api, method: str, path: str, body: object = None) -> Told:
    """The answer, which came in time."""
    started = time.monotonic()
    told = api.ask(method, path, body)
    assert time.monotonic() - started < BOUND_S
    return told


def is_away(told: Told) -> None:
    assert (told.status, told.code) == (503, "store_unavailable")
    assert int(told.headers["retry-after"]) >= 1
    assert told.headers["x-should-retry"] == "true"


def until_here(api: Api) -> None:
    """Ask, as a client that retries does, until the database is taken as here again."""
    started = time.monotonic()
    while api.ask("GET", "/me").status != 200:
        assert time.monotonic() - started < BOUND_S, "the API did not come back"


def test_stopped_and_back(tmp_path: Path, server: Postgres) -> None:
    api = make_api(tmp_path, server.make_database(), wait_ms=WAIT_MS)
    made = api.ask("POST", "/keys", {**KEY, "id": "one"})
    revoked = api.ask("POST", "/keys", {**KEY, "id": "two"})
    api.ask("DELETE", "/keys/two")
    pop = PoP(api)
    server.stop()
    for _ in range(5):
        is_away(bounded(api, "POST", "/keys", {**KEY, "id": "three"}))
        is_away(bounded(api, "GET", "/tenants"))
    assert bounded(api, "GET", "/openapi.json").status == 200
    # What PoPs know is on disk: they read it as ever, and no key of theirs is less or more.
    pop.look()
    assert pop.admits(made.json["secret"])
    assert not pop.admits(revoked.json["secret"])
    server.start()
    until_here(api)
    names = {row["id"] for row in api.ask("GET", "/keys?tenant=free").json["data"]}
    assert names == {"free", "old", "one", "two"}
    acts = [row["act"] for row in api.ask("GET", "/audit?what=key+two").json["data"]]
    assert acts == ["key.revoke", "key.create"]
    assert api.ask("POST", "/keys", {**KEY, "id": "three"}).status == 201
    api.close()


def test_slow(tmp_path: Path, postgres: Postgres) -> None:
    proxy = SlowProxy(postgres.port)
    name = postgres.make_database().rpartition("/")[2]
    api = make_api(tmp_path, postgres.url(name, proxy.port), wait_ms=WAIT_MS)
    made = api.ask("POST", "/keys", {**KEY, "id": "one"})
    proxy.delay_s = SLOW_S
    for at in range(4):
        is_away(bounded(api, "POST", "/keys", {**KEY, "id": f"slow{at}"}))
    pop = PoP(api)
    assert pop.admits(made.json["secret"])
    proxy.delay_s = 0.0
    proxy.end()
    api.close()
    again = make_store_over(api, postgres.url(name))
    rows = {key.id for key in again.keys("", 100, "free")}
    acts = {row.what for row in again.audit(None, 1000, None)}
    # Whatever was done was done whole: a key and its line, or neither.
    assert {f"key {one}" for one in rows} <= acts
    assert {f"key slow{at}" for at in range(4)} & acts == {
        f"key {one}" for one in rows if one.startswith("slow")
    }
    again.database.close()


def make_store_over(api: Api, url: str) -> Store:
    return Store(Database(url), api.home.pepper())


def limit_pages(database: Database, pages: int) -> None:
    """As a disk that is full: a limit that each connection is given as it opens."""

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}").close()

    event.listen(database.engine, "connect", limit)
    database.close()


def test_full(tmp_path: Path) -> None:
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}", wait_ms=WAIT_MS)
    assert api.ask("POST", "/keys", {**KEY, "id": "before"}).status == 201
    with api.database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    limit_pages(api.database, int(pages or 0))
    told = None
    for at in range(200):
        told = bounded(api, "POST", "/keys", {**KEY, "id": f"k{at}"})
        if told.status != 201:
            break
    assert told is not None
    is_away(told)
    assert "full" in told.message
    limit_pages(api.database, 2**30)
    until_here(api)
    rows = {row["id"] for row in api.ask("GET", "/keys?limit=1000").json["data"]}
    assert f"k{at}" not in rows
    assert {"before", *(f"k{one}" for one in range(at))} <= rows
    assert api.ask("POST", "/keys", {**KEY, "id": "after"}).status == 201
    api.close()


def test_locked_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    api = make_api(tmp_path, f"sqlite:///{path}", wait_ms=WAIT_MS)
    api.key("owner")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    is_away(bounded(api, "POST", "/keys", {**KEY, "id": "one"}))
    other.execute("ROLLBACK")
    other.close()
    until_here(api)
    assert api.ask("POST", "/keys", {**KEY, "id": "one"}).status == 201
    api.close()


def test_the_breaker_lets_one_through_at_a_time() -> None:
    now = 0.0
    breaker = Breaker(open_s=1.0, clock=lambda: now)
    breaker.enter()
    breaker.failed()
    assert breaker.is_open
    with pytest.raises(StoreAway):
        breaker.enter()
    now = 1.0
    breaker.enter()
    with pytest.raises(StoreAway):
        breaker.enter()
    breaker.worked()
    breaker.enter()
    breaker.enter()
    assert not breaker.is_open


def test_no_pop_speaks_to_a_database() -> None:
    """Nothing but the control plane imports a driver, and a PoP's process loads none of it."""
    for path in SOURCE.rglob("*.py"):
        if path.is_relative_to(SOURCE / "control"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = {name.partition(".")[0] for name in names}
            assert not found & {*NEEDED, "sqlite3"}, path
    code = "import sys, selvedge.cli.pop; print(sorted(sys.modules))"
    code += "; import selvedge.pop, selvedge.cli; selvedge.pop.run_pop"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(ast.literal_eval(done.stdout))
    assert "selvedge.pop.process" in loaded
    assert not loaded & {*NEEDED, "sqlite3", "_sqlite3"}


def test_commands_without_the_extra_say_which(tmp_path: Path) -> None:
    hide = f"import sys\nsys.modules.update(dict.fromkeys({NEEDED!r}))\n"
    code = f"{hide}sys.argv = ['selvedge', *sys.argv[1:]]\nfrom selvedge.cli import main\nmain()"
    for words in (["control", "run"], ["control", "upgrade"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--home", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.strip().endswith("pip install 'selvedge[control]'")
    done = subprocess.run(
        [sys.executable, "-c", code, "version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
