"""Requests and tokens on their way to places, counted by all workers of a PoP together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from selvedge.adapters.shared_cells import Cell, Names, Table


class SharedCounts:
    """The counts of a `LoadBook` in shared cells: two columns a place, from column ``at`` on.

    Places beyond ``places_max`` share one pair of columns: a limit is then kept too strictly, never
    too loosely.
    """

    def __init__(self, table: Table, at: int, names: Names, places_max: int) -> None:
        self._table = table
        self._at = at
        self._names = names
        self._places_max = places_max
        self._cells: dict[str, tuple[Cell, Cell]] = {}
        self.tokens: Mapping[str, int] = _Tokens(self)

    def add(self, where: str, requests: int, tokens: int) -> None:
        """Add to this process's own; negative where they came back."""
        on_way, waiting = self._cells.get(where) or self.cells(where)
        on_way.inc(requests)
        waiting.inc(tokens)
        assert on_way.value >= 0, f"{where}: more requests left than entered"

    def requests(self, where: str) -> int:
        """Requests of all processes on their way to a place."""
        return (self._cells.get(where) or self.cells(where))[0].total()

    def cells(self, where: str) -> tuple[Cell, Cell]:
        """The cells of a place: requests, tokens."""
        column = self._at + 2 * self._names.number(where)
        pair = self._table.cell(column), self._table.cell(column + 1)
        if len(self._cells) < self._places_max:
            self._cells[where] = pair
        return pair

    def places(self) -> Iterator[str]:
        """Places that have requests on their way."""
        for _, name in self._names.known():
            if self.requests(name):
                yield name


class _Tokens(Mapping[str, int]):
    """Tokens on their way, as the router reads them."""

    def __init__(self, counts: SharedCounts) -> None:
        self._counts = counts

    def __getitem__(self, where: str) -> int:
        return self._counts.cells(where)[1].total()

    def __iter__(self) -> Iterator[str]:
        return self._counts.places()

    def __len__(self) -> int:
        return sum(1 for _ in self)
