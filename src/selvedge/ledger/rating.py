"""From usage to priced quantities: which row and contract hold, and how much of what there is.

No amount is made here: groups are summed first, and a sum is rounded once (`charges`). Prices are
whole numbers of a millionth of a micro-dollar (``price_ppm``), so that a discount for batches is
exact; neurons are counted in 10^-12, so that tokens times neurons per million tokens are exact too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Final, Literal, NamedTuple

from selvedge.fabric import SelvedgeError
from selvedge.ledger.monthly_usage import Atom, Counts, MonthlyUsage, NumberSpan, Origin, Sort
from selvedge.ledger.months import end_day, first_day
from selvedge.ledger.price_book import PPM, BadPriceBook, Contract, PriceBook, PriceRow, span_of
from selvedge.ledger.price_list import PriceList
from selvedge.ledger.price_times import meets

Kind = Literal["input", "cached", "cache_write", "output", "requests", "hits", "neurons"]
PER: Final[Mapping[Kind, int]] = {
    "input": 1_000_000,
    "cached": 1_000_000,
    "cache_write": 1_000_000,
    "output": 1_000_000,
    "requests": 1,
    "hits": 1,
    "neurons": 1_000,
}
"""A price is for so many of them."""
NEURON: Final = 10**12
"""One neuron, in the unit that quantities of neurons are kept in."""
NO_CONTRACT: Final = ""


class Unpriced(SelvedgeError):
    """Usage that has no price: it is not invoiced at zero, it is not invoiced."""

    def __init__(self, rows: Sequence[UnpricedUsage]) -> None:
        words = "; ".join(one.words() for one in rows)
        super().__init__(f"usage without a price: {words}. Add rows to the price book")
        self.rows = tuple(rows)


class UnpricedUsage(NamedTuple):
    """Usage of one model and zone that has no price, and on which days."""

    model: str
    zone: str
    days: tuple[str, ...]
    receipts: int

    def words(self) -> str:
        """In a sentence."""
        first, last = self.days[0], self.days[-1]
        days = f"on {first}" if first == last else f"on {len(self.days)} days, {first} to {last}"
        count = f"{self.receipts:,} receipt" + ("s" if self.receipts != 1 else "")
        return f"model {self.model} in zone {self.zone} has no price {days} ({count})"


class Terms(NamedTuple):
    """What is agreed for some days of a month: from one day to before another."""

    contract: Contract | None
    since: str
    until: str

    @property
    def key(self) -> str:
        """The contract's name among the tenant's: when it began."""
        return NO_CONTRACT if self.contract is None else self.contract.since

    @property
    def in_neurons(self) -> bool:
        """Whether tokens are sold in neurons."""
        return self.contract is not None and self.contract.unit == "neurons"


class GroupKey(NamedTuple):
    """What is summed before it is priced. A row is known by its book, zone and first day."""

    contract: str
    project: str
    model: str
    zone: str
    sort: Sort
    book: Literal["contract", "list"]
    row_zone: str
    row_since: str


class LineKey(NamedTuple):
    """One count of a group, at one price."""

    group: GroupKey
    kind: Kind
    price_ppm: int

    @property
    def divisor(self) -> int:
        """Quantity times ``price_ppm`` over this is micro-dollars."""
        return PER[self.kind] * PPM * (NEURON if self.kind == "neurons" else 1)


class Rated:
    """Quantities by line, neurons by day, and whose receipts they are; all sums, in any order."""

    def __init__(self) -> None:
        self.quantities: dict[LineKey, int] = {}
        self.lists: dict[LineKey, int] = {}
        """What it would come to at list prices, times the line's divisor."""
        self.neurons: dict[tuple[str, str], int] = {}
        """By contract and day."""
        self.spans: dict[GroupKey, dict[Origin, NumberSpan]] = {}
        self.days: dict[GroupKey, tuple[str, str]] = {}
        """From when, and before when, a group's row holds within the month."""

    def count(self, key: LineKey, quantity: int, list_ppm: int) -> None:
        """More of one line."""
        self.quantities[key] = self.quantities.get(key, 0) + quantity
        self.lists[key] = self.lists.get(key, 0) + quantity * list_ppm

    def count_neurons(self, contract: str, day: str, quantity: int) -> None:
        """More neurons of one day."""
        key = (contract, day)
        self.neurons[key] = self.neurons.get(key, 0) + quantity

    def plus(self, other: Rated) -> Rated:
        """Quantities and neurons of both."""
        found = Rated()
        for one in (self, other):
            for key, quantity in one.quantities.items():
                found.quantities[key] = found.quantities.get(key, 0) + quantity
            for (contract, day), quantity in one.neurons.items():
                found.count_neurons(contract, day, quantity)
        return found

    def _see(
        self, group: GroupKey, spans: Mapping[Origin, NumberSpan], days: tuple[str, str]
    ) -> None:
        known = self.spans.setdefault(group, {})
        for origin, span in spans.items():
            other = known.get(origin)
            known[origin] = span if other is None else other.plus(span)
        self.days[group] = days


def terms_of(book: PriceBook, tenant: str, month: str) -> tuple[Terms, ...]:
    """What is agreed with a tenant in a month, in order of days, without gaps.

    Raises `BadPriceBook` where it cannot be said.
    """
    begin, end = first_day(month), end_day(month)
    found: list[Terms] = []
    at = begin
    for one in sorted(_contracts(book, tenant, begin, end), key=lambda one: one.since):
        since, until = max(one.since, begin), min(one.until or end, end)
        _check_contract(one, whole=(since, until) == (begin, end))
        if since > at:
            found.append(Terms(None, at, since))
        found.append(Terms(one, since, until))
        at = until
    if at < end:
        found.append(Terms(None, at, end))
    return tuple(found)


