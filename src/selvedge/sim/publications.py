"""What PoPs say of themselves in a simulation: one board of publications, heard with delay.

Each PoP with engines publishes a report every period, at a phase of its own, and with less haste a
digest of the blocks it holds. Everything is published once; an ingress hears it when the link's one
way and the scenario's delay have passed. Four thousand ingresses therefore cost nothing until they
ask. The oracle hears the present. Digests are exact sets here: the compact filter that stands for
one on a wire has false positives of less than one in ten thousand at these sizes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from selvedge.fabric import Ask
from selvedge.routing import EngineState, ModelReport, Report
from selvedge.sim.clock import Clock
from selvedge.sim.description import Content
from selvedge.sim.engines import SECOND_US, Work

REPORT_BYTES: Final = 64
"""A report of one model on the wire, framing and all."""
DELTA_BYTES: Final = 4
"""A block that came or went, in a digest's delta: which cell of the filter, and what."""
DIGEST_US_MIN: Final = SECOND_US
LINK_US_MAX: Final = 500_000
_DAY_H: Final = 24.0


class Reporting(Protocol):
    """An engine that says what it has to do and what it holds."""

    def report(self) -> ModelReport:
        """Its load now."""

    def matched(self, prefix: tuple[int, ...]) -> int:
        """Leading blocks that it holds."""

    def digest_blocks(self) -> list[int]:
        """Every block that it holds."""

    def forecast_us(self, work: Work) -> int:
        """Time to the first token if this came now, with how long each answer will be."""


class Publisher:
    """A PoP with engines, as the board knows it."""

    __slots__ = ("away", "blocks", "digests", "engines", "model", "pop", "reports", "utc_minutes")

    def __init__(
        self, pop: str, model: str, engines: Sequence[Reporting], utc_minutes: int
    ) -> None:
        self.pop = pop
        self.model = model
        self.engines = engines
        self.utc_minutes = utc_minutes
        self.away = False
        """Nobody outside hears it."""
        self.reports: deque[Report] = deque()
        """Newest first."""
        self.digests: deque[tuple[int, frozenset[int]]] = deque()
        self.blocks: frozenset[int] = frozenset()

    def now(self, at_us: int, reserve: float) -> Report:
        """Its report at this moment: of several engines, the one with the least before it."""
        loads = [engine.report() for engine in self.engines]
        least = min(loads, key=_before)
        return Report(self.pop, at_us, reserve, {self.model: least})


class Board:
    """All publications of a run."""

    def __init__(
        self,
        clock: Clock,
        publishers: Sequence[Publisher],
        period_us: int,
        delay_us: int,
        content: Content | None = None,
    ) -> None:
        self.delay_us = delay_us
        self.publishers: Mapping[str, Publisher] = {one.pop: one for one in publishers}
        self.changes = 0
        """Blocks that came or went between digests."""
        self.digests = 0
        self._clock = clock
        self._period_us = period_us
        self._digest_us = max(period_us, DIGEST_US_MIN)
        self._content = content
        self._keep = 2 + (delay_us + LINK_US_MAX) // period_us
        self._until_us: int | None = None
        self._stopped = False

    def start(self, until_us: int | None) -> None:
        """Everyone publishes at once, then each at its own phase of the period.

        Without ``until_us`` it goes on until `stop`.
        """
        self._until_us = until_us
        for number, one in enumerate(self.publishers.values()):
            self._publish(one)
            self._digest(one)
            phase = (number * 7919 % 1000) * self._period_us // 1000
            self._again(one, self._publish, max(phase, 1), self._period_us)
            phase = (number * 104729 % 1000) * self._digest_us // 1000
            self._again(one, self._digest, max(phase, 1), self._digest_us)

    def stop(self) -> None:
        """Nobody will ask any more."""
        self._stopped = True

    def silence(self, pop: str, away: bool) -> None:
        """Nobody outside hears this PoP from now on, or everyone does again."""
        one = self.publishers.get(pop)
        if one is not None:
            one.away = away

    def reserve(self, one: Publisher, at_us: int) -> float:
        """The headroom that content leaves, by the local time of a PoP."""
        content = self._content
        if content is None:
            return 1.0
        hour = (at_us / (3600 * SECOND_US) + one.utc_minutes / 60) % _DAY_H
        phase = math.cos((hour - content.peak_hour) / _DAY_H * 2 * math.pi)
        own = (hash_of(one.pop) / 0xFFFF - 0.5) * 2 * content.spread
        load = content.night + (content.peak - content.night) * (1 + phase) / 2 + own
        return min(1.0, max(0.0, 1 - load - content.surge_reserve))

    def bytes_per_s(self, reports_from: int, digests_from: int) -> float:
        """What one ingress hears in a second, from so many PoPs."""
        reports = reports_from * REPORT_BYTES * SECOND_US / self._period_us
        delta = self.changes / self.digests if self.digests else 0.0
        return reports + digests_from * delta * DELTA_BYTES * SECOND_US / self._digest_us

    def _again(
        self, one: Publisher, what: Callable[[Publisher], None], delay_us: int, every_us: int
    ) -> None:
        due_us = self._clock.now_us + delay_us
        if self._stopped or (self._until_us is not None and due_us > self._until_us):
            return

        def run() -> None:
            what(one)
            self._again(one, what, every_us, every_us)

        self._clock.after(delay_us, run)

    def _publish(self, one: Publisher) -> None:
        if one.away:
            return
        now_us = self._clock.now_us
        one.reports.appendleft(one.now(now_us, self.reserve(one, now_us)))
        while len(one.reports) > self._keep:
            one.reports.pop()

    def _digest(self, one: Publisher) -> None:
        if one.away:
            return
        held = frozenset([name for engine in one.engines for name in engine.digest_blocks()])
        if one.digests:
            before = one.digests[0][1]
            self.changes += len(held) + len(before) - 2 * len(held & before)
            self.digests += 1
        one.digests.appendleft((self._clock.now_us, held))
        while len(one.digests) > 2 + (self.delay_us + LINK_US_MAX) // self._digest_us:
            one.digests.pop()


