"""Rules at the clock: what narrows at midnight does so to the microsecond; nothing widens by
itself; and what a policy leaves without any place is found.
"""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from selvedge.adapters import read_policies, shipped_jurisdictions
from selvedge.fabric import BadRelease, CompiledRule, DataClass, Policy, Refused, Release, Tenant
from selvedge.residency import (
    HORIZON_US,
    Allowed,
    Decisions,
    Fleet,
    Jurisdictions,
    Member,
    Rules,
    Transfer,
    compile_policy,
    day_us,
    facts_of,
    strandings,
)
from tests.support.fleets import NOW_US, make_pop, make_release
from tests.support.policies import ENTITIES, under_policy

LAPSE, BEGIN = date(2027, 6, 1), date(2027, 9, 1)
LAPSE_US, BEGIN_US = day_us(LAPSE), day_us(BEGIN)
"""`NOW_US` is 2027-01-15."""
TEXT = """
permit(principal == Rule::"eu", action, resource)
when { resource.transfers.contains("gdpr/scc") };
"""
CLASSES = {("free", "default"): "eu"}
ALONE = tuple(msgspec.structs.replace(one, parent=None) for one in ENTITIES)


def listed(*more: Transfer) -> Jurisdictions:
    """Singapore until June; Indonesia from September."""
    rows = (
        Transfer("gdpr", ("SG",), "scc", until=LAPSE),
        Transfer("gdpr", ("ID",), "scc", since=BEGIN),
        *more,
    )
    return msgspec.structs.replace(shipped_jurisdictions(), transfers=rows)


def release_made(made_us: int, text: str, lists: Jurisdictions | None = None) -> Release:
    release = make_release(made_us=made_us)
    return under_policy(release, text, CLASSES, entities=ALONE, lists=lists or listed())


def release_of(text: str = TEXT, lists: Jurisdictions | None = None) -> Release:
    return release_made(NOW_US, text, lists)


def names(rules: Rules, at_us: int, ingress: str = "fra") -> list[str]:
    found = rules.allowed("free", "default", ingress, at_us)
    return [pop.id for pop in rules.members(found.bits)] if isinstance(found, Allowed) else []


def test_what_lapses_at_midnight_is_gone_at_midnight() -> None:
    rules = Rules(release_of())
    assert names(rules, NOW_US) == ["sin", "fra"]
    assert names(rules, LAPSE_US - 1) == ["sin", "fra"]
    assert names(rules, LAPSE_US) == ["fra"]
    assert names(rules, LAPSE_US - 1) == ["fra"], "a clock that is moved back opens nothing again"
    assert names(rules, LAPSE_US + 1) == ["fra"]


def test_what_begins_waits_for_a_release() -> None:
    rules = Rules(release_of())
    assert names(rules, BEGIN_US) == ["fra"]
    assert names(Rules(release_made(BEGIN_US, TEXT)), BEGIN_US) == ["fra", "cgk"]


def test_after_400_days_nothing_is_allowed() -> None:
    rules = Rules(release_of())
    end_us = NOW_US + HORIZON_US
    assert names(rules, end_us - 1) == ["fra"]
    refused = rules.allowed("free", "default", "fra", end_us)
    assert isinstance(refused, Refused)
    assert refused.code == "residency_no_allowed_pop"
    assert "by policy 'eu', version 2026-11-22/" in refused.message


def test_before_its_first_moment_a_rule_allows_nothing() -> None:
    release = release_of()
    assert release.policy is not None
    first_us = release.policy.rules[0].from_us
    assert first_us <= NOW_US
    rules = Rules(release)
    assert names(rules, first_us - 1) == []
    assert names(rules, first_us) == ["sin", "fra"]
    assert names(rules, 0) == [], "a clock that was set back opens nothing"


def test_a_key_narrowed_to_zones_follows_the_clock() -> None:
    rules = Rules(release_of())

    def narrowed(at_us: int) -> list[str]:
        found = rules.allowed("free", "default", "fra", at_us, ("asean", "eea"))
        return [pop.id for pop in rules.members(found.bits)] if isinstance(found, Allowed) else []

    for at_us in (NOW_US, LAPSE_US, LAPSE_US - 1, BEGIN_US):
        assert narrowed(at_us) == names(rules, at_us)


