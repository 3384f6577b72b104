"""How quickly each site has answered here lately: what `sort: throughput` and `latency` go by.

Exponential averages of what this process has seen itself: tokens a second from the first token to
the last, and the time to the first. Of who was never asked nothing is known, and it comes last.
"""

from __future__ import annotations

from typing import Final

GAIN: Final = 0.2
TOKENS_MIN: Final = 4
"""Answers shorter than this tell nothing of a rate."""


class Paces:
    """By site: its rate and its delay."""

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}
        self._delays: dict[str, float] = {}

    def learn(self, site: str, first_us: int, tokens: int, rest_us: int) -> None:
        """An answer: when its first token came, and how long the others took."""
        if first_us > 0:
            known = self._delays.get(site, float(first_us))
            self._delays[site] = known + GAIN * (first_us - known)
        if tokens >= TOKENS_MIN and rest_us > 0:
            rate = (tokens - 1) * 1_000_000 / rest_us
            before = self._rates.get(site, rate)
            self._rates[site] = before + GAIN * (rate - before)

    def rate(self, site: str) -> float | None:
        """Tokens a second; None where nothing is known."""
        return self._rates.get(site)

    def delay_us(self, site: str) -> float | None:
        """To the first token; None where nothing is known."""
        return self._delays.get(site)
