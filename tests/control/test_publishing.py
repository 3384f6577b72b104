"""From the store to what PoPs watch: releases, deltas, and the fleet file's part in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import (
    DELTA_FILE,
    open_delta,
    open_release,
    operator_public_key,
    seal_release,
    write_atomically,
)
from selvedge.control.publishing import Published, Publisher
from selvedge.control.rows import KeyChange, KeyForm, ProjectForm, RotateForm, TenantForm
from selvedge.control.seeding import seed
from selvedge.fabric import BadRelease, Key, KeyDelta, Limits, Release, SelvedgeError, StoreFailed
from selvedge.ledger import Admitted, KeyChanges, Keyring, budgets_of, hash_passed
from selvedge.ledger.budgets import CONCURRENT, REQUESTS, TOKENS
from tests.support.admin import Api, make_api
from tests.support.fleets import make_provider, make_release
from tests.support.stores import EEA, OWNER

FORM = KeyForm(tenant="free", data_class="default")


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    made = make_api(tmp_path, database_url)
    yield made
    made.close()


class PoP:
    """Takes what lies in the home, as a PoP's process does."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.changes = KeyChanges()
        self.look()

    def look(self) -> None:
        home = self._api.home
        public = operator_public_key(home.operator_key())
        self.release: Release = open_release(home.release_file.read_bytes(), public).release
        self.changes.serve(self.release)
        path = home.release_file.with_name(DELTA_FILE)
        if path.exists():
            self.delta: KeyDelta = open_delta(path.read_bytes(), public).delta
            self.changes.take(self.delta)
        ring = Keyring(self.release.keys, home.pepper())
        self.ring, self.told = self.changes.keyring(ring)

    def levels(self) -> dict[tuple[str, str], Limits]:
        """What the delta lowers."""
        return self.changes._limits_now()

    def admits(self, secret: str) -> bool:
        return isinstance(self.ring.admit(f"Bearer {secret}", self._api.clock.now_us), Admitted)


def publish(api: Api) -> Published:
    made = api.rooms.publisher.publish_delta()
    assert made is not None
    return made


def test_keys_travel_by_delta_and_then_by_release(api: Api) -> None:
    pop = PoP(api)
    made = api.rooms.tenancy.create_key(OWNER, msgspec.structs.replace(FORM, id="one"))
    assert publish(api).keys == 1
    pop.look()
    assert pop.admits(made.secret)
    assert pop.release.version == 7
    api.rooms.publisher.publish_release(OWNER)
    pop.look()
    assert (pop.release.version, pop.told.added) == (8, 0)
    assert pop.admits(made.secret)
    api.rooms.tenancy.revoke_key(OWNER, "one")
    told = publish(api)
    assert (told.keys, told.revoked, told.waits) == (0, 1, False)
    pop.look()
    assert not pop.admits(made.secret)
    api.rooms.publisher.publish_release(OWNER)
    pop.look()
    assert not pop.admits(made.secret)
    assert pop.changes.revoked == {}


def test_nothing_new_writes_nothing(api: Api) -> None:
    first = publish(api)
    stat = api.home.release_file.with_name(DELTA_FILE).stat()
    api.rooms.tenancy.put_tenant(OWNER, "free", TenantForm())
    assert publish(api).serial == first.serial
    assert api.home.release_file.with_name(DELTA_FILE).stat() == stat
    again = Publisher(api.rooms.store, api.home).publish_delta()
    assert again is not None
    assert again.serial > first.serial  # another process does not know what lies there is its own


def test_narrowing_goes_by_delta_and_widening_waits(api: Api) -> None:
    pop = PoP(api)
    narrow = KeyChange(models=("chat",), limits=Limits(requests_per_minute=5))
    api.rooms.tenancy.change_key(OWNER, "free", narrow)
    assert not publish(api).waits
    pop.look()
    key = pop.ring.key("free")
    assert key is not None
    assert (key.models, key.limits) == (("chat",), Limits(5))
    api.rooms.publisher.publish_release(OWNER)
    api.rooms.tenancy.change_key(OWNER, "free", KeyChange(limits=Limits(6)))
    assert publish(api).waits
    pop.look()
    assert pop.ring.key("free") == key
    api.rooms.publisher.publish_release(OWNER)
    assert not publish(api).waits
    pop.look()
    assert pop.told.refused == ()
    wide = pop.ring.key("free")
    assert wide is not None
    assert wide.limits == Limits(6)


