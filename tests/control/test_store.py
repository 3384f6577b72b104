"""Tenants, projects and keys in the store, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, inspect, update
from sqlalchemy.exc import DBAPIError

from selvedge.control.database import Database
from selvedge.control.rows import (
    ClassRule,
    KeyChange,
    KeyForm,
    ProjectForm,
    RotateForm,
    TenantForm,
)
from selvedge.control.store import BadField, Changed, Conflict, Missing, Store
from selvedge.control.tables import AUDIT, METADATA
from selvedge.fabric import LIMIT_MAX, BadSetting, Limits, SelvedgeError, StoreFailed
from selvedge.ledger import Admitted, Keyring
from tests.support.fleets import NOW_US, PEPPER
from tests.support.stores import EEA, OWNER, Bench, make_store

FORM = KeyForm(tenant="acme", data_class="default")


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    made = make_store(database_url)
    yield made
    made.store.database.close()


def acts(bench: Bench) -> list[str]:
    return [f"{one.act} {one.what}" for one in reversed(bench.store.audit(None, 100, None))]


def test_a_key_is_shown_once_and_kept_as_a_hash(bench: Bench) -> None:
    made = bench.tenancy.create_key(OWNER, FORM)
    assert made.secret.startswith(f"sk-{made.key.id}-")
    assert made.secret not in repr(made)
    key = bench.store.key(made.key.id)
    assert key == made.key
    shown = msgspec.json.encode([key, bench.store.audit(None, 10, None)])
    assert made.secret.rpartition("-")[2].encode() not in shown
    with bench.store.database.read() as connection:
        row = connection.exec_driver_sql("SELECT hash FROM keys").one()
    ring = Keyring([key.value(row.hash)], PEPPER)
    assert isinstance(ring.admit(f"Bearer {made.secret}", NOW_US), Admitted)


def test_every_act_is_recorded_with_before_and_after(bench: Bench) -> None:
    bench.tenancy.put_tenant(OWNER, "acme", TenantForm(limits=Limits(tokens_per_minute=9)))
    bench.tenancy.put_project(OWNER, ("acme", "web"), ProjectForm())
    made = bench.tenancy.create_key(OWNER, msgspec.structs.replace(FORM, id="one", project="web"))
    bench.tenancy.change_key(OWNER, "one", KeyChange(models=("chat",)))
    bench.tenancy.rotate_key(OWNER, "one", RotateForm(id="two"))
    bench.tenancy.revoke_key(OWNER, "two")
    bench.tenancy.remove_project(OWNER, ("acme", "web"))
    bench.tenancy.remove_tenant(OWNER, "acme")
    assert acts(bench) == [
        "tenant.create tenant acme",
        "tenant.set tenant acme",
        "project.create project acme/web",
        "key.create key one",
        "key.set key one",
        "key.rotate key one",
        "key.create key two",
        "key.revoke key two",
        "project.remove project acme/web",
        "key.revoke key one",
        "tenant.remove tenant acme",
    ]
    rows = bench.store.audit(None, 100, "key one")
    assert {(row.who, row.request_id) for row in rows} == {("key:owner", "req_t")}
    changed = next(row for row in rows if row.act == "key.set")
    assert changed.before is not None
    assert changed.after is not None
    before, after = msgspec.json.decode(changed.before), msgspec.json.decode(changed.after)
    assert (before["models"], after["models"]) == ([], ["chat"])
    assert made.key.version == 1
    stamps = [row.stamp for row in bench.store.audit(None, 100, None)]
    assert stamps == sorted(stamps, reverse=True)
    assert len(set(stamps)) == len(stamps)


def test_the_audit_cannot_be_changed(bench: Bench) -> None:
    for statement in (update(AUDIT).values(who="nobody"), delete(AUDIT)):
        with pytest.raises(StoreFailed) as failed, bench.store.database.write() as connection:
            connection.execute(statement)
        assert isinstance(failed.value.__cause__, DBAPIError)
    assert acts(bench) == ["tenant.create tenant acme"]


def broken_act(bench: Bench) -> None:
    with bench.store.act(OWNER) as act:
        act.connection.exec_driver_sql("UPDATE tenants SET limits = 'x'")
        act.record("tenant.set", str(1 // 0), None, None)


def test_an_act_that_fails_leaves_nothing(bench: Bench) -> None:
    stamp = bench.store.stamp()
    with pytest.raises(ZeroDivisionError):
        broken_act(bench)
    assert bench.store.tenant("acme").limits == Limits()
    assert bench.store.stamp() == stamp


def test_what_is_there_already_is_no_act(bench: Bench) -> None:
    bench.tenancy.put_tenant(OWNER, "acme", EEA)
    bench.tenancy.put_project(OWNER, ("acme", "web"), ProjectForm())
    bench.tenancy.put_project(OWNER, ("acme", "web"), ProjectForm())
    bench.tenancy.create_key(OWNER, msgspec.structs.replace(FORM, id="one"))
    bench.tenancy.change_key(OWNER, "one", KeyChange(zones=()))
    bench.tenancy.revoke_key(OWNER, "one")
    first = bench.store.key("one")
    assert bench.tenancy.revoke_key(OWNER, "one") == first
    assert len(acts(bench)) == 4


def test_two_writers_of_one_version(bench: Bench) -> None:
    bench.tenancy.put_tenant(OWNER, "acme", TenantForm(limits=Limits(0)), expected=1)
    with pytest.raises(Changed, match="is of version 2, not 1; read it again"):
        bench.tenancy.put_tenant(OWNER, "acme", TenantForm(limits=Limits(1)), expected=1)
    with pytest.raises(Changed, match="is of version 2, not 0"):
        bench.tenancy.put_tenant(OWNER, "acme", EEA, expected=0)
    with pytest.raises(Changed, match="is not there, not 3"):
        bench.tenancy.put_tenant(OWNER, "other", EEA, expected=3)


def test_writers_at_once_each_get_a_stamp(bench: Bench) -> None:
    bench.store.database.breaker.worked()
    forms = [msgspec.structs.replace(FORM, id=f"k{at}") for at in range(12)]
    threads = [
        threading.Thread(target=bench.tenancy.create_key, args=(OWNER, form)) for form in forms
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    rows = bench.store.audit(None, 100, None)
    assert len(rows) == 13
    assert len({row.stamp for row in rows}) == 13
    assert [key.id for key in bench.store.keys("", 100, None)] == sorted(f.id or "" for f in forms)


def test_rotation_overlaps_and_keeps_the_rights(bench: Bench) -> None:
    limits = Limits(requests_per_minute=5)
    form = msgspec.structs.replace(FORM, id="one", models=("chat",), zones=("eea",), limits=limits)
    bench.tenancy.create_key(OWNER, form)
    made = bench.tenancy.rotate_key(OWNER, "one", RotateForm(overlap_s=60))
    old = bench.store.key("one")
    assert old.expires_us is not None
    assert 0 <= old.expires_us - (NOW_US + 60_000_000) < 1000
    assert (made.key.models, made.key.zones, made.key.limits) == (("chat",), ("eea",), limits)
    assert (made.key.rotates, made.key.expires_us) == ("one", None)
    # A later, longer overlap does not give the first more time.
    bench.tenancy.rotate_key(OWNER, "one", RotateForm(overlap_s=3600))
    assert bench.store.key("one").expires_us == old.expires_us


def test_ids_are_never_used_again(bench: Bench) -> None:
    form = msgspec.structs.replace(FORM, id="one")
    bench.tenancy.create_key(OWNER, form)
    bench.tenancy.revoke_key(OWNER, "one")
    with pytest.raises(Conflict, match="never used again"):
        bench.tenancy.create_key(OWNER, form)
    for act in (
        lambda: bench.tenancy.change_key(OWNER, "one", KeyChange(models=("chat",))),
        lambda: bench.tenancy.rotate_key(OWNER, "one", RotateForm()),
    ):
        with pytest.raises(Conflict, match="revoked, for good"):
            act()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (FORM, None),
        ({"tenant": "nobody"}, "tenant 'nobody' is no tenant; make it first"),
        ({"data_class": "x"}, "class 'x' is no data class of it; it has default"),
        ({"zones": ("moon",)}, "zones 'moon' is no zone of the fleet; it has asean, eea, world"),
        ({"routes": ("/v1/x",)}, "routes '/v1/x' is not of /v1/chat/completions"),
        ({"limits": Limits(requests_per_minute=-1)}, "limits.requests_per_minute is from 0 to"),
        (
            {"limits": Limits(micro_dollars_per_day=LIMIT_MAX + 1)},
            f"limits.micro_dollars_per_day is from 0 to {LIMIT_MAX}, or left out",
        ),
        ({"limits": Limits(tokens_per_minute=10**30)}, "limits.tokens_per_minute is from 0 to"),
        ({"id": "No Name"}, "'No Name' is not a name"),
        ({"expires_us": 10**30}, "expires_us is from 1 to"),
        ({"expires_us": -5}, "expires_us is from 1 to"),
    ],
)
def test_what_cannot_be_names_field_limit_and_remedy(
    bench: Bench, form: dict[str, object] | KeyForm, said: str | None
) -> None:
    if isinstance(form, KeyForm):
        bench.tenancy.create_key(OWNER, form)
        return
    with pytest.raises(BadField) as refused:
        bench.tenancy.create_key(OWNER, msgspec.structs.replace(FORM, **form))
    assert said is not None
    assert said in str(refused.value)
    assert bench.store.keys("", 10, None) == []


def test_tenants_that_cannot_be(bench: Bench) -> None:
    moon = TenantForm(classes={"default": ClassRule("moon", "in-zone")})
    with pytest.raises(BadField, match=r"classes\.default\.zone 'moon' is no zone"):
        bench.tenancy.put_tenant(OWNER, "other", moon)
    with pytest.raises(BadField, match="classes has at least one"):
        bench.tenancy.put_tenant(OWNER, "other", TenantForm())
    negative = TenantForm(classes=EEA.classes, limits=Limits(concurrent_requests=-1))
    with pytest.raises(BadField, match=r"limits\.concurrent_requests is from 0 to"):
        bench.tenancy.put_tenant(OWNER, "other", negative)
    with pytest.raises(Missing, match="no tenant 'other'"):
        bench.store.tenant("other")
    with pytest.raises(Missing):
        bench.tenancy.put_project(OWNER, ("other", "web"), ProjectForm())


def test_pages_follow_each_other(bench: Bench) -> None:
    for at in range(5):
        bench.tenancy.put_project(OWNER, ("acme", f"p{at}"), ProjectForm())
        bench.tenancy.create_key(OWNER, msgspec.structs.replace(FORM, id=f"k{at}"))
    bench.tenancy.put_tenant(OWNER, "beta", EEA)
    bench.tenancy.put_project(OWNER, ("beta", "a"), ProjectForm())
    seen: list[str] = []
    while page := bench.store.projects(seen[-1] if seen else "", 2, None):
        seen += [f"{one.tenant}/{one.id}" for one in page]
    assert seen == [f"acme/p{at}" for at in range(5)] + ["beta/a"]
    assert [one.id for one in bench.store.keys("k1", 2, "acme")] == ["k2", "k3"]
    assert bench.store.keys("", 9, "beta") == []
    assert [one.id for one in bench.store.tenants("", 9, "beta")] == ["beta"]
    newest = bench.store.audit(None, 2, None)
    assert len(bench.store.audit(newest[-1].stamp, 100, None)) == len(acts(bench)) - 2


def test_a_clock_that_jumps_back_does_not_turn_acts_round(bench: Bench) -> None:
    first = bench.store.stamp()
    bench.clock.now_us -= 3_600_000_000
    bench.tenancy.put_tenant(OWNER, "beta", EEA)
    assert bench.store.stamp() == first + 1
    bench.clock.now_us += 7_200_000_000
    bench.tenancy.put_tenant(OWNER, "gamma", EEA)
    assert bench.store.stamp() == bench.clock.now_us


def test_a_store_knows_whose_it_is(bench: Bench) -> None:
    with pytest.raises(SelvedgeError, match="is of fleet 'example', not of 'other'"):
        bench.store.open("other")
    with pytest.raises(SelvedgeError, match="under another pepper"):
        Store(bench.store.database, b"other").open("example")
    bench.store.open("example")


def test_upgrade_makes_what_the_tables_say(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(SelvedgeError, match="is of revision none, this version needs 0004"):
        database.check()
    assert database.is_empty()
    assert database.upgrade() == (None, "0004")
    assert database.upgrade() == ("0004", "0004")
    assert not database.is_empty()
    database.check()
    with database.read() as connection:
        found = inspect(connection)
        for name, table in METADATA.tables.items():
            made = {column["name"]: column for column in found.get_columns(name)}
            assert set(made) == {column.name for column in table.columns}
            for column in table.columns:
                assert made[column.name]["nullable"] == column.nullable, (name, column.name)
            indexes = {tuple(one["column_names"]) for one in found.get_indexes(name)}
            assert indexes == {(one.name,) for one in table.columns if one.index}
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SelvedgeError, match="newer than this version knows"):
        database.upgrade()
    database.close()


def test_urls_that_cannot_be() -> None:
    for url, said in (
        ("nonsense", "is not a URL"),
        ("mysql://x/y", "neither sqlite nor postgresql"),
        ("sqlite://", "names no file"),
    ):
        with pytest.raises(BadSetting, match=said):
            Database(url)


def test_the_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    made = make_store(f"sqlite:///{tmp_path / 'new' / 'control.sqlite'}")
    files = list((tmp_path / "new").iterdir())
    assert {one.stat().st_mode & 0o077 for one in files} == {0}
    made.store.database.close()
