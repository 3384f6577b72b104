"""What PoPs publish, and when others can have heard it."""

from __future__ import annotations

from random import Random

from selvedge.routing import ModelReport
from selvedge.sim.clock import Clock
from selvedge.sim.publications import Board, Heard, Publisher

SECOND = 1_000_000


class Engine:
    """Holds what it is told to, and says so."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self._told: set[int] = set()
        self.waiting = 0

    def report(self) -> ModelReport:
        return ModelReport(self.waiting, 0, 8, 1.0, 1000)

    def matched(self, prefix: tuple[int, ...]) -> int:
        return sum(name in self.held for name in prefix)

    def block_changes(self) -> tuple[set[int], set[int]]:
        told, self._told = self._told, set(self.held)
        return self.held - told, told - self.held


def board_of(clock: Clock, engines: list[Engine], delay_us: int = 0) -> tuple[Board, Publisher]:
    one = Publisher("fra", "chat", engines, 0)
    board = Board(clock, [one], SECOND, delay_us)
    board.start(None)
    return board, one


def test_digests_are_the_union_of_engines_and_changes_are_counted_once() -> None:
    clock, engines, rng = Clock(), [Engine(), Engine()], Random(5)
    board, one = board_of(clock, engines)
    last: set[int] = set()
    changes = 0
    for second in range(50):
        for engine in engines:
            engine.held ^= {rng.randrange(12) for _ in range(rng.randrange(4))}
        clock.run_until((second + 1) * SECOND)
        held = engines[0].held | engines[1].held
        assert set(one.blocks) == held
        before_us = clock.now_us - SECOND
        for block in range(12):
            assert one.leading((block,), clock.now_us) == (block in held)
            assert one.leading((block,), before_us) == (block in last)
        changes += len(held ^ last)
        assert board.changes == changes
        last = held
    assert board.digests == 50


def test_an_ingress_hears_what_can_have_come() -> None:
    clock, engine = Clock(), Engine()
    engine.held = {1}
    board, _ = board_of(clock, [engine], delay_us=SECOND)
    far = Heard(board, "sin", {"fra": 80_000}, frozenset({"fra"}))
    deaf = Heard(board, "cgk", {"fra": 90_000}, frozenset())
    here = Heard(board, "fra", {"fra": 0}, frozenset({"fra"}))
    engine.waiting, engine.held = 7, {1, 2}
    clock.run_until(SECOND)
    now_us = clock.now_us
    assert far.report("fra", SECOND) is None
    heard = far.report("fra", SECOND + 80_000)
    assert heard is not None
    assert heard.models["chat"].waiting_tokens == 0
    own = here.report("fra", now_us)
    assert own is not None
    assert own.models["chat"].waiting_tokens == 7
    assert far.report("sin", now_us) is None
    assert far.matched("fra", "chat", (1, 2), SECOND + 80_000) == 1
    assert here.matched("fra", "chat", (1, 2), now_us) == 2
    assert deaf.matched("fra", "chat", (1, 2), now_us + 9 * SECOND) == 0


def test_who_is_away_is_heard_no_more_until_it_is_back() -> None:
    clock, engine = Clock(), Engine()
    board, one = board_of(clock, [engine])
    board.silence("fra", True)
    clock.run_until(5 * SECOND)
    assert len(one.reports) == len(one.digests) == 1
    board.silence("fra", False)
    clock.run_until(7 * SECOND)
    assert one.reports[0].at_us > 6 * SECOND
    board.stop()
    clock.run_until()
    assert clock.now_us <= 8 * SECOND + 1
