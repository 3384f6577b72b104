"""What a reader is: a file in, batches of readings and findings out.

A reader knows one form and nothing else: not the fleet, not other files, not where things are
stored. It yields `Batch`es, in the order of the file, and `Finding`s wherever it meets a fault; it
goes on after a fault as long as anything can be read. The rest is the framework's: names to PoPs,
units out of range, duplicates, counters to amounts, five-minute rows, months, resuming.

A form is a row of `forms.FORMS`: its name, a sentence, its reader.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from selvedge.plan.history import BadPlan, Finding
from selvedge.plan.ingest.gunzip import GZIP, Gunzip
from selvedge.plan.ingest.mapping import Mapping
from selvedge.plan.ingest.measures import BYTES, EXTRAS, MEASURES, Kind

BATCH_ROWS: Final = 250_000
"""About so many rows a reader should give at once, and not more than four times as many."""
_NO_TEXT: Final = (
    (b"PK\x03\x04", "a zip archive", "unpack it, and name the folder"),
    (b"\xfd7zXZ", "packed by xz", "unpack it, or pack it with gzip or zstd"),
    (b"BZh", "packed by bzip2", "unpack it, or pack it with gzip or zstd"),
    (b"\xff\xfe", "text in UTF-16", "save it in UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it in UTF-8"),
)
"""First bytes of what is not read, what it is, and what to do."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings of one kind, in the order of the file."""

    kind: Kind
    rows: pa.Table
    """`pop`, `at_ms`, any of the other `EXTRAS`, and any of `MEASURES`."""
    step_s: int = 300
    """INTERVAL only: how long one is."""
    first_line: int = 0
    """Line of the first row, where every row is a line; 0 elsewhere."""
    place: str = ""
    """Where it is instead: `row group 3`."""
    lines: Sequence[int] | None = None
    """Line of each row, where they do not follow one another."""
    read_rows: int | None = None
    """Rows or lines of the file that it was made of, where they are more than its own."""

    def where(self, row: int = 0) -> str:
        """Where a row of it is in the file."""
        if self.lines is not None:
            return f"line {self.lines[row]}"
        return f"line {self.first_line + row}" if self.first_line else self.place


@dataclass(slots=True)
class SourceFile:
    """A file to be read: `name` is what findings call it."""

    path: Path
    name: str
    mapping: Mapping | None = None
    done_bytes: int = field(default=0)
    """How far a reader is, of the file as it lies on disk: for the progress bar."""

    def open(self) -> io.BufferedReader:
        """The file's bytes, unpacked where they are gzip or zstd, without a BOM.

        What is packed is known by its first bytes: names are often wrong. One that is cut off
        gives what can be unpacked, then `OSError` or `EOFError`. Raises `BadPlan` for what is no
        text in UTF-8, and where a checksum says that what was unpacked is damaged.
        """
        raw: io.BufferedReader = io.BufferedReader(_Counted(self), 1 << 20)
        first = raw.peek(512)
        file: io.BufferedReader = raw
        if first.startswith(GZIP):
            file = io.BufferedReader(_Unpacked(Gunzip(raw, self.name).read), 1 << 16)
        elif first.startswith(b"\x28\xb5\x2f\xfd"):
            packed = pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")
            file = io.BufferedReader(_Unpacked(packed.read), 1 << 16)
        self._check_text(_peek(file))
        if file.peek(3)[:3] == b"\xef\xbb\xbf":
            file.read(3)
        return file

    def _check_text(self, first: bytes) -> None:
        for mark, what, remedy in _NO_TEXT:
            if first.startswith(mark):
                raise BadPlan(f"{self.name} is {what}; {remedy}.")
        if first[257:262] == b"ustar":
            raise BadPlan(f"{self.name} is a tar archive; unpack it, and name the folder.")

    def finding(self, where: str) -> str:
        """What a finding's `source` says."""
        return f"{self.name}, {where}" if where else self.name


Reader = Callable[[SourceFile], Iterator[Batch | Finding]]
"""Reads a file from its beginning. Raises `BadPlan` where nothing of it can be used (an unknown
header, a mapping that does not fit) and lets `CUT_OFF` through, after it has given what it still
holds: the framework keeps what came before, and writes an `unreadable` finding."""
CUT_OFF: Final = (OSError, EOFError, zlib.error, pa.ArrowException)
"""What reading a file raises that is cut off or damaged."""


@dataclass(frozen=True, slots=True)
class Form:
    """A row of the table of forms."""

    name: str
    """What `--form` is given."""
    about: str
    """One sentence for the help."""
    read: Reader
    needs_mapping: bool = False


def _peek(file: io.BufferedReader) -> bytes:
    """The first bytes; none of a packed file that is cut off before them."""
    try:
        return file.peek(512)
    except CUT_OFF:
        return b""


class _Counted(io.RawIOBase):
    """A file that tells its `SourceFile` how far it is."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._file = source.path.open("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer
        count = self._file.readinto(buffer) or 0
        self._source.done_bytes += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Unpacked(io.RawIOBase):
    """A decompressor as a file: in small pieces, since one that runs into a cut is lost."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer
        data = self._read(min(len(buffer), 1 << 16))
        buffer[: len(data)] = data
        return len(data)


__all__ = [
    "BATCH_ROWS",
    "BYTES",
    "CUT_OFF",
    "EXTRAS",
    "MEASURES",
    "BadPlan",
    "Batch",
    "Form",
    "Kind",
    "Reader",
    "SourceFile",
]
