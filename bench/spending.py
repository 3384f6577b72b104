"""What was admitted under each limit, window by window, against the bound of docs/ledger.md. Pure.

Every life of a PoP is a holder of its own, which knows nothing of the one before: N of the formula.
Leases that have ended are not used on (`lease_away: micro`), so that its sum over P is nothing, and
no request uses more than its estimate, so that R x e is nothing either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from selvedge.fabric import Outcome, Price, Receipt
from selvedge.ledger import cost_of, settle

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
WINDOWS = {"requests": MINUTE_US, "tokens": MINUTE_US, "money": DAY_US}


@dataclass(frozen=True, slots=True)
class Watched:
    """A key with one limit: what it counts, and the most that one request can be of it."""

    key: str
    counts: str
    limit: int
    one: int


@dataclass(slots=True)
class Spent:
    """Of one limit: windows in which anything was admitted, and the fullest of them."""

    windows: int = 0
    admitted: int = 0
    most: int = 0
    bound: int = 0
    fullest: float = 0.0
    over: list[str] = field(default_factory=list)


def spending(
    receipts: Iterable[Receipt],
    watched: Sequence[Watched],
    lives: Sequence[tuple[int, int]],
    price: Price,
    workers: int = 1,
) -> Mapping[str, Spent]:
    """By key. ``lives`` are the PoP's, from start to end in microseconds UTC."""
    by_key = {one.key: one for one in watched}
    sums: dict[str, Counter[int]] = {one.key: Counter() for one in watched}
    for receipt in receipts:
        limit = by_key.get(receipt.key)
        if limit is None or receipt.outcome is Outcome.REFUSED:
            continue
        window = receipt.received_us // WINDOWS[limit.counts]
        sums[limit.key][window] += _amount(receipt, limit.counts, price)
    return {key: _judge(by_key[key], found, lives, workers) for key, found in sums.items()}


def _amount(receipt: Receipt, counts: str, price: Price) -> int:
    if counts == "requests":  # one that never came to an engine is given back
        return int(bool(receipt.attempts) or receipt.outcome is Outcome.INTERRUPTED)
    billed = settle(receipt).billed
    return billed.input + billed.generated if counts == "tokens" else cost_of(price, billed)


def _judge(
    limit: Watched, found: Counter[int], lives: Sequence[tuple[int, int]], workers: int
) -> Spent:
    spent = Spent(windows=len(found), admitted=found.total())
    length_us = WINDOWS[limit.counts]
    for window, amount in sorted(found.items()):
        begin_us, end_us = window * length_us, (window + 1) * length_us
        holders = workers * sum(one < end_us and other >= begin_us for one, other in lives)
        bound = limit.limit + holders * limit.one
        if amount / bound > spent.fullest:
            spent.fullest, spent.most, spent.bound = amount / bound, amount, bound
        if amount > bound:
            spent.over.append(f"{limit.key}: {amount} in window {window}, where {bound} is most")
    return spent