ENTRY = """
permit(principal == Rule::"r", action == Action::"process", resource);
permit(principal == Rule::"r", action == Action::"enter", resource);
permit(principal == Rule::"r", action == Action::"receipts", resource);
permit(principal == Rule::"r", action == Action::"keys", resource)
when { resource.groups.contains("ASEAN") };
permit(principal == Rule::"r", action == Action::"log", resource)
unless { resource == Site::"cgk" };
permit(principal == Rule::"r", action == Action::"cache", resource == Site::"fra");
"""


def test_who_may_not_keep_receipts_keys_and_lines_may_not_let_it_in() -> None:
    rules = Rules(under_policy(make_release(), ENTRY, {("free", "default"): "r"}))
    rule = rules.rule("free", "default", NOW_US)
    assert rule is not None
    assert (rule.allowed, rule.enter, rule.cache) == (0b111, 0b001, 0b010)
    assert (rule.policy_rule, rule.pops) == ("r", ("sin", "fra"))
    assert rule.policy is not None
    assert rule.policy.startswith("2026-11-22/")
    refused = rules.allowed("free", "default", "fra", NOW_US)
    assert isinstance(refused, Refused)
    assert (refused.code, refused.rule) == ("residency_ingress", "free/default")
    assert "only where policy 'r' permits it" in refused.message
    assert "https://sin.example.net/v1 as base_url" in refused.message


def test_a_policy_allows_nothing_that_the_zone_does_not() -> None:
    text = 'permit(principal == Rule::"all", action, resource);'
    rules = Rules(
        under_policy(make_release(), text, {("asean", "default"): "all", ("eea", "transit"): "all"})
    )
    asean = rules.rule("asean", "default", NOW_US)
    eea = rules.rule("eea", "transit", NOW_US)
    assert asean is not None
    assert eea is not None
    assert (asean.allowed, asean.enter, asean.cache) == (0b101, 0b101, 0b101)
    assert (eea.allowed, eea.enter, eea.cache) == (0b010, 0b111, 0b010)


def test_a_site_in_an_unknown_country_is_nowhere() -> None:
    lost = msgspec.structs.replace(make_pop("fra"), id="lost", country="unknown")
    pops = (make_pop("sin"), make_pop("fra"), lost)
    release = make_release(pops=pops)
    zones_alone = Rules(release)
    for tenant, one in (("free", "default"), ("eea", "transit")):
        rule = zones_alone.rule(tenant, one, NOW_US)
        assert rule is not None
        assert not zones_alone.holds(rule.allowed | rule.enter | rule.cache, "lost")
    text = 'permit(principal == Rule::"all", action, resource);'
    rule = Rules(under_policy(release, text, {("free", "default"): "all"})).rule(
        "free", "default", NOW_US
    )
    assert rule is not None
    assert (rule.allowed, rule.enter) == (0b011, 0b011)


def test_a_stopped_rule_allows_nothing_at_any_moment() -> None:
    rules = Rules(release_of())
    assert names(rules, NOW_US) == ["sin", "fra"]
    rules.allowed("free", "default", "fra", NOW_US, ("eea",))
    rules.stop("eu")
    for at_us in (NOW_US, LAPSE_US, NOW_US):
        assert names(rules, at_us) == []
    assert isinstance(rules.allowed("free", "default", "fra", NOW_US, ("eea",)), Refused)
    assert isinstance(rules.allowed("asean", "default", "sin", NOW_US), Allowed), "not under it"
    assert rules.stopped == {"eu"}


def stranded(release: Release) -> list[tuple[str, bool]]:
    return [(one.why, one.is_now) for one in strandings(release)]