class Heard:
    """The board as one ingress hears it: `routing.Signals`."""

    __slots__ = ("_delay_us", "_here", "_near", "_publishers", "_ways_us")

    def __init__(
        self, board: Board, here: str, ways_us: Mapping[str, int], near: frozenset[str]
    ) -> None:
        self._publishers = board.publishers
        self._delay_us = board.delay_us
        self._here = here
        self._ways_us = ways_us
        self._near = near

    def report(self, pop: str, now_us: int) -> Report | None:
        """The newest report that can have come here by now."""
        one = self._publishers.get(pop)
        if one is None:
            return None
        heard_us = now_us
        if pop != self._here:
            heard_us -= self._ways_us[pop] + self._delay_us
        for report in one.reports:
            if report.at_us <= heard_us:
                return report
        return None

    def matched(self, pop: str, model: str, prefix: tuple[int, ...], now_us: int) -> int:
        """Leading blocks in the newest digest heard; of far PoPs there is none."""
        if not prefix or pop not in self._near:
            return 0
        one = self._publishers.get(pop)
        if one is None:
            return 0
        heard_us = now_us
        if pop != self._here:
            heard_us -= self._ways_us[pop] + self._delay_us
        for at_us, held in one.digests:
            if at_us <= heard_us:
                return leading(prefix, held)
        return 0


class Present:
    """The oracle's ears: every engine as it is now, everywhere at once. `routing.Signals`."""

    __slots__ = ("_board",)

    def __init__(self, board: Board) -> None:
        self._board = board

    def report(self, pop: str, now_us: int) -> Report | None:
        """The report that the PoP would publish now."""
        one = self._board.publishers.get(pop)
        return None if one is None else one.now(now_us, self._board.reserve(one, now_us))

    def matched(self, pop: str, model: str, prefix: tuple[int, ...], now_us: int) -> int:
        """Leading blocks that the PoP holds."""
        one = self._board.publishers.get(pop)
        if one is None:
            return 0
        return max(engine.matched(prefix) for engine in one.engines)

    def first_token_us(self, pop: str, ask: Ask, tokens: int) -> int:
        """By the schedule of its engines, played forward."""
        work = Work(tokens, 1, ask.prefix, ask.block_tokens or tokens)
        engines = self._board.publishers[pop].engines
        return min(engine.forecast_us(work) for engine in engines)


class Engines:
    """The engines of one PoP, exactly: `routing.EngineStates`."""

    __slots__ = ("_engines",)

    def __init__(self, engines: Mapping[str, Reporting]) -> None:
        self._engines = engines

    def state(self, engine: str, model: str, prefix: tuple[int, ...]) -> EngineState | None:
        """One engine now."""
        one = self._engines.get(engine)
        if one is None:
            return None
        return EngineState(engine, one.report(), one.matched(prefix))


def leading(prefix: tuple[int, ...], held: frozenset[int]) -> int:
    """How many leading blocks are held."""
    count = 0
    for block in prefix:
        if block not in held:
            break
        count += 1
    return count


def hash_of(name: str) -> int:
    """16 bits of a name, the same in every process."""
    mixed = 2166136261
    for byte in name.encode():
        mixed = (mixed ^ byte) * 16777619 & 0xFFFFFFFF
    return mixed >> 16


def _before(load: ModelReport) -> tuple[int, int]:
    return load.waiting_tokens, load.running
