"""Amounts, differences and days, as the commands about prices write and read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import click

from selvedge.fabric import SelvedgeError
from selvedge.ledger import day_of, is_day

F = TypeVar("F", bound=Callable[..., None])


def dollars(micro_dollars: int) -> str:
    """All of its digits, at least two after the point: ``$0.05``, ``$0.0375``."""
    whole, part = divmod(abs(micro_dollars), 1_000_000)
    digits = f"{part:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micro_dollars < 0 else ''}${whole}.{digits}"


def percent(ppm: int | None) -> str:
    """With its sign and one digit after the point, rounded half away from zero."""
    if ppm is None:
        return "-"
    tenths = (abs(ppm) + 500) // 1000
    sign = "" if not tenths else "-" if ppm < 0 else "+"
    return f"{sign}{tenths // 10}.{tenths % 10} %"


def on_option(command: F) -> F:
    """``--on DAY``, today where it is not named."""
    return click.option(
        "--on", "day", default=None, callback=_day, metavar="DAY", help="A UTC day; default: today."
    )(command)


def _day(context: click.Context, option: click.Parameter, written: str | None) -> str:
    del context, option
    if written is None:
        return day_of(time.time_ns() // 1000)
    if not is_day(written):
        raise SelvedgeError(f"--on: {written!r} is not a UTC day, as '2026-11-01'")
    return written
