"""Numbers as people write them."""

from __future__ import annotations

from typing import Final

_MANY: Final = 100.0
"""A use of so many times what there is: it will not be."""


def money(amount: float) -> str:
    """``$1,234``, ``-$2.3 million``; cents below ten dollars."""
    sign, size = "-" if amount < 0 else "", abs(amount)
    if size >= 1e9:
        return f"{sign}${size / 1e9:,.2f} billion"
    if size >= 1e6:
        return f"{sign}${size / 1e6:,.2f} million"
    if size >= 10 or size == 0:
        return f"{sign}${size:,.0f}"
    return f"{sign}${size:,.3f}"


def plain(number: float) -> str:
    """Three digits that count; large ones with a power of ten."""
    if number == 0:
        return "0"
    if abs(number) >= 1e6:
        return f"{number:.3g}".replace("e+", "e")
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def share(number: float | None) -> str:
    """In percent; a dash where there is none."""
    if number is None:
        return "-"
    return f"{number:.0%}" if number < _MANY else "never"


def below_or_above(ppm: int | None) -> str:
    """A difference in parts per million, in percent with its sign."""
    return "-" if ppm is None else f"{ppm / 10_000:+.1f} %"


def figure(name: str, value: float) -> str:
    """A figure as its name says: dollars, or a share in percent."""
    return money(value) if "USD" in name else f"{value:,.1%}"
