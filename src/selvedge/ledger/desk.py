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

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from selvedge.ledger.budgets import (
    CONCURRENT,
    DAY,
    DAY_US,
    KINDS,
    first_day,
    window_end_us,
    window_of,
)
from selvedge.ledger.leases import Grant, Granted, GrantedPage, GrantStore, Question, Wish
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
"""How often, at most, the fair level of a budget that many hold is reckoned anew."""
HOLDERS_MAX: Final = 65_536
FORGOTTEN_US: Final = 3_600_000_000
"""How long a message can be on its way."""
SET_BACK_US: Final = 3_600_000_000
"""What is further ahead than this was granted by a clock that was wrong then."""
FEW: Final = 32
"""Holders among whom the fair level is reckoned for every question."""
PAGE: Final = 32
"""Budgets of one holder that are written down together."""


class _Share:
    """What one holder has of one budget, in the worst case."""

    __slots__ = ("amount", "floor", "free_us", "need", "page", "used", "wish")

    def __init__(self) -> None:
        self.amount = 0
        """The most that it may use of the window: held, granted or used already."""
        self.used = 0
        self.wish = 0
        self.free_us = 0
        """From when on none of this can be used."""
        self.floor = 0
        """What it surely has: money that is used is used; minutes begin again."""
        self.need = 0
        """What it wishes beside that."""
        self.page = -1


class _Holding:
    """All that one holder has, in pages: what is written down at a time."""

    __slots__ = ("number", "pages", "seen_us", "spare")

    def __init__(self) -> None:
        self.number = 0
        """Of its newest question."""
        self.seen_us = 0
        self.pages: list[dict[tuple[str, int], tuple[_Pot, _Share]]] = []
        self.spare: list[int] = []
        """Pages that have had room."""

    def put(self, pot: _Pot, share: _Share) -> None:
        """A share of its own page, where it is new."""
        if share.page >= 0:
            return
        while self.spare and len(self.pages[self.spare[-1]]) >= PAGE:
            self.spare.pop()
        if not self.spare:
            self.spare.append(len(self.pages))
            self.pages.append({})
        share.page = self.spare[-1]
        self.pages[share.page][pot.level_name, pot.kind] = (pot, share)

    def restore(self, page: int, pot: _Pot, share: _Share) -> None:
        """A share of the page that it was written in."""
        while len(self.pages) <= page:
            self.spare.append(len(self.pages))
            self.pages.append({})
        share.page = page
        self.pages[page][pot.level_name, pot.kind] = (pot, share)

    def drop(self, pot: _Pot, share: _Share) -> None:
        """A share that is over."""
        self.pages[share.page].pop((pot.level_name, pot.kind), None)
        self.spare.append(share.page)

    def written(self, holder: str, page: int) -> GrantedPage:
        """A page as it is written down."""
        rows = [
            Granted(pot.level_name, pot.kind, pot.window, share.amount, share.free_us)
            for pot, share in self.pages[page].values()
        ]
        return GrantedPage(holder, page, self.number, rows)


