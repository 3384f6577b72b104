"""The cache in the story: what is asked of it, which answers it may give, and what is written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.cache import Candidate, Scope, read_asked
from selvedge.exchange import (
    BodyRead,
    ClientLeft,
    Deliver,
    Drop,
    Intend,
    NotWritten,
    ReadBody,
    Recall,
    Recalled,
    Record,
    Refuse,
    Relay,
    Remember,
    Reuse,
    serve,
)
from selvedge.fabric import (
    Ask,
    CacheRule,
    CacheWish,
    CompiledRule,
    DataClass,
    Handling,
    Limits,
    Outcome,
    Policy,
    Refused,
    Release,
    Route,
    Tenant,
    Usage,
)
from selvedge.ledger import Away, Holder, row_of, row_of_receipt, seal, settle
from selvedge.ledger import judge as judge_service
from selvedge.residency import Judge
from selvedge.wire import parse
from tests.exchange.test_story import FULL, WRITTEN, failed, relayed
from tests.support.conversation import Conversation
from tests.support.fleets import (
    BODY,
    NOW_US,
    bearer,
    make_head,
    make_provider,
    make_release,
    make_view,
)

EXACT = CacheRule()
STATIC = CacheRule(semantic="static")
DIGEST = "sha256:" + "11" * 32
SCOPE = Scope("free", "default", "world")
AT_US = NOW_US + 20
USED = Usage(30, output=12, provenance="reported")


def cached(rule: CacheRule | None = EXACT, **fields: Any) -> Release:
    """The example release, whose tenant ``free`` has a cache."""
    one = DataClass("default", "world", "transit-allowed", cache=rule)
    free = Tenant("free", (msgspec.structs.replace(one, **fields),))
    return make_release(tenants=(*make_release().tenants[:-1], free))


def begin(release: Release | None = None, **head: Any) -> Conversation:
    view = make_view("sin", cached() if release is None else release)
    talk = Conversation(serve(make_head(bearer("free"), **head), view, 10_000))
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    return talk


def kept(**changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        "id": "ce_1",
        "scope": SCOPE,
        "model": "chat",
        "model_digest": DIGEST,
        "made_us": NOW_US - 60_000_000,
        "ttl_us": 3_600_000_000,
        "receipt": "rcpt_first",
        "finish_reason": "stop",
        "usage": USED,
        "served_pop": "fra",
        "served_engine": "fra-chat",
        "country": "DE",
        "entity": "Example DE",
    }
    return Candidate(**fields | changes)


def answered(talk: Conversation, *found: Candidate) -> str:
    """What becomes of a request to which the cache says this."""
    talk.expect(Recall, Recalled(found, AT_US))
    said = talk.commands[-1]
    assert isinstance(said, Intend | Record)
    return said.receipt.cache


def test_a_hit_has_a_receipt_and_asks_no_engine() -> None:
    talk = begin()
    recall = talk.expect(Recall, Recalled((kept(),), AT_US))
    ask = parse(Route.CHAT, BODY)
    assert isinstance(ask, Ask)
    asked = read_asked(ask, BODY, DIGEST)
    assert asked is not None
    assert recall == Recall(SCOPE, EXACT, CacheWish(), asked, ask, "free")
    receipt = talk.expect(Record, WRITTEN).receipt
    assert talk.end() == Reuse(kept(), 60)
    assert not talk.said(Intend)
    assert (receipt.cache, receipt.cache_entry, receipt.cache_from) == ("hit", "ce_1", "rcpt_first")
    assert (receipt.cache_similarity, receipt.usage) == (1_000_000, USED)
    assert (receipt.attempts, receipt.planned, receipt.outcome) == ((), (), Outcome.COMPLETE)
    assert (receipt.served_pop, receipt.processed_in) == ("fra", "DE")
    assert (receipt.first_token_us, receipt.ended_us) == (None, AT_US)
    assert (row_of(receipt), settle(receipt).billed) == ("cache_hit", Usage())


def test_a_hit_uses_nothing_of_limits_breaches_no_rule_and_counts_as_good() -> None:
    """What it had reserved is given back; the auditor's judge and the service level agree."""
    release = cached()
    limits = Limits(requests_per_minute=9, tokens_per_minute=9000, concurrent_requests=2)
    keys = tuple(
        msgspec.structs.replace(one, limits=limits) if one.id == "free" else one
        for one in release.keys
    )
    release = msgspec.structs.replace(release, keys=keys)
    holder = Holder(Away(), output_tokens=10)
    view = msgspec.structs.replace(make_view("sin", release), quotas=holder)
    talk = Conversation(serve(make_head(bearer("free")), view, 10_000))
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    assert [one.used for one in holder._kept["key/free"].budgets] != [0, 0, 0]
    talk.expect(Recall, Recalled((kept(),), AT_US))
    receipt = talk.expect(Record, WRITTEN).receipt
    assert [one.used for one in holder._kept["key/free"].budgets] == [0, 0, 0]
    ending = talk.end()
    assert isinstance(ending, Reuse)
    assert [one.name for one in ending.levels] == ["key/free"]
    assert Judge(release).judge(receipt) == []
    sealed = seal(receipt, 1, bytes(32), None)
    row = row_of_receipt(sealed, receipt)
    assert (row.made, row.sums.output, judge_service(row)) == (0, 0, "from_cache")


