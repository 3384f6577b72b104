"""Where receipts can be read on this machine: journals of PoPs, and collectors' directories.

Reading changes nothing, and works while everything runs: a line that is just being written is not
there yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from selvedge.adapters import (
    PARTITIONS,
    PlainFiles,
    find_parts,
    journal_of,
    journals_of,
    read_segments,
    rows_of_lines,
    rows_of_parts,
    usage_of_parts,
)
from selvedge.control.home import Home
from selvedge.control.home_collectors import collector_directories
from selvedge.fabric import SelvedgeError, StoreCorrupt, StoreFailed
from selvedge.ledger import (
    Collected,
    CollectorLog,
    UsageAsked,
    UsageRow,
    UsageTable,
    fold,
    join,
    read_header,
    receipts_of,
    row_of_receipt,
    segment_name,
    segment_number,
)

TRIES: Final = 5
T = TypeVar("T")


def pop_directories(home: Home) -> list[Path]:
    """The PoPs of this machine."""
    return sorted(one for one in (home.directory / "pops").glob("*") if one.is_dir())


def journal_lines(pop: Path) -> Iterator[bytes]:
    """The lines of all journals of a PoP."""
    for number in journals_of(pop):
        yield from read_segments(journal_of(pop, number) / "receipts")


def rows_of_journals(pop: Path) -> Iterator[UsageRow]:
    """The receipts in all journals of a PoP. Raises `StoreCorrupt`, which names the PoP."""
    found = iter(receipts_of(journal_lines(pop)))
    while True:
        try:
            sealed = next(found, None)
        except StoreCorrupt as error:
            words = f"the journals of PoP {pop.name} below {pop}: {error}"
            raise StoreCorrupt(f"{words}; bring them back as they were") from error
        if sealed is None:
            return
        yield row_of_receipt(sealed, sealed.decode())


def is_collector(directory: Path) -> bool:
    """Whether a collector keeps its receipts here."""
    names = (one.name for one in directory.glob("collected-*.log"))
    return any(segment_number(name) for name in names) or (directory / PARTITIONS).is_dir()


class Snapshot:
    """What a collector's directory holds at one moment: open segments, and parts beside them.

    Segments are opened before parts are listed: one that leaves the log meanwhile is read here, and
    its parts do not count.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for _ in range(TRIES):
            try:
                self._read()
            except FileNotFoundError:
                continue  # it left between the listing and the opening
            return
        raise StoreFailed(f"{directory} changes faster than it can be read; try again")

    def _read(self) -> None:
        names = sorted(one.name for one in self.directory.glob("collected-*.log"))
        self.segments = {
            number: (self.directory / name).read_bytes()
            for name in names
            if (number := segment_number(name)) is not None
        }
        in_log = {segment_name(number) for number in self.segments}
        self.parts = [
            path
            for path in find_parts(self.directory)
            if segment_name(int(path.stem.removeprefix("part-"))) not in in_log
        ]

    @property
    def zone(self) -> str:
        """Whose receipts they are. Raises `StoreCorrupt`."""
        first = next(iter(self.segments.values()), b"")
        return read_header(first.partition(b"\n")[0]).zone

    def rows_of_log(self) -> Iterator[UsageRow]:
        """The receipts in the log."""
        for number, data in self.segments.items():
            try:
                yield from rows_of_lines(iter(data.splitlines(keepends=True)))
            except StoreCorrupt as error:
                path = self.directory / segment_name(number)
                raise StoreCorrupt(f"{path}: {error}; restore it or move it away") from error

    def rows(self) -> Iterator[UsageRow]:
        """All receipts, those of the partitions first."""
        yield from rows_of_parts(self.parts)
        yield from self.rows_of_log()

    def known(self) -> Collected:
        """What the collector knows: gaps, conflicts, doubles."""
        return CollectorLog(_Frozen(self.directory, self.segments), self.zone).known

    def usage(self, wish: UsageAsked) -> UsageTable:
        """Usage by group."""
        return join((usage_of_parts(self.parts, wish), fold(self.rows_of_log(), wish)))


class _Frozen(PlainFiles):
    """Segments as they were read; nothing is ever changed."""

    def __init__(self, directory: Path, segments: dict[int, bytes]) -> None:
        super().__init__(directory)
        self._segments = {segment_name(number): data for number, data in segments.items()}

    def names(self) -> list[str]:
        return sorted(self._segments)

    def read(self, name: str) -> bytes:
        return self._segments[name]

    def cut(self, name: str, size: int) -> None:
        self._segments[name] = self._segments[name][:size]

    def create(self, name: str, data: bytes) -> None:
        raise StoreFailed(f"{name} is only read here")


def usage_of(home: Home, collected: Iterable[Path], wish: UsageAsked) -> UsageTable:
    """Usage by group, of what `read_sources` reads."""
    return join(
        read_sources(home, collected, lambda one: one.usage(wish), lambda rows: fold(rows, wish))
    )


def read_sources(
    home: Home,
    collected: Iterable[Path],
    of_snapshot: Callable[[Snapshot], T],
    of_journals: Callable[[Iterator[UsageRow]], T],
) -> Iterator[T]:
    """What is made of each collector's directory where any is named, else of each PoP of a home.

    Raises `SelvedgeError` where there is nothing to read.
    """
    named = list(collected)
    for directory in named:
        if not is_collector(directory):
            raise SelvedgeError(f"{directory} is no collector's directory: it has no segment")
    if named:
        yield from (_read_collector(one, of_snapshot) for one in named)
        return
    pops = pop_directories(home)
    if not pops:
        raise SelvedgeError(
            f"no PoP has receipts under {home.directory}; give its --home, or --collected DIR"
        )
    yield from (of_journals(rows_of_journals(pop)) for pop in pops)


def _read_collector(directory: Path, of_snapshot: Callable[[Snapshot], T]) -> T:
    """Again, where a part was dropped while it was read."""
    for _ in range(TRIES):
        snapshot = Snapshot(directory)
        try:
            return of_snapshot(snapshot)
        except StoreFailed:
            if all(part.exists() for part in snapshot.parts):
                raise
    raise StoreFailed(f"{directory} changes faster than it can be read; try again")


def collected_in(home: Home, named: Iterable[Path]) -> list[Snapshot]:
    """What collectors hold: those named, else those of a home."""
    directories = list(named) or [one for one in collector_directories(home) if is_collector(one)]
    return [Snapshot(one) for one in directories]
