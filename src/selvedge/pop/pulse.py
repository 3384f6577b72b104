"""Which workers stand still: those whose loop has not gone round for too long.

Each worker counts its rounds in a shared cell; the keeper looks at regular moments. Time is the
keeper's own looks and no clock's, so that a machine that was asleep, or a keeper that was, blames
nobody. Pure: who looks brings the counts.
"""

from __future__ import annotations

from collections.abc import Mapping


class Pulse:
    """The counts of the last look, and how many looks ago each has changed."""

    __slots__ = ("_looks_max", "_seen")

    def __init__(self, looks_max: int) -> None:
        if looks_max < 1:
            raise ValueError("looks_max is at least 1")
        self._looks_max = looks_max
        self._seen: dict[int, tuple[int, int]] = {}

    def look(self, counts: Mapping[int, int]) -> list[int]:
        """Processes, by id, whose count is the same for ``looks_max`` looks now, each told once."""
        still: list[int] = []
        seen: dict[int, tuple[int, int]] = {}
        for pid, count in counts.items():
            before, looks = self._seen.get(pid, (count, -1))
            looks = looks + 1 if before == count else 0
            seen[pid] = count, looks
            if looks == self._looks_max:
                still.append(pid)
        self._seen = seen
        return still
