"""Why a request went where it went: what its ingress knew, what was predicted, what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from selvedge.fabric import Ask, Receipt
from selvedge.routing import Attempt, Candidate, Load, Policy, Report, Signals


class Seen(msgspec.Struct, frozen=True):
    """One candidate as the ingress saw it."""

    pop: str
    country: str
    rtt_us: int
    report: Report | None
    blocks: int
    """Leading blocks of the prompt that its digest claims."""


class Account(msgspec.Struct):
    """One request: what was known and planned when it was routed, and its receipt."""

    number: int
    ask: Ask | None = None
    at_us: int = 0
    candidates: tuple[Seen, ...] = ()
    plan: tuple[Attempt, ...] = ()
    receipt: Receipt | None = None


class Watching:
    """A policy under observation: it decides as it would, and one decision is written down."""

    __slots__ = ("_account", "_policy")

    def __init__(self, policy: Policy, account: Account) -> None:
        self._policy = policy
        self._account = account

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """The policy's own answer."""
        plan = self._policy.order(facts, shortlist, signals, load, now_us)
        account = self._account
        if facts is account.ask:
            account.at_us = now_us
            account.plan = tuple(plan)
            account.candidates = tuple(_seen(one, facts, signals, now_us) for one in shortlist)
        return plan


def _seen(one: Candidate, facts: Ask, signals: Signals | None, now_us: int) -> Seen:
    report = signals.report(one.pop, now_us) if signals else None
    blocks = signals.matched(one.pop, facts.model, facts.prefix, now_us) if signals else 0
    return Seen(one.pop, one.country, one.rtt_us, report, blocks)