def test_lower_limits_go_by_delta_and_higher_ones_wait(api: Api) -> None:
    tenancy, told = api.rooms.tenancy, []
    api.rooms.publisher.tell(lambda release, _: told.append(release))
    tenancy.put_tenant(OWNER, "free", TenantForm(limits=Limits(60, 1_000)))
    tenancy.put_project(OWNER, ("free", "web"), ProjectForm(limits=Limits(concurrent_requests=9)))
    assert publish(api).waits, "it had no limit, and the project is new"
    api.rooms.publisher.publish_release(OWNER)
    pop = PoP(api)
    tenancy.put_tenant(OWNER, "free", TenantForm(limits=Limits(20, 1_000, 7)))
    tenancy.put_project(OWNER, ("free", "web"), ProjectForm(limits=Limits(concurrent_requests=2)))
    made = publish(api)
    assert not made.waits
    pop.look()
    assert pop.levels() == {
        ("free", ""): Limits(20, 1_000, 7),
        ("free", "web"): Limits(concurrent_requests=2),
    }
    # The desk divides by the same limits from now on.
    budgets = budgets_of(told[-1])
    assert (budgets["tenant/free", REQUESTS], budgets["tenant/free", TOKENS]) == (20, 1_000)
    assert (budgets["tenant/free", CONCURRENT], budgets["project/free/web", CONCURRENT]) == (7, 2)
    # One goes up and one goes down: what goes down does not wait for the release.
    tenancy.put_tenant(OWNER, "free", TenantForm(limits=Limits(10, 2_000)))
    assert publish(api).waits
    pop.look()
    assert pop.levels()["free", ""] == Limits(10, 1_000)
    api.rooms.publisher.publish_release(OWNER)
    assert not publish(api).waits
    pop.look()
    assert pop.levels() == {}
    free = next(one for one in pop.release.tenants if one.id == "free")
    assert free.limits == Limits(10, 2_000)
    # Back to what the release has: nothing is lowered, and nothing waits.
    tenancy.put_tenant(OWNER, "free", TenantForm(limits=Limits(5, 2_000)))
    publish(api)
    tenancy.put_tenant(OWNER, "free", TenantForm(limits=Limits(10, 2_000)))
    assert not publish(api).waits
    pop.look()
    assert pop.levels() == {}


def test_rotation_ends_the_first_key_by_delta(api: Api) -> None:
    pop = PoP(api)
    made = api.rooms.tenancy.rotate_key(OWNER, "free", RotateForm(overlap_s=10))
    publish(api)
    pop.look()
    old = pop.ring.key("free")
    assert old is not None
    assert old.expires_us == api.rooms.store.key("free").expires_us
    assert pop.admits(made.secret)


def test_a_key_of_a_tenant_that_no_release_has_waits_with_it(api: Api) -> None:
    pop = PoP(api)
    api.rooms.tenancy.put_tenant(OWNER, "acme", EEA)
    made = api.rooms.tenancy.create_key(OWNER, KeyForm(tenant="acme", data_class="default"))
    told = publish(api)
    assert (told.waits, told.keys) == (True, 0)
    pop.look()
    assert (pop.admits(made.secret), pop.told.refused) == (False, ())
    api.rooms.publisher.publish_release(OWNER)
    pop.look()
    assert pop.admits(made.secret)
    assert "acme" in {tenant.id for tenant in pop.release.tenants}


