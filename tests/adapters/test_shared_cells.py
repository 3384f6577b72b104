"""Cells that processes count in together: own row written, all rows read, names agreed upon."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from selvedge.adapters import CELL_BYTES, NAME_BYTES, Memory, Names, SharedCounts, Table

ROWS, WIDTH, NAMES = 3, 20, 5
SIZE = ROWS * WIDTH * CELL_BYTES + NAMES * NAME_BYTES


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = Memory.shared("test", SIZE)
    yield made
    os.close(made.fd)


def tables(memory: Memory) -> list[Table]:
    """One table as each of the processes sees it, mapped by each for itself."""
    mapped = [Memory(memory.fd, SIZE) for _ in range(ROWS)]
    return [Table(one, 0, (ROWS, WIDTH), row) for row, one in enumerate(mapped)]


def names(memory: Memory) -> Names:
    return Names(Memory(memory.fd, SIZE), ROWS * WIDTH * CELL_BYTES, NAMES)


def test_each_writes_its_own_row_and_reads_them_all(memory: Memory) -> None:
    cells = [table.cell(7) for table in tables(memory)]
    for number, cell in enumerate(cells, 1):
        cell.inc(10 * number)
        cell.dec()
    assert [cell.value for cell in cells] == [9, 19, 29]
    assert {cell.total() for cell in cells} == {57}
    assert cells[0].each == [9, 19, 29]
    cells[1].set(-5)
    assert cells[2].total() == 33
    assert tables(memory)[0].cell(6).total() == tables(memory)[0].cell(8).total() == 0


def test_a_row_is_cleared_alone(memory: Memory) -> None:
    first, second, _ = tables(memory)
    for table in (first, second):
        table.cell(0).inc(3)
        table.cell(WIDTH - 1).inc(4)
    first.clear(1)
    assert (first.cell(0).value, second.cell(0).value) == (3, 0)
    assert second.cell(WIDTH - 1).total() == 4


def test_one_process_has_the_same_in_its_own_memory() -> None:
    table = Table(Memory.private(WIDTH * CELL_BYTES), 0, (1, WIDTH), 0)
    cell = table.cell(1)
    cell.inc(2)
    assert (cell.value, cell.total(), cell.each) == (2, 2, [2])
    with pytest.raises(ValueError, match="not among 20"):
        table.cell(WIDTH)


def test_a_name_has_one_number_in_every_process(memory: Memory) -> None:
    here, there = names(memory), names(memory)
    assert [here.number("sin"), there.number("fra"), there.number("sin")] == [1, 2, 1]
    assert here.number("fra") == 2
    assert list(there.known()) == [(1, "sin"), (2, "fra")]


def test_names_without_room_share_a_number(memory: Memory) -> None:
    here = names(memory)
    found = [here.number(f"n{number}") for number in range(NAMES + 2)]
    assert found == [1, 2, 3, 4, 0, 0, 0]
    assert here.number("x" * NAME_BYTES) == here.number("") == 0


def test_load_is_counted_over_all(memory: Memory) -> None:
    counts = [SharedCounts(table, 4, names(memory), NAMES) for table in tables(memory)]
    counts[0].add("sin/gpu", 1, 100)
    counts[1].add("sin/gpu", 1, 20)
    counts[2].add("fra", 1, 3)
    assert [one.requests("sin/gpu") for one in counts] == [2, 2, 2]
    assert dict(counts[2].tokens) == {"sin/gpu": 120, "fra": 3}
    assert counts[1].tokens.get("elsewhere", 0) == 0
    counts[0].add("sin/gpu", -1, -100)
    assert (counts[2].requests("sin/gpu"), counts[2].tokens["sin/gpu"]) == (1, 20)
    with pytest.raises(AssertionError, match="more requests left than entered"):
        counts[0].add("sin/gpu", -1, 0)
