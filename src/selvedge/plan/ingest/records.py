"""What is kept of a file that was read: its runs of readings, by which months are merged.

    DATA/readings/NAME/RUN.parquet    readings of one kind and month, sorted
    DATA/readings/NAME.json           `Record`: written last, so that a file is read whole or not

The readings stay: a file that comes later, with more of the same months, is merged with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from selvedge.plan.history import BadPlan, History, Source, replace_file
from selvedge.plan.ingest.reading import Kind

VERSION: Final = 2
"""Of how readings are kept and merged: another one reads and merges anew."""
_SLUG: Final = re.compile(r"[^A-Za-z0-9]+")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One file of readings."""

    file: str
    kind: Kind
    month: int
    rows: int
    pop_first: int
    pop_last: int
    at_first_ms: int
    at_last_ms: int
    step_s: int
    where: str
    """Of its rows in the source."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read in whole."""

    version: int = VERSION
    order: int
    """Its place among all: of two that say the same, the first is kept."""
    slug: str
    name: str
    sha256: str
    settings: str
    """Form and mapping by which it was read."""
    form: str
    rows: int
    readings: int
    series: tuple[str, ...]
    unknown: tuple[str, ...]
    """Names of PoPs that the fleet file did not have."""
    runs: tuple[Run, ...]
    useless: str = ""
    """Why nothing of it could be kept; empty where something was, or there was nothing."""
    serial: int = 0
    """Which was written later: of two of one file, that one counts."""

    def replaces(self, other: Record) -> bool:
        """Whether it is of the same file, read again."""
        same = self.name == other.name or self.sha256 == other.sha256
        return same and self.serial > other.serial

    @property
    def source(self) -> Source:
        """For the manifest."""
        return Source(
            name=self.name,
            sha256=self.sha256,
            form=self.form,
            rows=self.rows,
            samples=self.readings,
        )


def slug_of(name: str, key: tuple[str, str], taken: Sequence[str]) -> str:
    """What a source's files are called, by its SHA-256 and settings.

    Those of a source that is read again stay until the new ones are whole.
    """
    sha256, settings = key
    stem = _SLUG.sub("-", Path(name).name).strip("-")[:60]
    slug = f"{stem or 'source'}-{sha256[:12]}-{settings[:6]}"
    return f"{slug}-again" if slug in taken else slug


def readings_folder(history: History) -> Path:
    """Where readings are kept."""
    return history.folder / "readings"


def read_records(history: History) -> list[Record]:
    """All that are there, in order. Raises `BadPlan`."""
    found = []
    for path in sorted(readings_folder(history).glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Record))
        except (OSError, msgspec.MsgspecError) as error:
            words = "delete it, and its source is read again"
            raise BadPlan(f"{path} is no record of a source ({error}); {words}.") from error
    return sorted(found, key=lambda record: record.order)


def write_record(history: History, record: Record) -> None:
    """Say that a source was read. Raises `OSError`."""
    data = msgspec.json.encode(record)
    replace_file(readings_folder(history) / f"{record.slug}.json", data)
