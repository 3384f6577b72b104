"""What one call of ingest did, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from selvedge.plan.history import Source
from selvedge.plan.ingest.records import Record

SHOWN_MAX: Final = 20
"""Files that are named; of more, their number."""


@dataclass(slots=True)
class Account:
    """What one call did."""

    read: list[Source] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    """Files that were read before, with under which name where it is another."""
    changed: list[str] = field(default_factory=list)
    """Files that were read before with other contents, and now replace themselves."""
    refused: dict[str, str] = field(default_factory=dict)
    """Files that could not be read, with why."""
    useless: dict[str, str] = field(default_factory=dict)
    """Files that were read and of which nothing could be kept, with why."""
    months: list[str] = field(default_factory=list)
    """Months that were made anew."""
    samples: int = 0
    """Of the whole history."""
    findings: dict[str, int] = field(default_factory=dict)
    """Of the whole history, by kind."""
    unknown_pops: int = 0

    def note(self, name: str, record: Record) -> None:
        """Whether anything of a file could be kept."""
        if record.useless:
            self.useless[name] = record.useless

    def lines(self, data: Path) -> Iterator[str]:
        """For people."""
        for one in self.read[:SHOWN_MAX]:
            yield f"Read {one.name} ({one.form}): {one.rows:,} rows, {one.samples:,} readings kept."
        if len(self.read) > SHOWN_MAX:
            rows = sum(one.rows for one in self.read)
            yield f"Read {len(self.read) - SHOWN_MAX:,} files more; {rows:,} rows in all."
        yield from _named("Read before, the same: ", self.already)
        yield from _named("Changed since it was read, and replaced: ", self.changed)
        for name, words in self.refused.items():
            yield f"Not read: {name}: {words}"
        for name, words in islice(self.useless.items(), SHOWN_MAX):
            yield f"Nothing kept of {name}: {words}"
        if len(self.useless) > SHOWN_MAX:
            yield f"Nothing kept of {len(self.useless) - SHOWN_MAX:,} files more."
        made = ", ".join(self.months) if self.months else "none; all were as they should be"
        yield f"Months made: {made}."
        yield f"{data} has {self.samples:,} samples."
        if self.findings:
            words = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.findings.items()))
            yield f"Findings: {words}; rows of {data / 'findings'}."
        if self.unknown_pops:
            words = f"{self.unknown_pops} PoPs are not in the fleet file; their data is in"
            yield f"{words} {data / 'unknown'}. Add them to it, and run this again."


def _named(words: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
        yield f"{words}{', '.join(names[:SHOWN_MAX])}{more}."
