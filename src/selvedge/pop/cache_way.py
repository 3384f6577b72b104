"""The way to what is kept, as a worker goes it: answers on the disk, and the cache's process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from selvedge.adapters import AskJudge, KeptAnswer, Purge, SayJudged
from selvedge.cache import Asked, Scope
from selvedge.exchange import Judged
from selvedge.fabric import CacheRule


class Store(Protocol):
    """Kept answers on this PoP's disk, as a worker reads them."""

    def get(self, scope: Scope, exact: bytes, now_us: int) -> KeptAnswer | None:
        """The answer to the identical request, if it is kept, fresh and not purged."""


class Similar(Protocol):
    """What the cache process found."""

    @property
    def entry(self) -> KeptAnswer:
        """The kept answer."""

    @property
    def similarity(self) -> float:
        """Of its question to the new one."""


class Counts(Protocol):
    """What came of a way's look-ups and answers since it was opened."""

    found: int
    none: int
    late: int
    down: int
    dropped: int


class Judges(Protocol):
    """Asks models for the cache process, each for whoever an answer was given to."""

    def expects(self, answer: str, judged: Judged) -> None:
        """An answer was handed over, of this request."""

    def begin(self, asked: AskJudge, tell: Callable[[SayJudged], None]) -> None:
        """Ask; ``tell`` hears what came of it, once."""

    def forsake(self) -> None:
        """Nobody waits for what runs."""


class Link(Protocol):
    """The way to the cache process."""

    @property
    def counts(self) -> Counts:
        """What came of it all."""

    def judge_by(self, judge: Judges) -> None:
        """Have models asked by it."""

    def start(self) -> None:
        """Connect, and keep connected."""

    def stop(self) -> None:
        """Let go; who waits is told that there is nothing."""

    def recall(
        self,
        scope: Scope,
        rule: CacheRule,
        asked: Asked,
        now_us: int,
        tell: Callable[[Similar | None], None],
        *,
        key: str = "",
    ) -> None:
        """Ask for the answer to a similar question; ``tell`` is called once, in time or with
        None.
        """

    def remember(
        self, scope: Scope, rule: CacheRule, asked: Asked, kept: KeptAnswer, *, key: str = ""
    ) -> None:
        """Have an answer kept; where there is no room for it now it is dropped, and counted."""

    def hit(self, scope: Scope, entry: str) -> None:
        """An entry was given again."""


class Desk(Protocol):
    """The part of that way that waits for an answer. All raise `StoreFailed`."""

    async def report_bad(self, tenant: str, entry: str, now_us: int) -> None:
        """An entry was wrong for what it was given to."""

    async def purge(self, what: Purge, now_us: int) -> None:
        """Make it unfindable."""

    async def stats(self, tenant: str | None = None) -> bytes:
        """What is kept, as JSON."""
