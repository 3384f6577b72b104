"""Quotas at one worker: admits from memory, reserves before, settles after, and asks beside.

A request must fit under every budget of its levels, all or none: its key's, its project's and its
tenant's. What it may use is estimated and reserved; when it has ended, what it did use stands in
its place. Leases are asked for in the background (`questions`, `take`), never by a request.

Kept is what is in use: a level without limits costs nothing, and one that nobody has asked of for
ten minutes is given back and forgotten. Clocks may jump: time here never goes back, and a jump
ahead ends leases early, which is the safe side. Proposal 0009 has the rules and the bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from selvedge.fabric import Refused
from selvedge.fabric.value import Value
from selvedge.ledger.budgets import (
    CONCURRENT,
    DAY,
    DAY_US,
    KINDS,
    REQUESTS,
    TOKENS,
    Estimate,
    limits_of,
)
from selvedge.ledger.keys import Admitted
from selvedge.ledger.leases import ROWS_MAX, Grant, Wish
from selvedge.ledger.levels import Kept, Level
from selvedge.ledger.shares import NONE, REFUSE, Away, Budget

RENEW_US: Final = 5_000_000
"""How often a budget in use is asked for."""
LOOK_US: Final = 60_000_000
CALM_US: Final = 150_000_000
"""A lease that lasts longer still need not be renewed: it is looked at each minute."""
AGAIN_US: Final = 200_000
"""How soon one is asked for again that was refused or is low."""
IDLE_US: Final = 600_000_000
RETRY_MS: Final = 1000
"""When a PoP that has no share yet, or a slot of concurrency, may have one."""
_WHAT: Final = ("requests", "tokens", "requests at once", "micro-dollars", "micro-dollars")
_MONEY: Final = "insufficient_quota"
_PER: Final = ("a minute", "a minute", "", "a day", "a month")


class Shown(Value, frozen=True):
    """What a client is told of one budget: this holder's share of it, what is left, until when."""

    kind: int
    limit: int
    left: int
    reset_us: int


class Reservation:
    """What one request has taken, budget by budget, until it is settled."""

    __slots__ = ("budgets", "is_open", "micro_dollars", "tokens", "turns")

    def __init__(self, tokens: int, micro_dollars: int) -> None:
        self.tokens = tokens
        self.micro_dollars = micro_dollars
        self.budgets: list[Budget] = []
        self.turns: list[int] = []
        self.is_open = True


