"""What groups carried at each moment of a month: set aside on disk, and read a group at a time.

Exact quantiles over all months need every moment of a group: 50 MB a month of 4,000 PoPs, which
need not be in memory. Plain numbers in a file: nothing is asked of them but a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from selvedge.plan.history import STEP_S
from selvedge.plan.utilisation.answers import MonthFound
from selvedge.plan.utilisation.places import Places
from selvedge.plan.utilisation.zones import HOUR_S

Ints = npt.NDArray[np.int64]
_WORD: Final = 8


@dataclass(frozen=True, slots=True)
class Slots:
    """Of a group, every moment at which one of its PoPs was measured."""

    at_s: Ints
    bytes: Ints
    capacity: Ints
    """Of those who were measured."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A month's file: of each group bytes, then capacities; then the free GPUs of `free_of`."""

    month: str
    from_s: int
    until_s: int
    path: Path
    groups: int
    moments: int
    free_of: dict[int, int]
    """By the number of a jurisdiction or the fleet."""

    def slots(self, group: int) -> Slots:
        """Of a group in that month."""
        sent, capacity = self._row(group), self._row(self.groups + group)
        some = np.flatnonzero(capacity)
        return Slots(self._first_s + some * STEP_S, sent[some], capacity[some])

    def free(self, group: int) -> tuple[Ints, Ints]:
        """Moments at which GPUs were measured, and how many hundredths of a percent were free."""
        free = self._row(2 * self.groups + self.free_of[group])
        some = np.flatnonzero(free >= 0)
        return self._first_s + some * STEP_S, free[some]

    @property
    def _first_s(self) -> int:
        return self.from_s - self.from_s % HOUR_S

    def _row(self, number: int) -> Ints:
        skip = number * self.moments * _WORD
        return np.fromfile(self.path, np.int64, count=self.moments, offset=skip)


def store(folder: Path, month: str, found: MonthFound) -> Stored:
    """Write the file of a month."""
    places, asked = found.question.places, found.question
    path = folder / f"slots-{month}"
    members = _members(places)
    free_of: dict[int, int] = {}
    with path.open("wb") as file:
        for sums in found.cells:
            for cells in members:
                sums[cells].sum(axis=0).tofile(file)
        for number, group in enumerate(places.groups):
            if group.level == "jurisdiction":
                found.free[len(free_of)].tofile(file)
                free_of[number] = len(free_of)
            elif group.level == "fleet":
                fleet = np.where(found.free >= 0, found.free, 0).sum(axis=0)
                fleet[(found.free < 0).all(axis=0)] = -1
                fleet.tofile(file)
                free_of[number] = len(free_of)
    moments = found.cells.shape[2]
    return Stored(month, asked.from_s, asked.until_s, path, len(members), moments, free_of)


def _members(places: Places) -> Sequence[Ints]:
    """The cells of each group."""
    cells = places.cells()
    return [np.unique(cells[list(group.pops)]).astype(np.int64) for group in places.groups]
