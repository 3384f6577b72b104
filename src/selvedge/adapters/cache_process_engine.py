"""The judge that is a model: what the cache process asks of it, through the worker that knows whom.

The process has no way out of the PoP. It words the two questions of a judgement and sends each over
the connection on which the answer came; the worker asks in the tenant's name, under its rule. What
comes back is yes, no, or nothing: a worker that is busy, gone, or may ask nobody is no opinion, and
is counted by its reason. Bounded are judgements at once, those that wait, and what a class spends
in a day.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from selvedge.adapters.answer_store import AnswerStore
from selvedge.adapters.cache_process_frames import AskJudge, SayJudged
from selvedge.adapters.cache_wire import CacheWire
from selvedge.cache import judging
from selvedge.fabric.value import Value

WAITING_MAX: Final = 64
"""Judgements that wait for one that runs."""
GRACE_MS: Final = 1_000
"""A worker that has not answered by then is not waited for."""
_TURNS: Final = 2
_BYTES_PER_TOKEN: Final = 2
"""Of what nobody counted: the lowest guess of a text's bytes a token, so the highest of tokens."""
_DAY_US: Final = 86_400_000_000
_SPENT: Final = b"j"
_PLACE: Final = "learned"


class Asks(Protocol):
    """The worker that handed an answer over."""

    async def judge(self, asked: AskJudge) -> SayJudged:
        """Put a question to a model. Raises nothing: ``why`` says what kept it."""


class JudgeCase(Value, frozen=True):
    """One pair, and through whom a model may be asked about it."""

    model: str
    tokens_per_day: int
    tag: bytes
    """Of the scope: it spends."""
    entry: str
    answer: str
    """The id of the new answer, by which the worker knows for whom."""
    kept: judging.Exchange
    new: judging.Exchange
    through: Asks | None


class _Day(msgspec.Struct, array_like=True):
    day: int
    tokens: int


class Spending:
    """Tokens by scope and day (UTC). Kept sealed with the scope: a restart gives no new day."""

    def __init__(self, store: AnswerStore, clock_us: Callable[[], int]) -> None:
        self._store = store
        self._clock_us = clock_us
        self._days: dict[bytes, _Day] = {}
        self._changed: set[bytes] = set()

    def today(self, tag: bytes) -> int:
        """What was spent today."""
        return self._day(tag).tokens

    def add(self, tag: bytes, tokens: int) -> None:
        """So much more; less, where negative."""
        day = self._day(tag)
        day.tokens = max(0, day.tokens + tokens)
        self._changed.add(tag)

    def total(self) -> int:
        """Of all scopes that were asked lately."""
        return sum(self._day(tag).tokens for tag in list(self._days))

    def unsaved(self) -> list[tuple[bytes, bytes]]:
        """What is to be kept of it."""
        tags, self._changed = self._changed, set()
        return [(tag + _SPENT, msgspec.msgpack.encode(self._days[tag])) for tag in tags]

    def forget(self, tag: bytes) -> None:
        """A scope is gone."""
        self._days.pop(tag, None)
        self._changed.discard(tag)

    def _day(self, tag: bytes) -> _Day:
        today = self._clock_us() // _DAY_US
        found = self._days.get(tag)
        if found is None:
            kept = self._store.small(_PLACE, tag + _SPENT)
            with contextlib.suppress(msgspec.MsgspecError):
                found = msgspec.msgpack.decode(kept, type=_Day) if kept else None
        if found is None or found.day != today:
            found = _Day(today, 0)
        self._days[tag] = found
        return found


class EngineJudges:
    """Every judgement by a model, of one process, on its loop's thread."""

    def __init__(self, spending: Spending, in_flight_max: int, ms_max: int) -> None:
        self.same = self.different = 0
        self.contradicted = 0
        """Pairs of which it said the same to either question: different."""
        self.unclear = 0
        """Pairs to which it said neither yes nor no: different."""
        self.unasked: Counter[str] = Counter()
        """Pairs without an opinion, by why."""
        self.questions = 0
        self.tokens = 0
        self.spending = spending
        self._slots = asyncio.Semaphore(in_flight_max)
        self._off = not in_flight_max
        self._ms_max = ms_max
        self._waiting = 0

    async def says_same(self, case: JudgeCase) -> bool | None:
        """Whether both answers say the same; None: it was not asked, or did not answer."""
        why = self._why_not(case)
        if why:
            self.unasked[why] += 1
            return None
        self._waiting += 1
        try:
            async with self._slots:
                return await self._judge(case)
        finally:
            self._waiting -= 1

    def _why_not(self, case: JudgeCase) -> str:
        if self._off:
            return "off"
        if case.through is None:
            return "unknown"
        if judging.is_too_long(case.kept, case.new):
            return "long"
        return "behind" if self._waiting >= WAITING_MAX else ""

    async def _judge(self, case: JudgeCase) -> bool | None:
        for turn in range(_TURNS):
            said = await self._ask(case, turn)
            if said.why:
                self.unasked[said.why] += 1
                return None
            word = judging.read_word(said.word)
            if not judging.speaks_for_same(word, turn):
                self.unclear += word is None
                self.contradicted += word is not None and turn > 0
                self.different += word is not None and turn == 0
                return False
        self.same += 1
        return True

    async def _ask(self, case: JudgeCase, turn: int) -> SayJudged:
        """One question; what it spends is held before, and settled by what it used."""
        assert case.through is not None
        words = judging.prompt(case.kept, case.new, turn)
        held = sum(len(one.encode()) for one in words) // _BYTES_PER_TOKEN + judging.WORD_TOKENS_MAX
        spending = self.spending
        if spending.today(case.tag) + held > case.tokens_per_day:
            return SayJudged(0, why="spent")
        spending.add(case.tag, held)
        asked = AskJudge(0, case.answer, case.entry, case.model, words, self._ms_max)
        said = await case.through.judge(asked)
        used = held if said.tokens is None else said.tokens
        used = used if said.asked else 0
        spending.add(case.tag, used - held)
        self.questions += said.asked
        self.tokens += used
        return said


class JudgeWire(CacheWire):
    """The process's end of a connection, as far as it asks."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = 0
        self._asked: dict[int, asyncio.Future[SayJudged]] = {}

    async def judge(self, asked: AskJudge) -> SayJudged:
        """Ask the worker at the other end."""
        self._numbers = number = self._numbers + 1
        if self._transport is None:
            return SayJudged(number, why="away")
        said: asyncio.Future[SayJudged] = asyncio.get_running_loop().create_future()
        self._asked[number] = said
        self.send(msgspec.structs.replace(asked, number=number))
        try:
            async with asyncio.timeout((asked.ms_max + GRACE_MS) / 1000):
                return await said
        except TimeoutError:
            return SayJudged(number, why="late", asked=True)
        finally:
            self._asked.pop(number, None)

    def judged(self, said: SayJudged) -> None:
        """The worker's answer."""
        waits = self._asked.get(said.number)
        if waits is not None and not waits.done():
            waits.set_result(said)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits for the worker does so no longer; what it spent is not known."""
        super().connection_lost(exc)
        for number, waits in self._asked.items():
            if not waits.done():
                waits.set_result(SayJudged(number, why="away", asked=True))
