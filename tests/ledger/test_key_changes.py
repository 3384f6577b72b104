"""Releases and key deltas in any order: what is revoked stays so, nothing is widened."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from selvedge.fabric import (
    NO_LIMITS,
    Key,
    KeyDelta,
    Limits,
    LoweredLimits,
    Project,
    Refused,
    Release,
    Revocation,
    tightest,
    widened,
)
from selvedge.ledger import Admitted, KeyChanges, Keyring, hash_secret, write_key
from tests.support.fleets import NOW_US, PEPPER, bearer, make_release

RELEASE = make_release()


def make_key(name: str, **changes: Any) -> Key:  # Any: fields of Key
    fields: dict[str, Any] = {"tenant": "free", "data_class": "default"}
    return Key(id=name, hash=hash_secret(PEPPER, name, "s"), **(fields | changes))


def delta(serial: int, *keys: Key, **changes: Any) -> KeyDelta:  # Any: fields of KeyDelta
    rows = tuple(msgspec.Raw(msgspec.json.encode(key)) for key in keys)
    fields: dict[str, Any] = {"release": RELEASE.version, "made_us": NOW_US, "keys": rows}
    return KeyDelta("example", serial, **(fields | changes))


def revoked(*names: str, at_us: int = NOW_US + 1) -> tuple[Revocation, ...]:
    return tuple(Revocation(name, at_us) for name in names)


def newer(version: int, made_us: int, *keys: Key) -> Release:
    return make_release(version=version, made_us=made_us, keys=(*RELEASE.keys, *keys))


class PoP:
    """One that serves releases and takes deltas."""

    def __init__(self, release: Release = RELEASE) -> None:
        self.changes = KeyChanges()
        self.version = 0
        self.serve(release)

    def serve(self, release: Release) -> None:
        self.release = Keyring(release.keys, PEPPER, release.tenants, release.projects)
        self.changes.serve(release)
        self.version = release.version
        self.ring, self.told = self.changes.keyring(self.release)

    def take(self, delta: KeyDelta) -> bool:
        newer = self.changes.take(delta)
        self.ring, self.told = self.changes.keyring(self.ring)
        return newer

    def code(self, authorization: str, now_us: int = NOW_US) -> str | None:
        found = self.ring.admit(authorization, now_us)
        return None if isinstance(found, Admitted) else found.code

    def asks(self, name: str) -> str | None:
        return self.code(f"Bearer {write_key(name, 's')}")


def test_a_revoked_key_is_refused_and_the_others_hold() -> None:
    pop = PoP()
    assert pop.code(bearer("free")) is None
    assert pop.take(delta(1, revoked=revoked("free")))
    assert pop.code(bearer("free")) == "invalid_api_key"
    assert pop.code(bearer("asean")) is None
    assert pop.ring.key("free") is None
    assert pop.ring.released("free") is not None


def test_an_added_key_holds_and_the_next_delta_is_whole() -> None:
    pop = PoP()
    pop.take(delta(1, make_key("a")))
    assert pop.asks("a") is None
    pop.take(delta(2, make_key("a"), make_key("b")))
    assert (pop.asks("a"), pop.asks("b"), pop.told.added) == (None, None, 2)
    pop.take(delta(3, make_key("b"), revoked=revoked("a")))
    assert (pop.asks("a"), pop.asks("b")) == ("invalid_api_key", None)


def test_a_lower_serial_is_not_taken_but_still_revokes() -> None:
    pop = PoP()
    pop.take(delta(5, make_key("a")))
    assert not pop.take(delta(4, revoked=revoked("free")))
    assert (pop.asks("a"), pop.code(bearer("free"))) == (None, "invalid_api_key")
    assert not pop.take(delta(5))
    assert pop.asks("a") is None


@pytest.mark.parametrize(
    "key",
    [
        make_key("a", tenant="nobody"),
        make_key("a", data_class="none"),
        make_key("a", zones=("moon",)),
    ],
)
def test_what_the_release_does_not_have_is_not_added(key: Key) -> None:
    pop = PoP()
    pop.take(delta(1, key, make_key("b"), revoked=revoked("free")))
    assert (pop.asks("a"), pop.asks("b")) == ("invalid_api_key", None)
    assert pop.code(bearer("free")) == "invalid_api_key"
    assert pop.told.refused == ("a",)


def test_a_key_is_narrowed_and_never_widened() -> None:
    base = make_key("a", expires_us=NOW_US + 10, models=("chat",), limits=Limits(5))
    pop = PoP(make_release(keys=(base,)))
    narrow = msgspec.structs.replace(base, expires_us=NOW_US, limits=Limits(4, 100))
    pop.take(delta(1, narrow))
    assert pop.asks("a") == "key_expired"
    assert pop.ring.key("a") == narrow
    for field, value in (
        ("expires_us", None),
        ("expires_us", NOW_US + 11),
        ("models", ()),
        ("models", ("chat", "embed")),
        ("limits", Limits(6)),
        ("limits", Limits()),
        ("tenant", "eea"),
        ("hash", "0" * 64),
    ):
        wide = msgspec.structs.replace(base, **{field: value})
        assert (widened(base, wide) or "").startswith(field)
        fresh = PoP(make_release(keys=(base,)))
        fresh.take(delta(1, wide))
        assert fresh.ring.key("a") == base
        assert fresh.told.refused == ("a",)


def test_a_row_that_cannot_be_read_takes_no_other_with_it() -> None:
    pop = PoP()
    broken = delta(1, make_key("b"), revoked=revoked("free"))
    rows = (msgspec.Raw(b'{"id":"UPPER"}'), *broken.keys)
    pop.take(msgspec.structs.replace(broken, keys=rows))
    assert (pop.asks("b"), pop.code(bearer("free"))) == (None, "invalid_api_key")
    assert pop.told.unread == 1


def test_a_revocation_outlives_its_delta_until_a_release_made_after_it() -> None:
    pop = PoP()
    pop.take(delta(1, revoked=revoked("free")))
    pop.take(delta(2))
    assert pop.code(bearer("free")) == "invalid_api_key"
    pop.serve(newer(8, NOW_US + 1))
    assert pop.code(bearer("free")) == "invalid_api_key"
    pop.serve(newer(9, NOW_US + 2))
    assert pop.code(bearer("free")) is None
    assert pop.changes.revoked == {}


def test_an_older_delta_adds_nothing_to_a_newer_release() -> None:
    # Added by delta 1, revoked, gone from release 8: a PoP that hears of the release first.
    pop = PoP()
    pop.take(delta(1, make_key("a")))
    pop.serve(newer(8, NOW_US + 2))
    assert pop.asks("a") == "invalid_api_key"
    assert pop.told.complete


def test_a_delta_ahead_of_the_release_refuses_nobody_for_what_is_missing() -> None:
    pop = PoP()
    pop.take(delta(1, make_key("a")))
    # Release 8 has `a` and `b`; this delta counts from it.
    pop.take(delta(2, make_key("c"), release=8, revoked=revoked("free")))
    assert (pop.asks("a"), pop.asks("c")) == (None, None)
    assert pop.asks("b") == "not_ready"
    assert pop.code(bearer("free")) == "invalid_api_key"
    assert pop.code("Bearer sk-asean-wrong") == "invalid_api_key"
    assert pop.code("Bearer nonsense") == "invalid_api_key"
    refused = pop.ring.admit(f"Bearer {write_key('b', 's')}", NOW_US)
    assert isinstance(refused, Refused)
    assert (refused.kind.status, refused.retry_after_ms) == (503, 1000)
    pop.serve(newer(8, NOW_US, make_key("a"), make_key("b")))
    assert [pop.asks(name) for name in "abc"] == [None, None, None]
    assert pop.asks("d") == "invalid_api_key"


def test_a_hundred_thousand_keys_are_shared_not_copied() -> None:
    ring = Keyring([make_key("a")] * 1, PEPPER)
    again = ring.changed({"b": None}).changed({"a": None})
    assert again.released("a") is ring.released("a")
    assert again.key("a") is None
    # A change replaces the one before: deltas are whole.
    assert ring.changed({"a": None}).changed({}).key("a") is ring.key("a")


@pytest.mark.parametrize("seed", range(100))
def test_in_whatever_order_files_come_nothing_revoked_is_admitted(seed: int) -> None:
    """A control plane acts; PoPs see its files late, twice, and out of order."""
    rng = random.Random(seed)
    now, version = NOW_US, RELEASE.version
    living: dict[str, Key] = {}
    in_release: set[str] = set()
    gone: dict[str, int] = {}
    files: list[Release | KeyDelta] = [RELEASE]
    for step in range(1, 41):
        now += rng.randrange(1, 10)
        act = rng.random()
        if act < 0.5:
            living[f"k{step}"] = make_key(f"k{step}")
        elif act < 0.8 and living:
            name = rng.choice(sorted(living))
            del living[name]
            gone[name] = now
        else:
            version += 1
            now += 1
            files.append(newer(version, now, *living.values()))
            in_release = set(living)
        added = [key for name, key in living.items() if name not in in_release]
        rows = tuple(Revocation(name, at_us) for name, at_us in gone.items())
        files.append(delta(step, *added, release=version, revoked=rows))
    pop = PoP()
    seen = 0
    known_gone: set[str] = set()
    for _ in range(200):
        at = min(len(files) - 1, max(0, seen + rng.randrange(-3, 4)))
        file = files[at]
        seen = max(seen, at)
        if isinstance(file, KeyDelta):
            pop.take(file)
            known_gone |= {one.id for one in file.revoked}
        elif file.version > pop.version:
            pop.serve(file)
        for name in known_gone:
            assert pop.asks(name) in ("invalid_api_key", "not_ready"), (name, at)
    for file in files:
        if isinstance(file, KeyDelta):
            pop.take(file)
        elif file.version > pop.version:
            pop.serve(file)
    assert [name for name in living if pop.asks(name) is not None] == []
    assert [name for name in gone if pop.asks(name) != "invalid_api_key"] == []


def lowered(*rows: LoweredLimits) -> tuple[msgspec.Raw, ...]:
    return tuple(msgspec.Raw(msgspec.json.encode(row)) for row in rows)


def with_limits(version: int, limits: Limits, **more: Any) -> Release:  # Any: fields of Release
    """Tenant ``free`` has these limits, and its project ``web`` ten thousand tokens a minute."""
    tenants = tuple(
        msgspec.structs.replace(one, limits=limits) if one.id == "free" else one
        for one in RELEASE.tenants
    )
    keys = (*RELEASE.keys, make_key("web", project="web"))
    web = Project("web", "free", Limits(tokens_per_minute=10_000))
    fields: dict[str, Any] = {"tenants": tenants, "keys": keys, "projects": (web,)}
    return make_release(version=version, made_us=NOW_US + version, **(fields | more))


def levels(pop: PoP, name: str = "web") -> dict[str, Limits]:
    found = pop.ring.admit(f"Bearer {write_key(name, 's')}", NOW_US)
    assert isinstance(found, Admitted)
    return {level.name: level.limits for level in found.levels}


def test_the_tightest_of_two() -> None:
    one, other = Limits(5, None, 3), Limits(7, 100, None, 0)
    assert tightest(one, other) == tightest(other, one) == Limits(5, 100, 3, 0)
    assert tightest(one, NO_LIMITS) == tightest(NO_LIMITS, one) == one


def test_limits_of_tenants_and_projects_are_lowered_and_never_raised() -> None:
    pop = PoP(with_limits(7, Limits(60)))
    before = pop.ring
    tenant, project = "tenant/free", "project/free/web"
    assert levels(pop) == {tenant: Limits(60), project: Limits(None, 10_000)}
    rows = (
        LoweredLimits("free", "", Limits(20, 500)),
        LoweredLimits("free", "web", Limits(None, 90_000, 4)),
        LoweredLimits("free", "new", Limits(1)),
    )
    assert pop.take(delta(1, make_key("other", project="new"), release=7, limits=lowered(*rows)))
    assert levels(pop) == {tenant: Limits(20, 500), project: Limits(None, 10_000, 4)}
    assert levels(pop, "other") == {tenant: Limits(20, 500), "project/free/new": Limits(1)}
    assert (pop.told.lowered, pop.told.unread) == (3, 0)
    assert before.admit(f"Bearer {write_key('web', 's')}", NOW_US) != pop.ring.admit(
        f"Bearer {write_key('web', 's')}", NOW_US
    )
    # It is whole: what it does not name is as in the release.
    assert pop.take(delta(2, release=7, limits=lowered(rows[1])))
    assert levels(pop) == {tenant: Limits(60), project: Limits(None, 10_000, 4)}
    # A release that was made since knows all of it, and may raise.
    pop.serve(with_limits(8, Limits(90)))
    assert levels(pop) == {tenant: Limits(90), project: Limits(None, 10_000)}


def test_what_was_lowered_stays_so_until_the_release_that_has_it_comes() -> None:
    pop = PoP(with_limits(7, Limits(60)))
    pop.take(delta(1, release=7, limits=lowered(LoweredLimits("free", "", Limits(20)))))
    # The next delta counts from release 8, which has the lower limit, and which is still to come.
    pop.take(delta(2, release=8))
    assert levels(pop)["tenant/free"] == Limits(20)
    pop.take(delta(3, release=8, limits=lowered(LoweredLimits("free", "", Limits(10)))))
    assert levels(pop)["tenant/free"] == Limits(10)
    pop.serve(with_limits(8, Limits(20)))
    assert levels(pop)["tenant/free"] == Limits(10)
    pop.take(delta(4, release=8))
    assert levels(pop)["tenant/free"] == Limits(20)


def test_a_row_that_does_not_hold_takes_no_other_with_it() -> None:
    pop = PoP(with_limits(7, Limits(60)))
    bad = (
        msgspec.Raw(b'{"tenant":"free","limits":{"requests_per_minute":-1}}'),
        msgspec.Raw(b'{"tenant":"free","limits":{"requests_per_year":1}}'),
        msgspec.Raw(b'{"tenant":"Not A Name"}'),
    )
    rows = (*bad, *lowered(LoweredLimits("free", "", Limits(20))))
    broken = msgspec.Raw(msgspec.json.encode(make_key("x")).replace(b'"default"', b'"No Name"'))
    made = delta(1, release=7, limits=rows, revoked=revoked("asean", at_us=NOW_US + 9))
    assert pop.take(msgspec.structs.replace(made, keys=(broken,)))
    assert levels(pop)["tenant/free"] == Limits(20)
    assert pop.told.unread == 4
    assert pop.code(bearer("asean")) == "invalid_api_key"
