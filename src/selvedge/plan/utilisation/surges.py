"""Rises of use, added up over months, and the surge reserve that each choice makes of them.

The rule is `headroom`'s; here it is followed for all PoPs at once. Counts of rises take 4 kB a PoP.
Leaps are few: more than `LEAPS_MAX` of a PoP are counted like any other rise, the smaller ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from selvedge.headroom import (
    AWAY_BELOW,
    AWAY_PART,
    BACK_TO,
    BIN,
    BINS,
    LEAPS_MAX,
    Choice,
    excess_of,
    reserve_of_counts,
)
from selvedge.plan.utilisation.sweeps import Rises

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
ALWAYS: Final[tuple[Choice, ...]] = ("largest", "usual")
"""Choices that are always told."""


@dataclass(frozen=True, slots=True)
class Reserves:
    """Of each PoP, by the name of the choice: those of `ALWAYS`, and `share` if one was asked."""

    asked: str
    """Which of them is in force."""
    share: dict[str, Reals]
    """Of capacity; nan where no use is known."""
    exceeded: dict[str, Ints]
    """Rises larger than it."""
    excess: dict[str, Reals]
    """Sum of what those had over it, in shares of capacity, each rounded up to `BIN`."""
    steps: Ints
    """Pairs of neighbouring samples, without returns."""
    away: Reals
    """Below this share of capacity a PoP is away; nan where no use is known."""
    returns: Ints


class SurgeTally:
    """Takes months in order."""

    def __init__(self, pops: int) -> None:
        self._counts = np.zeros((pops, BINS), np.int32)
        self._pop = np.zeros(0, np.int64)
        self._leaps = np.zeros((3, 0))
        """Rise, where it began, where it ended; a column for each of `_pop`."""

    def add(self, rises: Rises) -> None:
        """The next month."""
        self._counts += rises.counts
        deep = int(rises.leaps.number.max(initial=0))
        place, pop = np.nonzero(np.arange(deep)[:, None] < rises.leaps.number)
        columns = (rises.leaps.rise, rises.leaps.began, rises.leaps.ended)
        more = np.stack([column[place, pop] for column in columns])
        self._pop = np.concatenate([self._pop, pop])
        self._leaps = np.concatenate([self._leaps, more], axis=1)
        self._trim()

    def judge(self, lower: Reals, upper: Reals, choice: Choice) -> Reserves:
        """By the lower quartile and the 95th percentile of each PoP's use, nan where unknown."""
        away, back = np.maximum(AWAY_BELOW, lower / AWAY_PART), BACK_TO * upper
        rise, began, ended = self._leaps
        is_return = (began < away[self._pop]) & (ended <= back[self._pop])
        counts = self._counts.copy()
        self._count(counts, self._pop[~is_return], rise[~is_return])
        choices = {str(name): name for name in ALWAYS}
        if choice not in ALWAYS:
            choices["share"] = choice
        share = {name: np.full(len(counts), np.nan) for name in choices}
        exceeded = {name: np.zeros(len(counts), np.int64) for name in choices}
        excess = {name: np.zeros(len(counts)) for name in choices}
        for pop in np.flatnonzero(~np.isnan(lower)).tolist():
            # What lies above the largest rise is empty: most of a row.
            row = np.trim_zeros(counts[pop], "b").tolist()
            for name, one in choices.items():
                found = reserve_of_counts(row, one)
                share[name][pop], exceeded[name][pop] = found.share, found.exceeded
                excess[name][pop] = excess_of(row, found.share)
        return Reserves(
            asked=str(choice) if choice in ALWAYS else "share",
            share=share,
            exceeded=exceeded,
            excess=excess,
            steps=counts.sum(axis=1, dtype=np.int64),
            away=np.where(np.isnan(lower), np.nan, away),
            returns=np.bincount(self._pop[is_return], minlength=len(counts)),
        )

    def _trim(self) -> None:
        """Of a PoP's leaps keep the largest, and count the others."""
        order = np.lexsort((-self._leaps[0], self._pop))
        self._pop, self._leaps = self._pop[order], self._leaps[:, order]
        first = np.searchsorted(self._pop, self._pop)
        more = np.arange(len(self._pop)) - first >= LEAPS_MAX
        if more.any():
            self._count(self._counts, self._pop[more], self._leaps[0, more])
            self._pop, self._leaps = self._pop[~more], self._leaps[:, ~more]

    @staticmethod
    def _count(counts: npt.NDArray[Any], pop: Ints, rise: Reals) -> None:
        bins = np.minimum((rise / BIN + 1e-9).astype(np.int64), BINS - 1)
        np.add.at(counts, (pop, bins), 1)
