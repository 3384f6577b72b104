"""Ours beside theirs: the difference of each price in parts per million, exact and rounded once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from selvedge.fabric import SelvedgeError
from selvedge.ledger import PPM, PriceBook, PriceList
from selvedge.plan.published import Market, Published


class Mix(msgspec.Struct, frozen=True):
    """How many tokens of a prompt come to how many of an answer, for one figure out of two."""

    input: int = 3
    output: int = 1

    def blend(self, input_: int, output: int) -> int:
        """The price of the mix, times the tokens in it: whole, so that it compares exactly."""
        return self.input * input_ + self.output * output


THREE_TO_ONE: Final = Mix()


class Ours(msgspec.Struct, frozen=True):
    """What we ask for a model: micro-dollars per million tokens."""

    model: str
    input: int
    output: int


class Compared(msgspec.Struct, frozen=True):
    """One of our prices beside a published one. Negative: ours is lower; None: theirs is free."""

    ours: Ours
    theirs: Published
    source: str
    input_ppm: int | None
    output_ppm: int | None
    mix_ppm: int | None


def ours_of(book: PriceBook, day: str, zone: str | None = None) -> tuple[Ours, ...]:
    """Our list prices on a day, in a zone or where no zone has its own; by model."""
    prices = PriceList(book)
    rows = (
        prices.row(model, zone, day) for model in dict.fromkeys(row.model for row in book.prices)
    )
    return tuple(Ours(row.model, row.input, row.output) for row in rows if row is not None)


def compare(
    ours: Iterable[Ours], market: Market, mix: Mix = THREE_TO_ONE
) -> tuple[tuple[Compared, ...], tuple[str, ...]]:
    """Every pair, and the models for which no published price is known."""
    found: list[Compared] = []
    alone: list[str] = []
    for one in ours:
        rows = market.of(one.model)
        if not rows:
            alone.append(one.model)
        found += [_compared(one, row, market.source(row), mix) for row in rows]
    return tuple(found), tuple(alone)


def _compared(ours: Ours, theirs: Published, source: str, mix: Mix) -> Compared:
    blends = (mix.blend(ours.input, ours.output), mix.blend(theirs.input, theirs.output))
    return Compared(
        ours,
        theirs,
        source,
        difference_ppm(ours.input, theirs.input),
        difference_ppm(ours.output, theirs.output),
        difference_ppm(*blends),
    )


def difference_ppm(ours: int, theirs: int) -> int | None:
    """How much ours is above theirs, in parts per million of theirs, rounded half up."""
    if theirs == 0:
        return None
    return (2 * (ours - theirs) * PPM + theirs) // (2 * theirs)


def read_mix(text: str) -> Mix:
    """``3:1`` -> three tokens in for one out. Raises `SelvedgeError`."""
    before, _, after = text.partition(":")
    if not (before.isdecimal() and after.isdecimal()) or int(before) + int(after) == 0:
        raise SelvedgeError(f"--mix: {text!r} is not tokens in to tokens out, as 3:1")
    return Mix(int(before), int(after))
