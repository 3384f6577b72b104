"""From priced quantities to amounts: each line is rounded once, half up, and rules follow by order.

Allowance, discount, tiers, commitment, minimum, fee, credits: each is a line over sums of the lines
before it. Whoever adds up the lines has the total.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from selvedge.ledger.price_book import PPM, Contract, Neurons, PriceBook
from selvedge.ledger.rating import NEURON, LineKey, Rated, Terms

Rule = Literal["allowance", "discount", "tier", "commitment", "minimum", "sla_fee", "credit"]


class CreditDue(msgspec.Struct, frozen=True, order=True):
    """What a missed service level gives back: parts per million of the model's charges."""

    model: str
    ppm: int
    why: str
    since: str = ""
    """Of the contract's days that begin with this one; empty: of the whole month."""


class RuleKey(NamedTuple):
    """A line that follows from others: of one contract; ``of`` tells two of a kind apart."""

    contract: str
    rule: Rule
    of: str = ""


class Charges(NamedTuple):
    """Micro-dollars by line; a rule that comes to nothing has none."""

    usage: dict[LineKey, int]
    rules: dict[RuleKey, int]

    @property
    def total(self) -> int:
        """Of all lines."""
        return sum(self.usage.values()) + sum(self.rules.values())


def half_up(numerator: int, divisor: int) -> int:
    """The whole number nearest to the fraction; halves go away from zero."""
    whole = (2 * abs(numerator) + divisor) // (2 * divisor)
    return whole if numerator >= 0 else -whole


def charge(
    rated: Rated, book: PriceBook, terms: Sequence[Terms], credits: Iterable[CreditDue] = ()
) -> Charges:
    """What quantities of a month cost under these terms."""
    usage = {
        key: half_up(quantity * key.price_ppm, key.divisor)
        for key, quantity in rated.quantities.items()
    }
    rules: dict[RuleKey, int] = {}
    for one in terms:
        own = {key: amount for key, amount in usage.items() if key.group.contract == one.key}
        rules |= _rules(one, own, _allowance(rated, one, book.neurons), sorted(credits))
    return Charges(usage, rules)


def _allowance(rated: Rated, terms: Terms, neurons: Neurons | None) -> int:
    """What is free of a contract's neurons, day by day: micro-dollars."""
    if neurons is None or not terms.in_neurons:
        return 0
    free = neurons.free_per_day * NEURON
    taken = sum(
        min(free, quantity)
        for (contract, _), quantity in rated.neurons.items()
        if contract == terms.key
    )
    return half_up(taken * neurons.micro_dollars_per_1000, 1_000 * NEURON)


def _rules(
    terms: Terms, usage: Mapping[LineKey, int], allowance: int, credits: Sequence[CreditDue]
) -> dict[RuleKey, int]:
    """The lines that follow, in the order in which they are taken; none of zero."""
    found: dict[RuleKey, int] = {}
    gross = sum(usage.values())

    def follow(rule: Rule, amount: int, of: str = "") -> int:
        if amount:
            found[RuleKey(terms.key, rule, of)] = amount
        return amount

    net = gross + follow("allowance", -allowance)
    contract = terms.contract
    if contract is not None:
        net += follow("discount", -half_up(net * contract.discount_ppm, PPM))
        net += sum(follow("tier", -amount, of) for of, amount in _tiers(contract, net))
        due = net + follow("commitment", max(0, contract.committed_micro_dollars - net))
        follow("minimum", max(0, contract.minimum_micro_dollars - due))
        follow("sla_fee", contract.sla_fee_micro_dollars)
    for one in credits:
        if one.since not in ("", terms.since):
            continue
        model = sum(amount for key, amount in usage.items() if key.group.model == one.model)
        # Of what is paid for the model: its part of what discounts left.
        follow("credit", -half_up(model * net * one.ppm, (gross or 1) * PPM), one.model)
    return found


def _tiers(contract: Contract, charges: int) -> Iterable[tuple[str, int]]:
    """Each tier's discount on the part of the charges between its amount and the next one's."""
    tiers = sorted(contract.tiers, key=lambda one: one.above_micro_dollars)
    for at, one in enumerate(tiers):
        above_next = [other.above_micro_dollars for other in tiers[at + 1 : at + 2]]
        part = min([charges, *above_next]) - one.above_micro_dollars
        if part > 0:
            yield f"{one.above_micro_dollars}", half_up(part * one.discount_ppm, PPM)
