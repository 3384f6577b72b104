"""Limits and scopes in the story: refused where they refuse, settled once, whatever the end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.exchange import (
    BodyRead,
    Command,
    Deliver,
    Drop,
    FleetView,
    Intend,
    ReadBody,
    Record,
    Refuse,
    Relay,
    Reply,
    Tally,
    serve,
)
from selvedge.fabric import Limits, Price, Project, Refused, Release, Route, Usage
from selvedge.ledger import Away, Holder
from selvedge.ledger.budgets import CONCURRENT
from tests.exchange.test_story import BODY_MAX, FULL, WRITTEN, failed, gone, relayed
from tests.exchange.test_story_laws import arrivals, ends, writes
from tests.support.conversation import Conversation
from tests.support.fleets import BODY, NOW_US, bearer, make_head, make_release, make_view

MINUTE = Limits(requests_per_minute=3)
PRICE = Price(input=1_000_000, output=2_000_000, cached=500_000)


def release_with(limits: Limits = MINUTE, price: Price | None = PRICE, **scope: Any) -> Release:
    """The example release; the key "free" has these limits and this scope."""
    release = make_release()
    keys = tuple(
        msgspec.structs.replace(key, limits=limits, **scope) if key.id == "free" else key
        for key in release.keys
    )
    models = tuple(msgspec.structs.replace(model, price=price) for model in release.models)
    return msgspec.structs.replace(release, keys=keys, models=models)


def view_with(release: Release, away: Away | None = None) -> FleetView:
    holder = Holder(away or Away(), output_tokens=10)
    return msgspec.structs.replace(make_view("sin", release), quotas=holder)


def talk_to(view: FleetView, **head: Any) -> Conversation:
    return Conversation(serve(make_head(bearer("free"), **head), view, BODY_MAX))


def at_relay(view: FleetView) -> Conversation:
    talk = talk_to(view)
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    talk.expect(Intend, WRITTEN)
    return talk


def used(view: FleetView, level: str = "key/free") -> list[int]:
    assert view.quotas is not None
    return [budget.used for budget in view.quotas._kept[level].budgets]


def refusal(talk: Conversation) -> Refused:
    (record,) = talk.said(Record)
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert record.receipt.code == ending.refused.code
    return ending.refused


def refused_at_the_head(view: FleetView) -> Refused:
    """Refused before its body was read, with a receipt."""
    talk = talk_to(view)
    talk.expect(Record, WRITTEN)
    return refusal(talk)


def refused_after_the_body(view: FleetView, body: bytes = BODY) -> Refused:
    talk = talk_to(view)
    talk.expect(ReadBody, BodyRead(body, NOW_US + 10))
    talk.expect(Record, WRITTEN)
    return refusal(talk)


def test_tokens_are_reserved_and_then_settled_by_the_receipt() -> None:
    view = view_with(release_with(Limits(9, 1000, 2, 10_000, 10_000)))
    talk = at_relay(view)
    estimate = len(BODY) // 4 + 1
    assert used(view) == [1, estimate + 10, 1, estimate + 20, estimate + 20]
    usage = Usage(3, cache_read=4, output=5, provenance="reported")
    talk.expect(Relay, relayed(usage=usage))
    # Prompt and output; cached tokens at their own price; concurrency is over.
    assert used(view) == [1, 12, 0, 15, 15]
    talk.expect(Record, WRITTEN)
    assert talk.end() == Deliver()
    assert used(view) == [1, 12, 0, 15, 15]


@pytest.mark.parametrize(
    ("reply", "requests", "tokens"),
    [
        (failed("engine_rejected"), 1, 0),
        (failed("deadline_exceeded", tokens=2, usage=Usage(5, output=2)), 1, 7),
        (gone(), 1, 0),
        (gone(tokens=2, usage=Usage(5, output=2), first_token_us=NOW_US + 60), 1, 7),
    ],
)
def test_each_end_bills_what_its_settlement_says(reply: Reply, requests: int, tokens: int) -> None:
    view = view_with(release_with(Limits(9, 1000, 2)))
    talk = at_relay(view)
    talk.expect(Relay, reply)
    assert used(view) == [requests, tokens, 0]
    talk.expect(Record, WRITTEN)


def test_what_never_came_to_an_engine_used_nothing() -> None:
    view = view_with(release_with(Limits(9, 1000, 2)))
    talk = talk_to(view)
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    talk.expect(Intend, FULL)
    assert used(view) == [0, 0, 0]
    talk.expect(Record, WRITTEN)


def test_requests_of_a_minute_are_refused_at_the_head_until_it_is_over() -> None:
    view = view_with(release_with())
    for _ in range(3):
        talk = at_relay(view)
        talk.expect(Relay, relayed())
        talk.expect(Record, WRITTEN)
    refused = refused_at_the_head(view)
    assert refused.code == "rate_limit_exceeded"
    assert refused.retry_after_ms == 60_000
    assert "requests_per_minute is 3" in refused.message
    talk = talk_to(view, received_us=NOW_US + 60_000_000)
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 60_000_010))


def test_a_limit_refusal_tells_the_levels() -> None:
    view = view_with(release_with(Limits(requests_per_minute=0)))
    talk = talk_to(view)
    talk.expect(Record, WRITTEN)
    ending = talk.end()
    assert isinstance(ending, Refuse)
    assert [level.name for level in ending.levels] == ["key/free"]


def test_concurrency_ends_with_the_request() -> None:
    view = view_with(release_with(Limits(concurrent_requests=1)))
    first = at_relay(view)
    refused = refused_at_the_head(view)
    assert (refused.code, refused.kind.should_retry) == ("concurrency_exceeded", True)
    first.expect(Relay, relayed())
    first.expect(Record, WRITTEN)
    at_relay(view)


def test_spent_money_is_no_matter_of_waiting() -> None:
    cost = len(BODY) // 4 + 1 + 20
    view = view_with(release_with(Limits(micro_dollars_per_day=cost)))
    talk = at_relay(view)
    talk.expect(Relay, relayed(usage=Usage(cost, provenance="reported")))
    talk.expect(Record, WRITTEN)
    refused = refused_at_the_head(view)
    assert (refused.code, refused.kind.should_retry) == ("insufficient_quota", False)
    assert refused.kind.status == 429


def test_one_request_that_exceeds_the_whole_limit() -> None:
    view = view_with(release_with(Limits(tokens_per_minute=25)))
    assert refused_after_the_body(view).code == "request_over_limit"
    fits = BODY[:-1] + b',"max_tokens":1}'
    talk = talk_to(view)
    talk.expect(ReadBody, BodyRead(fits, NOW_US + 10))


def test_an_unpriced_model_and_a_budget_in_money() -> None:
    view = view_with(release_with(Limits(micro_dollars_per_month=5), price=None))
    assert refused_after_the_body(view).code == "model_unpriced"


def test_an_unknown_model_is_told_as_such_and_takes_nothing() -> None:
    view = view_with(release_with(Limits(9, 1000, 2, 10)))
    talk = talk_to(view)
    talk.expect(ReadBody, BodyRead(BODY.replace(b"chat", b"none"), NOW_US + 10))
    talk.expect(Record, WRITTEN)
    assert refusal(talk).code == "model_not_found"
    assert used(view) == [0, 0, 0, 0]


def test_all_levels_must_admit_or_none_takes() -> None:
    release = release_with(Limits(requests_per_minute=9))
    tenants = tuple(
        msgspec.structs.replace(one, limits=Limits(requests_per_minute=9))
        if one.id == "free"
        else one
        for one in release.tenants
    )
    projects = (Project("default", "free", Limits(requests_per_minute=1)),)
    release = msgspec.structs.replace(release, tenants=tenants, projects=projects)
    view = view_with(release)
    at_relay(view)
    assert refused_at_the_head(view).message.startswith("project/free/default: ")
    assert [used(view, f"{one}") for one in ("key/free", "tenant/free")] == [[1], [1]]


# Scope.


@pytest.mark.parametrize(
    "scope",
    [{"routes": (Route.EMBEDDINGS.value,)}, {"zones": ("none",)}],
    ids=["route", "zone"],
)
def test_a_key_for_something_else_is_refused_at_the_head(scope: dict[str, Any]) -> None:
    release = release_with(Limits(), **{**scope, "zones": ()})
    if "zones" in scope:
        zone = release.zones[0].__class__("none", ("AQ",))
        release = msgspec.structs.replace(release, zones=(*release.zones, zone))
        keys = tuple(
            msgspec.structs.replace(key, zones=("none",)) if key.id == "free" else key
            for key in release.keys
        )
        release = msgspec.structs.replace(release, keys=keys)
    refused = refused_at_the_head(view_with(release))
    assert (refused.code, refused.kind.status) == ("key_scope", 403)


def test_a_key_for_another_model() -> None:
    refused = refused_after_the_body(view_with(release_with(Limits(), models=("embed",))))
    assert (refused.code, refused.param) == ("key_scope", "model")


def test_a_key_narrowed_to_a_zone_is_processed_there_alone() -> None:
    talk = at_relay(view_with(release_with(Limits(), zones=("eea",))))
    relay = talk.expect(Relay, relayed())
    assert relay.job.allowed == ("fra",)
    assert [attempt.pop for attempt in relay.attempts] == ["fra"]


# Laws.


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_however_it_goes_it_is_settled_once(data: st.DataObject) -> None:
    view = view_with(release_with(Limits(9, 1000, 2, 10_000, 10_000)))
    talk = talk_to(view)

    def answer(command: Command) -> Reply:
        match command:
            case ReadBody():
                return data.draw(arrivals)
            case Relay():
                return data.draw(ends())
            case _:
                return data.draw(writes)

    ending = talk.run(answer)
    assert isinstance(ending, Deliver | Refuse | Drop)
    assert view.quotas is not None
    (record,) = talk.said(Record)
    if "key/free" not in view.quotas._kept:
        return
    requests, tokens, running, day, month = used(view)
    assert running == 0
    assert requests == (1 if record.receipt.attempts else 0)
    assert min(tokens, day) >= 0
    assert day == month
    assert not talk.said(Tally)


@pytest.mark.parametrize("steps", range(3))
def test_a_story_that_is_broken_off_leaves_nothing_running(steps: int) -> None:
    """A fault of ours: the estimate stands, the slot does not."""
    view = view_with(release_with(Limits(9, 1000, 2)))
    story = serve(make_head(bearer("free")), view, BODY_MAX)
    next(story)
    for reply in (BodyRead(BODY, NOW_US + 10), WRITTEN)[:steps]:
        story.send(reply)
    story.close()
    budgets = view.quotas._kept["key/free"].budgets if view.quotas else []
    assert [one.used for one in budgets if one.kind == CONCURRENT] == [0]
    assert used(view)[0] == (1 if steps else 0)


def test_without_limits_nothing_is_kept() -> None:
    view = view_with(make_release())
    talk = at_relay(view)
    talk.expect(Relay, relayed())
    talk.expect(Record, WRITTEN)
    assert view.quotas is not None
    assert len(view.quotas) == 0
