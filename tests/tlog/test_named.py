"""The keys that a release names, as policies and as verifiers of an origin."""

from __future__ import annotations

import base64

import msgspec
import pytest

from selvedge.fabric import BadProof, JurisdictionLog, Release, Witness
from selvedge.tlog import (
    COSIGNATURE,
    Signer,
    jurisdiction_of,
    keys_at,
    log_named,
    operator_verifier,
    parse_trust,
    release_policy,
)
from tests.support.fleets import make_release
from tests.tlog.worlds import World, seed

WITNESSES = [Signer(f"{name}.example", seed(name), COSIGNATURE) for name in ("a", "b")]


def public(name: str) -> str:
    return base64.b64encode(Signer("x", seed(name)).verifier.public).decode()


def release(*, keys: str = "", quorum: int = 1) -> Release:
    made = make_release()
    pops = tuple(
        msgspec.structs.replace(pop, log_keys=(public(f"{pop.id}{keys}"),)) for pop in made.pops
    )
    countries = tuple(sorted({pop.country for pop in pops}))
    witnesses = tuple(Witness(one.verifier.text, "http://w") for one in WITNESSES)
    one = JurisdictionLog("one", countries[:1], "http://l", (public("one"),), witnesses, quorum)
    rest = JurisdictionLog("rest", countries, "http://l", (public("rest"),))
    return msgspec.structs.replace(made, pops=pops, logs=(one, rest), log_domain="logs.example")


def test_the_policy_of_a_jurisdiction_names_its_own_pops() -> None:
    made = release()
    first = made.logs[0].countries[0]
    trust = parse_trust(release_policy([made], "one"))
    own = {pop.id for pop in made.pops if pop.country == first}
    base = f"logs.example/{made.fleet}"
    assert {key.name for key in trust.logs} == {
        f"{base}/jurisdiction/one",
        *(f"{base}/pop/{pop}" for pop in own),
    }
    assert trust.is_witnessed([WITNESSES[1].verifier])
    assert not trust.is_witnessed([])
    others = parse_trust(release_policy([made], "rest"))
    assert {key.name for key in others.logs} == {
        f"{base}/jurisdiction/rest",
        *(f"{base}/pop/{pop.id}" for pop in made.pops if pop.id not in own),
    }
    assert others.quorum == "none"
    with pytest.raises(BadProof, match="names no log 'moon'"):
        release_policy([made], "moon")


def test_keys_of_two_releases_count_together() -> None:
    now, before = release(keys="new", quorum=2), release()
    some = now.pops[0].id
    trust = parse_trust(release_policy([now, before], "one", pops=[some]))
    origin = f"logs.example/{now.fleet}/pop/{some}/2026-11"
    assert len(trust.keys_of(origin)) == 2
    assert len(trust.logs) == 3  # the jurisdiction's is the same
    assert not trust.is_witnessed([WITNESSES[0].verifier])


def test_the_keys_at_an_origin() -> None:
    made = release()
    base, some = f"logs.example/{made.fleet}", made.pops[0].id
    (own,) = keys_at(made, f"{base}/pop/{some}/2026-11")
    assert own.name == f"{base}/pop/{some}/2026-11"
    found = keys_at(made, f"{base}/jurisdiction/one/2026-11.2")
    assert [key.name for key in found] == [
        f"{base}/jurisdiction/one/2026-11.2",
        "a.example",
        "b.example",
    ]
    for nobody in (
        "",
        "x",
        "pop/x",
        f"{base}/pop/nobody/2026-11",
        f"{base}/jurisdiction/x/2026-11",
    ):
        assert keys_at(made, nobody) == []
    assert [k for k in keys_at(made, f"other/pop/{some}/2026-11") if k.kind != COSIGNATURE] == []
    assert log_named(made, "moon") is None
    name = operator_verifier(made, public("operator")).name
    assert name == f"{base}/operator"


def test_the_jurisdiction_that_a_bundle_says() -> None:
    world = World()
    assert jurisdiction_of(world.prove("sg", 3)) == "eu"
    assert jurisdiction_of(b"{}\n") is None
