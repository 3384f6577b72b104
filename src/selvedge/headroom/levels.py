"""Weeks: how a level grows, and how far it strays from its forecast in 1 to 13 weeks.

A quarter ahead the shape of the week matters little and the level a lot. Of each week only its mean
is kept, cleared of the season. The trend is damped (Gardner and McKenzie 1985), and trusted as far
as earlier trends came true: the share is a regression of what happened on what was forecast.
Errors are collected by lead, from every week that was an origin.
"""

from __future__ import annotations

import math
from typing import Final

from selvedge.headroom.quantiles import Tracker
from selvedge.headroom.state import LevelState

LEADS: Final = 13
"""Weeks ahead that are judged: a quarter."""
_DAMPED: Final = 0.97
_GROWTH_GAIN: Final = 0.05
_GROWTH_MAX: Final = 0.10
"""A week's growth that is believed at most."""
_SCALE_GAIN: Final = 0.06
_SCALE_FIRST: Final = 0.05
"""Relative error of a level a week ahead, before any was seen."""
_PRIOR: Final = 3.0
"""Weeks that this first guess counts for."""
_TRUST_XY: Final = 0.0006
_TRUST_XX: Final = 0.0012
"""Half of a trend is believed at first, and this is worth some weeks of a growth of 1 %."""
_TRUST_KEPT: Final = 0.98


class Levels:
    """One series' weeks."""

    def __init__(self) -> None:
        self.weeks: int = 0
        self.mean: float = 0.0
        """Of the last week; 0 where it was not measured."""
        self.growth: float = 0.0
        """A week's, as a share."""
        self.trust_xy: float = _TRUST_XY
        self.trust_xx: float = _TRUST_XX
        self.levels: list[float] = []
        self.growths: list[float] = []
        self.scales: list[float] = [_SCALE_FIRST * (1.0 + lead) ** 0.5 for lead in range(LEADS)]
        self.counts: list[int] = [0] * LEADS
        self.tracker: Tracker = Tracker()

    def grown(self, weeks: float) -> float:
        """The factor by which a level will have grown."""
        return 1.0 + max(-0.9, self.trusted_growth() * _damped(weeks))

    def trusted_growth(self) -> float:
        """A week's growth, as far as it is believed."""
        return self.trust() * self.growth

    def trust(self) -> float:
        """How much of a trend came true, 0 to 1."""
        return max(0.0, min(1.0, self.trust_xy / self.trust_xx))

    def strayed(self, weeks: float) -> float:
        """The size of a level's relative error so far ahead; grows with the lead."""
        lead = max(0.0, min(float(LEADS - 1), weeks - 1.0))
        low = int(lead)
        high = min(LEADS - 1, low + 1)
        between = self._scale(low) + (lead - low) * (self._scale(high) - self._scale(low))
        if weeks < 1.0:
            return between * math.sqrt(max(0.0, weeks))
        return between * math.sqrt(max(1.0, weeks / LEADS))

    def _scale(self, lead: int) -> float:
        largest = 0.0
        for place in range(lead + 1):
            largest = max(largest, self.scales[place])
        return largest

    def close(self, mean: float | None, level: float) -> None:
        """A week is over: its mean without season (None: not measured), and the level now."""
        if mean is not None:
            self._judge(mean)
            self._learn_growth(mean)
        else:
            self.mean = 0.0
        self.levels.append(level)
        self.growths.append(self.growth)
        if len(self.levels) > LEADS:
            del self.levels[0]
            del self.growths[0]

    def _judge(self, mean: float) -> None:
        origins = len(self.levels)
        self.trust_xy *= _TRUST_KEPT
        self.trust_xx *= _TRUST_KEPT
        for lead in range(origins):
            level = self.levels[origins - 1 - lead]
            growth = self.growths[origins - 1 - lead]
            if level <= 0.0:
                continue
            weeks = lead + 1.0
            expected = growth * _damped(weeks)
            error = mean / (level * (1.0 + max(-0.9, self.trust() * expected))) - 1.0
            scale = max(1e-9, self.scales[lead])
            self.tracker.add(error / scale)
            count = self.counts[lead] + 1
            self.counts[lead] = count
            gain: float = max(_SCALE_GAIN, 1.0 / (_PRIOR + count))
            self.scales[lead] += gain * (min(abs(error), 6.0 * scale) - self.scales[lead])
            if lead >= 3:
                happened = max(-0.5, min(0.5, mean / level - 1.0))
                self.trust_xy += expected * happened
                self.trust_xx += expected * expected

    def _learn_growth(self, mean: float) -> None:
        self.weeks += 1
        if self.weeks > 1 and self.mean > 0.0:
            seen = max(-_GROWTH_MAX, min(_GROWTH_MAX, mean / self.mean - 1.0))
            gain: float = max(_GROWTH_GAIN, 1.0 / (self.weeks + 1.0))
            self.growth += gain * (seen - self.growth)
        self.mean = mean

    def rescale(self, factor: float) -> None:
        """Levels are measured otherwise from now on: so many times as large."""
        self.mean *= factor
        self.levels = [one * factor for one in self.levels]

    def state(self) -> LevelState:
        """What is remembered."""
        return LevelState(
            weeks=self.weeks,
            mean=self.mean,
            growth=self.growth,
            trust=(self.trust_xy, self.trust_xx),
            levels=list(self.levels),
            growths=list(self.growths),
            scales=list(self.scales),
            counts=list(self.counts),
            tracker=self.tracker.state(),
        )

    @classmethod
    def restore(cls, state: LevelState) -> Levels:
        """Go on from it."""
        made = cls()
        made.weeks = state.weeks
        made.mean = state.mean
        made.growth = state.growth
        made.trust_xy, made.trust_xx = state.trust
        made.levels = list(state.levels)
        made.growths = list(state.growths)
        made.scales = list(state.scales)
        made.counts = list(state.counts)
        made.tracker.load(state.tracker)
        return made


def _damped(weeks: float) -> float:
    share: float = _DAMPED**weeks
    return (1.0 - share) / (1.0 - _DAMPED)
