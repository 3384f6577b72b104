"""The price book: what is sold at which price, when, where and to whom. Proposal 0010.

All is whole numbers: micro-dollars per million tokens, parts per million, neurons per million
tokens. Days are UTC's, as ISO dates; a time ends before the day that ends it.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from selvedge.fabric import SelvedgeError

PPM: Final = 1_000_000
Unit = Literal["tokens", "neurons"]


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
    """Of an invoice, after everything."""
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
