"""The surge reserve: what content may rise by before capacity can be given back to it.

Inference gives way within seconds to a minute: it stops admitting, and ends at a token. Use is
measured every five minutes, so what has to be free is the largest rise from one sample to the next.

Which rises count, and why:

- Both samples were measured, one step apart. A rise over a gap is of unknown speed.
- Rises from nearly nothing (below `RETURN_BELOW`) are returns: a site comes back after an outage.
  They are counted and do not make the reserve, or every site that was ever away would keep most of
  its capacity idle for ever. Who admits must therefore not take near-zero use for headroom: hold
  back until content is back, or for an hour.
- Of so many rises, one in 100,000 (a year of samples) is dropped, since a counter's fault looks
  like a surge. In less than a year nothing is dropped: the reserve is the largest rise seen.
- A short history has not seen its surges. Below `WEEK_STEPS` rises the reserve is at least
  `RESERVE_FEW`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from selvedge.fabric.value import Value

BIN: Final = 0.001
"""Width of a bin of rises, as a share of capacity. Reserves are rounded up to it."""
BINS: Final = 1001
"""Bins: 0.000 to 0.001, and so on; the last one holds every rise of a whole capacity and more."""
DROPPED_IN: Final = 100_000
"""Of so many rises, the largest is taken for a fault."""
RETURN_BELOW: Final = 0.005
"""A rise from less than this share of capacity is a return."""
WEEK_STEPS: Final = 2016
RESERVE_FEW: Final = 0.10
"""Kept at least, while less than a week was seen."""

Reason = Literal["largest", "robust", "few"]


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
    """`largest`: the largest seen; `robust`: without one in 100,000; `few`: too little was seen."""


class Surges:
    """Counts rises as samples come; constant in memory.

    >>> surges = Surges()
    >>> for use in [0.30, 0.31, 0.35, None, 0.60, 0.58]:
    ...     surges.add(use)
    >>> surges.reserve()
    Reserve(share=0.1, largest=0.041, usual=0.041, steps=3, exceeded=0, reason='few')
    """

    def __init__(self) -> None:
        self.counts: list[int] = [0] * BINS
        self.returns = 0
        self._last: float | None = None

    def add(self, use: float | None) -> None:
        """The next sample, a step after the one before; None is a gap."""
        last = self._last
        self._last = use
        if use is None or last is None:
            return
        if last < RETURN_BELOW and use > last:
            self.returns += 1
            return
        self.counts[bin_of(use - last)] += 1

    def reserve(self) -> Reserve:
        """What has to be kept, by what was seen so far."""
        return reserve_of_counts(self.counts)


def bin_of(rise: float) -> int:
    """The bin of a rise; falls are in bin 0."""
    # A rise of just 0.04 is 0.03999… in floating point, and belongs to the bin it begins.
    return min(BINS - 1, int(rise / BIN + 1e-9)) if rise > 0.0 else 0


def reserve_of(uses: Sequence[float | None]) -> Reserve:
    """The reserve by a sequence of samples, one a step; None is a gap."""
    surges = Surges()
    for use in uses:
        surges.add(use)
    return surges.reserve()


def reserve_of_counts(counts: Sequence[int]) -> Reserve:
    """The reserve by counts of rises in bins of `BIN`, falls in the first: for who counts in bulk.

    Returns and rises over gaps must not be in them.
    """
    steps = sum(counts)
    largest = _edge(counts, 0)
    share = _edge(counts, steps // DROPPED_IN)
    usual = _edge(counts, steps // 1000)
    reason: Reason = "robust" if share < largest else "largest"
    if steps < WEEK_STEPS and share < RESERVE_FEW:
        share, reason = RESERVE_FEW, "few"
    above = int(share / BIN + 0.5)
    return Reserve(share, largest, usual, steps, sum(counts[above:]), reason)


def _edge(counts: Sequence[int], dropped: int) -> float:
    """The upper edge of the bin of the largest rise, without the `dropped` largest; 0 of none."""
    seen = 0
    for place in range(len(counts) - 1, -1, -1):
        seen += counts[place]
        if seen > dropped:
            # The first bin is falls above all: no rise is nothing to keep.
            return round((place + 1) * BIN, 6) if place else 0.0
    return 0.0