def test_what_has_somewhere_to_be_is_not_stranded() -> None:
    assert stranded(make_release()) == []
    assert stranded(release_of()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'permit(principal == Rule::"eu", action, resource) when { resource.country == "US" };',
            "data of this class could be processed nowhere by zone 'world' and policy 'eu'",
        ),
        (
            'permit(principal == Rule::"eu", action, resource == Site::"cgk");',
            "data of this class could be processed only at PoPs without engines",
        ),
        (
            'permit(principal == Rule::"eu", action, resource);'
            'forbid(principal, action == Action::"keys", resource);',
            "data of this class could enter nowhere",
        ),
    ],
)
def test_a_class_without_a_place_is_found(text: str, words: str) -> None:
    ((why, is_now),) = stranded(release_of(text))
    assert why.startswith(words)
    assert is_now


def test_a_class_that_a_change_will_leave_without_a_place_is_found() -> None:
    text = TEXT[:-4] + ' && resource.groups.contains("ASEAN") };'
    ((why, is_now),) = stranded(release_of(text))
    assert why.startswith("from 2027-06-01 on (last day 2027-05-31) data of this class could be")
    assert not is_now


def rows(*from_us: int) -> tuple[CompiledRule, ...]:
    return tuple(CompiledRule("eu", one, *["7"] * 6) for one in from_us)


def policy(*made: CompiledRule) -> Policy:
    return Policy("", "", "1", "sha256:" + "0" * 64, made)


def test_a_release_with_wrong_bits_is_refused() -> None:
    with pytest.raises(BadRelease, match="in order of from_us"):
        policy(*rows(5, 5))
    wide = CompiledRule("eu", 0, "8", *["0"] * 5)
    with pytest.raises(BadRelease, match=r"policy.rules.eu: allows more PoPs than the 3"):
        make_release(policy=policy(wide))
    with pytest.raises(BadRelease, match="bitset in hex digits"):
        CompiledRule("eu", 0, "x", *["0"] * 5)


def test_only_what_was_changed_is_asked_again() -> None:
    texts = {
        f"r{number}": f'permit(principal == Rule::"r{number}", action, resource) '
        f'when {{ resource.country == "{country}" }};'
        for number, country in enumerate(("SG", "DE", "ID"))
    }
    tenants = (Tenant("t", (DataClass("c", "world", "in-zone", "r0"),)),)
    fleet = Fleet(make_release().pops, ENTITIES, tenants)

    def asked(text: str, fleet: Fleet, lists: Jurisdictions) -> int:
        before = known.asked
        compile_policy(read_policies(text), fleet, lists, NOW_US, known)
        return known.asked - before

    known = Decisions()
    shipped = shipped_jurisdictions()
    whole = asked("\n".join(texts.values()), fleet, shipped)
    assert whole == 3 * 3 * 6, "rules, sites that they tell apart, acts"
    assert asked("\n".join(texts.values()), fleet, shipped) == 0
    other = (Tenant("t", (DataClass("c", "world", "in-zone", "r1"),)),)
    assert asked("\n".join(texts.values()), Fleet(fleet.pops, ENTITIES, other), shipped) == 0
    texts["r1"] = texts["r1"].replace('"DE"', '"FR"')
    assert asked("\n".join(texts.values()), fleet, shipped) == 3 * 6
    more = (*fleet.pops, msgspec.structs.replace(make_pop("sin"), id="sin2"))
    assert asked("\n".join(texts.values()), Fleet(more, ENTITIES, tenants), shipped) == 0, "alike"
    groups = shipped.groups | {
        "EU": msgspec.structs.replace(
            shipped.groups["EU"], members=(Member(("SG",)), *shipped.groups["EU"].members)
        )
    }
    wider = msgspec.structs.replace(shipped, groups=groups)
    assert asked("\n".join(texts.values()), fleet, wider) == 0, "none of them looks at groups"


def test_a_policy_is_named_by_what_it_was_asked_about() -> None:
    one = release_of().policy
    again = release_of().policy
    other = release_of(TEXT + " ").policy
    assert one is not None
    assert again is not None
    assert other is not None
    assert one.version == again.version != other.version
    moved = release_made(NOW_US + 1_000_000, TEXT).policy
    assert moved is not None
    assert moved.version == one.version, "it is as long as nothing of it changes"
    assert [epoch.from_us for epoch in facts_of(one).epochs][1:] == [LAPSE_US, BEGIN_US]
