"""The surge reserve: what content may rise by before capacity can be given back to it.

Inference gives way within seconds to a minute: it stops admitting, and ends at a token. Use is
measured every five minutes, so what has to be free is a rise from one sample to the next. Which
one is a choice (`Choice`): the largest that was seen, the one that 999 of 1,000 steps stay within,
or a share that somebody sets.

Which rises count, and why:

- Both samples were measured, one step apart. A rise over a gap is of unknown speed.
- Returns are no surges: a site comes back after an outage to what it usually carries. They are
  counted and make no reserve, or every site that was ever away would keep most of its capacity idle
  for ever. Who admits must therefore not take a site that is away for an idle one: below
  `Band.away` hold back until content is back, or for an hour. What a return is, see `Band`.
- Of so many rises the largest is dropped for each 100,000 (a year of samples), since a counter's
  fault looks like a surge. In less than a year nothing is dropped: it is the largest rise seen.
- A short history has not seen its surges. Below `WEEK_STEPS` rises the reserve is at least
  `RESERVE_FEW`, unless a share is set.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from math import ceil
from typing import Final, Literal

from selvedge.fabric.value import Value

BIN: Final = 0.001
"""Width of a bin of rises, as a share of capacity. Reserves are rounded up to it."""
BINS: Final = 1001
"""Bins: 0.000 to 0.001, and so on; the last one holds every rise of a whole capacity and more."""
USES: Final = 2001
"""Bins of use, in thousandths rounded up; the last one holds twice the capacity and more."""
DROPPED_IN: Final = 100_000
"""Of so many rises, the largest is taken for a fault."""
USUAL_IN: Final = 1000
"""Of so many rises, the largest is no usual one."""
AWAY_BELOW: Final = 0.005
"""A site below this share of capacity is away, whatever its usual use is."""
AWAY_PART: Final = 4.0
"""Below this part of the lower quartile of its own use a site is away; a return multiplies by
more than that."""
BACK_TO: Final = 1.5
"""A return ends within so many times the 95th percentile of the site's own use."""
LEAPS_MAX: Final = 256
"""Leaps of a site that are kept apart until its usual use is known; see `Surges`."""
WEEK_STEPS: Final = 2016
RESERVE_FEW: Final = 0.10
"""Kept at least, while less than a week was seen."""

Choice = Literal["largest", "usual"] | float
"""The largest rise but one in `DROPPED_IN`; the one that all but one in `USUAL_IN` stay within; or
a share of capacity, 0 <= share < 1."""
Reason = Literal["largest", "robust", "usual", "set", "few"]


class Reserve(Value, frozen=True):
    """What to keep for content, as shares of capacity, and what it rests on."""

    share: float
    """The reserve."""
    largest: float
    """The largest rise seen, dropped ones too."""
    usual: float
    """The rise that 999 of 1,000 steps stay within: what a reserve for ordinary days would be."""
    steps: int
    """Pairs of samples that were seen."""
    exceeded: int
    """Rises larger than the reserve."""
    reason: Reason
    """`largest`: the largest seen; `robust`: without one in 100,000; `usual`: the one that 999 of
    1,000 stay within; `set`: as asked; `few`: too little was seen."""


class Band(Value, frozen=True):
    """What a site's use is while it serves, by its own history; shares of capacity.

    A return begins below `away`, multiplies by more than `AWAY_PART`, and ends at `back` or below.
    So does the step that follows such a leap, since the minute in which a site comes back lies
    within a sample. The lower quartile is what a site has for six hours of each day: nights are no
    outages, and a quarter of the history may be lost to outages before they look like nights.
    """

    away: float
    back: float

    @staticmethod
    def of(lower: float, upper: float) -> Band:
        """By the lower quartile and the 95th percentile of use."""
        return Band(max(AWAY_BELOW, lower / AWAY_PART), BACK_TO * upper)


