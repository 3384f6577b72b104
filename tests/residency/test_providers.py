"""Providers are sites: a class that is bound to a zone never reaches one outside, by any way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.exchange import compile_release, view_at
from selvedge.exchange.story import open_receipt
from selvedge.fabric import (
    ACTS,
    Ask,
    BadRelease,
    CompiledRule,
    DataClass,
    Entity,
    Ingress,
    Policy,
    Refused,
    Release,
    Route,
    Tenant,
)
from selvedge.ledger import Admitted
from selvedge.residency import Judge, Rules, Verdicts, strandings
from selvedge.routing import LoadBook, Plan
from tests.support.fleets import (
    NOW_US,
    PEPPER,
    RELEASE_HASH,
    make_head,
    make_pop,
    make_provider,
    make_release,
)
from tests.support.policies import ENTITIES, under_policy

NIGHT_US = NOW_US + 1_000_000
EEA = frozenset({"DE", "FR", "IE", "IS"})
ASK = Ask(Route.CHAT, "chat", prompt_bytes=400)


@st.composite
def fleets(draw: st.DrawFn) -> Release:
    """Providers in the EEA, in the US and nowhere that is known, under a policy that changes."""
    where = draw(st.lists(st.sampled_from(["US", "DE", "IE", "unknown"]), min_size=1, max_size=5))
    abroad = tuple(make_provider(f"x{at}", country) for at, country in enumerate(where))
    pops = (make_pop("sin", draw(st.booleans())), make_pop("fra", draw(st.booleans())))
    bits = st.integers(0, 2 ** (len(pops) + len(abroad)) - 1).map(lambda one: format(one, "x"))
    rows = tuple(
        CompiledRule("r", from_us, *(draw(bits) for _ in ACTS)) for from_us in (0, NIGHT_US)
    )
    modes: tuple[Ingress, ...] = ("in-zone", "transit-allowed")
    mode = draw(st.sampled_from(modes))
    named = draw(st.sampled_from([None, "r"]))
    classes = (DataClass("strict", "eea", mode, policy=named),)
    return make_release(
        pops=pops,
        providers=abroad,
        tenants=(Tenant("eea", classes),),
        keys=(),
        policy=Policy("permit;", "{}", "t", "sha256:" + "0" * 64, rows),
    )


@settings(max_examples=300, deadline=None)
@given(
    fleets(),
    st.sampled_from([NOW_US, NIGHT_US - 1, NIGHT_US, NIGHT_US + 1]),
    st.sets(st.sampled_from(["sin", "fra", "fra/gpu", "x0/api", "x1/api", "x2/api"])),
    st.sampled_from([(), ("eea",), ("world",), ("asean",)]),
)
def test_a_class_bound_to_the_eea_never_reaches_a_provider_outside(
    release: Release, at_us: int, cooling: set[str], zones: tuple[str, ...]
) -> None:
    """Whoever cools and whatever lapses at midnight: every attempt, the last fallback too."""
    compiled = compile_release(release, RELEASE_HASH, PEPPER)
    country = {one.id: one.country for one in release.sites}
    bits = {one.id: bit for bit, one in enumerate(release.sites)}
    assert release.policy is not None
    for here in ("sin", "fra"):
        load = LoadBook()
        for place in cooling:
            load.cool(place, at_us + 1_000_000)
        view = view_at(compiled, here, {}, load.view)
        allowed = view.rules.allowed("eea", "strict", here, at_us, zones)
        if isinstance(allowed, Refused):
            continue
        members = view.rules.members(allowed.bits)
        plan = view.routes.rank(ASK, members, view.load, now_us=at_us)
        assert not set(allowed.rule.pops) - set(view.pops), "a ticket names PoPs alone"
        if not isinstance(plan, Plan):
            continue
        for attempt in plan.attempts:
            assert country[attempt.pop] in EEA
            assert attempt.country == country[attempt.pop]
            if release.tenants[0].classes[0].policy is not None:
                row = release.policy.rules[1 if at_us >= NIGHT_US else 0]
                assert int(row.process, 16) >> bits[attempt.pop] & 1


def test_a_policy_reads_of_a_provider_what_it_reads_of_a_pop() -> None:
    text = """
    permit(principal == Rule::"eu", action, resource) when { resource.groups.contains("EEA") };
    permit(principal == Rule::"eu", action == Action::"process", resource)
        when { resource.entity == "Vendor US" };
    forbid(principal == Rule::"eu", action == Action::"cache", resource == Site::"azure-se");
    """
    abroad = (make_provider("openai", "US"), make_provider("azure-se", "SE"))
    entities = (*ENTITIES, Entity("Vendor US", "US"), Entity("Vendor SE", "SE"))
    release = under_policy(
        make_release(providers=abroad), text, {("free", "default"): "eu"}, entities=entities
    )
    rules, verdicts = Rules(release), Verdicts(release)
    rule = rules.rule("free", "default", NOW_US)
    assert rule is not None
    assert rules.holds(rule.allowed, "azure-se")
    assert rules.holds(rule.cache, "fra")
    assert not rules.holds(rule.cache, "azure-se"), "a policy may name it"
    assert not rules.holds(rule.allowed, "sin")
    for site in ("openai", "azure-se"):
        assert not rules.holds(rule.enter, site)
        for act in ("entry", "enter", "log", "receipts", "keys"):
            verdict = verdicts.decide(("free", "default"), site, act, NOW_US)
            assert not verdict.allowed
            assert "nothing of ours is there" in verdict.fences[0].why


def test_a_class_that_providers_alone_can_serve_is_not_stranded() -> None:
    text = 'permit(principal == Rule::"r", action, resource);'
    zone = msgspec.structs.replace(make_release().zones[0], id="z", countries=("ID", "US"))
    tenants = (Tenant("t", (DataClass("c", "z", "in-zone"),)),)
    bare = make_release(
        pops=(make_pop("cgk", engines=False),), zones=(zone,), tenants=tenants, keys=()
    )
    assert [one.why for one in strandings(under_policy(bare, text, {("t", "c"): "r"}))]
    served = msgspec.structs.replace(bare, providers=(make_provider("openai", "US"),))
    assert not list(strandings(under_policy(served, text, {("t", "c"): "r"})))
    view = view_at(compile_release(served, RELEASE_HASH, PEPPER), "cgk", {}, LoadBook().view)
    refused = view.rules.allowed("t", "c", "elsewhere", NOW_US)
    assert isinstance(refused, Refused)
    assert "cgk.example.net" in refused.message, "a door is a PoP's"


def test_a_receipt_that_names_a_provider_is_judged_by_its_country() -> None:
    release = make_release(providers=(make_provider("openai", "US"), make_provider("az", "DE")))
    view = view_at(compile_release(release, RELEASE_HASH, PEPPER), "fra", {}, LoadBook().view)
    draft = open_receipt(make_head(), view, Admitted("eea", "eea", "default", "strict"))
    judge = Judge(release)

    def breaches(pop: str, country: str) -> set[str]:
        receipt = msgspec.structs.replace(
            draft,
            zone="eea",
            planned=(pop,),
            planned_in=(country,),
            served_pop=pop,
            served_engine="api",
            processed_in=country,
        )
        return {one.kind for one in judge.judge(receipt)}

    assert not breaches("az", "DE")
    assert breaches("openai", "US") == {"zone"}
    assert breaches("openai", "DE") == {"place", "zone"}
    assert breaches("nobody", "DE") == {"place"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "sin"}, "providers: 'sin' appears twice"),
        ({"country": "XX"}, "providers.x.country: 'XX' is not an ISO"),
        ({"engines": ()}, "providers.x.engines: a provider has at least one engine"),
        ({"latitude": 5.0}, "providers.x: has latitude and longitude, or neither"),
        ({"latitude": 5.0, "longitude": 500.0}, "longitude -180..180"),
        ({"rtt_ms": -1}, "providers.x.rtt_ms: is from 0 to 600000 ms"),
        ({"keys": ("no good",)}, "providers.x.keys: 'no good' is no name of a secret"),
        ({"keys": ("A", "A")}, "providers.x.keys: 'A' appears twice"),
        ({"keys": tuple(f"k{one}" for one in range(17))}, "names more than 16"),
    ],
)
def test_a_provider_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    fields = {"country": "US"} | changes
    name, country = fields.pop("id", "x"), fields.pop("country")

    def make() -> Release:
        return make_release(providers=(make_provider(name, country, **fields),))

    with pytest.raises(BadRelease) as raised:
        make()
    assert words in str(raised.value)
