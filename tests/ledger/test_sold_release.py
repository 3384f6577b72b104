"""Releases that are sold: which prices they carry, and what is not published."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from selvedge.fabric import BadRelease, Model, Price, Release
from selvedge.ledger import PriceBook, PriceList, PriceRow, is_due, sell, served_models
from tests.support.fleets import make_release

CHAT = PriceRow(model="chat", input=100, output=200)
EMBED = PriceRow(model="embed", input=10, output=0)
DAY = "2026-11-22"
HASH = "sha256:" + "ab" * 32


def listed(*rows: PriceRow) -> PriceList:
    return PriceList(PriceBook(version=3, prices=rows))


def chat(**changes: Any) -> PriceRow:  # Any: fields of a row
    return msgspec.structs.replace(CHAT, **changes)


def sold(*rows: PriceRow, release: Release | None = None) -> Release:
    return sell(release or make_release(), listed(*rows, EMBED), HASH, DAY)


def price_of(release: Release, model: str = "chat") -> Price | None:
    return next(one.price for one in release.models if one.id == model)


def test_models_get_their_list_price() -> None:
    made = sold(CHAT)
    assert price_of(made) == Price(100, 200, 100, 100)
    assert price_of(made, "embed") == Price(10, 0, 10, 10)
    assert made.priced is not None
    assert (made.priced.version, made.priced.hash, made.priced.day) == (3, HASH, DAY)
    assert made.priced.until is None
    assert msgspec.json.decode(msgspec.json.encode(made), type=Release) == made


def test_a_served_model_without_a_price_stops_the_publication() -> None:
    with pytest.raises(BadRelease, match=r"models\.chat\.price: .* book 3 .* in zone 'asean'"):
        sell(make_release(), listed(EMBED), HASH, DAY)
    with pytest.raises(BadRelease, match=r"in zone 'world' on 2026-11-22"):
        sold(chat(zone="asean"), chat(zone="eea"))
    with pytest.raises(BadRelease, match=r"models\.chat\.price"):
        sold(chat(since="2026-11-23"))
    with pytest.raises(BadRelease, match=r"models\.chat\.price"):
        sold(chat(until=DAY))
    assert sold(chat(zone="asean"), chat(zone="eea"), chat(zone="world"))


def test_a_model_that_nobody_serves_needs_no_price_and_loses_the_files() -> None:
    idle = Model("idle", "chat", "unknown", "F16", 4096, price=Price(1, 1))
    release = make_release()
    release = msgspec.structs.replace(release, models=(*release.models, idle))
    made = sold(CHAT, release=release)
    assert price_of(made, "idle") is None
    assert served_models(made) == {"chat", "embed"}
    with_row = sell(release, listed(CHAT, EMBED, chat(model="idle")), HASH, DAY)
    assert price_of(with_row, "idle") == Price(100, 200, 100, 100)


def test_budgets_count_the_dearest_price_from_that_day_on() -> None:
    rows = (
        chat(until="2026-11-01", input=9_999),
        chat(since="2026-11-01", until="2027-01-01", cached=30, cache_write=125),
        chat(since="2027-01-01", input=90, output=260, request=7),
        chat(zone="eea", input=110, until="2026-12-01"),
    )
    made = sold(*rows)
    assert price_of(made) == Price(110, 260, 110, 125, 7)
    assert made.priced is not None
    assert made.priced.until == "2026-12-01"


def test_a_price_ends_with_the_last_day_that_every_zone_has_a_row() -> None:
    made = sold(chat(until="2026-12-01"), chat(zone="eea"))
    price = price_of(made)
    assert price is not None
    assert price.until_us == 1_796_083_200_000_000  # 2026-12-01T00:00:00Z
    only = make_release(zones=make_release().zones, tenants=(), keys=())
    assert price_of(sold(chat(until="2026-12-01"), release=only)) == price


def test_a_release_is_due_for_another_book_or_on_a_day_of_changes() -> None:
    made = sold(chat(until="2026-12-01"), chat(since="2026-12-01", input=90))
    assert is_due(make_release(), HASH, DAY)
    assert not is_due(made, HASH, "2026-11-30")
    assert is_due(made, HASH, "2026-12-01")
    assert is_due(made, "sha256:other", DAY)
