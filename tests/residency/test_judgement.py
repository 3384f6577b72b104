"""A receipt against its release: each way in which it can be in breach, and none if it is not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from selvedge.fabric import (
    Attestation,
    Attested,
    CompiledRule,
    DataClass,
    Entity,
    Key,
    Outcome,
    Policy,
    Receipt,
    Release,
    Tenant,
    Tried,
    Usage,
    Zone,
)
from selvedge.residency import Judge
from tests.support.fleets import make_pop, make_release

USED = Usage(input_uncached=1, output=1, provenance="reported")
HASH = "sha256:" + "0" * 64


def release(**changes: Any) -> Release:  # Any: fields of Release
    """SG and ID in zone asean; engines of Singapore honour no-training alone."""
    sin = make_pop("sin")
    engines = tuple(msgspec.structs.replace(one, honours=("no-training",)) for one in sin.engines)
    plain = DataClass("plain", "asean", "in-zone")
    careful = DataClass("careful", "asean", "in-zone", handling=("no-training",))
    strict = DataClass("strict", "asean", "in-zone", handling=("zero-retention",))
    transit = DataClass("transit", "asean", "transit-allowed")
    fields: dict[str, Any] = {
        "pops": (msgspec.structs.replace(sin, engines=engines), make_pop("cgk"), make_pop("fra")),
        "tenants": (Tenant("acme", (plain, careful, strict, transit)),),
        "keys": (),
    }
    return make_release(**fields | changes)


def receipt(kind: str = "plain", **facts: Any) -> Receipt:  # Any: fields of Receipt
    one = Receipt(
        id="rcpt_1",
        request_id="req_1",
        tenant="acme",
        project="default",
        key="acme",
        data_class=kind,
        route="/v1/chat/completions",
        ingress_pop="sin",
        ingress_country="SG",
        rule=f"acme/{kind}",
        zone="asean",
        release=7,
        release_hash=HASH,
        received_us=1_000,
        transit=False,
        planned=("sin", "cgk"),
        planned_in=("SG", "ID"),
        attempts=(Tried("sin", "SG", "sin-chat", "relayed", "", 0, 1, 2),),
        served_pop="sin",
        served_engine="sin-chat",
        served_entity="Example SG",
        processed_in="SG",
        outcome=Outcome.COMPLETE,
        status=200,
        usage=USED,
    )
    return msgspec.structs.replace(one, **facts)


def breaches(one: Receipt, **changes: Any) -> list[tuple[str, str]]:
    return [tuple(found) for found in Judge(release(**changes)).judge(one)]


def test_what_holds_is_in_breach_of_nothing() -> None:
    assert breaches(receipt()) == []
    assert breaches(receipt("careful", handling=("no-training",))) == []
    inside = {"ingress_pop": "fra", "ingress_country": "DE", "transit": True}
    assert breaches(receipt("transit", **inside)) == []


NOWHERE = {
    "planned": (),
    "planned_in": (),
    "attempts": (),
    "served_pop": None,
    "processed_in": None,
}


def test_a_request_that_went_nowhere_is_in_breach_of_nothing() -> None:
    refused = receipt("none", zone="", rule="acme/none", ingress_country="DE", **NOWHERE)
    assert breaches(refused) == []
    assert [kind for kind, _ in breaches(msgspec.structs.replace(refused, cache="hit"))] == ["rule"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            {"processed_in": "DE", "served_pop": "fra"},
            [("zone", "processed in DE, outside zone 'asean'")],
        ),
        (
            {"attempts": (Tried("fra", "DE", None, "failed", "", 0, 1, 2),)},
            [("zone", "sent in DE, outside zone 'asean'")],
        ),
        (
            {"planned": ("fra",), "planned_in": ("DE",)},
            [("zone", "planned in DE, outside zone 'asean'")],
        ),
        (
            {"processed_in": "ID"},
            [("place", "processed at PoP 'sin' in ID, which its release has in SG")],
        ),
        (
            {"served_pop": "fra"},
            [
                ("place", "processed at PoP 'fra' in SG, which its release has in DE"),
                ("zone", "PoP 'fra' is in DE, outside zone 'asean'"),
            ],
        ),
        (
            {"served_pop": "gone"},
            [("place", "processed at PoP 'gone', which its release lacks")],
        ),
        (
            {"ingress_pop": "fra", "ingress_country": "DE"},
            [("ingress", "entered in DE, and its rule is in-zone")],
        ),
        (
            {"ingress_country": "ID"},
            [("place", "entered at PoP 'sin' in ID; its release has it in SG")],
        ),
        ({"zone": "eea"}, [("rule", "its release has rule 'acme/plain' in zone 'asean', the ")]),
        ({"rule": "acme/other"}, [("rule", "its release has no rule 'acme/other' for its tenant")]),
        ({"data_class": "gone"}, [("rule", "its release has no rule 'acme/plain' for its tenant")]),
        (
            {"handling": ("no-training",)},
            [("handling", "its class asks for none, the receipt says no-training")],
        ),
        ({"policy": "v1"}, [("policy", "its release decides by policy none, the receipt says v1")]),
        (
            {"planned_in": ("SG",)},
            [
                ("zone", "planned in -, outside zone 'asean'"),
                ("place", "planned at PoP '-', which its release lacks"),
            ],
        ),
    ],
)
def test_each_breach_is_named(facts: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    found = breaches(receipt(**facts))
    assert [kind for kind, _ in found] == [kind for kind, _ in expected]
    for (_, words), (_, start) in zip(found, expected, strict=True):
        assert words.startswith(start)


def test_a_transit_that_does_not_say_so_is_a_breach() -> None:
    found = breaches(receipt("transit", ingress_pop="fra", ingress_country="DE"))
    assert found == [("ingress", "entered in DE, and does not say that it is in transit")]


def test_handlings_are_kept_to_by_the_engine_and_the_cache() -> None:
    asked = ("zero-retention",)
    assert breaches(receipt("strict", handling=asked)) == [
        ("handling", "engine sin/sin-chat does not honour zero-retention")
    ]
    hit = receipt("strict", handling=asked, cache="hit", **NOWHERE)
    assert [kind for kind, _ in breaches(hit)] == ["handling"]


def test_a_key_narrows_its_class() -> None:
    zones = (Zone("asean", ("SG", "ID")), Zone("sg", ("SG",)))
    key = Key("acme", "acme", "plain", "0" * 64, zones=("sg",))
    found = breaches(receipt(), keys=(key,), zones=zones)
    assert found == [("zone", "planned in ID, outside zone 'asean'")]


def compiled(from_us: int, process: str, enter: str = "7") -> CompiledRule:
    return CompiledRule("gdpr", from_us, enter, process, "7", "7", "7", "7")


def test_the_policy_that_held_at_that_moment_decides() -> None:
    """Until 5,000 it permits both, then Singapore alone; before 500 nothing."""
    rows = (compiled(500, "3"), compiled(5_000, "1"))
    policy = Policy("permit(...)", "{}", "2026-11-01", HASH, rows)
    kind = DataClass("plain", "asean", "in-zone", policy="gdpr")
    changes = {"policy": policy, "tenants": (Tenant("acme", (kind,)),)}
    version = policy.version
    assert breaches(receipt(policy=version), **changes) == []
    later = breaches(receipt(policy=version, received_us=5_000), **changes)
    assert later == [("policy", "planned at PoP 'cgk', where policy 'gdpr' does not permit it")]
    early = breaches(receipt(policy=version, received_us=499), **changes)
    assert {words.split(" at PoP")[0] for _, words in early} == {
        "processed",
        "sent",
        "planned",
        "entered",
    }
    without = breaches(receipt(), **changes)
    assert [kind for kind, _ in without] == ["policy"]


def attested(**facts: Any) -> Attested:  # Any: fields of Attestation
    word = Attestation(
        ticket="00",
        request_id="req_1",
        pop="cgk",
        country="ID",
        entity="Example ID",
        engine="cgk-chat",
        model="small",
        model_digest="unknown",
        release_hash=HASH,
        outcome=Outcome.COMPLETE,
        usage=USED,
        started_us=1,
        ended_us=2,
    )
    data = msgspec.json.encode(msgspec.structs.replace(word, **facts), order="sorted")
    return Attested(msgspec.Raw(data), "mac")


AT_PEER = {
    "served_pop": "cgk",
    "served_engine": "cgk-chat",
    "served_entity": "Example ID",
    "processed_in": "ID",
}


def test_the_word_of_the_serving_pop_counts() -> None:
    assert breaches(receipt(attested=attested(), **AT_PEER)) == []
    lie = breaches(receipt(attested=attested(country="DE"), **AT_PEER))
    assert [kind for kind, _ in lie] == ["place"]
    assert "attests DE" in lie[0][1]
    unreadable = breaches(receipt(attested=Attested(msgspec.Raw(b"{}"), ""), **AT_PEER))
    assert unreadable[0][1].startswith("its attestation cannot be read")


def test_the_serving_pops_own_release_is_asked_too() -> None:
    one = receipt(attested=attested(), **AT_PEER)
    assert Judge(release()).judge_serving(one) == []
    moved = msgspec.structs.replace(make_pop("cgk"), country="DE")
    found = Judge(release(pops=(make_pop("sin"), moved))).judge_serving(one)
    assert [breach.kind for breach in found] == ["place", "zone"]
    gone = Judge(release(tenants=(Tenant("other", (DataClass("a", "asean", "in-zone"),)),)))
    assert [breach.kind for breach in gone.judge_serving(one)] == ["rule"]


def test_owners_are_told_all_the_way_up() -> None:
    entities = (Entity("a", "SG", parent="b"), Entity("b", "SG", parent="c"), Entity("c", "US"))
    judge = Judge(release(entities=entities))
    assert judge.owners("a") == ("b", "c")
    assert judge.owners("nobody") == judge.owners(None) == ()
