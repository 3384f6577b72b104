"""The desk: divides each budget among those who hold it, and never promises the same twice.

Two rules, from which the bound follows. **Conservation**: for each budget and window, what may
still be used by all holders sums to no more than the limit. **What was granted is granted until it
is known to be given back**: a holder's newest question says what it holds and what it used, and
until another one comes it may use that, or what it was granted in answer, whichever is more. An
answer that is lost changes nothing.

The division is max-min fair over what holders wish. A holder whose clock or answers are late, that
fell silent or was killed, keeps what it had until its lease and the window after it have ended.
Pure but for the store; time is a number, which does not go back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from selvedge.ledger.budgets import (
    CONCURRENT,
    DAY,
    DAY_US,
    first_day,
    window_end_us,
    window_of,
)
from selvedge.ledger.leases import Grant, Granted, GrantStore, Question, Wish
from selvedge.ledger.shares import MARGIN_US

LEASE_MS: Final = 30_000
PLENTY: Final = 4
FEWER: Final = 16
"""Where no more than one part in so many is wished for, holders have some times what they wish."""
LONGER: Final = 20
"""Where no more than one part in `PLENTY` of a budget is granted, leases last so many times longer:
nobody waits for what they hold, and who has a hundred thousand keys need not ask for each so often.
"""
REFRESH_US: Final = 250_000
"""How often, at most, the fair level of a budget is reckoned anew."""
HOLDERS_MAX: Final = 65_536
FORGOTTEN_US: Final = 3_600_000_000
"""How long a message can be on its way."""
SET_BACK_US: Final = 3_600_000_000
"""What is further ahead than this was granted by a clock that was wrong then."""
FEW: Final = 32
"""Holders among whom the fair level is reckoned for every question."""


class _Share:
    """What one holder has of one budget, in the worst case."""

    __slots__ = ("amount", "free_us", "held", "used", "wish")

    def __init__(self) -> None:
        self.amount = 0
        """The most that it may use of the window: held, granted or used already."""
        self.used = 0
        self.wish = 0
        self.free_us = 0
        """From when on none of this can be used."""


class _Pot:
    """One budget and all who hold of it."""

    __slots__ = ("kind", "level", "limit", "refreshed_us", "shares", "total", "window", "wishes")

    def __init__(self, kind: int, limit: int, window: int) -> None:
        self.kind = kind
        self.limit = limit
        self.window = window
        self.shares: dict[str, _Share] = {}
        self.total = 0
        """Of all amounts."""
        self.level: int | None = None
        """The fair level, where not all wishes can be met."""
        self.wishes = 0
        self.refreshed_us = -REFRESH_US

    def put(self, holder: str, share: _Share, amount: int) -> None:
        """What one holder may use from now on."""
        self.shares[holder] = share
        self.total += amount - share.amount
        share.amount = amount

    def roll(self, now_us: int) -> None:
        """Free what has ended; of money, begin again where the window has."""
        window = _window(self.kind, now_us)
        if window != self.window:
            self.window, self.total = window, 0
            self.shares.clear()
            self.refreshed_us = -REFRESH_US
        if now_us - self.refreshed_us >= REFRESH_US:
            self.refresh(now_us)

    def refresh(self, now_us: int) -> None:
        """Reckon anew: who still holds, what all wish, and the fair level of it."""
        self.refreshed_us = now_us
        for holder in [one for one, share in self.shares.items() if share.free_us <= now_us]:
            self.total -= self.shares.pop(holder).amount
        floors = {one: self._floor(share) for one, share in self.shares.items()}
        needs = [max(0, share.wish - floors[one]) for one, share in self.shares.items()]
        self.wishes = sum(needs)
        spare = max(0, self.limit - sum(floors.values()))
        self.level = None if self.wishes <= spare else fair_level(needs, spare)

    def _floor(self, share: _Share) -> int:
        """Money that is used is used; minutes begin again."""
        return share.used if self.kind >= DAY else 0

    def fair(self, share: _Share, least: int) -> int:
        """What one holder should have, were all others content with as much."""
        floor = self._floor(share)
        need = max(0, share.wish - floor)
        if self.level is None:
            if self.kind >= DAY or not need:
                return floor + need
            if self.wishes * FEWER <= self.limit:
                return need * FEWER // PLENTY
            # Of what nobody wishes for half is shared as well; the rest is for who comes next.
            spare = max(0, self.limit - self.wishes) // (2 * len(self.shares) + 2)
            return need + spare
        return max(floor + min(need, self.level), min(least + floor, share.wish))


def fair_level(needs: Iterable[int], spare: int) -> int:
    """The level up to which every need can be met from ``spare``: max-min fair, in integers."""
    left = sorted(needs)
    count = len(left)
    for met, need in enumerate(left):
        if need * (count - met) > spare:
            return spare // (count - met)
        spare -= need
    return left[-1] if left else 0


class Desk:
    """Grants leases. What the store kept from before is granted still."""

    def __init__(
        self,
        store: GrantStore,
        now_us: int,
        *,
        lease_ms: int = LEASE_MS,
        margin_us: int = MARGIN_US,
    ) -> None:
        self._store = store
        self._lease_ms = lease_ms
        self._margin_us = margin_us
        self._now_us = now_us
        self._limits: Mapping[tuple[str, int], int] = {}
        self._pots: dict[tuple[str, int], _Pot] = {}
        self._numbers: dict[str, tuple[int, int]] = {}
        rows = list(store.load())
        # What was granted of a window was granted in it: a clock that was set back a little while
        # this desk was away must not forget it, and grant it again when the window comes again.
        begun_us = max((_begun_us(row) for row in rows), default=0)
        if begun_us - now_us <= SET_BACK_US:
            self._now_us = max(now_us, begun_us)
        for row in rows:
            self._restore(row)

    def serve(self, limits: Mapping[tuple[str, int], int]) -> None:
        """Grant by these limits from now on; see `budgets_of`."""
        self._limits = limits
        for key, pot in self._pots.items():
            pot.limit = limits.get(key, 0)
            pot.refreshed_us = -REFRESH_US

    def granted(self, level: str, kind: int, now_us: int) -> int:
        """The sum of what all holders may use of a budget now, in the worst case."""
        pot = self._pots.get((level, kind))
        if pot is None:
            return 0
        pot.refreshed_us = -REFRESH_US
        pot.roll(self._time(now_us))
        return pot.total

    def answer(self, question: Question, now_us: int) -> list[Grant] | None:
        """What is granted, written down before; None for a question older than one answered.

        Raises `StoreFailed`: nothing is granted then, and nothing that was is forgotten.
        """
        now_us = self._time(now_us)
        holder = question.holder
        if question.number <= self._numbers.get(holder, (0, 0))[0]:
            return None
        self._remember(holder, question.number, now_us)
        grants: list[Grant] = []
        kept: list[Granted] = []
        for row in question.rows:
            limit = self._limits.get((row.level, row.kind))
            if limit is None:
                continue
            pot = self._pot(row.level, row.kind, limit, now_us)
            grants.append(self._grant(pot, holder, row, now_us))
            share = pot.shares[holder]
            kept.append(
                Granted(
                    holder,
                    row.level,
                    row.kind,
                    pot.window,
                    share.amount,
                    share.free_us,
                    question.number,
                )
            )
        if kept:
            self._store.write(kept)
        return grants

    def tidy(self, now_us: int) -> None:
        """Forget what is over, also in the store. Raises `StoreFailed`."""
        now_us = self._time(now_us)
        for key, pot in list(self._pots.items()):
            pot.refreshed_us = -REFRESH_US
            pot.roll(now_us)
            if not pot.shares:
                del self._pots[key]
        old_us = now_us - FORGOTTEN_US
        fresh = {one: seen for one, seen in self._numbers.items() if seen[1] >= old_us}
        self._numbers = fresh
        self._store.drop(now_us)

    def _grant(self, pot: _Pot, holder: str, row: Wish, now_us: int) -> Grant:
        """Believe what the holder says of itself, then divide."""
        pot.roll(now_us)
        share = pot.shares.get(holder) or _Share()
        is_same = pot.kind < DAY or row.window in (0, pot.window)
        share.used = row.used if is_same else 0
        share.wish = min(row.wish, pot.limit)
        held = row.held if is_same else 0
        # What it holds may last longer than what it is granted, and the answer may be lost.
        longest_ms = max(self._lease_ms, min(row.left_ms, self._lease_ms * LONGER))
        share.free_us = self._term(pot.kind, now_us, longest_ms)[1]
        # Until it says otherwise it may use what it holds, in its clock's window also what it used.
        pot.put(holder, share, max(held, share.used))
        if len(pot.shares) <= FEW:
            pot.refresh(now_us)
        room = max(0, pot.limit - (pot.total - share.amount))
        amount = min(pot.fair(share, row.least), room)
        pot.put(holder, share, max(amount, held, share.used))
        lease_ms = self._lease_ms
        if pot.total * PLENTY <= pot.limit:
            lease_ms *= LONGER
        last_ms, free_us = self._term(pot.kind, now_us, lease_ms)
        share.free_us = max(share.free_us, free_us)
        return Grant(row.level, row.kind, pot.window, amount, last_ms, amount < row.wish)

    def _pot(self, level: str, kind: int, limit: int, now_us: int) -> _Pot:
        pot = self._pots.get((level, kind))
        if pot is None:
            pot = self._pots[level, kind] = _Pot(kind, limit, _window(kind, now_us))
        return pot

    def _term(self, kind: int, now_us: int, lease_ms: int) -> tuple[int, int]:
        """How long a grant lasts, in milliseconds, and from when on it is surely over."""
        if kind >= DAY:
            end_us = window_end_us(kind, now_us)
            return max(0, end_us - now_us) // 1000, end_us
        over_us = now_us + lease_ms * 1000 + self._margin_us
        if kind == CONCURRENT:
            return lease_ms, over_us
        return lease_ms, window_end_us(kind, over_us) + self._margin_us

    def _restore(self, row: Granted) -> None:
        """What was granted before this desk's memory began, used or not."""
        number = max(row.number, self._numbers.get(row.holder, (0, 0))[0])
        self._numbers[row.holder] = (number, self._now_us)
        if row.free_us <= self._now_us or row.window != _window(row.kind, self._now_us):
            return
        pot = self._pot(row.level, row.kind, 0, self._now_us)
        share = _Share()
        share.used = share.wish = row.amount
        share.free_us = row.free_us
        pot.put(row.holder, share, row.amount)

    def _remember(self, holder: str, number: int, now_us: int) -> None:
        self._numbers[holder] = (number, now_us)
        if len(self._numbers) > HOLDERS_MAX:
            self.tidy(now_us)

    def _time(self, now_us: int) -> int:
        self._now_us = max(self._now_us, now_us)
        return self._now_us


def _window(kind: int, now_us: int) -> int:
    """Of money the window that a grant names; of the rest there is one at a time."""
    return window_of(kind, now_us) if kind >= DAY else 0


def _begun_us(row: Granted) -> int:
    """When the window of a grant of money began; 0 of others."""
    if row.kind < DAY:
        return 0
    return (row.window if row.kind == DAY else first_day(row.window)) * DAY_US
