"""Where prefixes went from here: an ingress's own memory of who must hold them by now.

Newer than any digest, and exact about this ingress alone. It keeps a few fingerprints of each
request: the first, which conversations share, and the last, where the next turn goes on. Two
generations bound its age and its size.
"""

from __future__ import annotations

from typing import Final

from selvedge.routing.attempts import Candidate

_FIRST: Final = 2
_LAST: Final = 4


class Trail:
    """Fingerprint -> the candidate it was last sent to."""

    __slots__ = ("_age_us", "_old", "_size", "_turned_us", "_young")

    def __init__(self, size: int = 4096, age_us: int = 300_000_000) -> None:
        self._size = size
        self._age_us = age_us
        # Fingerprints are only looked up: as objects, nothing unpacks them.
        self._young: dict[object, Candidate] = {}
        self._old: dict[object, Candidate] = {}
        self._turned_us = 0

    def find(self, prefix: tuple[object, ...]) -> tuple[Candidate | None, int]:
        """To whom most of the prefix went, and how many of its blocks.

        Whether it may go there again is for the caller to see: only among its shortlist.
        """
        if not prefix:
            return None, 0
        young, old = self._young, self._old
        # The first block is marked with every other: most prompts end here.
        if prefix[0] not in young and prefix[0] not in old:
            return None, 0
        for at in range(len(prefix) - 1, -1, -1):
            block = prefix[at]
            found = young.get(block)
            if found is None:
                found = old.get(block)
            if found is not None:
                return found, at + 1
        return None, 0

    def mark(self, prefix: tuple[object, ...], chosen: Candidate, now_us: int) -> None:
        """A request with this prefix goes to ``chosen``."""
        if now_us - self._turned_us > self._age_us or len(self._young) > self._size:
            self._old, self._young = self._young, {}
            self._turned_us = now_us
        young, count = self._young, len(prefix)
        for at in range(min(_FIRST, count)):
            young[prefix[at]] = chosen
        for at in range(max(_FIRST, count - _LAST), count):
            young[prefix[at]] = chosen