def starts_of(book: PriceBook, month: str, tenant: str | None = None) -> tuple[str, ...] | None:
    """The days of a month with which some price or contract begins or ends: a fold by the periods
    between them is enough. None where each day counts: neurons are free day by day.

    ``tenant``: for that one's contracts alone.
    """
    begin, end = first_day(month), end_day(month)
    agreed = list(_contracts(book, tenant, begin, end))
    if any(one.unit == "neurons" for one in agreed):
        return None
    rows = [*book.prices, *(row for one in agreed for row in one.prices)]
    held: list[PriceRow | Contract] = [*rows, *agreed]
    days = {day for one in held for day in (one.since, one.until) if day is not None}
    return (begin, *sorted(day for day in days if begin < day < end))


def _contracts(book: PriceBook, tenant: str | None, begin: str, end: str) -> Iterable[Contract]:
    for one in book.contracts:
        if tenant in (None, one.tenant) and meets(span_of(one), (begin, end)):
            yield one


def _check_contract(one: Contract, *, whole: bool) -> None:
    where = f"contracts.{one.tenant}.since"
    monthly = (
        one.tiers or one.committed_micro_dollars or one.minimum_micro_dollars
    ) or one.sla_fee_micro_dollars
    if monthly and not whole:
        words = f"the contract since {one.since} has terms of a month (tiers, commitment, minimum, "
        words += "fee) and holds for a part of one; begin and end it on the first of a month"
        raise BadPriceBook(where, words)


def rate(usage: MonthlyUsage, book: PriceBook, terms: Sequence[Terms]) -> Rated:
    """Quantities of one tenant's month, by line. Raises `Unpriced`."""
    tenant = next((one.contract.tenant for one in terms if one.contract is not None), None)
    prices, rated = PriceList(book), Rated()
    missing: dict[tuple[str, str], dict[str, int]] = {}
    for atom, counts in usage.atoms.items():
        row = prices.row(atom.model, atom.zone, atom.day, tenant)
        listed = prices.row(atom.model, atom.zone, atom.day)
        if row is None:
            days = missing.setdefault((atom.model, atom.zone), {})
            days[atom.day] = days.get(atom.day, 0) + counts.requests + counts.hits
            continue
        held = next(one for one in terms if one.since <= atom.day < one.until)
        _rate(rated, book, held, (atom, counts, usage.spans[atom]), (row, listed))
    if missing:
        raise Unpriced(
            [
                UnpricedUsage(*key, tuple(sorted(days)), sum(days.values()))
                for key, days in sorted(missing.items())
            ]
        )
    return rated


def _rate(
    rated: Rated,
    book: PriceBook,
    terms: Terms,
    used: tuple[Atom, Counts, Mapping[Origin, NumberSpan]],
    rows: tuple[PriceRow, PriceRow | None],
) -> None:
    """Rate one atom by its row; the list's own row says what it would cost without a contract."""
    (atom, counts, spans), (row, listed) = used, rows
    group = GroupKey(
        terms.key,
        *atom[:4],
        "list" if row is listed else "contract",
        row.zone or "",
        row.since,
    )
    days = (max(row.since, terms.since), min(row.until or terms.until, terms.until))
    rated._see(group, spans, days)
    factor = _factor(row, atom.sort)
    prices, list_prices = prices_of(row), prices_of(listed or row)
    wanted = _fees(counts) if terms.in_neurons else _all_counts(counts)
    for kind, quantity in wanted:
        price = prices[kind]
        if quantity and (price or kind != "requests"):
            list_ppm = list_prices[kind] * _factor(listed or row, atom.sort)
            rated.count(LineKey(group, kind, price * factor), quantity, list_ppm)
    if terms.in_neurons and counts.requests:
        assert book.neurons is not None, "the contract was checked"
        quantity = micro_neurons(row, counts) * factor
        price_ppm = book.neurons.micro_dollars_per_1000 * PPM
        rated.count(LineKey(group, "neurons", price_ppm), quantity, price_ppm)
        rated.count_neurons(terms.key, atom.day, quantity)


def _factor(row: PriceRow, sort: Sort) -> int:
    return PPM - (row.batch_discount_ppm if sort == "batch" else 0)


def _fees(counts: Counts) -> tuple[tuple[Kind, int], ...]:
    return (("requests", counts.requests), ("hits", counts.hits))


def _all_counts(counts: Counts) -> tuple[tuple[Kind, int], ...]:
    return (
        ("input", counts.input),
        ("cached", counts.cached),
        ("cache_write", counts.cache_write),
        ("output", counts.output),
        *_fees(counts),
    )


def prices_of(row: PriceRow) -> dict[Kind, int]:
    """Micro-dollars of each kind that is counted, by `PER`."""
    return {
        "input": row.input,
        "cached": row.input if row.cached is None else row.cached,
        "cache_write": row.input if row.cache_write is None else row.cache_write,
        "output": row.output,
        "requests": row.request,
        "hits": row.cache_hit,
    }


def micro_neurons(row: PriceRow, counts: Counts) -> int:
    """Compute units of these tokens, in millionths: exact. A prompt counts whole, cached or not."""
    prompt = counts.input + counts.cached + counts.cache_write
    return prompt * (row.neurons_input or 0) + counts.output * (row.neurons_output or 0)


def last_day(until: str) -> str:
    """The day before the day that ends a time."""
    return (date.fromisoformat(until) - timedelta(days=1)).isoformat()
