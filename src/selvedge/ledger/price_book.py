"""The price book: what is sold at which price, when, where and to whom. Proposal 0010.

All is whole numbers: micro-dollars per million tokens, parts per million, neurons per million
tokens. Days are UTC's, as ISO dates; a time ends before the day that ends it. A book checks itself
on build, as a whole: an invalid one cannot exist, and the first thing wrong is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, Literal

import msgspec

from selvedge.fabric import NAME_PATTERN, SelvedgeError
from selvedge.ledger.price_times import (
    Span,
    clash_in,
    is_covered,
    is_day,
    is_within,
    meets,
    overlap_in,
)

PPM: Final = 1_000_000
PRICE_MAX: Final = 10**12
"""Micro-dollars per million tokens, or of one fee: a million dollars."""
AMOUNT_MAX: Final = 10**15
"""Micro-dollars of a month: a thousand million dollars."""
NEURONS_MAX: Final = 10**12
Unit = Literal["tokens", "neurons"]

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_RATES: Final = ("input", "output", "cached", "cache_write", "request", "cache_hit")


class BadPriceBook(SelvedgeError):
    """A price book that says nothing clear; names the field, the limit and the remedy."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(f"{field}: {words}")
        self.field = field


class PriceRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one model costs for a time, in one zone or in all that have no row of their own."""

    model: str
    input: int
    """Micro-dollars per million tokens, here and below."""
    output: int
    cached: int | None = None
    """Prompt tokens read from an engine's cache; None: as ``input``."""
    cache_write: int | None = None
    request: int = 0
    """Micro-dollars per request that bills anything."""
    cache_hit: int = 0
    """Micro-dollars per answer out of the semantic or exact cache."""
    batch_discount_ppm: int = 0
    neurons_input: int | None = None
    """Neurons per million tokens; None: the model is not sold in neurons."""
    neurons_output: int | None = None
    zone: str | None = None
    since: str = "1970-01-01"
    until: str | None = None