def test_what_a_provider_answered_is_given_again_while_it_is_allowed() -> None:
    release = msgspec.structs.replace(cached(), providers=(make_provider("vendor-us", "US"),))
    found = kept(served_pop="vendor-us", served_engine="api", country="US", entity="Vendor US")
    assert answered(begin(release), found) == "hit"
    moved = msgspec.structs.replace(release, providers=(make_provider("vendor-us", "CA"),))
    assert answered(begin(moved), found) == "miss"


def test_a_hit_that_cannot_be_written_down_is_not_given() -> None:
    talk = begin()
    talk.expect(Recall, Recalled((kept(),), AT_US))
    talk.expect(Record, FULL)
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert (ending.refused.code, ending.receipt) == ("receipt_unwritable", False)


def test_a_miss_is_kept_before_its_receipt() -> None:
    talk = begin()
    recall = talk.expect(Recall, Recalled((), AT_US))
    assert talk.expect(Intend, WRITTEN).receipt.cache == "miss"
    talk.expect(Relay, relayed())
    assert talk.expect(Remember, FULL).recall is recall
    receipt = talk.expect(Record, WRITTEN).receipt
    assert (receipt.cache, receipt.cache_entry, row_of(receipt)) == ("miss", None, "complete")
    assert talk.end() == Deliver()


@pytest.mark.parametrize("reason", ["length", "content_filter", "function_call", None, "strange"])
def test_what_did_not_end_whole_is_not_kept(reason: str | None) -> None:
    talk = begin()
    talk.expect(Recall, Recalled((), AT_US))
    talk.expect(Intend, WRITTEN)
    talk.expect(Relay, relayed(finish_reason=reason))
    talk.expect(Record, WRITTEN)


def test_what_failed_is_not_kept() -> None:
    talk = begin()
    talk.expect(Recall, Recalled((), AT_US))
    talk.expect(Intend, WRITTEN)
    talk.expect(Relay, failed("engine_interrupted", tokens=3))
    assert talk.expect(Record, WRITTEN).receipt.cache == "miss"


def test_several_choices_are_not_kept() -> None:
    view = make_view("sin", cached())
    talk = Conversation(serve(make_head(bearer("free")), view, 10_000))
    talk.expect(ReadBody, BodyRead(BODY[:-1] + b',"n":2}', NOW_US))
    talk.expect(Recall, Recalled((), AT_US))
    talk.expect(Intend, WRITTEN)
    talk.expect(Relay, relayed())
    talk.expect(Record, WRITTEN)


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": Scope("asean", "default", "world")},
        {"scope": Scope("free", "other", "world")},
        {"scope": Scope("free", "default", "eea")},
        {"scope": Scope("free", "default", "world", "2026")},
        {"model": "other"},
        {"model_digest": "sha256:" + "33" * 32},
        {"made_us": AT_US - 3_600_000_000},
        {"finish_reason": "length"},
        {"served_pop": "gone"},
        {"country": "FR"},
        {"same": False, "similarity": 0.99},
    ],
    ids=str,
)
def test_what_does_not_fit_is_not_given(changes: dict[str, Any]) -> None:
    assert answered(begin(), kept()) == "hit"
    assert answered(begin(), kept(**changes)) == "miss"
    assert answered(begin(), kept(**changes), kept()) == "hit"


