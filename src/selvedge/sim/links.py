"""Links between PoPs: what one way takes, by the fleet's own model of the network.

The round trip is the one that routing counts with; on top of it each way may get a jitter, drawn
from an exponential distribution, which is never negative: the model is the floor. It refuses to
know bandwidth and loss; they come when something large is sent.
"""

from __future__ import annotations

from random import Random

from selvedge.fabric import Release
from selvedge.routing import Catalogue
from selvedge.sim.chance import exponential


class Distances:
    """Round trips without jitter, as the PoPs' own maps have them; shared by runs of a release."""

    __slots__ = ("_catalogue",)

    def __init__(self, release: Release, catalogue: Catalogue | None = None) -> None:
        self._catalogue = catalogue or Catalogue(release)

    def rtt_us(self, a: str, b: str) -> int:
        """The round trip between two PoPs without jitter."""
        return self._catalogue.rtt_us(a, b)


class Links:
    """One-way delays in microseconds. ``jitter_us`` is the jitter's mean; 0 draws nothing."""

    __slots__ = ("_away", "_distances", "_jitter_us", "_rng")

    def __init__(
        self,
        release: Release,
        jitter_us: int,
        rng: Random,
        distances: Distances | None = None,
    ) -> None:
        self._distances = distances or Distances(release)
        self._jitter_us = jitter_us
        self._rng = rng
        self._away: dict[str, int] = {}

    def rtt_us(self, a: str, b: str) -> int:
        """The round trip between two PoPs without jitter."""
        return self._distances.rtt_us(a, b)

    def cut(self, pop: str, away: bool) -> None:
        """New connections to and from this PoP fail from now on, or succeed again.

        Cuts add up: as many must be mended. What is under way goes on.
        """
        self._away[pop] = self._away.get(pop, 0) + (1 if away else -1)

    def are_cut(self, a: str, b: str) -> bool:
        """Whether no connection can be made between two PoPs."""
        away = self._away
        return bool(away) and (away.get(a, 0) > 0 or away.get(b, 0) > 0)

    def ways_us(self, a: str, b: str) -> tuple[int, int]:
        """There and back for one connection; bytes on it stay in order, so it is drawn once."""
        rtt_us = self._distances.rtt_us(a, b)
        there_us = rtt_us // 2
        return there_us + self._jitter(), rtt_us - there_us + self._jitter()

    def _jitter(self) -> int:
        if not self._jitter_us:
            return 0
        return round(exponential(self._rng, 1 / self._jitter_us))
