"""Entering the rows of some PoPs into a month's answers: the one way in, wherever the rows are."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from selvedge.plan.utilisation.answers import MonthFound
from selvedge.plan.utilisation.samples import RESOURCES_BP
from selvedge.plan.utilisation.sheets import Parts, Sheet, sheet
from selvedge.plan.utilisation.sweeps import Gpus, Rows, add_free, add_shares

NUMBERS: Final = 2**16
"""That a PoP may have in a row, whether the manifest names it or not."""


class Entry:
    """Adds up rows of PoPs that have a site. Those with a moment twice are left out."""

    def __init__(self, found: MonthFound) -> None:
        self._found = found
        self._asked = found.question
        places = self._asked.places
        self._known = np.zeros(NUMBERS, bool)
        self._known[places.known] = True
        self._gpus = np.zeros(NUMBERS, np.int64)
        for number in places.known:
            site = places.sites[number]
            self._gpus[number] = site.gpus if site else 0

    def enter(self, block: range, parts: Parts) -> Sheet:
        """Add the rows of a block of PoPs up; the sheet says whose moments are there twice."""
        asked, found = self._asked, self._found
        strange = ~self._known[block.start : block.stop]
        spread = sheet([part for part, _ in parts], block, asked.first_hour_s, asked.hours)
        spread = spread.without(strange)
        rows = sum(len(part.pop) for part, _ in parts)
        found.excluded["unknown_pop"] += rows - int(spread.rows.sum())
        counts_of = self._known.copy()
        counts_of[block.start : block.stop] &= ~spread.doubled.any(axis=1)
        found.add(spread)
        for part, shares in parts:
            self._add_shares(part, shares, counts_of)
        return spread

    def _add_shares(
        self, part: Rows, shares: dict[str, npt.NDArray[Any]], counts_of: npt.NDArray[np.bool_]
    ) -> None:
        found = self._found
        for resource, column in RESOURCES_BP.items():
            add_shares(part.pop, shares[column], counts_of, found.shares[resource])
        gpus = Gpus(np.where(counts_of, self._gpus, 0), found.laws, found.free)
        add_free(part, shares["gpu_bp"], self._asked.first_hour_s, gpus)
