"""N engines behind one router, in virtual time: engines measured without an exchange before them.

What it is for: comparing the engine model with published measurements of engines behind a simple
balancer. Round trips, residency, receipts and failures are the whole simulator's, not this one's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

from selvedge.sim.batching import BatchedAnswering, BatchingEngine, BatchingModel
from selvedge.sim.clock import Clock
from selvedge.sim.engines import Work

Router: TypeAlias = Callable[[Work, Sequence[BatchingEngine]], int]
"""Which engine gets a request, by its index."""


class Timed(msgspec.Struct, frozen=True):
    """One request of a run, in the order of arrival."""

    at_us: int
    work: Work


class Served(msgspec.Struct, frozen=True):
    """How one request went; times are from its arrival."""

    engine: int
    at_us: int
    first_us: int
    whole_us: int
    cached_tokens: int
    work: Work

    @property
    def step_us(self) -> float:
        """Time per token after the first; 0 for an answer of one token."""
        return (self.whole_us - self.first_us) / max(1, self.work.output_tokens - 1)


class _Ear:
    """Notes when the tokens of one request come."""

    __slots__ = ("answering", "at_us", "engine", "first_us", "pool", "work")

    def __init__(self, pool: _Pool, engine: int, work: Work) -> None:
        self.pool = pool
        self.engine = engine
        self.work = work
        self.at_us = pool.clock.now_us
        self.first_us = 0
        self.answering: BatchedAnswering | Literal["down", "busy"] = "down"

    def token(self, count: int) -> None:
        if count == 1:
            self.first_us = self.pool.clock.now_us - self.at_us

    def done(self) -> None:
        whole_us = self.pool.clock.now_us - self.at_us
        assert isinstance(self.answering, BatchedAnswering)
        cached = self.answering.cached_tokens or 0
        self.pool.served.append(
            Served(self.engine, self.at_us, self.first_us, whole_us, cached, self.work)
        )

    def broken(self) -> None:
        raise AssertionError("nothing goes down here")


class _Pool:
    def __init__(self, clock: Clock, engines: Sequence[BatchingEngine], route: Router) -> None:
        self.clock = clock
        self.engines = engines
        self.served: list[Served] = []
        self.refused = 0
        self._route = route

    def arrive(self, work: Work) -> None:
        chosen = self._route(work, self.engines)
        ear = _Ear(self, chosen, work)
        ear.answering = self.engines[chosen].ask(work, None, ear)
        self.refused += not isinstance(ear.answering, BatchedAnswering)

    def drain(self, requests: Iterable[Timed]) -> None:
        clock = self.clock
        for request in requests:
            clock.run_until(request.at_us)
            self.arrive(request.work)
        clock.run_until()


class Run(msgspec.Struct, frozen=True):
    """What a run gave: every request that was answered, and how many found no place."""

    served: list[Served]
    refused: int


class Pool:
    """Engines that keep their memory from one run to the next."""

    def __init__(self, model: BatchingModel, engines: int) -> None:
        self.clock = Clock()
        self.engines = [BatchingEngine(self.clock, model) for _ in range(engines)]

    def run(self, requests: Iterable[Timed], route: Router) -> Run:
        """Let requests come, their times counted from now, until the last is answered."""
        start_us = self.clock.now_us
        pool = _Pool(self.clock, self.engines, route)
        pool.drain(Timed(start_us + one.at_us, one.work) for one in requests)
        return Run(pool.served, pool.refused)


def round_robin() -> Router:
    """Each engine in turn."""
    turn = -1

    def route(work: Work, engines: Sequence[BatchingEngine]) -> int:
        nonlocal turn
        turn = (turn + 1) % len(engines)
        return turn

    return route