class Holder:
    """The quotas of one worker. ``part`` is its place among the workers of its PoP, and how many:
    its part of every limit where nobody grants leases.
    """

    __slots__ = (
        "_asked_us",
        "_at_us",
        "_behind_us",
        "_calm",
        "_clock_us",
        "_day",
        "_kept",
        "_line",
        "_number",
        "_out",
        "_parked",
        "_part",
        "_wanted",
        "away",
        "is_leased",
        "output_tokens",
    )

    def __init__(
        self, away: Away, output_tokens: int = 512, part: tuple[int, int] = (0, 1)
    ) -> None:
        self.away = away
        self.output_tokens = output_tokens
        """Estimated of a request that names no maximum."""
        self.is_leased = False
        self._part = part
        self._kept: dict[str, Kept] = {}
        self._line: deque[Budget] = deque()
        self._calm: deque[Budget] = deque()
        self._wanted: dict[Budget, None] = {}
        self._parked: dict[str, None] = {}
        """Levels that nobody asks of, kept because they have used money of this window."""
        self._out: list[Budget] = []
        self._number = 0
        self._at_us = 0
        self._behind_us = 0
        self._clock_us = 0
        self._asked_us = 0
        self._day = 0

    def __len__(self) -> int:
        """Levels that are kept."""
        return len(self._kept)

    def serve(self, *, is_leased: bool) -> None:
        """Whether the release names a desk that grants leases; else limits are each PoP's own."""
        if is_leased == self.is_leased:
            return
        self.is_leased = is_leased
        for kept in self._kept.values():
            for budget in kept.budgets:
                self._endow(budget)

    # Requests.

    def peek(self, admitted: Admitted, now_us: int) -> Refused | None:
        """Refuse at the head what has nothing left: its body need not be read."""
        at_us, away = self._time(now_us), self.away
        for level in admitted.levels:
            kept = level.kept
            if kept is None or kept.holder is not self:
                kept = self._meet(level, at_us)
            for budget in kept.budgets:
                if at_us >= budget.next_us:
                    budget.roll(at_us, away)
                if not budget.fits(1, away):
                    budget.asked(0 if budget.kind == TOKENS or budget.kind >= DAY else 1, at_us)
                    return self._refuse(budget, 1, at_us)
        return None

    def reserve(
        self, admitted: Admitted, estimate: Estimate, now_us: int
    ) -> Reservation | Refused | None:
        """Take what one request may use under all levels of its key, or nothing; None: no level
        has a limit.
        """
        if not admitted.levels:
            return None
        at_us, away = self._time(now_us), self.away
        tokens, money = estimate.tokens, estimate.micro_dollars
        held = Reservation(tokens, money)
        budgets = held.budgets
        short: Budget | None = None
        for level in admitted.levels:
            kept = level.kept
            if kept is None or kept.holder is not self:
                kept = self._meet(level, at_us)
            for budget in kept.budgets:
                kind = budget.kind
                amount = money if kind >= DAY else (tokens if kind == TOKENS else 1)
                if at_us >= budget.next_us:
                    budget.roll(at_us, away)
                budget.asked(amount, at_us)
                if budget.is_parked:
                    self._wake(budget)
                if short is None and not budget.fits(amount, away):
                    short = budget
                budgets.append(budget)
        if short is not None:
            return self._refuse(short, self._amount(short, held), at_us)
        turns = held.turns
        for budget in budgets:
            kind = budget.kind
            budget.take(money if kind >= DAY else (tokens if kind == TOKENS else 1))
            turns.append(budget.turn)
            if not budget.wanted and budget.is_low():
                self._want(budget)
        return held

    def settle(
        self, held: Reservation, requests: int, tokens: int, micro_dollars: int, now_us: int
    ) -> None:
        """What the request used, in place of what it took. Once: a second word is not heard."""
        if not held.is_open:
            return
        held.is_open = False
        at_us = self._time(now_us)
        for number, budget in enumerate(held.budgets):
            kind = budget.kind
            actual = requests
            if kind == TOKENS:
                actual = tokens
            elif kind >= DAY:
                actual = micro_dollars
            budget.roll(at_us, self.away)
            budget.give_back(held.turns[number], self._amount(budget, held), actual)

    def close(self, held: Reservation) -> None:
        """The request broke off, and nobody knows what it used: its estimate stands."""
        self.settle(held, 1, held.tokens, held.micro_dollars, self._at_us - self._behind_us)

    def shown(self, levels: tuple[Level, ...], now_us: int) -> list[Shown]:
        """Of requests and tokens a minute, the level with least left."""
        at_us = self._time(now_us)
        budgets: list[Budget] = []
        for level in levels:
            kept = self._kept.get(level.name)
            if kept is not None:
                budgets += kept.budgets
        found: list[Shown] = []
        for kind in (REQUESTS, TOKENS):
            least: Budget | None = None
            for budget in budgets:
                if budget.kind == kind:
                    budget.roll(at_us, self.away)
                    if least is None or budget.left() < least.left():
                        least = budget
            if least is not None:
                share = least.share()
                limit = share if share != NONE else 1
                reset_us = least.end_us(at_us) - at_us
                found.append(Shown(kind, limit, least.left(), reset_us))
        return found

    def _amount(self, budget: Budget, held: Reservation) -> int:
        kind = budget.kind
        if kind == TOKENS:
            return held.tokens
        return held.micro_dollars if kind >= DAY else 1

    def _time(self, now_us: int) -> int:
        """The time, which never goes back; moments of requests come in any order."""
        at_us = now_us + self._behind_us
        if at_us > self._at_us:
            self._at_us = at_us
        return self._at_us

    def _tick(self, now_us: int) -> int:
        """The same, by the clock itself: where it was set back, time goes on from here."""
        if now_us < self._clock_us:
            self._behind_us += self._clock_us - now_us
        self._clock_us = now_us
        return self._time(now_us)

    def _meet(self, level: Level, at_us: int) -> Kept:
        """A level comes into use, or has other limits now; what it has of the same kinds stays."""
        kept = self._kept.get(level.name)
        if kept is not None and kept.level.limits == level.limits:
            level.kept = kept
            return kept
        before: dict[int, Budget] = {}
        if kept is not None:
            kept.holder = None
            before = {budget.kind: budget for budget in kept.budgets}
        budgets: list[Budget] = []
        for kind, limit in enumerate(limits_of(level.limits)):
            if limit is None:
                continue
            budget = before.get(kind)
            if budget is None:
                budget = Budget(level.name, kind, limit, at_us)
                self._line.append(budget)
            budget.limit = limit
            self._endow(budget)
            budgets.append(budget)
        kept = self._kept[level.name] = level.kept = Kept(self, level, tuple(budgets))
        return kept

    def _wake(self, budget: Budget) -> None:
        """It is asked of again."""
        budget.is_parked = False
        self._parked.pop(budget.level, None)
        self._line.append(budget)
        self._want(budget)

    def _endow(self, budget: Budget) -> None:
        """Its own part where nobody grants leases; where somebody does, what it was granted."""
        if not self.is_leased:
            number, count = self._part
            share = budget.limit // count + (1 if number < budget.limit % count else 0)
            budget.own(share)
        else:
            if budget.is_own():
                budget.drop()
            self._want(budget)

    # Refusals.

    def _refuse(self, budget: Budget, amount: int, at_us: int) -> Refused:
        self._want(budget)
        what, per = _WHAT[budget.kind], _PER[budget.kind]
        field = f"{budget.level}: {KINDS[budget.kind]} is {budget.limit}"
        share = budget.share()
        if amount > budget.limit:
            words = f"{field}, and this request may use {amount} {what}; ask for less of it."
            empty = budget.kind >= DAY and budget.limit == 0
            return Refused(_MONEY if empty else "request_over_limit", words)
        if share == NONE and budget.ended and self.away.rule == REFUSE:
            words = f"{field}, and this PoP has no lease of it: the control plane is away; retry."
            return Refused("quota_unknown", words, retry_after_ms=RETRY_MS)
        if budget.kind == CONCURRENT:
            words = f"{field}, and this PoP's share, {max(share, 1)}, is in use; retry."
            return Refused("concurrency_exceeded", words, retry_after_ms=RETRY_MS)
        if budget.kind >= DAY and share != NONE and budget.is_final():
            words = f"{field}, and it is used up {per}; raise the limit or wait for the next."
            return Refused(_MONEY, words)
        end_ms = (budget.end_us(at_us) - at_us) // 1000 + 1
        if share == NONE or not budget.is_final():
            words = f"{field}, and this PoP has too little of it yet; retry."
            return Refused("rate_limit_exceeded", words, retry_after_ms=min(RETRY_MS, end_ms))
        part = f"this PoP's share of {what} {per}, {share}"
        words = f"{field}, and {part}, is used up; retry in {(end_ms + 999) // 1000} s."
        return Refused("rate_limit_exceeded", words, retry_after_ms=end_ms)

    # Leases.

    @property
    def number(self) -> int:
        """Of the question that `turn` made last."""
        return self._number

    def _want(self, budget: Budget) -> None:
        if self.is_leased and not budget.wanted:
            budget.wanted = True
            self._wanted[budget] = None

    def turn(self, now_us: int) -> list[Wish]:
        """All that is due: the rows of the next question, none where nobody need be asked.

        Forgets what nobody uses. To be called some times a second, and not while an answer is
        waited for: a new question lets go of it.
        """
        at_us = self._tick(now_us)
        if at_us // DAY_US != self._day:
            self._day = at_us // DAY_US
            self._sweep(at_us)
        due: dict[Budget, None] = {}
        for budget in self._wanted:
            pause_us = AGAIN_US
            if at_us - budget.asked_us >= pause_us and len(due) < ROWS_MAX:
                due[budget] = None
        idle: dict[Budget, None] = {}
        self._walk(self._line, due, idle, at_us)
        self._walk(self._calm, due, idle, at_us)
        rows = self._rows(due, idle, at_us) if self.is_leased else []
        for budget in idle:
            self._park(budget, at_us)
        return rows

    def _walk(
        self,
        line: deque[Budget],
        due: dict[Budget, None],
        idle: dict[Budget, None],
        at_us: int,
    ) -> None:
        """Look at those of a line whose turn it is. Long leases are looked at now and then."""
        for _ in range(min(len(line), ROWS_MAX)):
            budget = line[0]
            if len(due) >= ROWS_MAX or budget.due_us > at_us:
                return
            line.popleft()
            if self._is_idle(budget, at_us):
                idle[budget] = due[budget] = None
            elif budget.until_us - at_us > CALM_US:
                budget.due_us = at_us + LOOK_US
                self._calm.append(budget)
            else:
                budget.due_us = at_us + RENEW_US
                self._line.append(budget)
                if at_us - budget.asked_us >= RENEW_US // 2:
                    due[budget] = None

    def _rows(
        self, due: Mapping[Budget, None], idle: Mapping[Budget, None], at_us: int
    ) -> list[Wish]:
        rows: list[Wish] = []
        self._out = []
        for budget in due:
            self._wanted.pop(budget, None)
            budget.wanted = False
            budget.roll(at_us, self.away)
            is_left = budget in idle
            if is_left:
                budget.let_go()
            elif not self._is_current(budget):
                continue
            rows.append(self._row(budget, is_left, at_us))
            budget.renewed()
            budget.asked_us = at_us
            self._out.append(budget)
        if rows:
            self._number += 1
            self._asked_us = at_us
        return rows

    def _row(self, budget: Budget, is_left: bool, at_us: int) -> Wish:
        used = budget.told_used(at_us)
        held, left_ms = budget.told_share(), budget.left_ms(at_us)
        if is_left:
            wish = used if budget.kind >= DAY else 0
            return Wish(budget.level, budget.kind, budget.named, held, used, wish, 0, left_ms)
        least = min(budget.largest, budget.limit)
        return Wish(
            budget.level, budget.kind, budget.named, held, used, budget.wish(), least, left_ms
        )

    def take(self, number: int, rows: Iterable[Grant]) -> None:
        """The answer to the newest question. Any other is not heard."""
        if number != self._number or not self._out:
            return
        self._out = []
        for row in rows:
            kept = self._kept.get(row.level)
            for budget in kept.budgets if kept is not None else ():
                if budget.kind == row.kind and not budget.is_own():
                    until_us = self._asked_us + row.last_ms * 1000
                    if row.amount < budget.told_share():
                        self._want(budget)  # Others wait to hear that it is so.
                    budget.lease(row.amount, until_us, row.window, row.short)

    def failed(self) -> None:
        """There will be no answer to the newest question: ask again."""
        for budget in self._out:
            if self._is_current(budget):
                self._want(budget)
        self._out = []

    def leave(self, now_us: int) -> list[Wish]:
        """Give back what is not in use, because this process ends: the rows of a last question."""
        at_us = self._time(now_us)
        every: dict[Budget, None] = {}
        for kept in self._kept.values():
            for budget in kept.budgets:
                if len(every) < ROWS_MAX and budget.told_share() > budget.used:
                    every[budget] = None
        return self._rows(every, every, at_us) if self.is_leased else []

    # What is kept.

    def _is_current(self, budget: Budget) -> bool:
        kept = self._kept.get(budget.level)
        return kept is not None and budget in kept.budgets

    def _is_idle(self, budget: Budget, at_us: int) -> bool:
        """Nobody has asked of its level for long, and nothing of it runs."""
        kept = self._kept.get(budget.level)
        if kept is None or budget not in kept.budgets:
            return True
        for one in kept.budgets:
            if at_us - one.touched_us < IDLE_US or (one.kind == CONCURRENT and one.used):
                return False
        return True

    def _park(self, budget: Budget, at_us: int) -> None:
        """Wait for its level to be asked of, or for the end of what it has used."""
        kept = self._kept.get(budget.level)
        if kept is not None and budget in kept.budgets:
            budget.is_parked = True
            self._parked[budget.level] = None
            self._forget(kept, at_us)

    def _forget(self, kept: Kept, at_us: int) -> None:
        """Forget a level that has used nothing of its windows."""
        for budget in kept.budgets:
            budget.roll(at_us, self.away)
            if not budget.is_parked or budget.used or budget.micro:
                return
        kept.holder = None
        del self._kept[kept.level.name]
        self._parked.pop(kept.level.name, None)

    def _sweep(self, at_us: int) -> None:
        """A day has ended: what was kept for its money alone can go."""
        for name in list(self._parked):
            kept = self._kept.get(name)
            if kept is not None:
                self._forget(kept, at_us)
