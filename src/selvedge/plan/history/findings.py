"""What is wrong with data: counted, located, never silently mended."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

FindingKind = Literal[
    "gap",
    "duplicate",
    "conflict",
    "reset",
    "wrap",
    "late",
    "unaligned",
    "clock_shift",
    "capacity_change",
    "renamed",
    "negative",
    "over_capacity",
    "mixed_units",
    "unknown_pop",
    "unknown_time_zone",
    "empty_month",
    "unreadable",
    "frozen",
]

MEANINGS: Final[dict[FindingKind, str]] = {
    "gap": "samples are missing between two that are there",
    "duplicate": "the same sample twice, equal; one was kept",
    "conflict": "two samples of one moment that differ; the first was kept",
    "reset": "a counter began anew: the device or its agent was restarted",
    "wrap": "a counter passed its largest value and went on from 0; corrected",
    "late": "samples that came after later ones; they are counted where they belong",
    "unaligned": "polls beside the five minutes: bytes at their edges are shared out by time",
    "clock_shift": "the clock of the source jumped, or its day moved against the sun's",
    "capacity_change": "the interfaces' capacity changed; each sample is judged by its own",
    "renamed": "one interface or PoP ended where another began and went on with its load",
    "negative": "a number below 0 where none can be; left out",
    "over_capacity": "more bytes than the interfaces can carry: a unit or a counter is wrong",
    "mixed_units": "numbers of one series that differ by a factor of 8, 1,000 or 1,024",
    "unknown_pop": "data of a PoP that the fleet file does not name; kept apart",
    "unknown_time_zone": "a PoP without a time zone that IANA knows; no local hours for it",
    "empty_month": "a month without one sample",
    "unreadable": "a file, or a part of it, that cannot be read",
    "frozen": "one value that does not change for hours where it should: a stuck agent",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault, where it is. Times are seconds UTC, `until_s` not included; 0 where unknown."""

    kind: FindingKind
    pop: str = ""
    series: str = ""
    """Column, interface or metric; empty where all of a PoP's are meant."""
    from_s: int = 0
    until_s: int = 0
    count: int = 1
    """Samples, rows or readings that it touches."""
    source: str = ""
    """File in which it was seen, with line or row group where known."""
    detail: str = ""
    """One sentence with the numbers, and what was done about it."""
