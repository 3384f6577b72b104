"""What answers out of the cache have saved: calls, tokens, money and time, as a fold over receipts.

A hit saved one call of an engine and the tokens that its receipt names: what the kept answer had
used when it was made. Time is held against the receipt that paid for that answer (`cache_from`);
where that was not read, against the mean of what engines answered for the same tenant, model and
month; where there is none, nothing is claimed and the hit is counted as untimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from selvedge.fabric import PROBE_TENANT, Outcome, Price, Receipt, Usage
from selvedge.ledger.monthly_usage import MonthlyUsage
from selvedge.ledger.settlement import Sums
from selvedge.ledger.spending import PPM, cost_ppm
from selvedge.ledger.usage_rows import day_of

UNKNOWN_MODEL: Final = "-"
Biller = Callable[[str, str, MonthlyUsage], int | None]
"""Tenant, month and usage -> micro-dollars; None where something has no price."""


class Saved(msgspec.Struct, frozen=True):
    """Of one tenant, model and month. None: it cannot be said, because something has no price."""

    tenant: str
    model: str
    month: str
    asked: int
    """Answers where the cache was asked: hits, and complete ones of engines."""
    hits: int
    input_tokens: int
    output_tokens: int
    micro_dollars: int | None
    """What the calls would have been billed, less what the hits are."""
    cost_micro_dollars: int | None
    """What they would have cost the operator, at the engines that made the answers."""
    latency_us: int
    untimed: int
    """Hits of which nobody knows how long an engine would have taken."""
    judgements: int = 0
    """Times that ``model`` was asked whether two answers say the same; nobody is billed."""
    judge_tokens: int = 0
    judge_cost_micro_dollars: int | None = 0
    """What they cost the operator, at the engines asked."""

    @property
    def hit_ppm(self) -> int:
        """Hits of what was asked, in millionths."""
        return self.hits * 1_000_000 // self.asked if self.asked else 0


class _Group:
    __slots__ = (
        "asked",
        "costs",
        "hits",
        "input",
        "judged",
        "judgements",
        "output",
        "paid",
        "taken_us",
        "timed",
        "would",
    )

    def __init__(self) -> None:
        self.asked = 0
        self.hits: list[tuple[str, int]] = []
        """Of each hit: the receipt that paid, and how long the hit took."""
        self.input = 0
        self.output = 0
        self.would = MonthlyUsage()
        self.paid = MonthlyUsage()
        self.costs: dict[str, Sums] = {}
        self.judged: dict[str, Sums] = {}
        self.judgements = 0
        self.taken_us = 0
        """By engines, of `timed` answers."""
        self.timed = 0


class SavingsFold:
    """A fold over receipts, in any order."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self._took_us: dict[str, int] = {}

    def take(self, receipt: Receipt) -> None:
        """One receipt. The operator's own probes, and who had no cache, count for nothing."""
        if receipt.purpose == "judge":
            self._take_judgement(receipt)
            return
        if receipt.cache == "off" or receipt.tenant == PROBE_TENANT:
            return
        if receipt.outcome is not Outcome.COMPLETE or receipt.usage is None:
            return
        group = self._group(receipt)
        group.asked += 1
        took_us = max(0, receipt.ended_us - receipt.received_us)
        if receipt.cache != "hit":
            self._took_us[receipt.id] = took_us
            group.taken_us += took_us
            group.timed += 1
            return
        usage = receipt.usage
        group.hits.append((receipt.cache_from or "", took_us))
        group.input += usage.input
        group.output += usage.generated
        group.paid.add_receipt(receipt)
        group.would.add_receipt(msgspec.structs.replace(receipt, cache="miss"))
        _add(group.costs, receipt, usage)

    def _take_judgement(self, receipt: Receipt) -> None:
        """Whatever its end: what an engine did of it is paid."""
        group = self._group(receipt)
        group.judgements += 1
        if receipt.usage is not None:
            _add(group.judged, receipt, receipt.usage)

    def _group(self, receipt: Receipt) -> _Group:
        month = day_of(receipt.received_us)[:7]
        key = (receipt.tenant, receipt.model or UNKNOWN_MODEL, month)
        return self._groups.setdefault(key, _Group())

    def rows(self, bill: Biller, costs: Mapping[str, Price]) -> Iterator[Saved]:
        """What was saved, by tenant, model and month. ``costs`` are by ``site/engine``."""
        for (tenant, model, month), group in sorted(self._groups.items()):
            latency_us, untimed = self._time(group)
            would, paid = bill(tenant, month, group.would), bill(tenant, month, group.paid)
            yield Saved(
                tenant=tenant,
                model=model,
                month=month,
                asked=group.asked,
                hits=len(group.hits),
                input_tokens=group.input,
                output_tokens=group.output,
                micro_dollars=None if would is None or paid is None else would - paid,
                cost_micro_dollars=_cost(group.costs, costs),
                latency_us=latency_us,
                untimed=untimed,
                judgements=group.judgements,
                judge_tokens=sum(map(_tokens, group.judged.values())),
                judge_cost_micro_dollars=_cost(group.judged, costs),
            )

    def _time(self, group: _Group) -> tuple[int, int]:
        """Microseconds saved, and hits of which nothing is known."""
        mean_us = group.taken_us // group.timed if group.timed else None
        saved_us = untimed = 0
        for paid, took_us in group.hits:
            would_us = self._took_us.get(paid, mean_us)
            if would_us is None:
                untimed += 1
            else:
                saved_us += would_us - took_us
        return saved_us, untimed


def _add(places: dict[str, Sums], receipt: Receipt, usage: Usage) -> None:
    """What one answer used, at the engine that made it."""
    place = f"{receipt.served_pop}/{receipt.served_engine}"
    used = Sums(
        1,
        usage.input_uncached,
        usage.cache_read,
        usage.cache_write,
        usage.output,
        usage.reasoning,
    )
    places[place] = places.get(place, Sums()) + used


def _tokens(sums: Sums) -> int:
    return sums.input_uncached + sums.cache_read + sums.cache_write + sums.output + sums.reasoning


def _cost(places: Mapping[str, Sums], costs: Mapping[str, Price]) -> int | None:
    """At the engines that made the answers; None where one's cost is not known."""
    if not set(places) <= set(costs):
        return None
    whole = sum(cost_ppm(costs[place], sums, sums.receipts) for place, sums in places.items())
    return whole // PPM
