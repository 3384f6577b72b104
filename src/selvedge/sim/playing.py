"""Traffic of any making, played through the exchange: each receipt is handed on as it is written.

For runs of which every receipt is wanted and none can be kept: a month of them is gigabytes. The
laws are asserted all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from selvedge.exchange import Compiled
from selvedge.fabric import Receipt, Release
from selvedge.routing import EngineStates, Policy, Signals
from selvedge.sim.border import Law, Permits
from selvedge.sim.interpreter import Interpreter, compile_simulated
from selvedge.sim.links import Distances
from selvedge.sim.report import Report
from selvedge.sim.scenario import Scenario
from selvedge.sim.traffic import Arrival


def play(
    release: Release,
    scenario: Scenario,
    seed: int,
    traffic: Iterator[Arrival],
    takes: Callable[[Receipt], None],
    *,
    permits: Permits | None = None,
) -> Report:
    """Run to the end of the last request. ``traffic`` is in the order of time; the scenario's own
    arrivals are not asked for. ``permits`` are what the release's policy says, for the witness.
    """
    wiring = _Played(release, traffic)
    laws = {wiring.release_hash: Law(release, permits)} if permits is not None else None
    return Interpreter(release, scenario, seed, wiring, takes=takes, laws=laws).run()


class _Played:
    """`interpreter.Wiring`: PoPs as a release makes them, and this traffic."""

    def __init__(self, release: Release, traffic: Iterator[Arrival]) -> None:
        self._compiled = compile_simulated(release)
        self._distances = Distances(release, self._compiled.catalogue)
        self._traffic = traffic

    @property
    def release_hash(self) -> str:
        """What receipts name the release by."""
        return self._compiled.release_hash

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
        """The release with the simulation's own keys."""
        return self._compiled, self._distances
