"""Rules against a naive computation with sets; default deny; ingress modes; words of a 451."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import BadRelease, DataClass, PoP, Refused, Release, Tenant, Zone
from selvedge.residency import Allowed, Rules
from selvedge.residency.rules import NARROWED_MAX
from tests.support.fleets import NOW_US, make_pop, make_release

COUNTRIES = ["SG", "DE", "ID", "FR", "US"]


def names(rules: Rules, bits: int) -> list[str]:
    return [pop.id for pop in rules.members(bits)]


@st.composite
def fleets(draw: st.DrawFn) -> Release:
    countries = draw(st.lists(st.sampled_from(COUNTRIES), min_size=1, max_size=90))
    pops = tuple(
        msgspec.structs.replace(make_pop("sin"), id=f"p{number}", country=country)
        for number, country in enumerate(countries)
    )
    zones = draw(st.lists(st.sets(st.sampled_from(COUNTRIES)), min_size=1, max_size=4))
    modes = st.sampled_from(["in-zone", "transit-allowed"])
    classes = tuple(
        DataClass(f"c{number}", f"z{number}", draw(modes)) for number in range(len(zones))
    )
    return make_release(
        pops=pops,
        zones=tuple(Zone(f"z{number}", tuple(zone)) for number, zone in enumerate(zones)),
        tenants=(Tenant("t", classes), Tenant("u", classes[:1])),
        keys=(),
    )


@given(fleets(), st.data())
def test_bitsets_are_the_sets_of_the_rules(release: Release, data: st.DataObject) -> None:
    rules = Rules(release)
    tenant = data.draw(st.sampled_from(release.tenants))
    one = data.draw(st.sampled_from(tenant.classes))
    ingress = data.draw(st.sampled_from(release.pops))
    zone = next(zone for zone in release.zones if zone.id == one.zone)
    expected = {pop.id for pop in release.pops if pop.country in zone.countries}
    answer = rules.allowed(tenant.id, one.id, ingress.id, NOW_US)
    if not expected or (one.ingress == "in-zone" and ingress.id not in expected):
        assert isinstance(answer, Refused)
        assert answer.kind.status == 451
        assert answer.rule == f"{tenant.id}/{one.id}"
    else:
        assert isinstance(answer, Allowed)
        assert set(names(rules, answer.bits)) == expected
        assert answer.transit == (ingress.id not in expected)
        assert answer.bits == rules.bits(expected) == answer.rule.allowed
        assert (answer.rule.zone, answer.rule.countries) == (zone.id, frozenset(zone.countries))
        other = set(data.draw(st.lists(st.sampled_from([pop.id for pop in release.pops]))))
        assert set(names(rules, answer.bits & rules.bits(other))) == expected & other


@pytest.mark.parametrize(
    ("tenant", "data_class", "ingress", "pops", "transit"),
    [
        ("asean", "default", "sin", ["sin", "cgk"], False),
        ("asean", "default", "cgk", ["sin", "cgk"], False),
        ("eea", "strict", "fra", ["fra"], False),
        ("eea", "transit", "fra", ["fra"], False),
        ("eea", "transit", "cgk", ["fra"], True),
        ("free", "default", "cgk", ["sin", "fra", "cgk"], False),
    ],
)
def test_the_example(
    tenant: str, data_class: str, ingress: str, pops: list[str], transit: bool
) -> None:
    rules = Rules(make_release())
    allowed = rules.allowed(tenant, data_class, ingress, NOW_US)
    assert isinstance(allowed, Allowed)
    assert (names(rules, allowed.bits), allowed.transit) == (pops, transit)
    assert allowed.rule.name == f"{tenant}/{data_class}"


@pytest.mark.parametrize(("tenant", "data_class"), [("nobody", "default"), ("asean", "strict")])
def test_what_has_no_rule_has_no_pop(tenant: str, data_class: str) -> None:
    refused = Rules(make_release()).allowed(tenant, data_class, "sin", NOW_US)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.rule) == ("residency_no_allowed_pop", f"{tenant}/{data_class}")
    assert refused.rule is not None
    assert refused.rule in refused.message


def test_wrong_ingress_names_the_rule_and_an_address_inside() -> None:
    refused = Rules(make_release()).allowed("asean", "default", "fra", NOW_US)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.kind.status) == ("residency_ingress", 451)
    assert "'asean/default'" in refused.message
    # cgk has no engine: sin is nearer to the answer.
    assert "https://sin.example.net" in refused.message
    assert "cgk.example.net" not in refused.message


def without(*pops: PoP) -> Rules:
    return Rules(make_release(pops=pops))


def test_an_address_inside_even_where_no_engine_is() -> None:
    refused = without(make_pop("fra"), make_pop("cgk", engines=False)).allowed(
        "asean", "default", "fra", NOW_US
    )
    assert isinstance(refused, Refused)
    assert "https://cgk.example.net" in refused.message


def test_nobody_inside() -> None:
    rules = without(make_pop("fra"))
    strict = rules.allowed("asean", "default", "fra", NOW_US)
    assert isinstance(strict, Refused)
    assert (strict.code, strict.rule) == ("residency_no_allowed_pop", "asean/default")
    transit = without(make_pop("sin")).allowed("eea", "transit", "sin", NOW_US)
    assert isinstance(transit, Refused)
    assert (transit.code, transit.rule) == ("residency_no_allowed_pop", "eea/transit")
    assert "zone 'eea'" in transit.message


@pytest.mark.parametrize(
    ("tenant", "data_class"), [("asean", "default"), ("eea", "transit"), ("free", "default")]
)
def test_an_ingress_of_another_release_is_refused(tenant: str, data_class: str) -> None:
    refused = Rules(make_release()).allowed(tenant, data_class, "elsewhere", NOW_US)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.rule) == ("residency_ingress", f"{tenant}/{data_class}")


def test_all_rules_in_order_and_bits_of_the_unknown() -> None:
    rules = Rules(make_release())
    assert [rule.name for rule in rules.all()] == [
        "asean/default",
        "eea/transit",
        "eea/strict",
        "free/default",
    ]
    assert rules.bits(["cgk", "cgk", "unknown"]) == 0b100
    assert names(rules, 0) == []


def test_an_empty_allowed_set_cannot_exist() -> None:
    rule = next(Rules(make_release()).all())
    with pytest.raises(ValueError, match="not empty"):
        Allowed(rule, 0, transit=False)


def test_a_rule_is_narrowed_by_the_zones_of_a_key() -> None:
    rules = Rules(make_release())
    wide = rules.allowed("free", "default", "sin", NOW_US)
    narrow = rules.allowed("free", "default", "sin", NOW_US, ("eea",))
    assert isinstance(wide, Allowed)
    assert isinstance(narrow, Allowed)
    assert names(rules, narrow.bits) == ["fra"]
    assert (narrow.rule.pops, narrow.rule.zone, narrow.transit) == (("fra",), "world", True)
    assert (wide.rule.narrowed, narrow.rule.narrowed) == ((), ("eea",))
    assert rules.allowed("free", "default", "sin", NOW_US, ("asean", "eea", "none")) != narrow
    inside = rules.allowed("asean", "default", "sin", NOW_US, ("eea",))
    assert isinstance(inside, Refused)
    assert inside.code == "key_scope"


def test_rules_narrowed_by_keys_have_a_limit() -> None:
    rules = Rules(make_release())
    for number in range(NARROWED_MAX + 5):
        rules.allowed("free", "default", "sin", NOW_US, ("eea", f"z{number}"))
    assert len(rules._narrowed) <= NARROWED_MAX


def test_a_model_named_like_another_with_a_handling_is_refused() -> None:
    """Engines that honour a handling are found under such a name."""
    (first, *_) = make_release().models
    with pytest.raises(BadRelease, match="1 to 128 printable characters"):
        msgspec.structs.replace(first, id=f"{first.id}\nzero-retention")
