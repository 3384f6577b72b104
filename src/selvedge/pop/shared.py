"""What the workers of one PoP share: counters, gauges and the names that go with them.

Two tables with one row a process. Counters are never set back, so that nothing counts down when a
process ends and another takes its row; gauges of a process that ended are set to zero by the
keeper. One process alone has the same tables in its own memory.
"""

from __future__ import annotations

from typing import Final

from selvedge.adapters import CELL_BYTES, NAME_BYTES, Memory, Names, SharedCounts, Table

SERVERS_MAX: Final = 256
"""PoPs that have a label of their own in metrics; the others are `other`."""
PLACES_MAX: Final = 2048
"""Engines and peers with a count of their own."""
COUNTERS_WIDTH: Final = 8192
GAUGES: Final = (
    "slot",
    "release",
    "running",
    "open_intents",
    "connections",
    "bodies_bytes",
    "certificate_end",
    "hearing",
    "heard",
    "rounds",
    "quota_levels",
    "unshipped",
    "unshipped_bytes",
    "unshipped_since",
    "policy_end",
    "log_size",
    "log_signed",
    "log_told",
    "log_closed",
)
GAUGES_MAX: Final = 24
GAUGES_WIDTH: Final = GAUGES_MAX + 2 * PLACES_MAX


def bytes_for(rows: int) -> int:
    """Size of the memory of so many processes."""
    cells = rows * (COUNTERS_WIDTH + GAUGES_WIDTH)
    return cells * CELL_BYTES + (SERVERS_MAX + PLACES_MAX) * NAME_BYTES


class Shared:
    """The tables, as the process of one row sees them."""

    def __init__(self, memory: Memory, rows: int, row: int) -> None:
        at = rows * COUNTERS_WIDTH * CELL_BYTES
        self.counters = Table(memory, 0, (rows, COUNTERS_WIDTH), row)
        self.gauges = Table(memory, at, (rows, GAUGES_WIDTH), row)
        at += rows * GAUGES_WIDTH * CELL_BYTES
        self.servers = Names(memory, at, SERVERS_MAX)
        self.places = Names(memory, at + SERVERS_MAX * NAME_BYTES, PLACES_MAX)
        (
            self.slot,
            self.release,
            self.running,
            self.open_intents,
            self.connections,
            self.bodies,
            self.certificate_end,
            self.hearing,
            self.heard,
            self.rounds,
            self.quota_levels,
            self.unshipped,
            self.unshipped_bytes,
            self.unshipped_since,
            self.policy_end,
            self.log_size,
            self.log_signed,
            self.log_told,
            self.log_closed,
        ) = (self.gauges.cell(column) for column in range(len(GAUGES)))

    @classmethod
    def alone(cls) -> Shared:
        """Of a process that shares with no other."""
        shared = cls(Memory.private(bytes_for(1)), 1, 0)
        shared.serves(0)
        return shared

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.gauges.rows == 1

    def serves(self, slot: int) -> None:
        """This process serves from now on, in this slot."""
        self.slot.set(slot + 1)

    def leaves(self) -> None:
        """This process accepts no more."""
        self.slot.set(0)

    def ended(self, row: int) -> None:
        """The process of a row has ended: what it had in flight is nobody's."""
        self.gauges.clear(row)

    def slots(self) -> set[int]:
        """Slots in which a process serves."""
        return {one - 1 for one in self.slot.each if one}

    def workers(self) -> int:
        """How many processes serve."""
        return sum(1 for one in self.slot.each if one)

    def release_served(self) -> int:
        """The oldest release by which any process serves."""
        pairs = zip(self.slot.each, self.release.each, strict=True)
        return min((release for slot, release in pairs if slot), default=0)

    def counts(self) -> SharedCounts:
        """Requests and tokens on their way, for the book of load."""
        return SharedCounts(self.gauges, GAUGES_MAX, self.places, PLACES_MAX)
