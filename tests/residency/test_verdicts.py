"""Verdicts, fence by fence, are what the compiled rules decide; and what two releases change."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import (
    Act,
    CompiledRule,
    DataClass,
    Policy,
    Provider,
    Refused,
    Release,
    Tenant,
    Zone,
)
from selvedge.residency import ASKED, Rules, Verdicts, check_act, differences
from tests.support.fleets import make_pop, make_provider, make_release

COUNTRIES = ["SG", "DE", "ID", "FR", "unknown"]
HASH = "sha256:" + "0" * 64
AT_US = 1_000


def site(name: str, country: str) -> Any:  # Any: a PoP
    return msgspec.structs.replace(make_pop("sin"), id=name, country=country)


@st.composite
def fleets(draw: st.DrawFn) -> Release:
    countries = draw(st.lists(st.sampled_from(COUNTRIES), min_size=1, max_size=9))
    pops = tuple(site(f"p{number}", country) for number, country in enumerate(countries))
    abroad = providers(draw(st.lists(st.sampled_from(COUNTRIES), max_size=2)))
    bits = st.integers(0, 2 ** (len(pops) + len(abroad)) - 1).map(lambda one: format(one, "x"))
    rules = [
        CompiledRule(name, from_us, *(draw(bits) for _ in get_args(Act)))
        for name in ("a", "b")
        for from_us in draw(st.lists(st.integers(0, 2_000), unique=True, max_size=3).map(sorted))
    ]
    zones = [
        Zone(f"z{number}", tuple(sorted(draw(st.sets(st.sampled_from(COUNTRIES[:4]))))))
        for number in range(2)
    ]
    modes = st.sampled_from(["in-zone", "transit-allowed"])
    known = {one.rule for one in rules}
    names = st.sampled_from([None, *sorted(known)])
    classes = tuple(
        DataClass(f"c{number}", draw(st.sampled_from(zones)).id, draw(modes), policy=draw(names))
        for number in range(3)
    )
    return make_release(
        pops=pops,
        zones=tuple(zones),
        tenants=(Tenant("t", classes),),
        keys=(),
        policy=Policy("text", "{}", "1", HASH, tuple(rules)),
        made_us=1,
        providers=abroad,
    )


def providers(countries: list[str]) -> tuple[Provider, ...]:
    return tuple(make_provider(f"x{number}", country) for number, country in enumerate(countries))


@settings(max_examples=300)
@given(fleets(), st.integers(0, 2_500))
def test_verdicts_are_what_the_compiled_rules_decide(release: Release, at_us: int) -> None:
    verdicts, rules = Verdicts(release), Rules(release)
    for one in release.tenants[0].classes:
        rule = rules.rule("t", one.id, at_us)
        assert rule is not None
        for bit, pop in enumerate(release.sites):
            for act, bits in (
                ("process", rule.allowed),
                ("entry", rule.enter),
                ("cache", rule.cache),
            ):
                verdict = verdicts.decide(("t", one.id), pop.id, check_act(act), at_us)
                assert verdict.allowed == bool(bits >> bit & 1), (act, pop.country, verdict)
                everywhere = verdicts.allowed(("t", one.id), check_act(act), at_us)
                assert verdict.allowed == (pop.id in everywhere)
            asked = rules.allowed("t", one.id, pop.id, at_us)
            enters = verdicts.decide(("t", one.id), pop.id, "entry", at_us).allowed
            assert isinstance(asked, Refused) == (not enters or not rule.allowed)


def fleet(*pops: tuple[str, str], zone: tuple[str, ...] = ("SG",), **kind: Any) -> Release:
    one = DataClass("c", "z", **{"ingress": "in-zone", **kind})
    return make_release(
        pops=tuple(site(*pop) for pop in pops),
        zones=(Zone("z", zone),),
        tenants=(Tenant("t", (one,)),),
        keys=(),
    )


def test_every_fence_says_why() -> None:
    release = fleet(("a", "SG"), ("b", "DE"), ("c", "unknown"), ingress="transit-allowed")
    verdicts = Verdicts(release)

    def why(site: str, act: str) -> str:
        found = verdicts.decide(("t", "c"), site, check_act(act), AT_US)
        return "; ".join(one.why for one in found.fences)

    assert why("a", "process") == "SG is in zone 'z'"
    assert why("b", "process") == "DE is outside zone 'z'"
    assert why("b", "enter") == "DE is outside zone 'z'; the class is transit-allowed"
    assert why("c", "enter") == "unknown is outside zone 'z': nobody knows where it is"
    assert why("d", "enter") == "there is no PoP 'd': default is deny"
    gone = verdicts.decide(("t", "x"), "a", "process", AT_US)
    assert (gone.allowed, gone.fences[0].why) == (
        False,
        "there is no class t/x: default is deny",
    )
    assert verdicts.allowed(("t", "x"), "process", AT_US) == frozenset()


def test_a_rule_without_a_row_for_the_day_allows_nothing() -> None:
    release = fleet(("a", "SG"))
    row = CompiledRule("p", 500, *["1"] * 6)
    policy = Policy("text", "{}", "1", HASH, (row,))
    kind = DataClass("c", "z", "in-zone", policy="p")
    release = msgspec.structs.replace(release, policy=policy, tenants=(Tenant("t", (kind,)),))
    early = Verdicts(release).decide(("t", "c"), "a", "process", 499)
    assert early.fences[1].why.startswith("rule 'p' has no row for this day")
    assert Verdicts(release).decide(("t", "c"), "a", "process", 500).allowed


def test_differences_are_told_by_country() -> None:
    before = fleet(("a", "SG"), ("b", "DE"), ("gone", "SG"))
    after = fleet(("a", "SG"), ("b", "DE"), ("new", "DE"), zone=("DE",))
    found = list(differences(Verdicts(before), Verdicts(after), AT_US, ["process"]))
    assert [(one.country, one.now, one.pops) for one in found] == [
        ("SG", False, ("a", "gone")),
        ("DE", True, ("b", "new")),
    ]
    assert {(one.tenant, one.data_class, one.act) for one in found} == {("t", "c", "process")}
    assert list(differences(Verdicts(after), Verdicts(after), AT_US)) == []
    nobody = make_release(pops=after.pops, zones=after.zones, tenants=(), keys=())
    gone = list(differences(Verdicts(after), Verdicts(nobody), AT_US))
    assert {one.act for one in gone} == set(ASKED)
    assert not any(one.now for one in gone)


def test_an_act_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'eat' is no act; it is one of entry, enter, process"):
        check_act("eat")