class Neurons(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The second unit's own price."""

    micro_dollars_per_1000: int
    free_per_day: int = 0
    """Of one tenant and UTC day."""


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A discount on what a month's charges come to beyond an amount."""

    above_micro_dollars: int
    discount_ppm: int


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a service level promises for a model; None: nothing of the kind."""

    model: str = "*"
    availability_ppm: int | None = None
    ttft_p95_ms: int | None = None
    itl_p95_ms: int | None = None


class Credit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table of credits: of a month's charges of the model where availability was less.

    A month whose latency objective was missed has ``Sla.latency_credit_ppm``.
    """

    below_ppm: int
    credit_ppm: int


class Sla(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A service level."""

    id: str
    objectives: tuple[Objective, ...]
    credits: tuple[Credit, ...] = ()
    latency_credit_ppm: int = 0
    credit_ppm_max: int = PPM


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a tenant has agreed to, for a time."""

    tenant: str
    since: str = "1970-01-01"
    until: str | None = None
    unit: Unit = "tokens"
    currency: str = "USD"
    discount_ppm: int = 0
    prices: tuple[PriceRow, ...] = ()
    """They go before the list's."""
    tiers: tuple[Tier, ...] = ()
    committed_micro_dollars: int = 0
    """A month; what is missing to it is a line."""
    minimum_micro_dollars: int = 0
    """Of a month's charges, before fee and credits; what is missing to it is a line."""
    sla: str | None = None
    sla_fee_micro_dollars: int = 0


class PriceBook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One version of all prices."""

    version: int
    prices: tuple[PriceRow, ...]
    currency: str = "USD"
    neurons: Neurons | None = None
    contracts: tuple[Contract, ...] = ()
    slas: tuple[Sla, ...] = ()

    def __post_init__(self) -> None:
        if self.version < 1:
            raise BadPriceBook("version", f"{self.version} is none; versions count from 1")
        if not _CURRENCY.fullmatch(self.currency):
            raise BadPriceBook("currency", f"{self.currency!r} is not a code as 'USD'")
        _check_rows("prices", self.prices)
        if self.neurons is not None:
            _check_amount(
                "neurons.micro_dollars_per_1000", self.neurons.micro_dollars_per_1000, PRICE_MAX
            )
            _check_amount("neurons.free_per_day", self.neurons.free_per_day, NEURONS_MAX)
        _check_slas(self.slas)
        for contract in self.contracts:
            _check_contract(self, contract)
        _check_turns(self.contracts)


def span_of(held: PriceRow | Contract) -> Span:
    """The days on which it holds."""
    return (held.since, held.until)


def place_of(row: PriceRow, under: str = "prices") -> str:
    """The name of a row in errors: where it is, its model and its zone."""
    return f"{under}.{row.model}" + (f".{row.zone}" if row.zone is not None else "")


def _check_amount(field: str, amount: int | None, most: int) -> None:
    if amount is not None and not 0 <= amount <= most:
        raise BadPriceBook(field, f"{amount} is not from 0 to {most}; correct it")


def _check_ppm(field: str, ppm: int) -> None:
    if not 0 <= ppm <= PPM:
        words = f"{ppm} is not in parts per million, from 0 to {PPM}; 7.5 % is 75000"
        raise BadPriceBook(field, words)


def _check_span(where: str, since: str, until: str | None) -> None:
    for name, day in (("since", since), ("until", until)):
        if day is not None and not is_day(day):
            raise BadPriceBook(f"{where}.{name}", f"{day!r} is not a UTC day, as '2026-11-01'")
    if until is not None and since >= until:
        words = f"{until} is not after 'since' {since}: it never holds; correct one, or drop it"
        raise BadPriceBook(f"{where}.until", words)


def _check_rows(under: str, rows: Iterable[PriceRow]) -> None:
    """Each row by itself, then the times of those for one model and zone."""
    series: dict[tuple[str, str | None], list[PriceRow]] = {}
    for row in rows:
        _check_row(place_of(row, under), row)
        series.setdefault((row.model, row.zone), []).append(row)
    for same in series.values():
        clash = clash_in([span_of(row) for row in same])
        if clash is None:
            continue
        first, then = clash.before, clash.after
        where = place_of(same[0], under)
        if clash.kind == "overlap":
            words = (
                f"two rows hold on {then[0]}, those since {first[0]} and {then[0]}; "
                f"end the first with 'until: {then[0]}', or drop one"
            )
            raise BadPriceBook(f"{where}.until", words)
        words = (
            f"no row holds from {first[1]} to before {then[0]}; move one of the two days to the "
            "other"
        )
        raise BadPriceBook(f"{where}.since", words)


def _check_row(where: str, row: PriceRow) -> None:
    if not 1 <= len(row.model) <= 128:
        raise BadPriceBook(f"{where}.model", "a model id has 1 to 128 characters")
    if row.zone is not None and not NAME_PATTERN.fullmatch(row.zone):
        words = f"{row.zone!r} is not a zone's name; leave it out for all zones"
        raise BadPriceBook(f"{where}.zone", words)
    for name in _RATES:
        _check_amount(f"{where}.{name}", getattr(row, name), PRICE_MAX)
    for name in ("neurons_input", "neurons_output"):
        _check_amount(f"{where}.{name}", getattr(row, name), NEURONS_MAX)
    if (row.neurons_input is None) != (row.neurons_output is None):
        lacks = "neurons_input" if row.neurons_input is None else "neurons_output"
        words = "is missing beside the other count of neurons; 0 says that it takes none"
        raise BadPriceBook(f"{where}.{lacks}", words)
    _check_ppm(f"{where}.batch_discount_ppm", row.batch_discount_ppm)
    _check_span(where, row.since, row.until)


def _check_slas(slas: tuple[Sla, ...]) -> None:
    seen: set[str] = set()
    for sla in slas:
        where = f"slas.{sla.id}"
        if not NAME_PATTERN.fullmatch(sla.id) or sla.id in seen:
            raise BadPriceBook(where, "a service level has a name of its own, as 'gold'")
        seen.add(sla.id)
        _check_ppm(f"{where}.latency_credit_ppm", sla.latency_credit_ppm)
        _check_ppm(f"{where}.credit_ppm_max", sla.credit_ppm_max)
        _check_objectives(f"{where}.objectives", sla.objectives)
        _check_credits(f"{where}.credits", sla.credits)


def _check_objectives(where: str, objectives: tuple[Objective, ...]) -> None:
    if not objectives:
        raise BadPriceBook(where, "a service level promises something; name an objective")
    seen: set[str] = set()
    for one in objectives:
        field = f"{where}.{one.model}"
        if one.model in seen:
            raise BadPriceBook(field, "the model has two objectives; make them one")
        seen.add(one.model)
        if one.availability_ppm is not None:
            _check_ppm(f"{field}.availability_ppm", one.availability_ppm)
        for name in ("ttft_p95_ms", "itl_p95_ms"):
            value = getattr(one, name)
            if value is not None and not 1 <= value <= 86_400_000:
                raise BadPriceBook(f"{field}.{name}", "is from 1 to 86400000 ms, or left out")
        if (one.availability_ppm, one.ttft_p95_ms, one.itl_p95_ms) == (None, None, None):
            raise BadPriceBook(field, "promises nothing; name a figure, or drop it")


def _check_credits(where: str, credits: tuple[Credit, ...]) -> None:
    """The largest credit that applies counts: one that is never the largest is a mistake."""
    for one in credits:
        _check_ppm(f"{where}.below_ppm", one.below_ppm)
        _check_ppm(f"{where}.credit_ppm", one.credit_ppm)
    ordered = sorted(credits, key=lambda one: one.below_ppm, reverse=True)
    for milder, worse in pairwise(ordered):
        if worse.below_ppm == milder.below_ppm or worse.credit_ppm <= milder.credit_ppm:
            words = (
                f"the credit below {worse.below_ppm} ppm never applies: that below "
                f"{milder.below_ppm} is as large; raise it, or drop it"
            )
            raise BadPriceBook(where, words)


def _check_contract(book: PriceBook, contract: Contract) -> None:
    where = f"contracts.{contract.tenant}"
    if not NAME_PATTERN.fullmatch(contract.tenant):
        raise BadPriceBook(f"{where}.tenant", f"{contract.tenant!r} is not a tenant's name")
    _check_span(where, contract.since, contract.until)
    if contract.currency != book.currency:
        words = (
            f"{contract.currency} is not the book's {book.currency}; a book has one currency, "
            "so give this tenant a book of its own"
        )
        raise BadPriceBook(f"{where}.currency", words)
    _check_ppm(f"{where}.discount_ppm", contract.discount_ppm)
    for name in ("committed_micro_dollars", "minimum_micro_dollars", "sla_fee_micro_dollars"):
        _check_amount(f"{where}.{name}", getattr(contract, name), AMOUNT_MAX)
    _check_tiers(f"{where}.tiers", contract.tiers)
    known = {sla.id for sla in book.slas}
    if contract.sla is not None and contract.sla not in known:
        words = f"{contract.sla!r} is not under slas ({', '.join(sorted(known)) or 'none'})"
        raise BadPriceBook(f"{where}.sla", words)
    if contract.sla is None and contract.sla_fee_micro_dollars:
        words = "is a fee for no service level; name one under 'sla', or drop the fee"
        raise BadPriceBook(f"{where}.sla_fee_micro_dollars", words)
    _check_rows(f"{where}.prices", contract.prices)
    for row in contract.prices:
        if not meets(span_of(row), span_of(contract)):
            words = "lies outside the contract's own time, so it never applies; correct one"
            raise BadPriceBook(f"{place_of(row, where + '.prices')}.since", words)
    if contract.unit == "neurons":
        _check_neurons(book, contract, where)


def _check_tiers(where: str, tiers: tuple[Tier, ...]) -> None:
    for at, tier in enumerate(tiers):
        _check_amount(f"{where}.above_micro_dollars", tier.above_micro_dollars, AMOUNT_MAX)
        _check_ppm(f"{where}.discount_ppm", tier.discount_ppm)
        if at and tier.above_micro_dollars <= tiers[at - 1].above_micro_dollars:
            words = (
                f"{tier.above_micro_dollars} is not above {tiers[at - 1].above_micro_dollars}, "
                "which comes before it; list tiers from the lowest amount to the highest"
            )
            raise BadPriceBook(f"{where}.above_micro_dollars", words)


def _check_neurons(book: PriceBook, contract: Contract, where: str) -> None:
    """Every row that may rate this tenant has neurons."""
    if book.neurons is None:
        words = "the book has no price of neurons; give it 'neurons', or sell in tokens"
        raise BadPriceBook(f"{where}.unit", words)
    time = span_of(contract)
    own: dict[tuple[str, str | None], list[Span]] = {}
    for row in contract.prices:
        own.setdefault((row.model, row.zone), []).append(span_of(row))
        if row.neurons_input is None:
            field = f"{place_of(row, where + '.prices')}.neurons_input"
            raise BadPriceBook(field, "is missing, and the contract is in neurons; give it")
    for row in book.prices:
        if row.neurons_input is not None or not meets(span_of(row), time):
            continue
        first = max(row.since, contract.since)
        last = min(row.until or "~", contract.until or "~")
        both = (first, None if last == "~" else last)
        replaced = [span for zone in {None, row.zone} for span in own.get((row.model, zone), [])]
        if not is_covered(both, replaced):
            words = (
                f"is missing, and tenant {contract.tenant!r} has a contract in neurons; give the "
                f"row neurons, or the contract a row of its own for {row.model!r}"
            )
            raise BadPriceBook(f"{place_of(row)}.neurons_input", words)


def _check_turns(contracts: tuple[Contract, ...]) -> None:
    """A tenant has one contract at a time."""
    held: dict[str, list[Span]] = {}
    for contract in contracts:
        held.setdefault(contract.tenant, []).append(span_of(contract))
    for tenant, spans in held.items():
        clash = overlap_in(spans)
        if clash is None:
            continue
        first, then = clash.before, clash.after
        if is_within(then, first):
            words = (
                f"the contract since {then[0]} never applies: it lies wholly within the one since "
                f"{first[0]}; end that one with 'until: {then[0]}', or drop it"
            )
        else:
            words = (
                f"two contracts hold on {then[0]}, those since {first[0]} and {then[0]}; "
                f"end the first with 'until: {then[0]}'"
            )
        raise BadPriceBook(f"contracts.{tenant}.since", words)
