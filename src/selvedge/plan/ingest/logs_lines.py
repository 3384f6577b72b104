"""Blocks of whole lines from a log, and an account of the lines that were left out.

What a compressed file gives before it breaks off is given before the error is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from selvedge.plan.history import Finding, FindingKind
from selvedge.plan.ingest.reading import SourceFile

BLOCK_BYTES: Final = 8 << 20
LINE_BYTES_MAX: Final = 1 << 20
"""A line that is longer is left out."""
TOO_LONG: Final = b"\0"
"""What is read instead: no line of any log."""
NAMED_MAX: Final = 20
"""Findings of bad lines of a file and kind that are told one by one; the rest as one."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, the last one with its end."""

    data: bytes
    first_line: int
    lines: int


def read_blocks(source: SourceFile) -> Iterator[Block]:
    """The file in blocks of a few megabytes. Raises what the file does, after what came before."""
    line = 1
    rest = b""
    with source.open() as file:
        for data, error in _pieces(file):
            if rest == TOO_LONG:
                data = data[data.find(b"\n") :] if b"\n" in data else b""
            whole, _, rest = (rest + data).rpartition(b"\n")
            if whole or _:
                block = Block(whole + b"\n", line, whole.count(b"\n") + 1)
                line += block.lines
                yield block
            if error is not None:
                raise error
            if len(rest) > LINE_BYTES_MAX:
                rest = TOO_LONG
    if rest.strip():
        yield Block(rest + b"\n", line, 1)


def _pieces(file: BinaryIO) -> Iterator[tuple[bytes, Exception | None]]:
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            piece = file.read1(1 << 20)  # type: ignore[attr-defined]  # a BufferedReader
        except (OSError, EOFError) as error:
            yield b"".join(pieces), error
            return
        pieces.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES or not piece:
            yield b"".join(pieces), None
            pieces, size = [], 0
        if not piece:
            return


def split_lines(block: Block) -> Iterator[tuple[int, bytes]]:
    """Each line with its number; empty ones are left out."""
    for number, line in enumerate(block.data.split(b"\n")[:-1], block.first_line):
        if line.strip():
            yield number, line


@dataclass(slots=True)
class Account:
    """Lines of one file that were left out, by what was wrong with them."""

    source: SourceFile
    _told: dict[tuple[FindingKind, str], int] = field(default_factory=dict)
    _untold: dict[tuple[FindingKind, str], list[int]] = field(default_factory=dict)

    def tell(self, kind: FindingKind, words: str, lines: Iterable[int]) -> Iterator[Finding]:
        """Findings of these lines, with what became of them: those in a row are one."""
        numbers = np.unique(np.fromiter(lines, np.int64))
        for run in np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1):
            if not len(run):
                continue
            told = self._told.get((kind, words), 0)
            if told < NAMED_MAX:
                self._told[kind, words] = told + 1
                yield self._finding(kind, words, (int(run[0]), int(run[-1]), len(run)))
            else:
                some = self._untold.setdefault((kind, words), [int(run[0]), 0, 0])
                some[1], some[2] = int(run[-1]), some[2] + len(run)

    def rest(self) -> Iterator[Finding]:
        """At the end: those that were not told one by one."""
        for (kind, words), (first, last, count) in self._untold.items():
            yield self._finding(kind, f"{words}; these are scattered", (first, last, count))

    def _finding(self, kind: FindingKind, words: str, place: tuple[int, int, int]) -> Finding:
        first, last, count = place
        where = f"line {first}" if first == last else f"lines {first} to {last}"
        source = self.source.finding(where)
        return Finding(kind=kind, source=source, count=count, detail=words)
