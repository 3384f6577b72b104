"""Budgets and their windows: what a limit is of, and when it begins again.

A **budget** is one limit at one level. Windows are UTC's minutes, days and months, each whole. All
is integers: microseconds, tokens, micro-dollars.
"""

from __future__ import annotations

from typing import Final

from selvedge.fabric import Limits, Price, Usage
from selvedge.fabric.value import Value

REQUESTS: Final = 0
TOKENS: Final = 1
CONCURRENT: Final = 2
DAY: Final = 3
MONTH: Final = 4
KINDS: Final = (
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_requests",
    "micro_dollars_per_day",
    "micro_dollars_per_month",
)
"""Names of limits, by kind of budget."""

MINUTE_US: Final = 60_000_000
DAY_US: Final = 24 * 60 * MINUTE_US
PER: Final = 1_000_000
"""Prices are per so many tokens."""


def limits_of(limits: Limits) -> tuple[int | None, ...]:
    """The limits of a level, by kind of budget."""
    return (
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
        limits.micro_dollars_per_day,
        limits.micro_dollars_per_month,
    )


def window_of(kind: int, at_us: int) -> int:
    """The number of the window that a moment lies in; concurrency has one for ever."""
    if kind <= TOKENS:
        return at_us // MINUTE_US
    if kind == CONCURRENT:
        return 0
    day = at_us // DAY_US
    return day if kind == DAY else month_of(day)


def window_end_us(kind: int, at_us: int) -> int:
    """When the window that a moment lies in is over; for concurrency: now."""
    if kind <= TOKENS:
        return (at_us // MINUTE_US + 1) * MINUTE_US
    if kind == CONCURRENT:
        return at_us
    day = at_us // DAY_US
    return (day + 1 if kind == DAY else first_day(month_of(day) + 1)) * DAY_US


def month_of(day: int) -> int:
    """The number of the month, years * 12 + months, of a day since 1970 (Hinnant's algorithm)."""
    shifted = day + 719_468
    era, of_era = divmod(shifted, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    from_march = (5 * of_year + 2) // 153
    return (era * 400 + year) * 12 + from_march + 2


def first_day(month: int) -> int:
    """The first day, since 1970, of a month by that number."""
    years, from_march = divmod(month - 2, 12)
    era, year = divmod(years, 400)
    of_era = year * 365 + year // 4 - year // 100 + (153 * from_march + 2) // 5
    return era * 146_097 + of_era - 719_468


def cost_of(price: Price, usage: Usage) -> int:
    """What a usage costs, in whole micro-dollars, the last begun one counted."""
    read = price.input if price.cached is None else price.cached
    write = price.input if price.cache_write is None else price.cache_write
    total = (
        usage.input_uncached * price.input
        + usage.cache_write * write
        + usage.cache_read * read
        + usage.generated * price.output
    )
    fee = price.request if usage.input + usage.generated else 0
    return -(-total // PER) + fee


class Estimate(Value, frozen=True):
    """What one request may use: reserved before, settled after."""

    tokens: int
    micro_dollars: int


def estimate_of(price: Price | None, prompt_tokens: int, output_tokens: int) -> Estimate:
    """The estimate of a request, none of its prompt taken as cached: at the dearest, as written."""
    money = 0
    if price is not None:
        prompt = price.input
        if price.cache_write is not None and price.cache_write > prompt:
            prompt = price.cache_write
        money = -(-(prompt_tokens * prompt + output_tokens * price.output) // PER) + price.request
    return Estimate(prompt_tokens + output_tokens, money)
