"""What an Idempotency-Key stands for: nobody is given what another key's rule or scope bars."""

from __future__ import annotations

from selvedge.exchange import BodyRead, Claim, Claimed, ReadBody, Record, repeats
from selvedge.exchange.drafts import open_receipt
from selvedge.ledger import Admitted
from tests.exchange.test_story import WRITTEN
from tests.exchange.test_story_quota import refusal, release_with, talk_to, view_with
from tests.support.fleets import BODY, NOW_US, make_head, make_view


def claim_of(data_class: str, body: bytes = BODY) -> Claim:
    admitted = Admitted("k", "acme", "web", data_class)
    head = make_head(idempotency_key="word")
    return repeats.claim(head, admitted, body, open_receipt(head, make_view("sin"), admitted))


def test_it_stands_for_one_data_class_and_body() -> None:
    first = claim_of("default")
    assert first == claim_of("default")
    assert first.key == claim_of("strict").key
    assert first.fingerprint != claim_of("strict").fingerprint
    assert first.fingerprint != claim_of("default", BODY + b" ").fingerprint


def test_a_model_outside_the_keys_scope_is_refused_before_the_claim() -> None:
    talk = talk_to(view_with(release_with(models=("other",))), idempotency_key="word")
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    talk.expect(Record, WRITTEN)
    assert refusal(talk).code == "key_scope"
    assert not talk.said(Claim)


def test_where_no_key_can_be_held_the_client_is_told_to_retry() -> None:
    talk = talk_to(view_with(release_with()), idempotency_key="word")
    talk.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    talk.expect(Claim, Claimed("full", NOW_US + 11))
    talk.expect(Record, WRITTEN)
    refused = refusal(talk)
    assert (refused.code, refused.kind.should_retry) == ("overloaded", True)
    assert refused.retry_after_ms == repeats.WAIT_MS
