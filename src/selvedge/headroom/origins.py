"""A forecast that was made, waiting for what it forecast."""

from __future__ import annotations

from selvedge.headroom.state import OriginState


class Origin:
    """Where the forecaster stood when it was made; its deviations fade as time passes."""

    __slots__ = ("count", "fast", "growth", "level", "made_s", "slow", "slow_first", "total")

    def __init__(self) -> None:
        self.made_s: int = 0
        self.level: float = 0.0
        self.growth: float = 0.0
        self.slow: float = 0.0
        self.fast: float = 0.0
        self.slow_first: float = 0.0
        """The slow deviation when it was made."""
        self.total: float = 0.0
        """Sum of the deviations that came, to learn how much of the first one stayed."""
        self.count: int = 0

    def state(self) -> OriginState:
        """What is remembered."""
        return OriginState(
            made_s=self.made_s,
            level=self.level,
            growth=self.growth,
            slow=self.slow,
            fast=self.fast,
            slow_first=self.slow_first,
            total=self.total,
            count=self.count,
        )

    def load(self, state: OriginState) -> None:
        """Go on from it."""
        self.made_s = state.made_s
        self.level = state.level
        self.growth = state.growth
        self.slow = state.slow
        self.fast = state.fast
        self.slow_first = state.slow_first
        self.total = state.total
        self.count = state.count
