"""Families of numbers for `/metrics`: written in place in shared cells, named only when scraped.

A family knows its label values beforehand, and its place in a row. On the hot path a number is an
addition at a known index; `prometheus_client` renders the text when somebody asks for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from selvedge.adapters import Cell, Names, Table

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
BOUNDS_US: Final = tuple(round(one * 1_000_000) for one in SECONDS)
HISTOGRAM_WIDTH: Final = len(SECONDS) + 2
"""Cells of one histogram: a count a bucket, the last without bound, then the sum in us."""
OTHER: Final = "other"


class Row:
    """Hands out the columns of a table, one family after the other: the layout of a row."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.taken: list[tuple[str, int]] = []
        self._next = 0

    def take(self, what: str, width: int) -> int:
        """The first of so many columns; every process takes the same in the same order."""
        self.taken.append((what, width))
        first, self._next = self._next, self._next + width
        if self._next > self.table.width:
            raise ValueError(f"a row of {self.table.width} cells has no room for {self._next}")
        return first


class Counters:
    """Counters of one name. Values that are not in ``values`` count as ``other``."""

    def __init__(
        self,
        row: Row,
        name: str,
        words: str,
        labels: Sequence[str],
        values: Iterable[Sequence[str]],
    ) -> None:
        self.name, self._words, self._labels = name, words, tuple(labels)
        known = [tuple(one) for one in values]
        if labels:
            known.append((OTHER,) * len(labels))
        first = row.take(f"{name} {known}", len(known))
        self.columns = {one: first + at for at, one in enumerate(known)}
        self._cells = {one: row.table.cell(column) for one, column in self.columns.items()}

    def labels(self, *values: str) -> Cell:
        """One counter."""
        return self._cells.get(values) or self._cells[(OTHER,) * len(self._labels)]

    def collect(self) -> Metric:
        """Every counter that was ever counted up."""
        family = CounterMetricFamily(self.name, self._words, labels=self._labels)
        for values, cell in self._cells.items():
            total = cell.total()
            if total or not self._labels:
                family.add_metric(values, total)
        return family


class Counter(Counters):
    """One counter without labels."""

    def __init__(self, row: Row, name: str, words: str) -> None:
        super().__init__(row, name, words, (), [()])

    def inc(self, amount: int = 1) -> None:
        """Count up."""
        self._cells[()].inc(amount)


class Histograms:
    """Histograms of times, in microseconds within and in seconds without, by one label.

    The values of the label are a table's: ``names`` grows with the release, and what finds no room
    in it is ``other``.
    """

    def __init__(
        self,
        row: Row,
        name: str,
        words: str,
        *,
        label: str,
        names: Names | Sequence[str],
        size: int,
    ) -> None:
        self.name, self._words, self._label = name, words, label
        self._names = names
        self._first = row.take(f"{name} {SECONDS}", size * HISTOGRAM_WIDTH)
        self._table = row.table
        self._offset = row.table.row * row.table.width
        self._begins: dict[str, int] = {}
        self._size = size

    def observe(self, value: str, took_us: int) -> None:
        """Add one time."""
        begin = self._begins.get(value)
        if begin is None:
            begin = self._begin(value)
        cells = self._table.cells
        cells[begin + bisect_left(BOUNDS_US, took_us)] += 1
        cells[begin + HISTOGRAM_WIDTH - 1] += took_us

    def _begin(self, value: str) -> int:
        begin = self._offset + self._first + self._number(value) * HISTOGRAM_WIDTH
        if len(self._begins) < self._size:
            self._begins[value] = begin
        return begin

    def _number(self, value: str) -> int:
        if isinstance(self._names, Names):
            return self._names.number(value)
        return self._names.index(value) + 1 if value in self._names else 0

    def _known(self) -> Iterator[tuple[int, str]]:
        yield 0, OTHER
        yield from (
            self._names.known() if isinstance(self._names, Names) else enumerate(self._names, 1)
        )

    def collect(self) -> Metric:
        """Every histogram that has a time in it."""
        family = HistogramMetricFamily(self.name, self._words, labels=(self._label,))
        for number, value in self._known():
            first = self._first + number * HISTOGRAM_WIDTH
            totals = [self._table.cell(first + at).total() for at in range(HISTOGRAM_WIDTH)]
            counts = list(accumulate(totals[:-1]))
            if counts[-1]:
                bounds = [*(str(float(one)) for one in SECONDS), "+Inf"]
                buckets = list(zip(bounds, counts, strict=True))
                family.add_metric((value,), buckets, totals[-1] / 1_000_000)
        return family


def gauge(name: str, words: str, value: float) -> Metric:
    """One gauge as it is now."""
    return GaugeMetricFamily(name, words, value)
