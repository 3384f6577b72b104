"""What one holder has of one budget: its share, what it used of it, and what it would like.

A share is what a lease granted, or what is the holder's own where nobody grants leases. What does
not fit is not begun; without any lease there is the micro-grant, one request a window. Pure: time
is a number that only grows, which the holder sees to.
"""

from __future__ import annotations

from typing import Final

from selvedge.fabric.value import Value
from selvedge.ledger.budgets import (
    CONCURRENT,
    DAY,
    DAY_US,
    MINUTE_US,
    REQUESTS,
    TOKENS,
    window_end_us,
    window_of,
)

NONE: Final = -1
"""No share: there is no lease, or it has ended."""
FOR_EVER_US: Final = 2**62
LOOK_US: Final = 1_000_000
MARGIN_US: Final = 5_000_000
"""By how much clocks of holders and desk may differ: what was used in a minute that ended so
lately is still told.
"""
SLICE: Final = 8
"""Of money, so many of the largest requests at once."""
LAST: Final = 0
MICRO: Final = 1
REFUSE: Final = 2
AWAY: Final = ("last", "micro", "refuse")
"""What may be used once a lease has ended and no other came, by number."""


class Away(Value, frozen=True):
    """The rule for when the desk is away."""

    rule: int = LAST
    us: int = DAY_US
    """How long ``last`` goes on."""


class Share:
    """What a request touches of a budget. A base class: its fields lie together in memory, and with
    a hundred thousand keys most of a request's admission is waiting for memory.
    """

    __slots__ = (
        "_peak",
        "_share",
        "ended",
        "is_parked",
        "kind",
        "largest",
        "limit",
        "micro",
        "next_us",
        "touched_us",
        "turn",
        "used",
        "wanted",
    )

    def __init__(self, kind: int, limit: int, at_us: int) -> None:
        self.kind = kind
        self.limit = limit
        self._share = NONE
        self.used = 0
        self.next_us = at_us
        """When time changes something next."""
        self.touched_us = at_us
        self.largest = 0
        """What a request wants, the largest of late."""
        self._peak = 0
        self.turn = 0
        """Counts windows: what was reserved in an earlier one is not of this."""
        self.micro = False
        """The micro-grant of this window is used."""
        self.ended = False
        """There was a lease, and it is over."""
        self.wanted = False
        self.is_parked = False

    def share(self) -> int:
        """What may be used, never more than the limit; `NONE` without a lease."""
        return self._share if self._share < self.limit else self.limit

    def fits(self, amount: int, away: Away) -> bool:
        """Whether a request that wants so much may begin."""
        share = self.share()
        if share != NONE:
            return self.used + amount <= share
        if self.ended and away.rule == REFUSE:
            return False
        if self.kind == CONCURRENT:
            return self.used == 0 and self.limit > 0
        return not self.micro and self.limit > 0

    def take(self, amount: int) -> None:
        """It begins."""
        self.used += amount
        if self._share == NONE and self.kind != CONCURRENT:
            self.micro = True

    def asked(self, amount: int, at_us: int) -> None:
        """A request wants so much, whether or not it may begin."""
        self.touched_us = at_us
        if amount > self.largest:
            self.largest = amount
        if self.kind == CONCURRENT:
            if self.used + amount > self._peak:
                self._peak = self.used + amount
        else:
            self._peak += amount

    def give_back(self, turn: int, amount: int, actual: int) -> None:
        """It has ended: it had taken ``amount``, and used ``actual``."""
        if self.kind == CONCURRENT:
            self.used -= amount
        elif turn == self.turn:
            self.used += actual - amount

    def is_low(self) -> bool:
        """Whether more should be asked for before it is used up."""
        share = self.share()
        return share == NONE or (self.used * 4 > share * 3 and share < self.limit)


