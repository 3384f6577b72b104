"""Backup, restore and upgrade of the store, on both databases and from one to the other."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from selvedge.control.backup import back_up, restore
from selvedge.control.database import Database
from selvedge.control.lease_store import SqlGrants
from selvedge.control.rows import KeyForm, RotateForm
from selvedge.control.store import Store
from selvedge.control.tables import COUNTERS, TABLES
from selvedge.fabric import SelvedgeError
from selvedge.ledger import Granted, GrantedPage
from tests.support.admin import Api, make_api
from tests.support.databases import Postgres
from tests.support.stores import OWNER

FORM = KeyForm(tenant="free", data_class="default", id="one")


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    made = make_api(tmp_path, database_url)
    made.rooms.tenancy.create_key(OWNER, FORM)
    made.rooms.tenancy.rotate_key(OWNER, "one", RotateForm(id="two"))
    made.key("auditor")
    yield made
    made.close()


def rows(database: Database) -> dict[str, list[object]]:
    with database.read() as connection:
        return {
            table.name: [
                tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))
            ]
            for table in TABLES
            if table is not COUNTERS
        }


def test_all_of_it_comes_back(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    head = back_up(api.database, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert head.rows["keys"] == 7
    before = rows(api.database)
    # From either database into the embedded one.
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    assert restore(fresh, path, api.home) == head
    assert rows(fresh) == before
    store = Store(fresh, api.home.pepper())
    store.open("example")
    assert store.stamp() >= head.stamp
    api.database.close()
    fresh.close()


def test_from_the_embedded_database_to_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}")
    back_up(api.database, tmp_path / "backup")
    fresh = Database(postgres.make_database())
    restore(fresh, tmp_path / "backup", api.home)
    assert rows(fresh) == rows(api.database)
    store = Store(fresh, api.home.pepper())
    store.open("example")
    with store.act(OWNER) as act:
        act.record("tenant.set", "tenant free", None, None)
    api.database.close()
    fresh.close()


def test_a_backup_does_not_bring_a_revoked_key_back(api: Api, tmp_path: Path) -> None:
    back_up(api.database, tmp_path / "backup")
    api.rooms.tenancy.revoke_key(OWNER, "one")
    told = api.rooms.publisher.publish_delta()
    assert told is not None
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    restore(fresh, tmp_path / "backup", api.home)
    store = Store(fresh, api.home.pepper())
    assert store.key("one").removed_us is not None
    assert store.key("two").removed_us is None
    assert store.stamp() > told.serial
    (row,) = [one for one in store.audit(None, 5, "key one") if one.who == "restore"]
    assert row.act == "key.revoke"
    api.database.close()
    fresh.close()


def test_a_store_that_is_there_is_not_written_over(api: Api, tmp_path: Path) -> None:
    back_up(api.database, tmp_path / "backup")
    before = rows(api.database)
    with pytest.raises(SelvedgeError, match="holds a store already; name an empty one"):
        restore(api.database, tmp_path / "backup", api.home)
    assert rows(api.database) == before
    api.database.close()


@pytest.mark.parametrize("damage", ["cut", "short", "flipped", "row gone", "other", "none"])
def test_a_damaged_backup_leaves_nothing(tmp_path: Path, damage: str) -> None:
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}")
    path = tmp_path / "backup"
    back_up(api.database, path)
    data = path.read_bytes()
    lines = gzip.decompress(data).splitlines(keepends=True)
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "short":
        path.write_bytes(gzip.compress(b"".join(lines[:-1])))
    elif damage == "flipped":
        text = b"".join(lines).replace(b'"free"', b'"eerf"')
        path.write_bytes(gzip.compress(text))
    elif damage == "row gone":
        path.write_bytes(gzip.compress(b"".join(lines[:3] + lines[4:])))
    elif damage == "other":
        path.write_bytes(b"not a backup")
    else:
        path.unlink()
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    with pytest.raises(SelvedgeError, match=r"backup|damaged"):
        restore(fresh, path, api.home)
    assert fresh.is_empty()
    api.database.close()
    fresh.close()


def test_a_backup_of_the_first_revision_still_restores(tmp_path: Path, database_url: str) -> None:
    """As it was written then, kept in the tests: the form of the file and of every table."""
    source = Path(__file__).parent / "backup-0001.jsonl"
    (tmp_path / "backup").write_bytes(gzip.compress(source.read_bytes()))
    database = Database(database_url)
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}")
    head = restore(database, tmp_path / "backup", api.home)
    assert (head.revision, head.fleet) == ("0001", "example")
    database.check()
    store = Store(database, api.home.pepper())
    assert [key.id for key in store.keys("", 100, None)] == [
        *("asean", "eea", "eea-strict", "free", "old", "one", "two")
    ]
    assert store.key("two").rotates == "one"
    assert len(store.audit(None, 100, None)) == 13
    api.database.close()
    database.close()


def test_an_upgrade_that_fails_half_way_leaves_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(database_url)
    calls: list[object] = []

    def broken(connection: object) -> str | None:
        calls.append(connection)
        if len(calls) > 1:
            raise InterruptedError
        return None

    monkeypatch.setattr("selvedge.control.database._revision", broken)
    with pytest.raises(InterruptedError):
        database.upgrade()
    monkeypatch.undo()
    assert database.is_empty()
    assert database.revision() is None
    database.upgrade()
    database.check()
    database.close()


def test_a_fresh_store_has_nothing_to_back_up(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'c.sqlite'}")
    with pytest.raises(SelvedgeError, match="selvedge control upgrade"):
        back_up(database, tmp_path / "backup")
    database.upgrade()
    with pytest.raises(SelvedgeError, match="nothing to back up"):
        back_up(database, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    assert not list(tmp_path.glob(".backup*"))
    database.close()


def test_the_form_of_the_file(tmp_path: Path) -> None:
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}")
    back_up(api.database, tmp_path / "backup")
    first, *middle, last = gzip.decompress((tmp_path / "backup").read_bytes()).splitlines()
    assert msgspec.json.decode(first)["format"] == "selvedge/control-backup/v1"
    assert all(isinstance(msgspec.json.decode(line), list) for line in middle)
    assert set(msgspec.json.decode(last)) == {"sha256"}
    api.database.close()


def test_damage_at_any_byte_is_named(tmp_path: Path) -> None:
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}")
    path = tmp_path / "backup"
    back_up(api.database, path)
    data = path.read_bytes()
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.sqlite'}")
    for at in range(10, len(data), 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
        with pytest.raises(SelvedgeError, match=r"is not a whole backup|is damaged"):
            restore(fresh, path, api.home)
        path.write_bytes(data[:at])
        with pytest.raises(SelvedgeError, match=r"is not a whole backup|is damaged"):
            restore(fresh, path, api.home)
    assert fresh.is_empty()
    api.database.close()
    fresh.close()


def rewritten(path: Path, line: int, old: bytes, new: bytes) -> None:
    """The backup with one line changed, and the hash that follows from it."""
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)[:-1]
    lines[line] = lines[line].replace(old, new)
    foot = {"sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    path.write_bytes(gzip.compress(b"".join([*lines, msgspec.json.encode(foot), b"\n"])))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((0, b'"revision":"', b'"revision":"9'), "newer than this version knows"),
        ((1, b'"stamp"', b'"other"'), "stamp"),
        ((-1, b'["', b'["x'), "is damaged: rows are missing"),
    ],
)
def test_a_backup_that_does_not_fit_leaves_nothing(
    tmp_path: Path, database_url: str, change: tuple[int, bytes, bytes], words: str
) -> None:
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}")
    path = tmp_path / "backup"
    back_up(api.database, path)
    good = path.read_bytes()
    rewritten(path, *change)
    fresh = Database(database_url)
    with pytest.raises(SelvedgeError, match=words):
        restore(fresh, path, api.home)
    assert fresh.is_empty()
    path.write_bytes(good)
    restore(fresh, path, api.home)
    assert rows(fresh) == rows(api.database)
    api.database.close()
    fresh.close()


def test_a_restore_that_dies_before_it_has_revoked_leaves_nothing(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next start would publish keys that PoPs know to be revoked."""
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}")
    back_up(api.database, tmp_path / "backup")
    fresh = Database(database_url)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("selvedge.control.backup.read_delta", dies)
    with pytest.raises(KeyboardInterrupt):
        restore(fresh, tmp_path / "backup", api.home)
    assert fresh.is_empty()
    api.database.close()
    fresh.close()


def test_leases_of_a_backup_of_the_second_revision_are_granted_still(
    tmp_path: Path, database_url: str
) -> None:
    source = Path(__file__).parent / "backup-0001.jsonl"
    first, *rows, _ = source.read_bytes().splitlines(keepends=True)
    head = msgspec.json.decode(first)
    head["revision"], head["rows"]["leases"] = "0002", 1
    lease = {"holder": "sin/0/x", "level": "key/free", "kind": 0, "budget_window": 0}
    lease |= {"amount": 9, "free_us": 5_000, "number": 3}
    lines = b"".join(
        [msgspec.json.encode(head) + b"\n", *rows, msgspec.json.encode(["leases", lease]) + b"\n"]
    )
    foot = msgspec.json.encode({"sha256": hashlib.sha256(lines).hexdigest()}) + b"\n"
    (tmp_path / "backup").write_bytes(gzip.compress(lines + foot))
    database = Database(database_url)
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}")
    assert restore(database, tmp_path / "backup", api.home).revision == "0002"
    (page,) = SqlGrants(database).load()
    assert page == GrantedPage("sin/0/x", 0, 3, [Granted("key/free", 0, 0, 9, 5_000)])
    api.database.close()
    database.close()
