"""What a million tokens are sold at: by the file, by the price book, or by a rule beside others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from selvedge.ledger import PriceBook
from selvedge.plan.comparison import Compared, Mix, Ours, compare, ours_of
from selvedge.plan.economics.inputs import Inputs, Offer
from selvedge.plan.economics.quantities import Real, Values
from selvedge.plan.history import BadPlan
from selvedge.plan.published import Market, Published

MICRO: Final = 1_000_000
PRICE_MAX: Final = 10**12


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    """Micro-dollars per million tokens, before a rule's discount where ``by_rule``."""

    input: int
    output: int
    basis: str
    by_rule: bool = False
    vendors: tuple[str, ...] = ()
    """Whose prices a rule stands beside."""

    def usd(self, values: Values, below: Real | None = None) -> tuple[Real, Real]:
        """Dollars per million tokens, in and out; ``below`` in place of the file's discount."""
        if not self.by_rule and below is None:
            return self.input / MICRO, self.output / MICRO
        share = 1 - (values["pricing.below"] if below is None else below)
        return self.input / MICRO * share, self.output / MICRO * share


def price_of(offer: Offer, inputs: Inputs, book: PriceBook | None, market: Market) -> Priced:
    """The price of an offer. Raises `BadPlan` where there is none."""
    if offer.price is not None:
        return _sold(offer, Ours(offer.model, offer.price.input, offer.price.output), "the file")
    ours = _of_book(offer, inputs, book, market)
    if ours is not None:
        return _sold(offer, ours, "price book")
    found = lowest(offer.model, inputs.pricing.vendors, market)
    if found is not None:
        return found
    words = "no vendor of the table publishes one; give `price`, or a book by --book"
    raise BadPlan(f"offers.{offer.id}: model {offer.model!r} has no price: {words}.")


def _sold(offer: Offer, ours: Ours, basis: str) -> Priced:
    for name, amount in (("input", ours.input), ("output", ours.output)):
        if not 0 <= amount <= PRICE_MAX:
            words = f"{amount} micro-dollars in {basis} are not from 0 to {PRICE_MAX}"
            raise BadPlan(f"offers.{offer.id}: {name}: {words}; correct it.")
    if ours.input + ours.output == 0:
        words = f"{basis} gives {offer.model!r} away; what is free has no margin"
        raise BadPlan(f"offers.{offer.id}: price: {words}.")
    return Priced(input=ours.input, output=ours.output, basis=basis)


def _of_book(offer: Offer, inputs: Inputs, book: PriceBook | None, market: Market) -> Ours | None:
    if book is None:
        return None
    wanted = market.named(offer.model)
    rows = {market.named(one.model): one for one in ours_of(book, inputs.as_of)}
    return rows.get(wanted)


def lowest(model: str, vendors: Sequence[str], market: Market) -> Priced | None:
    """The lowest of some vendors, or of all where those have none; not yet discounted."""
    rows = [row for row in market.of(model) if row.output > 0]
    chosen = [row for row in rows if row.vendor in vendors] if vendors else rows
    chosen = chosen or rows
    if not chosen:
        return None
    cheapest_in = min(chosen, key=lambda row: row.input)
    cheapest_out = min(chosen, key=lambda row: row.output)
    names = dict.fromkeys(_told(row) for row in (cheapest_in, cheapest_out))
    return Priced(
        input=cheapest_in.input,
        output=cheapest_out.output,
        basis=f"below {', '.join(names)}",
        by_rule=True,
        vendors=tuple(dict.fromkeys((cheapest_in.vendor, cheapest_out.vendor))),
    )


def _told(row: Published) -> str:
    return f"{row.vendor} ({row.as_of})"


def gaps(
    inputs: Inputs, prices: dict[str, tuple[int, int]], market: Market
) -> tuple[Compared, ...]:
    """Each offer's price beside every published one. Prices in micro-dollars, by offer."""
    mix = Mix(round(10 * _plain(inputs)), 10)
    ours = [Ours(one.model, *prices[one.id]) for one in inputs.offers if one.id in prices]
    found, _ = compare({one.model: one for one in ours}.values(), market, mix)
    return found


def _plain(inputs: Inputs) -> float:
    written = inputs.demand.input_per_output
    return written if isinstance(written, float | int) else written.value
