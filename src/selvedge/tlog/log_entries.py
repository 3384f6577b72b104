"""What a PoP's log holds beside receipts, and the names of its shards. No I/O.

A receipt is 32 bytes, its salted hash. A heartbeat says that the log lived; an access entry that a
private receipt was read, by the hash of the line that says who did and why. A shard is a month,
with a number behind it where one was opened anew: ``2026-11``, ``2026-11.2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

HEARTBEAT_US: Final = 30_000_000
"""How often a log that lives says so: at least once a minute, whatever holds it up for a while."""
QUIET_US_MAX: Final = 60_000_000
LEAF_BYTES: Final = 32
_HEARTBEAT: Final = re.compile(rb"selvedge/heartbeat/v1\n(0|[1-9][0-9]{0,18})\n")
_ACCESS: Final = re.compile(rb"selvedge/access/v1\n([0-9a-f]{64})\n")
SHARD_PATTERN: Final = re.compile(
    r"(?P<month>[0-9]{4}-(?:0[1-9]|1[0-2]))(?:\.(?P<number>[1-9][0-9]{0,3}))?"
)


def heartbeat_entry(time_us: int) -> bytes:
    """The log lived at this time."""
    return b"selvedge/heartbeat/v1\n%d\n" % time_us


def heartbeat_time(entry: bytes) -> int | None:
    """When a heartbeat was; None where the entry is none."""
    found = _HEARTBEAT.fullmatch(entry)
    return int(found[1]) if found else None


def access_entry(digest: str) -> bytes:
    """A private receipt was read: the SHA-256 of the access record's line, in hex."""
    return b"selvedge/access/v1\n%b\n" % digest.encode()


def access_digest(entry: bytes) -> str | None:
    """The digest of an access entry; None where the entry is none."""
    found = _ACCESS.fullmatch(entry)
    return found[1].decode() if found else None


def heartbeat_gaps(
    entries: Iterable[bytes], *, start_us: int = 0, end_us: int = 0, longest_us: int = QUIET_US_MAX
) -> list[tuple[int, int]]:
    """Times, from and to, in which a log said nothing for longer than ``longest_us``.

    ``entries`` are those of a PoP's log in order, heartbeats among them; with ``start_us`` and
    ``end_us`` silence before the first heartbeat and after the last counts as well.
    """
    found: list[tuple[int, int]] = []
    last = start_us
    for entry in entries:
        time_us = heartbeat_time(entry)
        if time_us is None:
            continue
        if last and time_us - last > longest_us:
            found.append((last, time_us))
        last = max(last, time_us)
    if end_us and last and end_us - last > longest_us:
        found.append((last, end_us))
    return found


def month_of(time_us: int) -> str:
    """The UTC month of a time, as ``2026-11``."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m")


def shard_order(shard: str) -> tuple[str, int]:
    """By which shards are in order; what is no shard's name comes first."""
    found = SHARD_PATTERN.fullmatch(shard)
    return (found["month"], int(found["number"] or 1)) if found else ("", 0)


def shard_at(open_shard: str, time_us: int) -> str:
    """The shard to write to: the month's, and never one before the shard that is open."""
    month = month_of(time_us)
    return month if shard_order(open_shard)[0] < month else open_shard


def shard_anew(known: Iterable[str], time_us: int) -> str:
    """A shard behind all that are known: for a log whose last one cannot go on."""
    newest = max((shard_order(one) for one in known), default=("", 0))
    month = month_of(time_us)
    return month if newest[0] < month else f"{newest[0]}.{newest[1] + 1}"
