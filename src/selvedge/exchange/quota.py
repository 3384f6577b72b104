"""What one request takes of its key's limits: estimated before, settled by its receipt.

Pure like the story that asks: the state is the view's holder. What a receipt bills is the ledger's
word (`settle`), here as in every invoice.
"""

from __future__ import annotations

from typing import Final

from selvedge.exchange.view import FleetView
from selvedge.fabric import Ask, Model, Price, Receipt, Refused, Route
from selvedge.ledger import (
    Admitted,
    Holder,
    Reservation,
    cost_of,
    estimate_of,
    settle,
)
from selvedge.routing import prompt_tokens_of

FREE: Final = Price(0, 0)


class Taken:
    """What a request has reserved, until its receipt says what it used."""

    __slots__ = ("_held", "_holder", "_price")

    def __init__(self, holder: Holder, held: Reservation, price: Price) -> None:
        self._holder = holder
        self._held = held
        self._price = price

    def settle(self, receipt: Receipt) -> None:
        """Its receipt is about to be written. What never came to an engine used nothing."""
        billed = settle(receipt).billed
        cost = cost_of(self._price, billed)
        requests = 1 if receipt.attempts else 0
        tokens = billed.input + billed.generated
        self._holder.settle(self._held, requests, tokens, cost, receipt.ended_us)

    def break_off(self) -> None:
        """There was no receipt: the estimate stands. Nothing where there was one."""
        self._holder.close(self._held)


def spent(view: FleetView, admitted: Admitted, at_us: int) -> Refused | None:
    """The refusal of a request for which nothing is left, whatever its body says."""
    if view.quotas is None or not admitted.levels:
        return None
    return view.quotas.peek(admitted, at_us)


def take(view: FleetView, admitted: Admitted, ask: Ask, at_us: int) -> Taken | Refused | None:
    """Reserve what a request may use; None where no limit is its key's, or its model is unknown.

    Where models are sold, one without a price is refused whatever the key.
    """
    holder, model = view.quotas, view.models.get(ask.model)
    if view.release.priced is not None and model is not None:
        unsold = _unsold(model, at_us)
        if unsold is not None:
            return unsold
    if holder is None or model is None or not admitted.levels:
        return None
    if model.price is None and _has_money(admitted):
        words = f"Model {ask.model!r} has no price, and this key has a budget in money; "
        return Refused("model_unpriced", words + "ask for a price, or use another model.")
    prompt = prompt_tokens_of(ask, view.load.bytes_per_token)
    output = _output_tokens(ask, model, prompt, holder.output_tokens)
    held = holder.reserve(admitted, estimate_of(model.price, prompt, output), at_us)
    if held is None or isinstance(held, Refused):
        return held
    return Taken(holder, held, model.price or FREE)


def _unsold(model: Model, at_us: int) -> Refused | None:
    """The refusal of a model that has no price now: it is never sold for nothing."""
    price = model.price
    if price is not None and (price.until_us is None or at_us < price.until_us):
        return None
    words = f"Model {model.id!r} has no price now, and nothing is sold without one; "
    return Refused("model_unpriced", words + "its operator has to publish a price.")


def _output_tokens(ask: Ask, model: Model, prompt: int, default: int) -> int:
    if ask.route in (Route.EMBEDDINGS, Route.RERANK, Route.COUNT):
        return 0
    named = ask.output_tokens_max
    room = max(0, model.context_tokens_max - prompt)
    return min(default if named is None else named, room) * ask.choices


def _has_money(admitted: Admitted) -> bool:
    for level in admitted.levels:
        limits = level.limits
        if limits.micro_dollars_per_day is not None or limits.micro_dollars_per_month is not None:
            return True
    return False
