"""Service levels of this machine's receipts: months and burn rates, from wherever receipts lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from selvedge.adapters import service_of_parts
from selvedge.control.accounts import Snapshot, read_sources
from selvedge.control.home import Home
from selvedge.fabric import SelvedgeError
from selvedge.ledger import (
    LONGEST_US,
    MINUTE_US,
    BurnRate,
    CreditDue,
    Maintenance,
    PriceBook,
    ServiceAsked,
    ServiceMonth,
    Tallies,
    burn_rates,
    credits_due,
    fold_service,
    join_service,
    month_span,
    months_of,
    spans_of,
    tenants_with_sla,
)


class ServiceSources(msgspec.Struct, frozen=True):
    """Whose promises, by which windows, and where the receipts are."""

    home: Home
    collected: tuple[Path, ...]
    book: PriceBook
    windows: tuple[Maintenance, ...] = ()


def service_of(home: Home, collected: Iterable[Path], asked: ServiceAsked) -> Tallies:
    """What service levels count, of what `read_sources` reads."""
    return join_service(
        read_sources(
            home,
            collected,
            lambda one: _of_snapshot(one, asked),
            lambda rows: fold_service(rows, asked),
        )
    )


def _of_snapshot(snapshot: Snapshot, asked: ServiceAsked) -> Tallies:
    parts = service_of_parts(snapshot.parts, asked)
    return join_service((parts, fold_service(snapshot.rows_of_log(), asked)))


def report_month(sources: ServiceSources, month: str, tenant: str | None) -> list[ServiceMonth]:
    """The month of one tenant, or of all that have a service level. Raises `SelvedgeError`."""
    since_us, until_us = month_span(month)
    spans = {
        one: spans_of(sources.book, one, since_us, until_us) for one in _whose(sources, tenant)
    }
    if tenant is not None and not spans[tenant]:
        raise SelvedgeError(
            f"tenant {tenant!r} has no service level in {month}; "
            f"name one as 'sla' in its contract of the price book"
        )
    if not any(spans.values()):
        return []
    asked = ServiceAsked(since_us, until_us, tenant=tenant, windows=sources.windows)
    tallies = service_of(sources.home, sources.collected, asked)
    return [one for who, its in spans.items() for one in months_of(tallies, who, its)]


def credits_of(
    sources: ServiceSources, month: str, tenant: str | None
) -> dict[str, tuple[CreditDue, ...]]:
    """What missed service levels give back, by tenant, as invoices take it."""
    if tenant is not None and not spans_of(sources.book, tenant, *month_span(month)):
        return {}
    return credits_due(report_month(sources, month, tenant), sources.book)


def burn_now(sources: ServiceSources, now_us: int, tenant: str | None = None) -> list[BurnRate]:
    """How fast budgets burn at this moment. Raises `SelvedgeError`."""
    since_us = (now_us // MINUTE_US + 1) * MINUTE_US - LONGEST_US
    until_us = since_us + LONGEST_US
    whose = _whose(sources, tenant)
    asked = ServiceAsked(
        since_us, until_us, MINUTE_US, tenant=tenant, windows=sources.windows, times=False
    )
    tallies = service_of(sources.home, sources.collected, asked)
    return [
        rate
        for who in whose
        for rate in burn_rates(
            tallies, who, spans_of(sources.book, who, since_us, until_us), now_us
        )
    ]


def _whose(sources: ServiceSources, tenant: str | None) -> list[str]:
    return tenants_with_sla(sources.book) if tenant is None else [tenant]