def test_more_keys_than_a_delta_takes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selvedge.control.publishing.DELTA_KEYS_MAX", 3)
    for at in range(4):
        api.rooms.tenancy.create_key(OWNER, msgspec.structs.replace(FORM, id=f"k{at}"))
    told = publish(api)
    assert (told.keys, told.waits) == (4, True)
    assert not api.rooms.publisher.publish_release(OWNER).waits


def test_a_release_made_without_the_store_is_followed_by_one_of_it(api: Api) -> None:
    api.rooms.tenancy.revoke_key(OWNER, "free")
    other = make_release(version=40)
    lay_down(api, other)
    told = publish(api)
    assert (told.waits, told.revoked) == (True, 1)
    api.rooms.publisher.publish_release(OWNER)
    pop = PoP(api)
    assert pop.release.version == 41
    assert "free" not in {key.id for key in pop.release.keys}


def test_a_store_that_cannot_be_a_release_leaves_the_last_one(api: Api) -> None:
    before = api.home.release_file.read_bytes()
    stamp = api.rooms.store.stamp()
    api.rooms.tenancy.put_tenant(OWNER, "acme", EEA)
    with api.database.write() as connection:
        connection.exec_driver_sql("UPDATE tenants SET classes = '{}' WHERE id = 'acme'")
    with pytest.raises(BadRelease, match="has at least one data class"):
        api.rooms.publisher.publish_release(OWNER)
    assert api.home.release_file.read_bytes() == before
    assert api.rooms.store.audit(None, 1, None)[0].stamp > stamp


def test_a_full_disk_is_said_and_caught_up_later(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, mode: int = 0o644) -> None:
        raise StoreFailed(f"{path} cannot be written: No space left on device")

    publish(api)
    with monkeypatch.context() as patch:
        patch.setattr("selvedge.control.publishing.write_atomically", full)
        told = api.ask("DELETE", "/keys/free")
        assert (told.status, told.headers["selvedge-published"]) == (200, "pending")
    publish(api)
    pop = PoP(api)
    assert pop.ring.key("free") is None


def lay_down(api: Api, release: Release) -> None:
    write_atomically(api.home.release_file, seal_release(release, api.home.operator_key()))


def keys_of(release: Release, *names: str) -> tuple[Key, ...]:
    return tuple(key for key in release.keys if key.id in names)


def test_the_file_decides_whose_its_keys_are_and_the_store_the_rest(api: Api) -> None:
    api.rooms.tenancy.put_tenant(OWNER, "free", TenantForm(limits=Limits(9)))
    api.rooms.tenancy.change_key(OWNER, "free", KeyChange(models=("chat",)))
    own = api.rooms.tenancy.create_key(OWNER, msgspec.structs.replace(FORM, id="own"))
    made = seed(api.rooms.store, make_release())
    keys = {key.id: key for key in made.keys}
    assert keys["free"].models == ("chat",)
    assert set(keys) == {"asean", "eea", "eea-strict", "free", "old", "own"}
    assert next(one for one in made.tenants if one.id == "free").limits == Limits(9)
    assert made.version == 8
    assert own.key.id in keys


def test_limits_of_the_file_hold_until_an_act(api: Api) -> None:
    whole = make_release()
    keys = tuple(msgspec.structs.replace(key, limits=Limits(3)) for key in whole.keys)
    tenants = tuple(msgspec.structs.replace(one, limits=Limits(4)) for one in whole.tenants)
    api.rooms.tenancy.put_tenant(OWNER, "eea", TenantForm(limits=Limits(9)))
    api.rooms.tenancy.change_key(OWNER, "free", KeyChange(limits=Limits(2)))
    changed = msgspec.structs.replace(whole, keys=keys, tenants=tenants)
    made = seed(api.rooms.store, changed)
    assert {one.id: one.limits for one in made.tenants} == {
        "asean": Limits(4),
        "eea": Limits(9),
        "free": Limits(4),
    }
    found = {key.id: key.limits for key in made.keys}
    assert (found["free"], found["eea"]) == (Limits(2), Limits(3))


