"""A release that is sold: its models get their prices from the book, or it is not made.

What a PoP's budgets in money count is the dearest list price of a model that holds on the day of
the release or later, in any zone: a budget never counts less than the list will, whenever a
price changes and however late a PoP hears of it. Invoices know nothing of this price; they go by
the book and the day.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from selvedge.fabric import BadRelease, Model, Price, Priced, Release
from selvedge.ledger.price_book import PriceRow
from selvedge.ledger.price_list import PriceList


def served_models(release: Release) -> frozenset[str]:
    """The models that some engine of the fleet serves."""
    return frozenset(
        served.model for one in release.sites for engine in one.engines for served in engine.serves
    )


def sell(release: Release, prices: PriceList, hash_: str, day: str) -> Release:
    """The release at the book's prices of a UTC day.

    Raises `BadRelease` that names the model where a served one has no price in a zone of the fleet.
    """
    served = served_models(release)
    zones: list[str | None] = [zone.id for zone in release.zones]
    zones = zones or [None]
    models = []
    for model in release.models:
        price = _price(prices, model, zones, day)
        if price is None and model.id in served:
            raise BadRelease(f"models.{model.id}.price", _unpriced(prices, model, zones, day))
        models.append(msgspec.structs.replace(model, price=price))
    return msgspec.structs.replace(
        release,
        models=tuple(models),
        priced=Priced(prices.book.version, hash_, day, prices.next_change(served, day)),
    )


def is_due(release: Release, hash_: str, day: str) -> bool:
    """Whether the release is to be made again for its prices: another book, or a day of changes."""
    priced = release.priced
    if priced is None or priced.hash != hash_:
        return True
    return priced.until is not None and priced.until <= day


def _price(prices: PriceList, model: Model, zones: Iterable[str | None], day: str) -> Price | None:
    ends = []
    for zone in zones:
        end = prices.priced_until(model.id, zone, day)
        if end == day:
            return None
        if end is not None:
            ends.append(end)
    rows = prices.from_day(model.id, day)
    return Price(
        input=max(row.input for row in rows),
        output=max(row.output for row in rows),
        cached=max(_or_input(row, row.cached) for row in rows),
        cache_write=max(_or_input(row, row.cache_write) for row in rows),
        request=max(row.request for row in rows),
        until_us=_begin_us(min(ends)) if ends else None,
    )


def _or_input(row: PriceRow, price: int | None) -> int:
    return row.input if price is None else price


def _begin_us(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


def _unpriced(prices: PriceList, model: Model, zones: Iterable[str | None], day: str) -> str:
    where = next(zone for zone in zones if prices.priced_until(model.id, zone, day) == day)
    place = f" in zone {where!r}" if where is not None else ""
    return (
        f"the model is served, and price book {prices.book.version} has no list price for it{place}"
        f" on {day}; give it a row, or take it off its engines"
    )