class _Pot:
    """One budget and all who hold of it."""

    __slots__ = (
        "_holdings",
        "floors",
        "kind",
        "level",
        "level_name",
        "limit",
        "needs",
        "refreshed_us",
        "shares",
        "total",
        "window",
    )

    def __init__(
        self, name: tuple[str, int], limit: int, window: int, holdings: dict[str, _Holding]
    ) -> None:
        self.level_name, self.kind = name
        self.limit = limit
        self.window = window
        self.shares: dict[str, _Share] = {}
        self.total = 0
        """Of all amounts."""
        self.floors = 0
        self.needs = 0
        self.level: int | None = None
        """The fair level, where not all wishes can be met."""
        self.refreshed_us = -REFRESH_US
        self._holdings = holdings

    def put(self, holder: str, share: _Share, amount: int) -> None:
        """What one holder may use from now on."""
        self.shares[holder] = share
        self.total += amount - share.amount
        share.amount = amount

    def hear(self, share: _Share, used: int, wish: int) -> None:
        """What a holder says of itself."""
        share.used, share.wish = used, wish
        floor = used if self.kind >= DAY else 0
        need = wish - floor if wish > floor else 0
        self.floors += floor - share.floor
        self.needs += need - share.need
        share.floor, share.need = floor, need

    def roll(self, now_us: int, window: int) -> None:
        """Free what has ended; of money, begin again where the window has."""
        if window != self.window:
            for holder, share in self.shares.items():
                self._holdings[holder].drop(self, share)
            self.window = window
            self.total = self.floors = self.needs = 0
            self.shares.clear()
            self.refreshed_us = -REFRESH_US
        if now_us - self.refreshed_us >= REFRESH_US:
            self.refresh(now_us)

    def refresh(self, now_us: int) -> None:
        """Reckon anew: who still holds, and the fair level of what all wish."""
        self.refreshed_us = now_us
        for holder in [one for one, share in self.shares.items() if share.free_us <= now_us]:
            share = self.shares.pop(holder)
            self.total -= share.amount
            self.floors -= share.floor
            self.needs -= share.need
            self._holdings[holder].drop(self, share)
        self.divide()

    def divide(self) -> None:
        """The fair level of what all wish."""
        spare = max(0, self.limit - self.floors)
        if self.needs <= spare:
            self.level = None
        else:
            self.level = fair_level([share.need for share in self.shares.values()], spare)

    def fair(self, share: _Share, least: int) -> int:
        """What one holder should have, were all others content with as much."""
        floor, need = share.floor, share.need
        if self.level is None:
            if self.kind >= DAY or not need:
                return floor + need
            if self.needs * FEWER <= self.limit:
                return need * FEWER // PLENTY
            # Of what nobody wishes for half is shared as well; the rest is for who comes next.
            spare = max(0, self.limit - self.needs) // (2 * len(self.shares) + 2)
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
        self._holdings: dict[str, _Holding] = {}
        self._terms_us = -1
        self._windows: list[int] = []
        self._short: list[tuple[int, int]] = []
        self._long: list[tuple[int, int]] = []
        pages = list(store.load())
        # What was granted of a window was granted in it: a clock that was set back a little while
        # this desk was away must not forget it, and grant it again when the window comes again.
        begun_us = max((_begun_us(row) for page in pages for row in page.rows), default=0)
        if begun_us - now_us <= SET_BACK_US:
            self._now_us = max(now_us, begun_us)
        self._reckon_terms()
        for page in pages:
            self._restore(page)

    def serve(self, limits: Mapping[tuple[str, int], int]) -> None:
        """Grant by these limits from now on; see `budgets_of`."""
        self._limits = limits
        for key, pot in self._pots.items():
            pot.limit = limits.get(key, 0)
            pot.refreshed_us = -REFRESH_US

    def granted(self, level: str, kind: int, now_us: int) -> int:
        """The sum of what all holders may use of a budget now, in the worst case."""
        self._take_time(now_us)
        pot = self._pots.get((level, kind))
        if pot is None:
            return 0
        pot.refreshed_us = -REFRESH_US
        pot.roll(self._now_us, self._windows[kind])
        return pot.total

    def answer(self, question: Question, now_us: int) -> list[Grant] | None:
        """The answer to one question; see `answer_all`."""
        return self.answer_all([question], now_us)[0]

    def answer_all(self, questions: Sequence[Question], now_us: int) -> list[list[Grant] | None]:
        """What is granted, all of it written down before, at once; None for a question older than
        one answered.

        Raises `StoreFailed`: nothing is granted then, and nothing that was is forgotten.
        """
        self._take_time(now_us)
        touched: dict[tuple[str, int], None] = {}
        answers = [self._answer(question, touched) for question in questions]
        if touched:
            held = self._holdings
            self._store.write([held[holder].written(holder, page) for holder, page in touched])
        return answers

    def tidy(self, now_us: int) -> None:
        """Forget what is over, also in the store. Raises `StoreFailed`."""
        self._take_time(now_us)
        now_us = self._now_us
        for key, pot in list(self._pots.items()):
            pot.refreshed_us = -REFRESH_US
            pot.roll(now_us, self._windows[pot.kind])
            if not pot.shares:
                del self._pots[key]
        old_us = now_us - FORGOTTEN_US
        for holder, holding in list(self._holdings.items()):
            if holding.seen_us < old_us and not any(holding.pages):
                del self._holdings[holder]
        self._store.drop(now_us)

    def _answer(
        self, question: Question, touched: dict[tuple[str, int], None]
    ) -> list[Grant] | None:
        holder = question.holder
        holding = self._holdings.get(holder)
        if holding is None:
            holding = self._meet(holder)
        if question.number <= holding.number:
            return None
        holding.number, holding.seen_us = question.number, self._now_us
        grants: list[Grant] = []
        for row in question.rows:
            name = (row.level, row.kind)
            limit = self._limits.get(name)
            if limit is None:
                continue
            pot = self._pots.get(name)
            if pot is None:
                pot = self._new_pot(name, limit)
            grants.append(self._grant(pot, holder, holding, row))
            touched[holder, pot.shares[holder].page] = None
        return grants

    def _grant(self, pot: _Pot, holder: str, holding: _Holding, row: Wish) -> Grant:
        """Believe what the holder says of itself, then divide."""
        now_us, kind = self._now_us, pot.kind
        pot.roll(now_us, self._windows[kind])
        share = pot.shares.get(holder)
        if share is None:
            share = _Share()
        is_same = kind < DAY or row.window in (0, pot.window)
        pot.hear(share, row.used if is_same else 0, min(row.wish, pot.limit))
        held = row.held if is_same else 0
        # What it holds may last longer than what it is granted, and the answer may be lost.
        share.free_us = self._short[kind][1]
        if row.left_ms > self._lease_ms:
            longest_ms = min(row.left_ms, self._lease_ms * LONGER)
            share.free_us = self._term(kind, now_us, longest_ms)[1]
        # Until it says otherwise it may use what it holds, in its clock's window also what it used.
        pot.put(holder, share, max(held, share.used))
        holding.put(pot, share)
        if len(pot.shares) <= FEW:
            pot.divide()
        room = max(0, pot.limit - (pot.total - share.amount))
        amount = min(pot.fair(share, row.least), room)
        pot.put(holder, share, max(amount, held, share.used))
        is_long = pot.total * PLENTY <= pot.limit
        last_ms, free_us = (self._long if is_long else self._short)[kind]
        if free_us > share.free_us:
            share.free_us = free_us
        return Grant(row.level, kind, pot.window, amount, last_ms, amount < row.wish)

    def _new_pot(self, name: tuple[str, int], limit: int) -> _Pot:
        pot = _Pot(name, limit, self._windows[name[1]], self._holdings)
        self._pots[name] = pot
        return pot

    def _meet(self, holder: str) -> _Holding:
        if len(self._holdings) >= HOLDERS_MAX:
            self.tidy(self._now_us)
        holding = self._holdings[holder] = _Holding()
        return holding

    def _term(self, kind: int, now_us: int, lease_ms: int) -> tuple[int, int]:
        """How long a grant lasts, in milliseconds, and from when on it is surely over."""
        if kind >= DAY:
            end_us = window_end_us(kind, now_us)
            return max(0, end_us - now_us) // 1000, end_us
        over_us = now_us + lease_ms * 1000 + self._margin_us
        if kind == CONCURRENT:
            return lease_ms, over_us
        return lease_ms, window_end_us(kind, over_us) + self._margin_us

    def _restore(self, page: GrantedPage) -> None:
        """What was granted before this desk's memory began, used or not."""
        holding = self._holdings.get(page.holder)
        if holding is None:
            holding = self._holdings[page.holder] = _Holding()
        holding.number = max(page.number, holding.number)
        holding.seen_us = self._now_us
        for row in page.rows:
            if row.free_us <= self._now_us or row.window != self._windows[row.kind]:
                continue
            name = (row.level, row.kind)
            pot = self._pots.get(name)
            if pot is None:
                pot = self._new_pot(name, 0)
            share = pot.shares.get(page.holder)
            if share is None:
                share = _Share()
                holding.restore(page.page, pot, share)
            share.free_us = max(row.free_us, share.free_us)
            amount = max(row.amount, share.amount)
            pot.hear(share, amount, amount)
            pot.put(page.holder, share, amount)

    def _take_time(self, now_us: int) -> None:
        """Time does not go back."""
        if now_us > self._now_us:
            self._now_us = now_us
        if self._terms_us != self._now_us:
            self._reckon_terms()

    def _reckon_terms(self) -> None:
        """Of each kind of budget: the window that a grant names, and how long grants last."""
        now_us = self._terms_us = self._now_us
        kinds = range(len(KINDS))
        # Of money each window is named; of the rest there is one at a time.
        self._windows = [window_of(kind, now_us) if kind >= DAY else 0 for kind in kinds]
        self._short = [self._term(kind, now_us, self._lease_ms) for kind in kinds]
        self._long = [self._term(kind, now_us, self._lease_ms * LONGER) for kind in kinds]


def _begun_us(row: Granted) -> int:
    """When the window of a grant of money began; 0 of others."""
    if row.kind < DAY:
        return 0
    return (row.window if row.kind == DAY else first_day(row.window)) * DAY_US
