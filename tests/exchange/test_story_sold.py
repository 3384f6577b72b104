"""Where models are sold, one without a price is refused: whoever asks, and never for nothing."""

from __future__ import annotations

import msgspec
import pytest

from selvedge.exchange import BodyRead, Intend, ReadBody, Record, Refuse, serve
from selvedge.fabric import Outcome, Price, Priced, Release
from selvedge.ledger import Away, Holder, settle
from selvedge.pop.metrics import Metrics
from tests.exchange.test_story import BODY_MAX, WRITTEN
from tests.pop.test_metrics import samples
from tests.support.conversation import Conversation
from tests.support.fleets import BODY, NOW_US, bearer, make_head, make_release, make_view

SOLD = Priced(1, "sha256:" + "ab" * 32, "2027-01-15")


def talk(price: Price | None, *, sold: bool = True, counted: bool = False) -> Conversation:
    release: Release = make_release(priced=SOLD if sold else None)
    models = tuple(msgspec.structs.replace(model, price=price) for model in release.models)
    view = make_view("sin", msgspec.structs.replace(release, models=models))
    if counted:
        view = msgspec.structs.replace(view, quotas=Holder(Away()))
    found = Conversation(serve(make_head(bearer("free")), view, BODY_MAX))
    found.expect(ReadBody, BodyRead(BODY, NOW_US + 10))
    return found


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("price", [None, Price(1, 1, until_us=NOW_US + 10)])
def test_a_model_without_a_price_is_not_sold(price: Price | None, counted: bool) -> None:
    refused = talk(price, counted=counted)
    refused.expect(Record, WRITTEN)
    (record,) = refused.said(Record)
    assert (record.receipt.code, record.receipt.status) == ("model_unpriced", 503)
    assert record.receipt.outcome is Outcome.FAILED
    assert settle(record.receipt).row == "refused_selvedge"
    ending = refused.end()
    assert isinstance(ending, Refuse)
    assert not ending.refused.kind.should_retry
    assert "has to publish a price" in ending.refused.message
    metrics = Metrics("sin")
    assert samples(metrics)["selvedge_requests_unpriced_total[]"] == 0
    metrics.recorded(record.receipt)
    assert samples(metrics)["selvedge_requests_unpriced_total[]"] == 1


@pytest.mark.parametrize("price", [Price(0, 0), Price(1, 1, until_us=NOW_US + 11)])
def test_a_model_with_a_price_is_sold(price: Price) -> None:
    served = talk(price)
    served.expect(Intend, WRITTEN)


def test_where_nothing_is_sold_no_price_is_asked_for() -> None:
    talk(None, sold=False)
