"""A fleet of holders and one desk, in one memory: messages can be lost, processes can die."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from selvedge.fabric import Limits, Refused, StoreFailed
from selvedge.ledger import (
    Admitted,
    Away,
    Desk,
    Estimate,
    Grant,
    Holder,
    Level,
    MemoryGrants,
    Question,
    Reservation,
    budgets_of,
)
from tests.support.fleets import NOW_US, make_release

NONCE: Final = b"n" * 16
LEVEL: Final = "key/k"


def admitted(limits: Limits, name: str = LEVEL) -> Admitted:
    """A key whose one level has these limits."""
    return Admitted("k", "t", "p", "d", (Level(name, limits),))


def limits_at(limits: Limits, name: str = LEVEL) -> Mapping[tuple[str, int], int]:
    """The same as a desk knows it."""
    release = make_release()
    key = release.keys[0].__class__("k", "free", "default", "0" * 64, limits=limits)
    release = make_release(keys=(key,))
    return {(name, kind): limit for (_, kind), limit in budgets_of(release).items()}


class Worker:
    """One holder with its clock, its connection to the desk, and what runs on it."""

    def __init__(self, world: World, pop: str, epoch: int, away: Away, skew_us: int) -> None:
        self.world = world
        self.pop = pop
        self.epoch = epoch
        self.skew_us = skew_us
        self.is_cut = False
        self.holder = Holder(away)
        self.holder.serve(is_leased=True)
        self.running: list[Reservation] = []
        self.late: tuple[int, list[Grant]] | None = None
        """An answer that is on its way."""

    def now_us(self) -> int:
        """By its clock."""
        return self.world.now_us + self.skew_us

    def reserve(self, who: Admitted, estimate: Estimate) -> Reservation | Refused:
        """One request."""
        held = self.holder.reserve(who, estimate, self.now_us())
        assert held is not None
        if isinstance(held, Reservation):
            self.running.append(held)
        return held

    def settle(
        self, held: Reservation, tokens: int | None = None, money: int | None = None
    ) -> None:
        """It has ended."""
        self.running.remove(held)
        actual = held.tokens if tokens is None else tokens
        cost = held.micro_dollars if money is None else money
        self.holder.settle(held, 1, actual, cost, self.now_us())

    def ask(self, *, lost: bool = False, unanswered: bool = False, late: bool = False) -> bool:
        """One question, if any is due; whether it was answered."""
        rows = self.holder.turn(self.now_us())
        if not rows:
            return False
        number = self.holder.number
        if lost or self.is_cut:
            self.holder.failed()
            return False
        question = Question(self.pop, 0, str(self.epoch), number, NONCE, rows)
        try:
            grants = self.world.desk.answer(question, self.world.now_us)
        except StoreFailed:
            grants = None
        if unanswered or grants is None:
            self.holder.failed()
            return False
        if late:
            self.late = (number, grants)
            return False
        self.holder.take(number, grants)
        return True

    def deliver(self) -> None:
        """The answer that was on its way comes."""
        if self.late is not None:
            self.holder.take(*self.late)


class World:
    """Time, the desk and its store, and the workers."""

    def __init__(self, limits: Limits, away: Away | None = None) -> None:
        self.now_us = NOW_US
        self.store = MemoryGrants()
        self.limits = limits_at(limits)
        self.who = admitted(limits)
        self.away = away or Away()
        self.desk = self._open()
        self.workers: dict[str, Worker] = {}
        self._epochs = 0

    def _open(self) -> Desk:
        desk = Desk(self.store, self.now_us)
        desk.serve(self.limits)
        return desk

    def forget(self) -> None:
        """The desk's process dies, and another begins from the store."""
        self.desk = self._open()

    def start(self, pop: str, skew_us: int = 0) -> Worker:
        """A worker begins, or begins again with nothing in memory."""
        self._epochs += 1
        worker = self.workers[pop] = Worker(self, pop, self._epochs, self.away, skew_us)
        return worker
