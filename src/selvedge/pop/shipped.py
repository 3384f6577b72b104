"""What may leave a PoP's disk: whole segments that every collector has, after the time that is set.

A segment that holds a receipt of a zone without a collector stays, however old it is: it is nowhere
else. So does one with a receipt of a tenant under a legal hold. Receipts of no zone have no
collector by their nature (they were refused before a rule was found, and bill nothing), and leave
with their segment.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final

from selvedge.adapters import FileJournal

CHUNK_BYTES: Final = 1024 * 1024
_ZONE: Final = re.compile(rb'"zone":"([^"]*)"')
_TENANT: Final = re.compile(rb'"tenant":"([^"]*)"')


def zones_in(journal: FileJournal, segment: int) -> set[str]:
    """The zones whose receipts a segment holds. Raises `StoreFailed`."""
    return _found(journal, segment, _ZONE)


def tenants_in(journal: FileJournal, segment: int) -> set[str]:
    """The tenants whose receipts a segment holds. Raises `StoreFailed`."""
    return _found(journal, segment, _TENANT)


def _found(journal: FileJournal, segment: int, what: re.Pattern[bytes]) -> set[str]:
    found: set[str] = set()
    offset, rest = 0, b""
    while data := journal.read(segment, offset, CHUNK_BYTES):
        offset += len(data)
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            match = what.search(line) if line[:2] == b"R " else None
            if match is not None:
                found.add(match[1].decode())
    return found


def drop_shipped(
    journal: FileJournal,
    acknowledged: int,
    zones: Set[str],
    before_s: float,
    now_s: float,
    *,
    held: Set[str] = frozenset(),
) -> list[int]:
    """Drop the segments before ``acknowledged`` that were written last ``before_s`` ago or earlier.

    ``zones`` have collectors; ``held`` are tenants whose receipts stay. Which ones were dropped;
    raises `StoreFailed`.
    """
    dropped = []
    for segment in sorted(journal.sizes()):
        if segment >= acknowledged or journal.age_s(segment, now_s) < before_s:
            break
        if zones_in(journal, segment) - zones - {""}:
            continue
        if held and tenants_in(journal, segment) & held:
            continue
        journal.drop(segment)
        dropped.append(segment)
    return dropped