@pytest.mark.parametrize(
    ("wish", "changes", "ends"),
    [
        (CacheWish(reuses=False), {}, "miss"),
        (CacheWish(age_s_max=59), {}, "miss"),
        (CacheWish(age_s_max=61), {}, "hit"),
        (CacheWish(fresh_s_min=3539), {}, "hit"),
        (CacheWish(fresh_s_min=3540), {}, "miss"),
        (CacheWish(age_s_max=0), {"made_us": AT_US + 5}, "hit"),  # the clock was moved back
        (None, {"same": False, "similarity": 0.95}, "hit"),
        (None, {"same": False, "similarity": 0.94}, "miss"),
        (None, {"same": False, "similarity": 0.99, "sure": False}, "miss"),
        (CacheWish(threshold=0.8), {"same": False, "similarity": 0.8}, "hit"),
        (CacheWish(threshold=0.99), {"same": False, "similarity": 0.98}, "miss"),
        (CacheWish(threshold=1.0), {}, "hit"),
    ],
)
def test_a_request_says_which_answers_will_do(
    wish: CacheWish | None, changes: dict[str, Any], ends: str
) -> None:
    assert answered(begin(cached(STATIC), cache=wish), kept(**changes)) == ends


def test_the_rule_of_a_mode_that_decides_has_no_threshold_of_its_own() -> None:
    release = cached(CacheRule(semantic="bounded"))
    like = kept(same=False, similarity=0.7)
    assert answered(begin(release), like) == "hit"
    assert answered(begin(release, cache=CacheWish(threshold=0.9)), like) == "miss"
    talk = begin(release)
    talk.expect(Recall, Recalled((like,), AT_US))
    assert talk.expect(Record, WRITTEN).receipt.cache_similarity == 700_000


def test_neither_found_nor_kept_is_not_even_looked_at() -> None:
    talk = begin(cache=CacheWish(reuses=False, keeps=False))
    assert talk.expect(Intend, WRITTEN).receipt.cache == "off"


def test_a_new_answer_is_kept_in_place_of_the_old() -> None:
    talk = begin(cache=CacheWish(reuses=False))
    assert answered(talk, kept()) == "miss"
    talk.expect(Intend, WRITTEN)
    talk.expect(Relay, relayed())
    assert talk.expect(Remember, FULL)


@pytest.mark.parametrize("rule", [None, EXACT])
def test_only_if_cached(rule: CacheRule | None) -> None:
    talk = begin(cached(rule), cache=CacheWish(only_if_cached=True))
    if rule is not None:
        talk.expect(Recall, Recalled((), AT_US))
    receipt = talk.expect(Record, WRITTEN).receipt
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert (ending.refused.code, receipt.status) == ("not_cached", 504)
    assert receipt.cache == ("off" if rule is None else "miss")
    assert row_of(receipt) == "refused_caller"


def test_a_wish_that_cannot_be_read_is_told_where_there_is_a_cache() -> None:
    bad = Refused("invalid_header", "max-age is a number.", param="cache-control")
    assert begin(cached(None), cache=bad).expect(Intend, WRITTEN)
    talk = begin(cache=bad)
    assert talk.expect(Record, WRITTEN).receipt.code == "invalid_header"


def test_a_client_that_leaves_while_it_waits() -> None:
    talk = begin()
    talk.expect(Recall, ClientLeft(AT_US))
    receipt = talk.expect(Record, WRITTEN).receipt
    assert (receipt.outcome, receipt.cache) == (Outcome.CLIENT_GONE, "miss")
    assert talk.end() == Drop()


def test_a_deadline_that_passes_while_it_waits() -> None:
    talk = begin(deadline_us=AT_US)
    talk.expect(Recall, Recalled((), AT_US))
    receipt = talk.expect(Record, WRITTEN).receipt
    assert (receipt.code, row_of(receipt)) == ("deadline_exceeded", "deadline_before")


def test_a_recall_that_fails_is_no_reason_to_refuse() -> None:
    talk = begin()
    talk.expect(Recall, NotWritten("no cache", AT_US))
    assert talk.expect(Intend, WRITTEN).receipt.cache == "miss"


@pytest.mark.parametrize(
    "release",
    [
        cached(None),
        cached(EXACT, zone="eea"),  # entered in transit
        cached(CacheRule(models=("embed",))),
    ],
    ids=["no-rule", "transit", "model"],
)
def test_where_nothing_may_be_kept_nothing_is_asked(release: Release) -> None:
    talk = begin(release)
    assert not talk.said(Recall)


