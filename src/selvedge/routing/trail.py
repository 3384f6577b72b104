"""Where prefixes went from here: an ingress's own memory of who must hold them by now.

Newer than any digest, and exact about this ingress alone. It keeps a few fingerprints of each
request: the first, which conversations share, and the last, where the next turn goes on. Two
generations bound its age and its size.
"""

from __future__ import annotations

from typing import Final

_FIRST: Final = 2
_LAST: Final = 4


class Trail:
    """Fingerprint -> the PoP it was last sent to."""

    __slots__ = ("_age_us", "_old", "_size", "_turned_us", "_young")

    def __init__(self, size: int = 4096, age_us: int = 300_000_000) -> None:
        self._size = size
        self._age_us = age_us
        self._young: dict[int, str] = {}
        self._old: dict[int, str] = {}
        self._turned_us = 0

    def find(self, prefix: tuple[int, ...]) -> tuple[str, int]:
        """The PoP to which most of the prefix went, and how many of its blocks; ("", 0) if none."""
        young, old = self._young, self._old
        if not young and not old:
            return "", 0
        for at in range(len(prefix) - 1, -1, -1):
            block = prefix[at]
            pop = young.get(block) or old.get(block)
            if pop is not None:
                return pop, at + 1
        return "", 0

    def mark(self, prefix: tuple[int, ...], pop: str, now_us: int) -> None:
        """A request with this prefix goes to ``pop``."""
        if now_us - self._turned_us > self._age_us or len(self._young) > self._size:
            self._old, self._young = self._young, {}
            self._turned_us = now_us
        young, count = self._young, len(prefix)
        for at in range(min(_FIRST, count)):
            young[prefix[at]] = pop
        for at in range(max(_FIRST, count - _LAST), count):
            young[prefix[at]] = pop