class Budget(Share):
    """One limit at one level, as one holder sees it."""

    __slots__ = (
        "_before",
        "_peak_before",
        "asked_us",
        "due_us",
        "level",
        "named",
        "short",
        "until_us",
        "window",
    )

    def __init__(self, level: str, kind: int, limit: int, at_us: int) -> None:
        super().__init__(kind, limit, at_us)
        self.level = level
        self.until_us = 0
        self.short = False
        self.named = 0
        """Of money: the window that the share is of, by the desk; 0 without a lease."""
        self.window = window_of(kind, at_us)
        self._before = 0
        self._peak_before = 0
        self.asked_us = 0
        self.due_us = at_us

    # Windows.

    def roll(self, at_us: int, away: Away) -> None:
        """Take note of the time: windows and leases end."""
        if at_us >= self.next_us:
            self._roll(at_us, away)

    def _roll(self, at_us: int, away: Away) -> None:
        if at_us >= self.until_us and self._share != NONE:
            self._end(at_us, away)
        window = window_of(self.kind, at_us)
        if window > self.window:
            follows = window == self.window + 1
            self._before = self.used if follows else 0
            self._peak_before = self._peak if follows else 0
            self._peak = 0
            self.largest //= 2
            self.window = window
            if self.kind < DAY or self.named == 0:
                self._begin()
        self._look_again(at_us)

    def _look_again(self, at_us: int) -> None:
        """When time changes something next."""
        next_us = FOR_EVER_US if self.kind == CONCURRENT else window_end_us(self.kind, at_us)
        if self._share != NONE and self.until_us < next_us:
            # Past its end a lease may go on for a day: that is looked at each second.
            next_us = self.until_us if self.until_us > at_us else at_us + LOOK_US
        self.next_us = next_us

    def _begin(self) -> None:
        """A new window: nothing of it is used."""
        self.turn += 1
        self.micro = False
        if self.kind != CONCURRENT:
            self.used = 0

    def _end(self, at_us: int, away: Away) -> None:
        """The lease has ended."""
        if self.kind >= DAY:  # Money never goes on: with its lease its window has ended.
            self._begin()
            self.window = window_of(self.kind, at_us + MARGIN_US)
        elif away.rule == LAST and at_us < self.until_us + away.us:
            return
        self._share, self.named, self.ended = NONE, 0, True

    def is_final(self) -> bool:
        """Whether asking for more would not help in this window."""
        return self.short or self._share >= self.limit

    # What the desk is told.

    def told_used(self, at_us: int) -> int:
        """What is used of the window, as far as any other clock may see it."""
        if self.kind <= TOKENS and at_us % MINUTE_US < MARGIN_US and self._before > self.used:
            return self._before
        return self.used if self.used > 0 else 0

    def wish(self) -> int:
        """What this holder would like: twice what it sees, of money some requests ahead."""
        if self.kind >= DAY:
            wish = self.used + self.largest * SLICE
        else:
            peak = self._peak if self._peak > self._peak_before else self._peak_before
            wish = 2 * peak
            if self.largest > wish:
                wish = self.largest
        if wish < self.used:
            wish = self.used
        if self.kind == REQUESTS and wish < 1:
            wish = 1
        return wish if wish < self.limit else self.limit

    def told_share(self) -> int:
        """What it holds: what the desk must count on being used."""
        return self._share if self._share != NONE else 0

    def left_ms(self, at_us: int) -> int:
        """How much longer, begun milliseconds counted."""
        if self._share == NONE or self.until_us <= at_us or self.until_us == FOR_EVER_US:
            return 0
        return (self.until_us - at_us) // 1000 + 1

    def renewed(self) -> None:
        """The desk was asked: what was seen of concurrency until now is of before."""
        if self.kind == CONCURRENT:
            self._peak_before, self._peak = self._peak, self.used

    def lease(self, amount: int, until_us: int, named: int, short: bool) -> None:
        """The desk has granted so much, in place of all before."""
        if self.kind >= DAY and self.named not in (0, named):
            self._begin()
        self._share = amount
        self.until_us = until_us
        self.named = named
        self.short = short
        self.ended = False
        self.next_us = 0

    def own(self, part: int) -> None:
        """Nobody grants leases: this part of the limit is the holder's."""
        self._share, self.until_us, self.named, self.short = part, FOR_EVER_US, 0, True
        self.ended = False
        self.next_us = 0

    def is_own(self) -> bool:
        """Whether the share is the holder's own, granted by nobody."""
        return self.until_us == FOR_EVER_US

    def let_go(self) -> None:
        """Keep nothing but what is used: nobody asked for long."""
        if self._share != NONE:
            self._share = self.used if self.used > 0 else 0

    def drop(self) -> None:
        """Forget the lease: it is not of this desk."""
        self.next_us = 0
        self._share, self.named, self.ended, self.short = NONE, 0, False, False
        self.until_us = 0

    # What a client is told.

    def left(self) -> int:
        """What is left of the share; without one, whether the micro-grant is."""
        share = self.share()
        if share == NONE:
            spent = self.used > 0 if self.kind == CONCURRENT else self.micro
            return 0 if spent else 1
        return share - self.used if share > self.used else 0

    def end_us(self, at_us: int) -> int:
        """When the window is over, by this holder's clock."""
        return window_end_us(self.kind, at_us)
