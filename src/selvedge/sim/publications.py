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
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Final, Protocol

from selvedge.fabric import Ask
from selvedge.routing import EngineState, ModelReport, Report, Told, take_apart
from selvedge.sim.clock import Clock
from selvedge.sim.description import Content
from selvedge.sim.engines import SECOND_US, Work

REPORT_BYTES: Final = 64
"""A report of one model on the wire, framing and all."""
DELTA_BYTES: Final = 4
"""A block that came or went, in a digest's delta: which cell of the filter, and what."""
DIGEST_US_MIN: Final = SECOND_US
LINK_US_MAX: Final = 500_000
NEVER_US: Final = 1 << 60
_DAY_H: Final = 24.0


class Reporting(Protocol):
    """An engine that says what it has to do and what it holds."""

    def report(self) -> ModelReport:
        """Its load now."""

    def matched(self, prefix: tuple[int, ...]) -> int:
        """Leading blocks that it holds."""

    def block_changes(self) -> tuple[Set[object], Set[object]]:
        """Blocks that came and went since this was last asked."""

    def forecast_us(self, work: Work) -> int:
        """Time to the first token if this came now, with how long each answer will be."""


class Published:
    """A report, and what it tells of the model."""

    __slots__ = ("at_us", "report", "told")

    def __init__(self, report: Report, load: ModelReport) -> None:
        self.at_us: int = report.at_us
        self.report = report
        self.told = take_apart(report, load)


class Digest:
    """What came and went between one digest and the next."""

    __slots__ = ("at_us", "came", "went")

    def __init__(self, at_us: int, came: set[object], went: set[object]) -> None:
        self.at_us = at_us
        self.came = came
        self.went = went