class Surges:
    """Counts rises as samples come; constant in memory.

    Whether a leap (a rise to more than `AWAY_PART` times of what was, or the step after one) was a
    return is judged when the reserve is asked for, by the use of all samples so far. Of more leaps
    than `LEAPS_MAX` the smaller ones count as surges: who leaps all the time is not coming back.

    >>> surges = Surges()
    >>> for use in [0.30, 0.31, 0.35, None, 0.60, 0.58]:
    ...     surges.add(use)
    >>> surges.reserve()
    Reserve(share=0.1, largest=0.041, usual=0.041, steps=3, exceeded=0, reason='few')
    """

    def __init__(self) -> None:
        self._counts: list[int] = [0] * BINS
        self._uses: list[int] = [0] * USES
        self._leaps: list[tuple[float, float, float]] = []
        """Rise, where it began, where it ended; ascending."""
        self._last: float | None = None
        self._began: float | None = None
        """Where the leap began that ended at the last sample."""

    def add(self, use: float | None) -> None:
        """The next sample, a step after the one before; None is a gap."""
        last, began = self._last, self._began
        self._last, self._began = use, None
        if use is None:
            return
        self._uses[use_bin_of(use)] += 1
        if last is None:
            return
        if use > AWAY_PART * last:
            self._began = last
            self._keep(use - last, last, use)
        elif began is not None and use > last:
            self._keep(use - last, began, use)
        else:
            self._counts[bin_of(use - last)] += 1

    @property
    def returns(self) -> int:
        """Leaps that were returns, by what was seen so far."""
        return len(self._leaps) - len(self._surges())

    def band(self) -> Band:
        """Usual use, by what was seen so far."""
        return Band.of(_quantile(self._uses, 25), _quantile(self._uses, 95))

    def reserve(self, choice: Choice = "largest") -> Reserve:
        """What has to be kept, by what was seen so far. Raises `ValueError` for a bad share."""
        counts = list(self._counts)
        for rise in self._surges():
            counts[bin_of(rise)] += 1
        return reserve_of_counts(counts, choice)

    def _keep(self, rise: float, began: float, ended: float) -> None:
        insort(self._leaps, (rise, began, ended))
        if len(self._leaps) > LEAPS_MAX:
            self._counts[bin_of(self._leaps.pop(0)[0])] += 1

    def _surges(self) -> list[float]:
        """Leaps that are no returns."""
        band = self.band()
        return [
            rise
            for rise, began, ended in self._leaps
            if not (began < band.away and ended <= band.back)
        ]


def bin_of(rise: float) -> int:
    """The bin of a rise; falls are in bin 0."""
    # A rise of just 0.04 is 0.03999… in floating point, and belongs to the bin it begins.
    return min(BINS - 1, int(rise / BIN + 1e-9)) if rise > 0.0 else 0


def use_bin_of(use: float) -> int:
    """A use in thousandths, rounded up."""
    # A use of just 0.04 is 40.000…01 thousandths in floating point, and is in bin 40.
    return min(USES - 1, ceil(use * 1000.0 - 1e-9)) if use > 0.0 else 0


def choice_of(text: str) -> Choice:
    """A choice as it is written: `largest`, `usual`, or a share such as 0.05. Raises `ValueError`
    that names the limit and the remedy."""
    if text == "largest":
        return "largest"
    if text == "usual":
        return "usual"
    try:
        share = float(text)
    except ValueError:
        raise ValueError(_refusal(repr(text))) from None
    return _checked(share)


def reserve_of(uses: Sequence[float | None], choice: Choice = "largest") -> Reserve:
    """The reserve by a sequence of samples, one a step; None is a gap. Raises `ValueError`."""
    surges = Surges()
    for use in uses:
        surges.add(use)
    return surges.reserve(choice)


def reserve_of_counts(counts: Sequence[int], choice: Choice = "largest") -> Reserve:
    """The reserve by counts of rises in bins of `BIN`, falls in the first: for who counts in bulk.

    Returns and rises over gaps must not be in them. Raises `ValueError` for a bad share.
    """
    steps = sum(counts)
    largest = _edge(counts, 0)
    usual = _edge(counts, steps // USUAL_IN)
    reason: Reason
    if choice == "largest":
        share = _edge(counts, steps // DROPPED_IN)
        reason = "robust" if share < largest else "largest"
    elif choice == "usual":
        share, reason = usual, "usual"
    else:
        share, reason = _checked(choice), "set"
    if reason != "set" and steps < WEEK_STEPS and share < RESERVE_FEW:
        share, reason = RESERVE_FEW, "few"
    # Falls are in the first bin: of a rise below a thousandth there is no telling.
    above = max(1, int(share / BIN + 1e-6))
    return Reserve(share, largest, usual, steps, sum(counts[above:]), reason)


def excess_of(counts: Sequence[int], share: float) -> float:
    """Sum of what rises had over a reserve, each rounded up to `BIN`; of counts as above."""
    above = max(1, int(share / BIN + 1e-6))
    return sum(counts[at] * ((at + 1) * BIN - share) for at in range(above, len(counts)))


def _edge(counts: Sequence[int], dropped: int) -> float:
    """The upper edge of the bin of the largest rise, without the `dropped` largest; 0 of none."""
    seen = 0
    for place in range(len(counts) - 1, -1, -1):
        seen += counts[place]
        if seen > dropped:
            # The first bin is falls above all: no rise is nothing to keep.
            return round((place + 1) * BIN, 6) if place else 0.0
    return 0.0


def _quantile(counts: Sequence[int], percent: int) -> float:
    """Of counts by thousandths the order statistic that so many percent stay within; 0 of none."""
    total = sum(counts)
    rank = total - total * (100 - percent) // 100
    seen = 0
    for place, count in enumerate(counts):
        seen += count
        if count and seen >= rank:
            return place / 1000
    return 0.0


def _checked(share: float) -> float:
    if not 0.0 <= share < 1.0:
        raise ValueError(_refusal(f"{share:g}"))
    return share


def _refusal(said: str) -> str:
    return (
        f"reserve is {said}; it is a share of capacity, at least 0 and below 1: "
        "say largest, usual or a share such as 0.05"
    )
