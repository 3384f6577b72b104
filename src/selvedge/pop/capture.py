"""What of an answer passes by, as far as it is to be kept."""

from __future__ import annotations

from collections.abc import Sequence


class Captured:
    """What of an answer has been seen so far, to be kept; nothing once it is too large."""

    __slots__ = ("_bytes_left", "payloads")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_left = bytes_max
        self.payloads: list[bytes] | None = []

    def take(self, payloads: Sequence[bytes]) -> None:
        """More of it."""
        if self.payloads is None:
            return
        self._bytes_left -= sum(map(len, payloads))
        if self._bytes_left < 0:
            self.payloads = None
        else:
            self.payloads += payloads
