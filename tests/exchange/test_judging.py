"""The story of a judgement: where it may go, what is written of it, and that it ends there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from selvedge.exchange import (
    BodyRead,
    Deliver,
    Drop,
    FleetView,
    Intend,
    Judged,
    NotWritten,
    ReadBody,
    Recall,
    Record,
    Refuse,
    Relay,
    Remember,
    judgement,
    serve,
)
from selvedge.fabric import (
    CacheRule,
    DataClass,
    Model,
    Outcome,
    Preferences,
    Provider,
    Receipt,
    Refused,
    Release,
    Served,
    Tenant,
    Usage,
)
from selvedge.ledger import (
    SALT_BYTES,
    Admitted,
    UsageAsked,
    fold,
    row_of_receipt,
    seal,
    settle,
)
from selvedge.ledger import judge as judge_service
from selvedge.routing import Load
from tests.exchange.test_story import FULL, SIN, USAGE, WRITTEN, failed, gone, relayed
from tests.support.conversation import Conversation
from tests.support.fleets import (
    NOW_US,
    bearer,
    make_head,
    make_pop,
    make_provider,
    make_release,
    make_view,
)

BODY = (
    b'{"model":"chat","messages":[{"role":"user","content":"CANARY"}],"temperature":0,'
    b'"max_tokens":8}'
)
ENTRY = "ce_" + "0" * 24
DIGEST = "sha256:" + "33" * 32


def admitted(view: FleetView, key: str = "asean") -> Admitted:
    found = view.keyring.admit(bearer(key), NOW_US)
    assert isinstance(found, Admitted)
    return found


def begin(
    view: FleetView | None = None,
    key: str = "asean",
    *,
    prefers: Preferences | None = None,
    body: bytes = BODY,
    **asker: Any,
) -> Conversation:
    view = make_view("sin") if view is None else view
    who = msgspec.structs.replace(admitted(view, key), **asker)
    judged = Judged(who, prefers, "rcpt_asked")
    head = make_head(None, purpose="judge", wait_ms_max=0)
    return Conversation(judgement(head, judged, ENTRY, body, view))


def refused(talk: Conversation) -> Refused:
    """Why nobody was asked: and then nothing was written."""
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert talk.commands == []
    assert not ending.receipt
    return ending.refused


def test_a_judgement_is_asked_and_written_down() -> None:
    talk = begin()
    intent = talk.expect(Intend, WRITTEN).receipt
    job = talk.expect(Relay, relayed()).job
    receipt = talk.expect(Record, WRITTEN).receipt
    assert isinstance(talk.end(), Deliver)
    assert (job.body, job.tenant, job.levels, job.scope) == (BODY, "asean", (), "")
    for one in (intent, receipt):
        assert (one.purpose, one.cache, one.cache_entry) == ("judge", "off", ENTRY)
        assert (one.cache_from, one.tenant, one.key) == ("rcpt_asked", "asean", "asean")
        assert (one.rule, one.zone, one.planned) == ("asean/default", "asean", ("sin",))
    assert (receipt.outcome, receipt.usage, receipt.processed_in) == (
        Outcome.COMPLETE,
        USAGE,
        "SG",
    )
    assert not [one for one in talk.commands if isinstance(one, Recall | Remember)]


def test_nothing_of_a_person_is_written() -> None:
    talk = begin()
    personal = talk.expect(Intend, WRITTEN).personal
    assert not any(msgspec.structs.astuple(personal))


def test_it_bills_nobody_and_is_nobodys_usage() -> None:
    talk = begin()
    talk.expect(Intend, WRITTEN)
    talk.expect(Relay, relayed())
    receipt = talk.expect(Record, WRITTEN).receipt
    assert settle(receipt).row == "judge"
    assert settle(receipt).billed == Usage()
    row = row_of(receipt)
    assert judge_service(row) == "judge"
    assert fold([row], UsageAsked(("tenant",))) == {}
    assert fold([row], UsageAsked(("settled_by",))) == {}


def row_of(receipt: Receipt) -> Any:  # Any: a row of usage
    return row_of_receipt(seal(receipt, 1, bytes(SALT_BYTES), None), receipt)


# Where it may go


def with_judge(*, at: str, **changes: Any) -> Release:
    """The example release; the model `judge` is served at one PoP alone."""
    release = make_release()
    judge = Model("judge", "chat", DIGEST, "F16", 4096)
    pops = tuple(
        msgspec.structs.replace(
            pop,
            engines=tuple(
                msgspec.structs.replace(one, serves=(*one.serves, Served("judge", "j")))
                if pop.id == at and one.id == f"{at}-chat"
                else one
                for one in pop.engines
            ),
        )
        for pop in release.pops
    )
    return msgspec.structs.replace(release, models=(*release.models, judge), pops=pops, **changes)


JUDGE = BODY.replace(b'"chat"', b'"judge"')


def test_the_only_judge_outside_the_zone_is_not_asked() -> None:
    view = make_view("sin", with_judge(at="fra"))
    assert refused(begin(view, body=JUDGE)).code == "residency_model"
    # It is there, for whom the whole world will do:
    talk = begin(view, "free", body=JUDGE)
    assert talk.expect(Intend, WRITTEN).receipt.planned == ("fra",)


def test_where_the_request_could_not_enter_no_judge_is_asked() -> None:
    view = make_view("fra")
    assert refused(begin(view)).code == "residency_ingress"


def test_the_keys_zones_narrow_it() -> None:
    view = make_view("sin", with_judge(at="fra"))
    assert refused(begin(view, "free", body=JUDGE, zones=("asean",))).code == "residency_model"


@pytest.mark.parametrize(
    "prefers",
    [
        Preferences(zone="asean"),
        Preferences(ignore=("fra",)),
        Preferences(only=("sin",)),
        Preferences(order=("sin",), fallbacks=False),
        Preferences(handling=("no-training",)),
    ],
)
def test_what_the_request_ruled_out_is_not_asked(prefers: Preferences) -> None:
    view = make_view("sin", with_judge(at="fra"))
    assert refused(begin(view, "free", body=JUDGE, prefers=prefers)).kind.fault in (
        "caller",
        "policy",
    )


def test_what_the_answer_may_cost_or_weigh_is_no_matter_of_the_judges() -> None:
    view = make_view("sin")
    prefers = Preferences(quantisations=("fp32",), prompt_max=1, sort="price", order=("fra",))
    talk = begin(view, prefers=prefers)
    assert talk.expect(Intend, WRITTEN).receipt.planned == ("sin",)


def test_a_release_that_moved_the_border_holds() -> None:
    release = make_release()
    tenants = (Tenant("asean", (DataClass("default", "eea", "in-zone"),)), *release.tenants[1:])
    old, new = make_view("sin"), make_view("sin", msgspec.structs.replace(release, tenants=tenants))
    judged = Judged(admitted(old), None, "rcpt_asked")
    head = make_head(None, purpose="judge", wait_ms_max=0)
    assert refused(Conversation(judgement(head, judged, ENTRY, BODY, new))).rule == "asean/default"


def provided(*providers: Provider) -> FleetView:
    pops = (make_pop("sin"), make_pop("fra"), make_pop("cgk", engines=False))
    return make_view("sin", make_release(pops=pops, providers=providers))


def test_a_clients_own_provider_is_not_asked_under_our_secret() -> None:
    view = provided(make_provider("vendor", "SG"))
    assert refused(begin(view, passes_to="vendor")).code == "no_provider_left"
    talk = begin(view, passes_to="vendor", falls_back=True)
    assert talk.expect(Intend, WRITTEN).receipt.planned == ("sin",)


# How it ends


def test_one_engine_is_asked_and_no_other_after_it() -> None:
    talk = begin(make_view("sin"), "free")
    assert talk.expect(Intend, WRITTEN).receipt.planned == ("sin",)
    talk.expect(Relay, failed("engine_failed"))
    receipt = talk.expect(Record, WRITTEN).receipt
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert ending.receipt
    assert (receipt.outcome, receipt.purpose) == (Outcome.FAILED, "judge")


def test_who_waits_no_more_has_a_receipt() -> None:
    talk = begin()
    talk.expect(Intend, WRITTEN)
    talk.expect(Relay, gone(served=SIN, usage=USAGE))
    receipt = talk.expect(Record, WRITTEN).receipt
    assert isinstance(talk.end(), Drop)
    assert (receipt.outcome, receipt.usage) == (Outcome.CLIENT_GONE, USAGE)
    assert settle(receipt).billed == Usage()


def test_busy_engines_are_left_to_those_who_wait_for_an_answer() -> None:
    busy = Load({"sin/sin-chat": 1_000_000}, frozenset())
    found = refused(begin(make_view("sin", load=busy)))
    assert found.code == "no_engine_available"


def test_what_cannot_be_written_down_is_not_asked() -> None:
    talk = begin()
    talk.expect(Intend, FULL)
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert (ending.refused.code, ending.receipt) == ("receipt_unwritable", False)


def test_an_answer_without_a_receipt_is_no_word() -> None:
    talk = begin()
    talk.expect(Intend, WRITTEN)
    talk.expect(Relay, relayed(tokens=0))
    talk.expect(Record, NotWritten("disk full", NOW_US + 99))
    assert isinstance(talk.end(), Refuse)


def test_a_class_whose_model_judges_says_for_whom() -> None:
    """Only then: no other request carries its key about."""
    for judge, told in (("engine:chat", True), ("embedding", False), ("exact", False)):
        rule = CacheRule(semantic="static", judge=judge)
        one = DataClass("default", "asean", "in-zone", cache=rule)
        release = make_release()
        tenants = (Tenant("asean", (one,)), *release.tenants[1:])
        view = make_view("sin", msgspec.structs.replace(release, tenants=tenants))
        talk = Conversation(serve(make_head(bearer("asean")), view, 10_000))
        talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
        recall = talk.commands[-1]
        assert isinstance(recall, Recall)
        assert (recall.admitted is not None) is told