def test_who_asks_is_told_what_pops_are_given(api: Api) -> None:
    told: list[tuple[int, list[str]]] = []

    def hear(release: Release, keys: tuple[Key, ...]) -> None:
        told.append((release.version, [key.id for key in keys]))

    api.rooms.publisher.tell(hear)
    publish(api)
    api.rooms.tenancy.create_key(OWNER, msgspec.structs.replace(FORM, id="one"))
    publish(api)
    publish(api)
    api.rooms.publisher.publish_release(OWNER)
    assert told == [(7, []), (7, ["one"]), (8, [])]


def test_what_an_act_revoked_the_file_does_not_bring_back(api: Api) -> None:
    api.rooms.tenancy.revoke_key(OWNER, "free")
    made = seed(api.rooms.store, make_release())
    assert "free" not in {key.id for key in made.keys}


def test_what_the_file_drops_goes_and_comes_back_with_it(api: Api) -> None:
    whole = make_release()
    part = msgspec.structs.replace(whole, keys=keys_of(whole, "eea"), tenants=whole.tenants[1:2])
    made = seed(api.rooms.store, part)
    assert [key.id for key in made.keys] == ["eea"]
    assert [tenant.id for tenant in made.tenants] == ["eea"]
    back = seed(api.rooms.store, whole)
    assert {key.id for key in back.keys} == {key.id for key in whole.keys}
    acts = [row.act for row in api.rooms.store.audit(None, 100, "key free")]
    assert acts == ["file.set", "file.drop", "file.set"]
    assert back.made_us > made.made_us


def test_a_store_that_is_another_fleets_stops_the_publishing(api: Api) -> None:
    with pytest.raises(SelvedgeError, match="is of fleet 'example'"):
        api.rooms.store.open("other")


def test_two_thousand_keys_cost_an_act_nothing(tmp_path: Path) -> None:
    """An act looks at what changed since the release, not at every key."""
    whole = make_release()
    many: list[Any] = [
        msgspec.structs.replace(whole.keys[3], id=f"k{at:05d}") for at in range(2_000)
    ]
    release = msgspec.structs.replace(whole, keys=(*whole.keys, *many))
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}", release=release)
    publish(api)
    seen: list[int] = []
    decode = msgspec.json.decode

    def counted(*words: Any, **more: Any) -> Any:
        seen.append(1)
        return decode(*words, **more)

    api.rooms.tenancy.revoke_key(OWNER, "k00001")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selvedge.control.store.msgspec.json.decode", counted)
        assert publish(api).revoked == 1
    assert len(seen) < 20
    api.close()


def test_a_providers_own_key_stays_one_whatever_the_store_changes(api: Api) -> None:
    """The fleet file says to whom it is passed; acts narrow it, revoke it, and leave that be."""
    secret = "sk-proj-of-the-tenant"
    key = Key(
        "acme",
        "free",
        "default",
        hash_passed(api.home.pepper(), secret),
        passes_to="openai",
        falls_back=True,
    )
    fleet = make_release(keys=(key,), providers=(make_provider("openai", "US"),), version=9)
    seeded = seed(api.rooms.store, fleet)
    assert [one for one in seeded.keys if one.id == "acme"] == [key]
    write_atomically(api.home.release_file, seal_release(seeded, api.home.operator_key()))
    pop = PoP(api)
    assert pop.admits(secret)
    api.rooms.tenancy.change_key(OWNER, "acme", KeyChange(models=("chat",)))
    assert publish(api).keys == 1
    pop.look()
    found = pop.ring.admit(f"Bearer {secret}", api.clock.now_us)
    assert isinstance(found, Admitted)
    assert (found.passes_to, found.falls_back, found.models) == ("openai", True, ("chat",))
    api.rooms.publisher.publish_release(OWNER)
    pop.look()
    (kept,) = [one for one in pop.release.keys if one.id == "acme"]
    assert (kept.passes_to, kept.falls_back) == ("openai", True)
    assert pop.release.providers == fleet.providers
    api.rooms.tenancy.revoke_key(OWNER, "acme")
    publish(api)
    pop.look()
    assert not pop.admits(secret)
