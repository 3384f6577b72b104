"""Numbers that several processes count together: one row of 64-bit cells a process, no lock.

A process writes its own row and reads the sum over all rows. An aligned cell is read and written
whole by the hardware, so a reader sees old or new, never a mixture. Who must stay under a limit
adds first and compares the sum afterwards: two of them may then both step back, never both go
over. The memory has no name in any file system; it lives as long as a process holds it. The twin
for one process (and for tests) is ordinary memory with one row.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Final

CELL_BYTES: Final = 8
NAME_BYTES: Final = 160
"""One name in shared memory: its length in the first byte, then its bytes."""


class Memory:
    """Zeroed bytes: shared through a file descriptor, or private where ``fd`` is -1."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self.view = memoryview(bytearray(size) if fd < 0 else mmap.mmap(fd, size))

    @classmethod
    def private(cls, size: int) -> Memory:
        """Of this process alone."""
        return cls(-1, size)

    @classmethod
    def shared(cls, name: str, size: int) -> Memory:
        """To be handed to other processes by its descriptor; pages are taken when touched."""
        if sys.platform == "linux":
            fd = os.memfd_create(name, os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, size)
        return cls(fd, size)

    @contextlib.contextmanager
    def locked(self, at: int) -> Iterator[None]:
        """Alone on the byte ``at``, among processes; a process that dies lets go."""
        if self.fd < 0:
            yield
            return
        fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, at)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, at)


class Table:
    """Rows of cells over a part of a memory; ``row`` is this process's own."""

    def __init__(self, memory: Memory, at: int, shape: tuple[int, int], row: int) -> None:
        self.rows, self.width = shape
        self.row = row
        end = at + self.rows * self.width * CELL_BYTES
        self.cells = memory.view[at:end].cast("q")

    def cell(self, column: int) -> Cell:
        """One column."""
        return Cell(self, column)

    def clear(self, row: int) -> None:
        """Set a row to zero: its process has ended."""
        begin = row * self.width
        for at in range(begin, begin + self.width):
            if self.cells[at]:
                self.cells[at] = 0


class Cell:
    """One number: written in this process's row, read from all. Also a gauge or a counter."""

    __slots__ = ("_all", "_at", "_cells")

    def __init__(self, table: Table, column: int) -> None:
        if not 0 <= column < table.width:
            raise ValueError(f"column {column} is not among {table.width}")
        self._cells = table.cells
        self._at = table.row * table.width + column
        self._all = table.cells[column :: table.width] if table.rows > 1 else None

    def inc(self, amount: int = 1) -> None:
        """Add to this process's own."""
        self._cells[self._at] += amount

    def dec(self, amount: int = 1) -> None:
        """Take from this process's own."""
        self._cells[self._at] -= amount

    def set(self, value: int) -> None:
        """Replace this process's own."""
        self._cells[self._at] = value

    @property
    def value(self) -> int:
        """This process's own."""
        return self._cells[self._at]

    @property
    def each(self) -> list[int]:
        """Of every row."""
        return [self._cells[self._at]] if self._all is None else self._all.tolist()

    def total(self) -> int:
        """The sum over all processes."""
        return self._cells[self._at] if self._all is None else sum(self._all)


class Names:
    """A table of names that only grows: every process finds the same number for a name.

    Number 0 stands for all names that find no room.
    """

    def __init__(self, memory: Memory, at: int, count_max: int) -> None:
        self._memory = memory
        self._at = at
        self._count_max = count_max
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of a name, 1 or more; 0 where the table is full or the name too long."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = self._find_or_add(name)
        return found

    def known(self) -> Iterator[tuple[int, str]]:
        """Every name with its number."""
        for number in range(1, self._count_max):
            kept = self._read(number)
            if not kept:
                return
            yield number, kept.decode()

    def _find_or_add(self, name: str) -> int:
        wanted = name.encode()
        if not 0 < len(wanted) < NAME_BYTES:
            return 0
        with self._memory.locked(self._at):
            for number in range(1, self._count_max):
                kept = self._read(number)
                if kept == wanted:
                    return number
                if not kept:
                    self._write(number, wanted)
                    return number
        return 0

    def _read(self, number: int) -> bytes:
        begin = self._at + number * NAME_BYTES
        size = self._memory.view[begin]
        return bytes(self._memory.view[begin + 1 : begin + 1 + size])

    def _write(self, number: int, name: bytes) -> None:
        begin = self._at + number * NAME_BYTES
        self._memory.view[begin + 1 : begin + 1 + len(name)] = name
        self._memory.view[begin] = len(name)  # last: a reader takes no lock
