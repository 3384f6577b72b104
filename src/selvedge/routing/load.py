"""A PoP's own book of load: prompt tokens on their way, who just failed, what a token weighs.

One for all interpreters, and pure: time comes in as a number. The router reads `LoadBook.view`;
only the book writes. Workers of one PoP give their books counts that they share.

Who fails is left alone for a while (a circuit breaker): closed, open until a time, then half open,
where one request at a time may try. It closes again when one succeeds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Set
from typing import Final, Protocol

from selvedge.fabric.value import Value

COOLING_US: Final = 5_000_000
COOLING_US_MAX: Final = 60_000_000
"""However often a place fails, and whatever it asks for."""
TRY_US: Final = 2_000_000
"""How long the others wait for the one that tries; its answer may take minutes."""
REMEMBERED_US: Final = 20_000_000
"""How long an entry can be un-acknowledged: no report is believed for longer."""
_RATIO_GAIN: Final = 0.02
_RATIO_MIN: Final = 1.0
_RATIO_MAX: Final = 16.0
_TRIM_AT: Final = 64


def place(pop: str, engine: str | None) -> str:
    """The name under which load is counted: an engine of this PoP, or a whole peer."""
    return f"{pop}/{engine}" if engine else pop


class Entered:
    """What was sent to one place lately: running sums with the times they were reached."""

    __slots__ = ("_at", "_tokens", "newest_us")

    def __init__(self) -> None:
        self.newest_us = 0
        self._at: list[int] = []
        self._tokens: list[int] = [0]

    def add(self, at_us: int, tokens: int) -> None:
        """One more request."""
        at = self._at
        if at_us < self.newest_us:
            at_us = self.newest_us
        self.newest_us = at_us
        if len(at) >= _TRIM_AT:
            gone = bisect_right(at, at_us - REMEMBERED_US)
            if gone * 2 >= len(at):
                del at[:gone], self._tokens[:gone]
        at.append(at_us)
        self._tokens.append(self._tokens[-1] + tokens)

    def since(self, at_us: int) -> tuple[int, int]:
        """Tokens and requests that were sent after ``at_us``."""
        at = self._at
        if self.newest_us <= at_us:
            return 0, 0
        first = bisect_right(at, at_us)
        return self._tokens[-1] - self._tokens[first], len(at) - first


class Load(Value, frozen=True):
    """What a PoP knows of load, keyed by `place`: a live view that its reader never changes."""

    tokens_in_flight: Mapping[str, int]
    cooling: Set[str]
    entered: Mapping[str, Entered] | None = None
    bytes_per_token: Mapping[str, float] | None = None
    """By model, as its engines counted."""

    def since(self, where: str, at_us: int) -> tuple[int, int]:
        """Tokens and requests that were sent there after ``at_us``: no older report has them."""
        entered = self.entered.get(where) if self.entered is not None else None
        return (0, 0) if entered is None else entered.since(at_us)


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
        left = self._requests.get(where, 0) + requests
        left_tokens = self.tokens.get(where, 0) + tokens
        assert left_tokens >= 0, f"{where}: more tokens left than entered"
        if left:
            self._requests[where] = left
            self.tokens[where] = left_tokens
        else:
            self._requests.pop(where, None)
            self.tokens.pop(where, None)

    def requests(self, where: str) -> int:
        """Requests on their way to a place."""
        return self._requests.get(where, 0)


class LoadBook:
    """Requests and tokens in flight, and places that cool after a failure."""

    __slots__ = (
        "_cool_until",
        "_cooling",
        "_counts",
        "_entered",
        "_failures",
        "_half_open",
        "_probed",
        "_ratios",
        "view",
    )

    def __init__(self, counts: Counts | None = None) -> None:
        self._counts = counts or CountsHere()
        self._cooling: set[str] = set()
        self._cool_until: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._half_open: set[str] = set()
        self._probed: dict[str, int] = {}
        self._entered: dict[str, Entered] = {}
        self._ratios: dict[str, float] = {}
        self.view = Load(self._counts.tokens, self._cooling, self._entered, self._ratios)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._counts.tokens

    def requests(self, where: str) -> int:
        """Requests on their way to ``where``."""
        return self._counts.requests(where)

    def enter(self, where: str, tokens: int, at_us: int = 0) -> None:
        """A request of so many prompt tokens is on its way to ``where``."""
        self._counts.add(where, 1, tokens)
        if at_us:
            entered = self._entered.get(where)
            if entered is None:
                entered = self._entered[where] = Entered()
            entered.add(at_us, tokens)
        if where in self._half_open:  # The one that may try: the others wait for how it goes.
            self._half_open.discard(where)
            self._cooling.add(where)
            self._probed[where] = self._cool_until[where] = at_us + TRY_US

    def leave(self, where: str, tokens: int) -> None:
        """It came back, however it ended; `fail` or `mend` says how, where that is known."""
        self._counts.add(where, -1, -tokens)
        until_us = self._probed.pop(where, None) if self._probed else None
        if until_us is not None and self._cool_until.get(where) == until_us:
            del self._cool_until[where]
            self._cooling.discard(where)
            self._half_open.add(where)

    def cool(self, where: str, until_us: int) -> None:
        """Rank ``where`` last until then. A later failure cools it longer."""
        self._half_open.discard(where)
        self._cooling.add(where)
        self._cool_until[where] = max(until_us, self._cool_until.get(where, 0))

    def fail(
        self, where: str, at_us: int, cooling_us: int = COOLING_US, told_ms: int | None = None
    ) -> None:
        """``where`` just failed: open its circuit, for longer each time in a row.

        ``told_ms`` is its own word on when to come back (Retry-After), which counts more.
        """
        again = cooling_us
        if told_ms is not None:
            again = told_ms * 1000
        elif where not in self._cool_until:  # What was on its way already counts once.
            failures = self._failures[where] = min(self._failures.get(where, 0) + 1, 16)
            again = cooling_us * 2 ** (failures - 1)
        self.cool(where, at_us + min(again, max(COOLING_US_MAX, cooling_us)))

    def mend(self, where: str) -> None:
        """``where`` has answered: close its circuit, unless it failed since that was asked."""
        if where not in self._cool_until and self._failures:
            self._failures.pop(where, None)
        self._half_open.discard(where)

    def warm(self, now_us: int) -> None:
        """Half open the circuits whose time is over; to be called before a request is ranked."""
        if self._cool_until:
            for where in [one for one, until in self._cool_until.items() if until <= now_us]:
                del self._cool_until[where]
                self._probed.pop(where, None)
                self._cooling.discard(where)
                self._half_open.add(where)

    def learn(self, model: str, prompt_bytes: int, tokens: int) -> None:
        """An engine counted so many tokens in a prompt of so many bytes."""
        if tokens < 1 or prompt_bytes < 1:
            return
        seen = min(max(prompt_bytes / tokens, _RATIO_MIN), _RATIO_MAX)
        known = self._ratios.get(model, 4.0)
        self._ratios[model] = known + _RATIO_GAIN * (seen - known)
