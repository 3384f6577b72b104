"""The engines of this PoP, as it knows them without asking on the path of a request.

Three sources, each with its moment: what this process has under way (surveyed some times a second),
what left for an engine since (the load book, exact), and the engine's own word (polled). From these
come the state of each engine for the second level, and the PoP's report for other PoPs. Rates are
learned from the timings that engines give with their answers. Pure: who calls brings facts and the
clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from selvedge.fabric import Ask, Engine
from selvedge.fabric.value import Value
from selvedge.routing.attempts import block_tokens_of, prompt_tokens_of
from selvedge.routing.held import ROOM_BLOCKS, Held
from selvedge.routing.load import LoadBook, place
from selvedge.routing.publication import Publications
from selvedge.routing.signals import EngineState, ModelReport

ANSWERS: Final = -1
"""Tokens left of a prompt whose answer has begun."""
UNTOLD: Final = -2
"""Tokens left of a prompt of which the engine tells no progress."""
PROMPT_TOKENS: Final = 256
"""Of a request that others sent, where nothing tells its size."""
WORD_US_MAX: Final = 15_000_000
"""An engine's word that is older is not believed."""
_RATE_GAIN: Final = 0.1
_RATE_TOKENS_MIN: Final = 32
_RATE_MAX: Final = 10_000_000
_BLOCK_TOKENS: Final = 256


class Underway(Value, frozen=True):
    """A request at an engine of this PoP. ``left``: prompt tokens, or one of the above."""

    engine: str
    ask: Ask
    left: int


class _Own:
    """One engine."""

    __slots__ = (
        "engine",
        "held",
        "kv_free",
        "kv_tokens",
        "kv_wanted",
        "other",
        "place",
        "queued_there",
        "rate",
        "room",
        "running",
        "slots",
        "surveyed_us",
        "waiting",
        "word_us",
    )

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine = engine
        self.place = where
        self.rate: float = engine.prefill_tokens_per_s + 0.0
        self.slots = engine.in_flight_max
        self.room = ROOM_BLOCKS
        self.kv_free = 1.0
        self.kv_tokens = 0
        """Of its KV memory, where it says that and how much is free."""
        self.kv_wanted = 0
        self.held: dict[str, Held] = {}
        # By the last survey: prompt tokens left, and requests there.
        self.surveyed_us = 0
        self.waiting = 0
        self.running = 0
        # By its last word: requests there in all, and those of them that wait.
        self.word_us = 0
        self.other = 0
        self.queued_there = 0

    def book(self, model: str) -> Held:
        found = self.held.get(model)
        if found is None:
            found = self.held[model] = Held(self.room)
        return found


