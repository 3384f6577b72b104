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
from selvedge.ledger.monthly_usage import Atom, Counts, MonthlyUsage, Origin, Sort, Span
from selvedge.ledger.months import end_day, first_day
from selvedge.ledger.price_book import PPM, BadPriceBook, Contract, PriceBook, PriceRow

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
    why: str
    days: tuple[str, ...]
    receipts: int

    def words(self) -> str:
        """In a sentence."""
        first, last = self.days[0], self.days[-1]
        days = f"on {first}" if first == last else f"on {len(self.days)} days, {first} to {last}"
        count = f"{self.receipts:,} receipt" + ("s" if self.receipts != 1 else "")
        return f"model {self.model} in zone {self.zone} has {self.why} {days} ({count})"


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
        self.spans: dict[GroupKey, dict[Origin, Span]] = {}
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

    def _see(self, group: GroupKey, spans: Mapping[Origin, Span], days: tuple[str, str]) -> None:
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
        _check_contract(book, one, whole=(since, until) == (begin, end))
        if since < at:
            words = f"two contracts hold on {since}: end the first before the second begins"
            raise BadPriceBook(f"contracts: {tenant}", words)
        if since > at:
            found.append(Terms(None, at, since))
        found.append(Terms(one, since, until))
        at = until
    if at < end:
        found.append(Terms(None, at, end))
    return tuple(found)


def _contracts(book: PriceBook, tenant: str, begin: str, end: str) -> Iterable[Contract]:
    for one in book.contracts:
        if one.tenant == tenant and one.since < end and begin < (one.until or end):
            yield one


def _check_contract(book: PriceBook, one: Contract, *, whole: bool) -> None:
    where = f"contracts: {one.tenant} since {one.since}"
    if one.currency != book.currency:
        words = f"is in {one.currency}, and the book in {book.currency}; a book has one currency"
        raise BadPriceBook(where, words)
    if one.unit == "neurons" and book.neurons is None:
        raise BadPriceBook(where, "is in neurons, and the book has no price of them: give neurons")
    monthly = (
        one.tiers or one.committed_micro_dollars or one.minimum_micro_dollars
    ) or one.sla_fee_micro_dollars
    if monthly and not whole:
        words = "has terms of a month (tiers, commitment, minimum, fee) and holds for a part of one"
        raise BadPriceBook(where, f"{words}: begin and end it on the first of a month")


class PriceLookup:
    """Rows of a book by model, zone and day."""

    def __init__(self, book: PriceBook, terms: Sequence[Terms]) -> None:
        self._book = book
        self._terms = terms
        self._listed = _by_model(book.prices)
        self._agreed = {
            one.key: _by_model(one.contract.prices) for one in terms if one.contract is not None
        }
        self._known: dict[tuple[str, str, str], tuple[PriceRow | None, PriceRow | None]] = {}

    def terms(self, day: str) -> Terms:
        """What is agreed on a day of the month."""
        return next(one for one in self._terms if one.since <= day < one.until)

    def rows(self, model: str, zone: str, day: str) -> tuple[PriceRow | None, PriceRow | None]:
        """The contract's row and the list's; None: it has none. Raises `BadPriceBook`."""
        key = (model, zone, day)
        if key not in self._known:
            agreed = self._agreed.get(self.terms(day).key, {})
            self._known[key] = (
                find_row(agreed.get(model, ()), zone, day),
                find_row(self._listed.get(model, ()), zone, day),
            )
        return self._known[key]


def _by_model(rows: Iterable[PriceRow]) -> dict[str, list[PriceRow]]:
    found: dict[str, list[PriceRow]] = {}
    for row in rows:
        found.setdefault(row.model, []).append(row)
    return found


def find_row(rows: Iterable[PriceRow], zone: str, day: str) -> PriceRow | None:
    """The row of one model's that holds: the zone's own goes first. Raises `BadPriceBook`."""
    holding = [one for one in rows if one.since <= day and (one.until is None or day < one.until)]
    for wanted in (zone, None):
        found = [one for one in holding if one.zone == wanted]
        if len(found) > 1:
            where = f"prices: {found[0].model} in {wanted or 'all zones'}"
            raise BadPriceBook(where, f"two rows hold on {day}: end one before the other begins")
        if found:
            return found[0]
    return None


def rate(usage: MonthlyUsage, book: PriceBook, terms: Sequence[Terms]) -> Rated:
    """Quantities of one tenant's month, by line. Raises `Unpriced`, `BadPriceBook`."""
    lookup = PriceLookup(book, terms)
    rated, missing = Rated(), dict[tuple[str, str, str], dict[str, int]]()
    for atom, counts in usage.atoms.items():
        why = _rate(rated, lookup, book, atom, (counts, usage.spans[atom]))
        if why is not None:
            days = missing.setdefault((atom.model, atom.zone, why), {})
            days[atom.day] = days.get(atom.day, 0) + counts.requests + counts.hits
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
    lookup: PriceLookup,
    book: PriceBook,
    atom: Atom,
    counted: tuple[Counts, Mapping[Origin, Span]],
) -> str | None:
    """Rate one atom; why it has no price."""
    counts, spans = counted
    agreed, listed = lookup.rows(atom.model, atom.zone, atom.day)
    row = agreed or listed
    if row is None:
        return "no price"
    terms = lookup.terms(atom.day)
    if terms.in_neurons and not _sold_in_neurons(row, counts):
        return "no neurons"
    group = GroupKey(
        terms.key,
        *atom[:4],
        "list" if agreed is None else "contract",
        row.zone or "",
        row.since,
    )
    days = (max(row.since, terms.since), min(row.until or terms.until, terms.until))
    rated._see(group, spans, days)
    factor = PPM - (row.batch_discount_ppm if atom.sort == "batch" else 0)
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
    return None


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


def _sold_in_neurons(row: PriceRow, counts: Counts) -> bool:
    prompt = counts.input + counts.cached + counts.cache_write
    return not (prompt and row.neurons_input is None) and not (
        counts.output and row.neurons_output is None
    )


def micro_neurons(row: PriceRow, counts: Counts) -> int:
    """Compute units of these tokens, in millionths: exact. A prompt counts whole, cached or not."""
    prompt = counts.input + counts.cached + counts.cache_write
    return prompt * (row.neurons_input or 0) + counts.output * (row.neurons_output or 0)


def last_day(until: str) -> str:
    """The day before the day that ends a time."""
    return (date.fromisoformat(until) - timedelta(days=1)).isoformat()
