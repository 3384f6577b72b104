"""What tenants' months will come to, from receipts on this machine and list prices."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from selvedge.adapters import open_release, operator_public_key
from selvedge.control.accounts import usage_of
from selvedge.control.home import Home
from selvedge.fabric import SelvedgeError
from selvedge.ledger import (
    DAY_US,
    HISTORY_DAYS,
    SPEND_BY,
    UsageAsked,
    forecast_spend,
    hours_of,
    month_of,
    month_span,
    spend_hours,
    straight_line,
)


class TenantForecast(msgspec.Struct, frozen=True):
    """A month of a tenant, or of one of its projects, in micro-dollars."""

    tenant: str
    project: str | None
    month: str
    spent: int
    expected: int
    low: int | None
    high: int | None
    days_known: int
    straight_line: int


def since_of(now_us: int) -> int:
    """How far back a forecast looks: the month's beginning, or the history's."""
    begin_us, _ = month_span(month_of(now_us))
    return min(begin_us, now_us - HISTORY_DAYS * DAY_US) // DAY_US * DAY_US


def forecasts_of(
    home: Home, collected: Iterable[Path], now_us: int, tenant: str | None = None
) -> tuple[list[TenantForecast], list[str]]:
    """Each tenant and each of its projects; and models that were used and have no price.

    Raises `SelvedgeError`.
    """
    try:
        data = home.release_file.read_bytes()
    except FileNotFoundError as error:
        words = f"there is no release under {home.directory}, so no prices; give its --home"
        raise SelvedgeError(words) from error
    release = open_release(data, operator_public_key(home.operator_key())).release
    wish = UsageAsked(SPEND_BY, since_of(now_us), now_us, tenant)
    prices = {one.id: one.price for one in release.models}
    spending, unpriced = spend_hours(usage_of(home, collected, wish), prices)
    month = month_of(now_us)
    since_us, until_us = month_span(month)
    found = []
    for who, project in sorted({(who, part) for who, what in spending for part in ("", what)}):
        hours = hours_of(spending, who, project or None)
        told = forecast_spend(hours, since_us, until_us, now_us)
        line = straight_line(hours, since_us, until_us, now_us)
        facts = msgspec.structs.asdict(told)
        found.append(
            TenantForecast(
                tenant=who,
                project=project or None,
                month=month,
                straight_line=line,
                **facts,
            )
        )
    return found, sorted(unpriced)
