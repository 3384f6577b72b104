"""A PoP's own book of load, as its process keeps it: prompt tokens on their way, who just failed.

Keyed by `routing.place`. The view reads the mapping and the set; only this book writes them.
"""

from __future__ import annotations

from typing import Final

from selvedge.exchange import Ended, Failed
from selvedge.routing import Load
from selvedge.sim.clock import Clock

COOLING_US: Final = 5_000_000


class LoadBook:
    """Tokens in flight and cooling places of one PoP."""

    __slots__ = ("_clock", "_cool_until", "_cooling", "_tokens", "view")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens: dict[str, int] = {}
        self._cooling: set[str] = set()
        self._cool_until: dict[str, int] = {}
        self.view = Load(self._tokens, self._cooling)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._tokens

    def enter(self, place: str, tokens: int) -> None:
        """A request of so many prompt tokens is on its way to ``place``."""
        self._tokens[place] = self._tokens.get(place, 0) + tokens

    def leave(self, place: str, tokens: int, ended: Ended) -> None:
        """It came back; a failure that says something of the place cools it."""
        left = self._tokens.pop(place) - tokens
        assert left >= 0, f"{place}: more tokens left than entered"
        if left:
            self._tokens[place] = left
        if cools(ended):
            until_us = self._cool_until[place] = self._clock.now_us + COOLING_US
            self._cooling.add(place)
            self._clock.at(until_us, lambda: self._warm(place))

    def _warm(self, place: str) -> None:
        """Only the newest failure's end counts: an older timer finds a later moment here."""
        if self._cool_until.get(place, 0) <= self._clock.now_us:
            self._cooling.discard(place)
            self._cool_until.pop(place, None)


def cools(ended: Ended) -> bool:
    """Whether an ending says that the place is unwell.

    A deadline does not: it is the client's number, and one impatient client could otherwise cool
    an engine for all.
    """
    return (
        isinstance(ended, Failed)
        and ended.tokens == 0
        and ended.refused.kind.fault in ("engine", "capacity")
        and ended.refused.code != "deadline_exceeded"
    )