class OwnEngines:
    """What routing knows of this PoP's own engines: `EngineStates`, and what it reports."""

    def __init__(self, pop: str, load: LoadBook, clock: Callable[[], int], epoch: int = 0) -> None:
        self._pop = pop
        self._load = load
        self._clock = clock
        self._epoch = epoch
        self._engines: dict[str, _Own] = {}
        self.publications = Publications(pop, 1, epoch << 16)

    @property
    def engines(self) -> list[Engine]:
        """Those that serve."""
        return [one.engine for one in self._engines.values()]

    def serve(self, engines: Iterable[Engine]) -> None:
        """These serve from now on; what is known of one that stays as it was is kept."""
        before, served = self._engines, self.engines
        self._engines = {}
        for engine in engines:
            kept = before.get(engine.id)
            if kept is None or kept.engine != engine:
                kept = _Own(engine, place(self._pop, engine.id))
            self._engines[engine.id] = kept
        if served != self.engines:
            models = {each.model for one in self.engines for each in one.serves}
            self._epoch += 1
            self.publications = Publications(self._pop, len(models), self._epoch << 16)

    # What is learned.

    def survey(self, underway: Iterable[Underway], now_us: int) -> None:
        """All that this process has under way at its engines, now."""
        sums: dict[str, list[int]] = {name: [0, 0, 0] for name in self._engines}
        for request in underway:
            one = self._engines.get(request.engine)
            if one is None:
                continue
            found = sums[request.engine]
            if request.left == ANSWERS:
                found[1] += 1
            else:
                left = request.left
                found[0] += left if left >= 0 else self._uncached(one, request.ask)
                found[2] += 1
        for name, one in self._engines.items():
            self._sum_up(one, sums[name], now_us)

    def told(
        self,
        engine: str,
        now_us: int,
        *,
        running: int,
        waiting: int,
        slots: int | None = None,
        kv_free: float | None = None,
        room_tokens: int | None = None,
    ) -> None:
        """An engine's own word on itself, whoever sent it what it does."""
        one = self._engines.get(engine)
        if one is None:
            return
        one.word_us = now_us
        one.other = running + waiting
        one.queued_there = waiting
        if slots:
            one.slots = slots
        if kv_free is not None:
            one.kv_free = min(max(kv_free, 0.0), 1.0)
            one.kv_tokens = room_tokens or 0
        if room_tokens:
            one.room = max(1, room_tokens // _BLOCK_TOKENS)
            for book in one.held.values():
                book.make_room(one.room)

    def learn_rate(self, engine: str, tokens: int, taken_us: int) -> None:
        """An engine read so many prompt tokens in so long, by its own timing."""
        one = self._engines.get(engine)
        if one is None or tokens < _RATE_TOKENS_MIN or taken_us < 1:
            return
        seen = min(tokens * 1_000_000 / taken_us, float(_RATE_MAX))
        one.rate = max(1.0, one.rate + _RATE_GAIN * (seen - one.rate))

    def hold(self, engine: str, model: str, zone: str, prefix: tuple[int, ...]) -> None:
        """An engine has answered a prompt of a tenant of this zone class: it holds its blocks."""
        one = self._engines.get(engine)
        if one is not None:
            fresh = one.book(model).hold(zone, prefix, self._clock())
            if fresh:
                self.publications.hold(model, zone, fresh)

    def turn(self, now_us: int) -> None:
        """Number what is new in the digests."""
        books: dict[str, list[Held]] = {}
        for one in self._engines.values():
            for model, book in one.held.items():
                book.expire(now_us)
                books.setdefault(model, []).append(book)
        for model, some in books.items():
            self.publications.turn(model, some, now_us)

    # What is told.

    def state(self, engine: str, model: str, prefix: tuple[int, ...]) -> EngineState | None:
        """One engine now, for a request with this prefix."""
        one = self._engines.get(engine)
        if one is None:
            return None
        matched = 0
        if prefix:
            book = one.held.get(model)
            matched = book.leading(prefix) if book is not None else 0
        return EngineState(engine, self._now(one, self._clock()), matched)

    def reports(self, now_us: int) -> dict[str, ModelReport]:
        """By model: of several engines, the one with the least before it."""
        found: dict[str, ModelReport] = {}
        for one in self._engines.values():
            report = self._now(one, now_us)
            for served in one.engine.serves:
                known = found.get(served.model)
                if known is None or _before(report) < _before(known):
                    found[served.model] = report
        return found

    def rate(self, engine: str) -> int:
        """Prompt tokens a second: as learned, else as the release says."""
        return int(self._engines[engine].rate)

    def held_blocks(self, engine: str) -> int:
        """How many blocks an engine is taken to hold."""
        return sum(len(book) for book in self._engines[engine].held.values())

    # How it is done.

    def _now(self, one: _Own, now_us: int) -> ModelReport:
        rate = int(one.rate)
        if not one.surveyed_us:  # All that is known is what is on its way.
            waiting = self._load.view.tokens_in_flight.get(one.place, 0)
            running = self._load.requests(one.place)
        else:
            tokens, requests = self._load.view.since(one.place, one.surveyed_us)
            read = rate * max(0, now_us - one.surveyed_us) // 1_000_000
            waiting = max(0, one.waiting + tokens - read)
            running = one.running + requests
        running = min(running, one.slots)
        memory = one.kv_free, rate, one.kv_tokens, one.kv_wanted
        return ModelReport(waiting, running, one.slots, *memory)

    def _sum_up(self, one: _Own, found: list[int], now_us: int) -> None:
        """Requests of this process, and those that only counts or the engine itself know of."""
        waiting, answering, queued = found
        here = answering + queued
        sent = max(here, self._load.requests(one.place))
        total, deferred = sent, 0
        if now_us - one.word_us <= WORD_US_MAX:
            total, deferred = max(sent, one.other), one.queued_there
        others = total - here
        tokens = self._load.view.tokens_in_flight.get(one.place, 0)
        each = tokens // sent if sent else PROMPT_TOKENS
        if others:
            those = others * queued // here if here else min(others, deferred)
            waiting += those * each
        one.kv_wanted = deferred * each if one.kv_tokens else 0
        one.surveyed_us = now_us
        one.waiting = waiting
        one.running = total

    def _uncached(self, one: _Own, ask: Ask) -> int:
        ratios = self._load.view.bytes_per_token
        tokens = prompt_tokens_of(ask, ratios)
        if ask.prefix and ask.model in one.held:
            tokens -= one.held[ask.model].leading(ask.prefix) * block_tokens_of(ask, ratios)
        return max(1, tokens)


def _before(report: ModelReport) -> tuple[int, int]:
    return report.waiting_tokens * 1_000_000 // report.prefill_tokens_per_s, report.running
