"""A price book, ready to be asked: which row rates a request, which contract a tenant has.

The order is the contract's row for the zone, the contract's for all zones, the list's for the
zone, the list's for all zones: exactly one answers, or the model is not priced there on that day.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from typing import Final, Generic, TypeVar

from selvedge.ledger.price_book import (
    BadPriceBook,
    Contract,
    PriceBook,
    PriceRow,
    place_of,
    span_of,
)
from selvedge.ledger.price_times import holds

T = TypeVar("T", PriceRow, Contract)


class _Series(Generic[T]):
    """What follows each other in time, without overlaps."""

    __slots__ = ("_days", "_held")

    def __init__(self, held: Iterable[T]) -> None:
        self._held: list[T] = sorted(held, key=lambda one: one.since)
        self._days: list[str] = [one.since for one in self._held]

    def on(self, day: str) -> T | None:
        """The one that holds on a day."""
        at = bisect_right(self._days, day) - 1
        if at >= 0 and holds(span_of(self._held[at]), day):
            return self._held[at]
        return None


class _Rows:
    """Rows of a list, or of a contract, by model and zone."""

    __slots__ = ("_series",)

    def __init__(self, rows: Iterable[PriceRow]) -> None:
        found: dict[tuple[str, str | None], list[PriceRow]] = {}
        for row in rows:
            found.setdefault((row.model, row.zone), []).append(row)
        self._series = {key: _Series(same) for key, same in found.items()}

    def on(self, model: str, zone: str | None, day: str) -> PriceRow | None:
        """The row for the zone, else the one for all zones."""
        for key in ((model, zone), (model, None)):
            series = self._series.get(key)
            row = series.on(day) if series is not None else None
            if row is not None:
                return row
        return None


_NO_ROWS: Final = _Rows(())


class PriceList:
    """One book, indexed."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        self._list = _Rows(book.prices)
        contracts: dict[str, list[Contract]] = {}
        for contract in book.contracts:
            contracts.setdefault(contract.tenant, []).append(contract)
        self._contracts = {tenant: _Series(own) for tenant, own in contracts.items()}
        self._own = {
            (one.tenant, one.since): _Rows(one.prices) for one in book.contracts if one.prices
        }

    def contract(self, tenant: str, day: str) -> Contract | None:
        """What the tenant has agreed to for that day; None: it pays list prices in tokens."""
        series = self._contracts.get(tenant)
        return series.on(day) if series is not None else None

    def row(
        self, model: str, zone: str | None, day: str, tenant: str | None = None
    ) -> PriceRow | None:
        """The one row that rates a request; None: the model has no price there on that day."""
        contract = self.contract(tenant, day) if tenant is not None else None
        if contract is not None:
            own = self._own.get((contract.tenant, contract.since), _NO_ROWS)
            row = own.on(model, zone, day)
            if row is not None:
                return row
        return self._list.on(model, zone, day)

    def priced_until(self, model: str, zone: str | None, day: str) -> str | None:
        """The first day from ``day`` on without a list price; None: there is none."""
        while True:
            row = self._list.on(model, zone, day)
            if row is None:
                return day
            if row.until is None:
                return None
            day = row.until

    def from_day(self, model: str, day: str) -> tuple[PriceRow, ...]:
        """The list's rows of a model, of all zones, that hold on a day or later."""
        return tuple(
            row
            for row in self.book.prices
            if row.model == model and (row.until is None or day < row.until)
        )

    def next_change(self, models: Collection[str], day: str) -> str | None:
        """The first day after ``day`` on which a list price of these begins or ends."""
        days = [
            bound
            for row in self.book.prices
            if row.model in models
            for bound in span_of(row)
            if bound is not None and day < bound
        ]
        return min(days, default=None)


def check_against(
    book: PriceBook, *, tenants: Collection[str], zones: Collection[str], day: str
) -> None:
    """What can never apply in a fleet of these tenants and zones. Raises `BadPriceBook`.

    What was over before ``day`` is history: its tenant or zone may be gone.
    """
    for contract in book.contracts:
        if contract.until is not None and contract.until <= day:
            continue
        if contract.tenant not in tenants:
            words = "the fleet has no tenant of this name, so the contract never applies; "
            words += "make the tenant, correct the name, or end the contract with 'until'"
            raise BadPriceBook(f"contracts.{contract.tenant}.tenant", words)
    for under, row in _all_rows(book):
        over = row.until is not None and row.until <= day
        if row.zone is not None and row.zone not in zones and not over:
            words = f"the fleet has no zone {row.zone!r}, so the row never applies; "
            words += f"it has {', '.join(sorted(zones))}"
            raise BadPriceBook(f"{place_of(row, under)}.zone", words)


def _all_rows(book: PriceBook) -> Iterator[tuple[str, PriceRow]]:
    for row in book.prices:
        yield "prices", row
    for contract in book.contracts:
        for row in contract.prices:
            yield f"contracts.{contract.tenant}.prices", row
