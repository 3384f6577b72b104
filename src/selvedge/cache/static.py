"""`static`: one threshold on the similarity, as semantic caches commonly have. It learns nothing.

Nothing is known about how often it is wrong: between two routes, the share of wrong hits at one
threshold differs by an order of magnitude (docs/cache-quality.md). It is here because operators
know it, and as what the others are measured against.
"""

from __future__ import annotations

from selvedge.cache.deciding import Pair, Verdict


class Static:
    """Serves from ``threshold`` on; a request may ask for a stricter one by its header."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def decide(self, pair: Pair, entry: str, cluster: str, draw: float) -> Verdict:
        """By the similarity alone."""
        serve = pair.similarity >= self.threshold
        sign = "≥" if serve else "<"
        why = f"similarity {pair.similarity:.3f} {sign} threshold {self.threshold:.3f}"
        return Verdict(serve=serve, bound=max(0.0, pair.similarity), why=why)

    def learn(self, pair: Pair, entry: str, cluster: str, correct: bool) -> None:
        """Nothing."""

    def inserts(self, correct: bool) -> bool:
        """Every miss is kept."""
        return True

    def dump(self) -> bytes:
        """Nothing was learned."""
        return b""
