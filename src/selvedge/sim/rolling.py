"""A fleet in the midst of a rollout: PoPs that take the next release one by one, under failures.

The witness reads both releases by itself (`border.Law`), and what either forbids is outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from selvedge.exchange import Compiled
from selvedge.fabric import Release
from selvedge.routing import EngineStates, Policy, Signals
from selvedge.sim.border import Law
from selvedge.sim.interpreter import Interpreter, compile_simulated
from selvedge.sim.links import Distances
from selvedge.sim.report import Report
from selvedge.sim.scenario import Scenario
from selvedge.sim.traffic import Arrival


class Cut(msgspec.Struct, frozen=True):
    """No new connection can be made to or from a PoP for a while."""

    pop: str
    from_us: int
    until_us: int


class Rollout(msgspec.Struct, frozen=True):
    """Two releases of one fleet, and when each PoP takes the second."""

    first: Release
    last: Release
    laws: tuple[Law, Law]
    swaps: Sequence[tuple[int, str]]
    """Moments and PoPs; who is not named keeps the first."""
    cuts: Sequence[Cut] = ()


def play_rollout(
    rollout: Rollout, scenario: Scenario, seed: int, traffic: Iterator[Arrival]
) -> Report:
    """Run to the end of the last request. Raises `AssertionError` where a law is broken."""
    first, last = compile_simulated(rollout.first), compile_simulated(rollout.last)
    laws = dict(zip((first.release_hash, last.release_hash), rollout.laws, strict=True))
    wiring = _Rolling(first, traffic)
    run = Interpreter(first.release, scenario, seed, wiring, laws=laws)
    for at_us, pop in rollout.swaps:
        run.clock.at(at_us, partial(run.swap, pop, last))
    for cut in rollout.cuts:
        run.clock.at(cut.from_us, partial(run.links.cut, cut.pop, True))
        run.clock.at(cut.until_us, partial(run.links.cut, cut.pop, False))
    try:
        return run.run()
    except AssertionError as error:
        raise AssertionError("; ".join((str(error), *run.border.wrongs))) from error


class _Rolling:
    """`interpreter.Wiring`: PoPs as the first release makes them, and this traffic."""

    def __init__(self, first: Compiled, traffic: Iterator[Arrival]) -> None:
        self._first = first
        self._distances = Distances(first.release, first.catalogue)
        self._traffic = traffic

    def policy(self, pop: str) -> Policy | None:
        """The policy that is used otherwise."""
        return None

    def signals(self, pop: str) -> Signals | None:
        """Nobody reports."""
        return None

    def states(self, pop: str) -> EngineStates | None:
        """Engines say nothing."""
        return None

    def arrivals(self) -> Iterator[Arrival]:
        """The traffic."""
        return self._traffic

    def compiled(self) -> tuple[Compiled, Distances]:
        """The first release with the simulation's own keys."""
        return self._first, self._distances
