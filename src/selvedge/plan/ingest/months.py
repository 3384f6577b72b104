"""Months of UTC, by number: months since January of the year 0."""

from __future__ import annotations

import calendar
from typing import Final

import numpy as np

from selvedge.plan.ingest.columns import Array

_EPOCH: Final = 1970 * 12


def name_of(month: int) -> str:
    """As `2026-01`."""
    return f"{month // 12:04d}-{month % 12 + 1:02d}"


def number_of(name: str) -> int:
    """Of `2026-01`."""
    year, month = name.split("-")
    return int(year) * 12 + int(month) - 1


def starts_ms(month: int) -> int:
    """Its first moment."""
    return calendar.timegm((month // 12, month % 12 + 1, 1, 0, 0, 0)) * 1000


def month_at(at_ms: int) -> int:
    """In which a moment lies."""
    days = np.datetime64(at_ms // 86_400_000, "D")
    return int(days.astype("datetime64[M]").astype(int)) + _EPOCH


def months_of(at_ms: Array) -> Array:
    """Of each moment. Empty for no moment."""
    first, last = month_at(int(at_ms.min())), month_at(int(at_ms.max()))
    if first == last:
        return np.full(len(at_ms), first)
    bounds = np.array([starts_ms(month) for month in range(first + 1, last + 1)])
    found: Array = np.searchsorted(bounds, at_ms, side="right") + first
    return found