class Publisher:
    """A PoP with engines, as the board knows it."""

    __slots__ = (
        "away",
        "blocks",
        "digested_us",
        "digests",
        "engines",
        "model",
        "mood",
        "newest",
        "pop",
        "reported_us",
        "reports",
        "utc_minutes",
    )

    def __init__(
        self, pop: str, model: str, engines: Sequence[Reporting], utc_minutes: int
    ) -> None:
        self.pop = pop
        self.model = model
        self.engines = engines
        self.utc_minutes = utc_minutes
        self.mood = (hash_of(pop) / 0xFFFF - 0.5) * 2
        """How its content differs from others', from -1 to 1."""
        self.away = False
        """Nobody outside hears it."""
        self.reports: deque[Published] = deque()
        """Newest first."""
        self.newest: Published | None = None
        self.reported_us = NEVER_US
        """When the newest was made."""
        self.digests: deque[Digest] = deque()
        """Newest first: the newest is `blocks`, those before it are told by what changed since."""
        self.digested_us = NEVER_US
        self.blocks: dict[object, int] = {}

    def now(self, at_us: int, reserve: float) -> Published:
        """Its report at this moment: of several engines, the one with the least before it."""
        loads = [engine.report() for engine in self.engines]
        least = min(loads, key=_before) if len(loads) > 1 else loads[0]
        return Published(Report(self.pop, at_us, reserve, {self.model: least}), least)

    def heard(self, heard_us: int) -> Published | None:
        """The newest report of that moment."""
        if self.reported_us <= heard_us:
            return self.newest
        for one in self.reports:
            if one.at_us <= heard_us:
                return one
        return None

    def digest(self, at_us: int) -> int:
        """Publish what is held now; how many blocks came or went since the last digest.

        Only these are looked at: a digest costs what has changed, and not what is held.
        """
        blocks = self.blocks
        came: set[object] = set()
        went: set[object] = set()
        changes = [engine.block_changes() for engine in self.engines]
        for new, _ in changes:
            for name in new:
                holders = blocks.get(name, 0)
                blocks[name] = holders + 1
                if not holders:
                    came.add(name)
        for _, old in changes:
            for name in old:
                holders = blocks[name] - 1
                if holders:
                    blocks[name] = holders
                else:
                    del blocks[name]
                    went.add(name)
        self.digests.appendleft(Digest(at_us, came, went))
        self.digested_us = at_us
        return len(came) + len(went)

    def leading(self, prefix: tuple[object, ...], heard_us: int) -> int:
        """How many leading blocks the newest digest of that moment holds; 0 where there is none.

        Blocks are only looked up: as objects, nothing unpacks them.
        """
        later: list[Digest] | None = None
        if self.digested_us > heard_us:
            later = [one for one in self.digests if one.at_us > heard_us]
            if len(later) == len(self.digests):
                return 0
        blocks, count = self.blocks, 0
        for block in prefix:
            is_held = block in blocks
            if later is not None:
                for one in later:
                    if block in one.came:
                        is_held = False
                    elif block in one.went:
                        is_held = True
            if not is_held:
                break
            count += 1
        return count


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
        self.is_stopped = False
        self.until_us: int | None = None

    def start(self, until_us: int | None) -> None:
        """Everyone publishes at once, then each at its own phase of the period.

        Without ``until_us`` it goes on until `stop`.
        """
        self.until_us = until_us
        publishers = list(self.publishers.values())
        for one in publishers:
            self._publish(one)
            self._digest(one)
        for step, every_us, what in (
            (7919, self._period_us, self._publish),
            (104729, self._digest_us, self._digest),
        ):
            phased = [
                (max(number * step % 1000 * every_us // 1000, 1), number)
                for number in range(len(publishers))
            ]
            phased.sort()
            rounds = [(phase_us, publishers[number]) for phase_us, number in phased]
            _Rounds(self, self._clock, rounds, every_us, what).expect()

    def stop(self) -> None:
        """Nobody will ask any more."""
        self.is_stopped = True

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
        own = one.mood * content.spread
        load = content.night + (content.peak - content.night) * (1 + phase) / 2 + own
        return min(1.0, max(0.0, 1 - load - content.surge_reserve))

    def bytes_per_s(self, reports_from: int, digests_from: int) -> float:
        """What one ingress hears in a second, from so many PoPs."""
        reports = reports_from * REPORT_BYTES * SECOND_US / self._period_us
        delta = self.changes / self.digests if self.digests else 0.0
        return reports + digests_from * delta * DELTA_BYTES * SECOND_US / self._digest_us

    def _publish(self, one: Publisher) -> None:
        if one.away:
            return
        now_us = self._clock.now_us
        one.newest = one.now(now_us, self.reserve(one, now_us))
        one.reports.appendleft(one.newest)
        one.reported_us = now_us
        while len(one.reports) > self._keep:
            one.reports.pop()

    def _digest(self, one: Publisher) -> None:
        if one.away:
            return
        is_first = not one.digests
        changed = one.digest(self._clock.now_us)
        if not is_first:
            self.changes += changed
            self.digests += 1
        while len(one.digests) > 2 + (self.delay_us + LINK_US_MAX) // self._digest_us:
            one.digests.pop()


class _Rounds:
    """Publications of one kind, each PoP's at its own phase of the period: one call at a time."""

    __slots__ = ("_at", "_board", "_clock", "_every_us", "_phased", "_since_us", "_what")

    def __init__(
        self,
        board: Board,
        clock: Clock,
        phased: Sequence[tuple[int, Publisher]],
        every_us: int,
        what: Callable[[Publisher], None],
    ) -> None:
        self._board = board
        self._clock = clock
        self._phased = phased
        self._every_us = every_us
        self._what = what
        self._since_us = clock.now_us
        self._at = 0

    def expect(self) -> None:
        """Wait for the next one, unless it comes too late or nobody listens."""
        if self._board.is_stopped or not self._phased:
            return
        if self._at == len(self._phased):
            self._at = 0
            self._since_us += self._every_us
        due_us = self._since_us + self._phased[self._at][0]
        until_us = self._board.until_us
        if until_us is None or due_us <= until_us:
            self._clock.at(due_us, self._publish)

    def _publish(self) -> None:
        self._what(self._phased[self._at][1])
        self._at += 1
        self.expect()


class _Ear:
    """How one ingress hears one PoP: after how long, and whether its digests too."""

    __slots__ = ("is_near", "lag_us", "publisher")

    def __init__(self, publisher: Publisher, lag_us: int, is_near: bool) -> None:
        self.publisher = publisher
        self.lag_us = lag_us
        self.is_near = is_near


class Heard:
    """The board as one ingress hears it: `routing.Signals`."""

    __slots__ = ("_delay_us", "_ears", "_here", "_near", "_publishers", "_ways_us")

    def __init__(
        self, board: Board, here: str, ways_us: Mapping[str, int], near: frozenset[str]
    ) -> None:
        self._publishers = board.publishers
        self._delay_us = board.delay_us
        self._here = here
        self._ways_us = ways_us
        self._near = near
        self._ears: dict[str, _Ear] = {}

    def report(self, pop: str, now_us: int) -> Report | None:
        """The newest report that can have come here by now."""
        ear = self._ears.get(pop)
        if ear is None:
            ear = self._listen(pop)
        one = None if ear is None else ear.publisher.heard(now_us - ear.lag_us)
        return None if one is None else one.report

    def told(self, pop: str, model: str, now_us: int) -> Told | None:
        """What it says of a model; publishers here have one."""
        ear = self._ears.get(pop)
        if ear is None:
            ear = self._listen(pop)
        if ear is None or ear.publisher.model != model:
            return None
        one = ear.publisher.heard(now_us - ear.lag_us)
        return None if one is None else one.told

    def matched(self, pop: str, model: str, prefix: tuple[int, ...], now_us: int) -> int:
        """Leading blocks in the newest digest heard; of far PoPs there is none."""
        if not prefix:
            return 0
        ear = self._ears.get(pop)
        if ear is None:
            ear = self._listen(pop)
        if ear is None or not ear.is_near:
            return 0
        return ear.publisher.leading(prefix, now_us - ear.lag_us)

    def _listen(self, pop: str) -> _Ear | None:
        one = self._publishers.get(pop)
        if one is None:
            return None
        lag_us = 0 if pop == self._here else self._ways_us[pop] + self._delay_us
        ear = self._ears[pop] = _Ear(one, lag_us, pop in self._near)
        return ear


class Present:
    """The oracle's ears: every engine as it is now, everywhere at once. `routing.Signals`."""

    __slots__ = ("_board",)

    def __init__(self, board: Board) -> None:
        self._board = board

    def report(self, pop: str, now_us: int) -> Report | None:
        """The report that the PoP would publish now."""
        one = self._board.publishers.get(pop)
        return None if one is None else one.now(now_us, self._board.reserve(one, now_us)).report

    def told(self, pop: str, model: str, now_us: int) -> Told | None:
        """What it says of a model."""
        one = self._board.publishers.get(pop)
        if one is None or one.model != model:
            return None
        return one.now(now_us, self._board.reserve(one, now_us)).told

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


def hash_of(name: str) -> int:
    """16 bits of a name, the same in every process."""
    mixed = 2166136261
    for byte in name.encode():
        mixed = (mixed ^ byte) * 16777619 & 0xFFFFFFFF
    return mixed >> 16


def _before(load: ModelReport) -> tuple[int, int]:
    return load.waiting_tokens, load.running
