"""One limit on all request bodies held at once: memory has a ceiling whatever clients send."""

from __future__ import annotations


class BodyBudget:
    """Bytes that may be held in request bodies; taken before reading, given back at the end."""

    __slots__ = ("_bytes_max", "held")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held = 0

    def take(self, size: int) -> bool:
        """Reserve ``size`` bytes; False where there is no room now."""
        if self.held + size > self._bytes_max:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Return what was taken."""
        self.held -= size
