"""Receipts of the past asked again of a release to come: what each fate is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from selvedge.control import at_stake
from selvedge.fabric import PROBE_TENANT, DataClass, Key, Outcome, Receipt, Release, Tenant, Zone
from selvedge.ledger import us_of_day
from selvedge.plan import Simulation
from tests.support.fleets import make_pop, make_release
from tests.support.money import book
from tests.support.residency import REFUSED_AT_THE_DOOR, served
from tests.support.shipping import make_receipt


def release(*countries: str, **changes: Any) -> Release:  # Any: fields of Release
    pops = [make_pop("sin"), make_pop("cgk"), make_pop("fra")]
    fields: dict[str, Any] = {
        "pops": tuple(pops),
        "zones": (Zone("asean", countries or ("SG", "ID")),),
        "tenants": (Tenant("acme", (DataClass("standard", "asean", "in-zone"),)),),
        "keys": (),
    }
    return make_release(**fields | changes)


def receipt(number: int = 1, **facts: Any) -> Receipt:  # Any: fields of Receipt
    given = served(tenant="acme", key="acme", model="chat", received_us=us_of_day("2026-11-05"))
    return make_receipt(number, **given | {"seq": number} | facts)


def fates(new: Release, *receipts: Receipt) -> dict[str, int]:
    found = Simulation(new)
    for one in receipts:
        found.take(one)
    return dict(found.fates)


def test_what_stays_as_it_was() -> None:
    assert fates(release(), receipt()) == {"same": 1}
    limited = receipt(code="rate_limit_exceeded", outcome=Outcome.REFUSED, served_pop=None)
    assert fates(release("DE"), limited) == {"same": 1}
    assert fates(release("DE"), receipt(tenant=PROBE_TENANT)) == {}


def test_what_would_have_been_refused() -> None:
    closed = Simulation(release("ID"))
    for number in range(1, 6):
        closed.take(receipt(number))
    assert dict(closed.fates) == {"refused": 5}
    row = closed.affected()[0]
    assert (row.tenant, row.rule, row.country, row.pop) == ("acme", "acme/standard", "SG", "sin")
    assert row.why == "451 residency_ingress"
    assert (row.receipts, len(row.examples)) == (5, 3)
    gone = Simulation(release(tenants=(Tenant("x", (DataClass("y", "asean", "in-zone"),)),)))
    gone.take(receipt())
    assert gone.affected()[0].why == "451 residency_no_allowed_pop"


def test_a_key_that_is_narrowed_is_asked_as_such() -> None:
    zones = (Zone("asean", ("SG", "ID")), Zone("id", ("ID",)))
    key = Key("acme", "acme", "standard", "0" * 64, zones=("id",))
    assert fates(release(zones=zones, keys=(key,)), receipt()) == {"refused": 1}


def test_what_would_have_gone_elsewhere_or_found_no_engine() -> None:
    transit = (Tenant("acme", (DataClass("standard", "asean", "transit-allowed"),)),)
    assert fates(release("DE", tenants=transit), receipt()) == {"elsewhere": 1}
    assert fates(release(), receipt(model="none such")) == {"unserved": 1}
    careful = DataClass("standard", "asean", "in-zone", handling=("no-training",))
    assert fates(release(tenants=(Tenant("acme", (careful,)),)), receipt()) == {"unserved": 1}
    assert fates(release(), receipt(model=None)) == {"same": 1}


def test_what_was_refused_and_would_be_served() -> None:
    refused = receipt(**REFUSED_AT_THE_DOOR)
    assert fates(release(), refused) == {"served": 1}
    assert fates(release("ID"), refused) == {"same": 1}


def test_money_at_stake_is_what_they_billed() -> None:
    found = Simulation(release("ID"))
    priced = receipt(model="small")
    found.take(priced)
    # 1,234 prompt tokens and 77 of an answer, of `row`: 150,001 and 600,007 a million.
    assert at_stake(found, book()) == {"acme": 185 + 46}
    found.take(receipt(2, model="no price"))
    assert at_stake(found, book()) == {}
    assert at_stake(Simulation(release()), book()) == {}


@pytest.mark.parametrize("order", [1, -1])
def test_rows_come_in_one_order(order: int) -> None:
    found = Simulation(release("DE"))
    for one in [receipt(1), receipt(2), receipt(3, rule="acme/b")][::order]:
        found.take(one)
    assert [one.receipts for one in found.affected()] == [2, 1]
    assert msgspec.json.encode(found.affected())
