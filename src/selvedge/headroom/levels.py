"""Weeks: how a level grows, and how far it strays from its forecast in 1 to 13 weeks.

A quarter ahead the shape of the week matters little and the level a lot. Of each week only its mean
is kept, cleared of the season. The trend is damped (Gardner and McKenzie 1985), and trusted as far
as earlier trends came true: the share is a regression of what happened on what was forecast. Once
there is a year, what followed at this time of last year is asked too, and believed in the same way.
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
_LEAD_FIRST: Final = 3
"""Trends are judged by weeks from the fourth on; before, there is more noise than change."""
_SCALE_GAIN: Final = 0.06
_SCALE_FIRST: Final = 0.05
"""Relative error of a level a week ahead, before any was seen."""
_PRIOR: Final = 3.0
"""Weeks that this first guess counts for."""
_YEAR: Final = 52
_TREND_SHARE: Final = 0.4
_YEAR_SHARE: Final = 0.5
_EVIDENCE: Final = 0.1
"""How much of a trend, and of last year's changes, is believed at first; and what a sum of squared
changes must come to before what happened says as much as this. Weeks that are forecast from
neighbouring weeks err alike: it is more than it looks.
"""
_NEWS: Final = 0.1
"""A score of a week's level, as a part of an independent one: 13 leads err alike, for weeks."""
_MEANS: Final = _YEAR + 2 * LEADS + 3
_TRUST_KEPT: Final = 0.98


class Levels:
    """One series' weeks."""

    def __init__(self) -> None:
        self.weeks: int = 0
        self.means: list[float] = []
        """Of the last weeks, the newest last; 0 where a week was not measured."""
        self.year_xy: float = 0.0
        self.year_xx: float = 0.0
        self.ahead: list[float] = []
        """Changes in 0 to 13 weeks from now, by last year; none where there is none."""
        self.growth: float = 0.0
        """A week's, as a share."""
        self.trust_xy: float = 0.0
        self.trust_xx: float = 0.0
        self.levels: list[float] = []
        self.growths: list[float] = []
        self.scales: list[float] = [_SCALE_FIRST * (1.0 + lead) ** 0.5 for lead in range(LEADS)]
        self.counts: list[int] = [0] * LEADS
        self.tracker: Tracker = Tracker(_NEWS)

    def grown(self, weeks: float) -> float:
        """The factor by which a level will have grown."""
        change = self.trusted_growth() * _damped(weeks)
        if self.ahead and weeks >= 1.0:
            lead = min(float(LEADS), weeks)
            low = min(LEADS - 1, int(lead))
            year = self.ahead[low] + (lead - low) * (self.ahead[low + 1] - self.ahead[low])
            change += self.year_trust() * (year - change)
        return max(0.1, 1.0 + change)

    def trusted_growth(self) -> float:
        """A week's growth, as far as it is believed."""
        return self.trust() * self.growth

    def year_trust(self) -> float:
        """How much of last year's changes came again, 0 to 1."""
        return _share(self.year_xy, self.year_xx, _YEAR_SHARE)

    def trust(self) -> float:
        """How much of a trend came true, 0 to 1."""
        return _share(self.trust_xy, self.trust_xx, _TREND_SHARE)

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
        self.means.append(mean if mean is not None else 0.0)
        self.levels.append(level)
        self.growths.append(self.growth)
        if len(self.levels) > LEADS:
            del self.levels[0]
            del self.growths[0]
        if len(self.means) > _MEANS:
            del self.means[0]
        self.ahead = []
        newest = len(self.means) - 1
        if newest >= _YEAR + 1:
            for lead in range(LEADS + 1):
                self.ahead.append(self._last_year(newest, lead))

    def _judge(self, mean: float) -> None:
        """What was forecast for this week, 1 to 13 weeks ago, and what it is."""
        origins = len(self.levels)
        newest = len(self.means) - 1
        trust, year_trust = self.trust(), self.year_trust()
        self.trust_xy *= _TRUST_KEPT
        self.trust_xx *= _TRUST_KEPT
        self.year_xy *= _TRUST_KEPT
        self.year_xx *= _TRUST_KEPT
        for lead in range(origins):
            level = self.levels[origins - 1 - lead]
            if level <= 0.0:
                continue
            trend = self.growths[origins - 1 - lead] * _damped(lead + 1.0)
            happened = max(-0.5, min(0.5, mean / level - 1.0))
            expected = trust * trend
            if newest - lead >= _YEAR + 1:
                differs = self._last_year(newest - lead, lead + 1) - expected
                if lead >= _LEAD_FIRST:
                    self.year_xy += differs * (happened - expected)
                    self.year_xx += differs * differs
                expected += year_trust * differs
            if lead >= _LEAD_FIRST:
                self.trust_xy += trend * happened
                self.trust_xx += trend * trend
            self._learn_scale(lead, mean / (level * max(0.1, 1.0 + expected)) - 1.0)

    def _learn_scale(self, lead: int, error: float) -> None:
        scale = max(1e-9, self.scales[lead])
        # Both signs: a year's drift would look like a bias, first of one sign, then of the other.
        self.tracker.add(error / scale)
        self.tracker.add(-error / scale)
        count = self.counts[lead] + 1
        self.counts[lead] = count
        gain: float = max(_SCALE_GAIN, 1.0 / (_PRIOR + count))
        self.scales[lead] += gain * (min(abs(error), 6.0 * scale) - self.scales[lead])

    def _last_year(self, origin: int, lead: int) -> float:
        """The change in so many weeks, a year before; both ends are means of up to three weeks."""
        before = self._around(origin - _YEAR)
        after = self._around(origin - _YEAR + lead)
        return max(-0.5, min(1.0, after / before - 1.0)) if before * after > 0.0 else 0.0

    def _around(self, place: int) -> float:
        total, count = 0.0, 0
        for one in range(max(0, place - 1), min(len(self.means), place + 2)):
            if self.means[one] > 0.0:
                total += self.means[one]
                count += 1
        return total / count if count else 0.0

    def _learn_growth(self, mean: float) -> None:
        self.weeks += 1
        before = self.means[-1] if self.means else 0.0
        if before > 0.0:
            seen = max(-_GROWTH_MAX, min(_GROWTH_MAX, mean / before - 1.0))
            gain: float = max(_GROWTH_GAIN, 1.0 / (self.weeks + 1.0))
            self.growth += gain * (seen - self.growth)

    def rescale(self, factor: float) -> None:
        """Levels are measured otherwise from now on: so many times as large."""
        self.means = [one * factor for one in self.means]
        self.levels = [one * factor for one in self.levels]

    def state(self) -> LevelState:
        """What is remembered."""
        return LevelState(
            weeks=self.weeks,
            means=list(self.means),
            year=(self.year_xy, self.year_xx),
            ahead=list(self.ahead),
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
        made.means = list(state.means)
        made.year_xy, made.year_xx = state.year
        made.ahead = list(state.ahead)
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


def _share(xy: float, xx: float, first: float) -> float:
    return max(0.0, min(1.0, (xy + first * _EVIDENCE) / (xx + _EVIDENCE)))
