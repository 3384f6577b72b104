"""Months of UTC, as ``YYYY-MM``: what an invoice is of."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Final

from selvedge.fabric import SelvedgeError

_PATTERN: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


def check_month(month: str) -> str:
    """The month itself. Raises `SelvedgeError` where it is none."""
    if not _PATTERN.fullmatch(month) or month.startswith("0000"):
        raise SelvedgeError(f"{month!r} is no month; write it as 2026-11")
    return month


def first_day(month: str) -> str:
    """The first day of it, as an ISO date."""
    return f"{month}-01"


def end_day(month: str) -> str:
    """The day after its last, as an ISO date."""
    year, number = int(month[:4]), int(month[5:])
    return date(year + number // 12, number % 12 + 1, 1).isoformat()


def us_of_day(day: str) -> int:
    """When a UTC day begins, in microseconds."""
    return round(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


def month_bounds(month: str) -> tuple[int, int]:
    """From when, and before when, it is this month; microseconds."""
    return us_of_day(first_day(month)), us_of_day(end_day(month))
