"""Whole numbers as decimals and back, exactly: amounts, prices, quantities."""

from __future__ import annotations

from selvedge.fabric import StoreCorrupt


def decimal_of(number: int, places: int, places_min: int = 0) -> str:
    """``number`` times 10^-places: no more digits after the point than it has, no exponent."""
    sign, digits = "-" if number < 0 else "", str(abs(number)).rjust(places + 1, "0")
    whole, part = (digits[:-places], digits[-places:]) if places else (digits, "")
    part = part.rstrip("0").ljust(places_min, "0")
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"


def digits_of(decimal: str, places: int) -> int:
    """The whole number that `decimal_of` wrote. Raises `StoreCorrupt`."""
    whole, _, part = decimal.removeprefix("-").partition(".")
    if not whole.isascii() or not whole.isdigit() or len(part) > places:
        raise StoreCorrupt(f"{decimal!r} is no decimal of {places} places")
    if part and not (part.isascii() and part.isdigit()):
        raise StoreCorrupt(f"{decimal!r} is no decimal")
    number = int(whole + part.ljust(places, "0"))
    return -number if decimal.startswith("-") else number


def in_currency(micro_dollars: int) -> str:
    """An amount of the currency, exact, with two digits at least: ``12.50``."""
    return decimal_of(micro_dollars, 6, 2)


def grouped(decimal: str) -> str:
    """The same with commas between thousands, for people."""
    sign = "-" if decimal.startswith("-") else ""
    whole, point, part = decimal.removeprefix("-").partition(".")
    return f"{sign}{int(whole):,}{point}{part}"


def percent_of(ppm: int) -> str:
    """Parts per million as percent: ``7.5 %``."""
    return f"{decimal_of(ppm, 4)} %"