def test_probes_ask_engines() -> None:
    assert not begin(purpose="probe").said(Recall)


@pytest.mark.parametrize(("honours", "ends"), [(("no-training",), "hit"), ((), "miss")])
def test_who_made_it_must_honour_the_class_now(honours: tuple[Handling, ...], ends: str) -> None:
    release = cached(EXACT, handling=("no-training",))
    pops = tuple(
        msgspec.structs.replace(
            pop,
            engines=tuple(msgspec.structs.replace(one, honours=honours) for one in pop.engines),
        )
        for pop in release.pops
    )
    talk = begin(msgspec.structs.replace(release, pops=pops))
    assert answered(talk, kept()) == ends


# What can never be: a hit across tenants, classes, zones, policies or narrowed keys.

KEYS_ZONES = [(), ("asean",), ("asean", "eea")]


def ruled(version: str) -> Policy:
    every = dict.fromkeys(("enter", "process", "cache", "log", "receipts", "keys"), "7")
    row = CompiledRule("clinic", 0, **every)
    return Policy("permit", "{}", version, "sha256:" + "ab" * 32, (row,))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Release, str]:
    """A release in which every tenant has a cache, and the key that asks."""
    version = draw(st.sampled_from([None, "2026-07-01", "2026-08-01"]))
    named = draw(st.booleans()) and version is not None
    tenants = tuple(
        msgspec.structs.replace(
            tenant,
            classes=tuple(
                msgspec.structs.replace(
                    one, ingress="transit-allowed", cache=EXACT, policy="clinic" if named else None
                )
                for one in tenant.classes
            ),
        )
        for tenant in make_release().tenants
    )
    key = draw(st.sampled_from(["asean", "free", "eea"]))
    zones = draw(st.sampled_from(KEYS_ZONES))
    keys = tuple(
        msgspec.structs.replace(one, zones=zones) if one.id == key else one
        for one in make_release().keys
    )
    policy = ruled(version) if version is not None else None
    return make_release(tenants=tenants, keys=keys, policy=policy), key


TEXTS = st.sampled_from(["CANARY", "canary", "CANARY ", "CANARY\\u0000", '\\"},{\\"role\\":']) | (
    st.text("ab /:", max_size=6)
)


def who(release: Release, key: str, body: bytes) -> tuple[object, ...]:
    """All that must agree, read from the release itself."""
    held = next(one for one in release.keys if one.id == key)
    tenant = next(one for one in release.tenants if one.id == held.tenant)
    kind = next(one for one in tenant.classes if one.id == held.data_class)
    version = release.policy.version if release.policy and kind.policy else None
    text = msgspec.json.decode(body)["messages"][0]["content"]
    return tenant.id, kind.id, kind.zone, kind.policy, version, held.zones, text


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(worlds(), TEXTS), min_size=2, max_size=8), st.sampled_from(["sin", "fra"])
)
def test_a_hit_never_crosses(asked: list[tuple[tuple[Release, str], str]], here: str) -> None:
    """A store that offers whatever it ever kept to everybody: the story alone keeps them apart."""
    shelf: dict[str, tuple[bytes, Candidate, tuple[object, ...]]] = {}
    for number, ((release, key), text) in enumerate(asked):
        view, body = make_view(here, release), BODY.replace(b"CANARY", text.encode())
        talk = Conversation(serve(make_head(bearer(key)), view, 10_000))
        if not talk.said(ReadBody):
            continue  # it may not enter here
        talk.expect(ReadBody, BodyRead(body, NOW_US + 10))
        if not talk.said(Recall):
            continue  # nothing of it may be kept here
        (recall,) = talk.said(Recall)
        exact = recall.asked.exact
        offered = tuple(one for name, one, _ in shelf.values() if name == exact)
        if answered(talk, *offered) == "hit":
            (record,) = talk.said(Record)
            assert shelf[record.receipt.cache_entry or ""][2] == who(release, key, body)
        else:
            assert not [one for one in shelf.values() if one[2] == who(release, key, body)]
            pop = view.pops[here]
            one = kept(
                id=f"ce_{number}", scope=recall.scope, served_pop=pop.id, country=pop.country
            )
            shelf[one.id] = (exact, one, who(release, key, body))
