"""A sample of receipts that nobody could choose: drawn by a seed that came from outside.

The rule, in full: a receipt's score is the SHA-256 of ``selvedge/sample/v1``, the seed and
``TENANT/POP/WORKER/SEQ``, a line each; the receipts with the smallest scores are drawn. Whoever has
the report has its numbers and its seed, and can draw again. A seed counts only if nobody knew it
when the logs' checkpoints were signed: by then the receipts stood.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from typing import Final

from selvedge.fabric import SelvedgeError

SAMPLE_RULE: Final = (
    "score = SHA-256('selvedge/sample/v1\\n' + seed + '\\n' + 'TENANT/POP/WORKER/SEQ\\n'); "
    "the receipts with the smallest scores are drawn, smallest first"
)
SEED_CHARACTERS_MAX: Final = 256
_BEACON: Final = re.compile(r"([0-9]{1,19}):([0-9a-fA-F]{32,128})")


def seed_of_auditor(written: str) -> str:
    """The seed of what an auditor says. Raises `SelvedgeError`."""
    if not written or len(written) > SEED_CHARACTERS_MAX or not written.isprintable():
        words = f"is 1 to {SEED_CHARACTERS_MAX} printable characters, as the auditor gives it"
        raise SelvedgeError(f"--seed: {words}")
    return f"seed:{written}"


def seed_of_beacon(written: str) -> str:
    """The seed of a round of public randomness, as ``ROUND:HEX``. Raises `SelvedgeError`."""
    found = _BEACON.fullmatch(written)
    if found is None or len(found[2]) % 2:
        words = f"{written!r} is not ROUND:HEX, a beacon's round and its randomness in hex"
        raise SelvedgeError(f"--beacon: {words}")
    return f"beacon:{int(found[1])}:{found[2].lower()}"


def score_of(seed: str, tenant: str, stream: tuple[str, int], seq: int) -> str:
    """The score of a receipt, 64 hex digits; ``stream`` is its PoP and worker."""
    words = f"selvedge/sample/v1\n{seed}\n{tenant}/{stream[0]}/{stream[1]}/{seq}\n"
    return hashlib.sha256(words.encode()).hexdigest()


Drawn = tuple[str, tuple[str, int], int]
"""Score, stream, number."""


class Draw:
    """The receipts with the smallest scores of those that were offered, in any order."""

    def __init__(self, seed: str, tenant: str, size: int) -> None:
        self.seed = seed
        self.size = size
        self._tenant = tenant
        self._kept: list[tuple[int, Drawn]] = []

    def offer(self, stream: tuple[str, int], seq: int) -> bool:
        """Whether it is among the smallest so far."""
        score = score_of(self.seed, self._tenant, stream, seq)
        worst = -int(score, 16)
        if len(self._kept) < self.size:
            heapq.heappush(self._kept, (worst, (score, stream, seq)))
            return True
        if self._kept and worst > self._kept[0][0]:
            heapq.heapreplace(self._kept, (worst, (score, stream, seq)))
            return True
        return False

    @property
    def drawn(self) -> list[Drawn]:
        """Those that are drawn, smallest score first."""
        return sorted(one for _, one in self._kept)
