"""A PoP's own book of load: prompt tokens on their way, and who just failed.

One for all interpreters, and pure: time comes in as a number. The router reads `LoadBook.view`;
only the book writes. Workers of one PoP give their books counts that they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final, Protocol

from selvedge.fabric.value import Value

COOLING_US: Final = 5_000_000


def place(pop: str, engine: str | None) -> str:
    """The name under which load is counted: an engine of this PoP, or a whole peer."""
    return f"{pop}/{engine}" if engine else pop


class Load(Value, frozen=True):
    """What a PoP knows of load, keyed by `place`: a live view that its reader never changes."""

    tokens_in_flight: Mapping[str, int]
    cooling: Set[str]


class Counts(Protocol):
    """Counts what is on its way, for one process or for all workers of a PoP together."""

    @property
    def tokens(self) -> Mapping[str, int]:
        """Prompt tokens on their way, by place: a live view."""

    def add(self, where: str, requests: int, tokens: int) -> None:
        """So much more is on its way to a place; less, where negative."""

    def requests(self, where: str) -> int:
        """Requests on their way to a place."""


class CountsHere:
    """The counts of one process. A place that nothing is on its way to is forgotten."""

    __slots__ = ("_requests", "tokens")

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {}
        self._requests: dict[str, int] = {}

    def add(self, where: str, requests: int, tokens: int) -> None:
        """So much more is on its way to a place; less, where negative."""
        self.tokens[where] = self.tokens.get(where, 0) + tokens
        self._requests[where] = self._requests.get(where, 0) + requests
        assert self.tokens[where] >= 0, f"{where}: more tokens left than entered"
        if not self._requests[where]:
            del self.tokens[where], self._requests[where]

    def requests(self, where: str) -> int:
        """Requests on their way to a place."""
        return self._requests.get(where, 0)


class LoadBook:
    """Requests and tokens in flight, and places that cool after a failure."""

    __slots__ = ("_cool_until", "_cooling", "_counts", "view")

    def __init__(self, counts: Counts | None = None) -> None:
        self._counts = counts or CountsHere()
        self._cooling: set[str] = set()
        self._cool_until: dict[str, int] = {}
        self.view = Load(self._counts.tokens, self._cooling)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._counts.tokens

    def requests(self, where: str) -> int:
        """Requests on their way to ``where``."""
        return self._counts.requests(where)

    def enter(self, where: str, tokens: int) -> None:
        """A request of so many prompt tokens is on its way to ``where``."""
        self._counts.add(where, 1, tokens)

    def leave(self, where: str, tokens: int) -> None:
        """It came back, however it ended."""
        self._counts.add(where, -1, -tokens)

    def cool(self, where: str, until_us: int) -> None:
        """``where`` just failed: rank it last until then. A later failure cools it longer."""
        self._cooling.add(where)
        self._cool_until[where] = max(until_us, self._cool_until.get(where, 0))

    def warm(self, now_us: int) -> None:
        """Forget the failures whose time is over; to be called before a request is ranked."""
        if self._cool_until:
            for where in [one for one, until in self._cool_until.items() if until <= now_us]:
                del self._cool_until[where]
                self._cooling.discard(where)
