"""What a holder and the desk tell each other: wishes one way, grants the other.

A **question** carries a number that only grows, and a row for each budget the holder speaks of. Its
answer is taken only while no later question was asked, so a holder holds what the row of its newest
question says, or what the answer to it grants: nothing older can come into force. No clock travels:
a grant lasts milliseconds from when its question left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from selvedge.fabric import LIMIT_MAX

ROWS_MAX: Final = 1024
"""Rows in one question; the others go with the next."""
Amount = Annotated[int, Meta(ge=0, le=LIMIT_MAX)]
Name = Annotated[str, Meta(max_length=256)]
Kind = Annotated[int, Meta(ge=0, le=4)]


class Wish(msgspec.Struct, frozen=True, array_like=True):
    """One budget, as its holder has it: what it holds, what it used, what it would like.

    ``used`` is of the present window: of a minute that has just ended the greater of both, of
    concurrency what runs. ``least`` is the smallest grant that would be of use.
    """

    level: Name
    kind: Kind
    window: int
    """Of money: the window that ``held`` is of; 0 without a lease."""
    held: Amount
    used: Amount
    wish: Amount
    least: Amount = 0
    left_ms: Annotated[int, Meta(ge=0, le=32 * 24 * 3_600_000)] = 0
    """How much longer ``held`` may be used, if there is no other grant."""


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """So much of a budget, in place of what was granted before.

    For minutes in each minute, for concurrency at any moment, for money in the window it names,
    what was used there included. ``short``: there was less than was wished for.
    """

    level: Name
    kind: Kind
    window: int
    amount: Amount
    last_ms: Annotated[int, Meta(ge=0, le=32 * 24 * 3_600_000)]
    short: bool


class Question(msgspec.Struct, frozen=True):
    """What a holder asks. ``epoch`` is of its process: memory does not outlive it."""

    pop: Name
    worker: Annotated[int, Meta(ge=0)]
    epoch: Annotated[str, Meta(min_length=1, max_length=64)]
    number: Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    rows: Annotated[list[Wish], Meta(max_length=ROWS_MAX)]
    v: int = 1

    @property
    def holder(self) -> str:
        """Who holds what is granted: a journal of a PoP, while one process has it open."""
        return f"{self.pop}/{self.worker}/{self.epoch}"


class Answer(msgspec.Struct, frozen=True):
    """What the desk grants; a budget that the release does not limit any more is left out."""

    nonce: bytes
    number: int
    rows: Annotated[list[Grant], Meta(max_length=ROWS_MAX)]
    v: int = 1


class Granted(msgspec.Struct, frozen=True, array_like=True):
    """One budget of a holder as it is written down: no more than ``amount`` until ``free_us``."""

    level: str
    kind: int
    window: int
    amount: int
    free_us: int


class GrantedPage(msgspec.Struct, frozen=True):
    """What is written down before an answer is sent: some budgets of one holder, whole.

    The newest page of a holder's name and number stands. ``number`` is of the newest question.
    """

    holder: str
    page: int
    number: int
    rows: list[Granted]

    @property
    def free_us(self) -> int:
        """From when on nothing of it can be used."""
        return max((row.free_us for row in self.rows), default=0)


class GrantStore(Protocol):
    """Where the desk's grants outlive its memory."""

    def write(self, pages: Sequence[GrantedPage]) -> None:
        """Keep all of them, or none. Raises `StoreFailed`; they may have been kept even then."""

    def load(self) -> Iterable[GrantedPage]:
        """The newest of each page. Raises `StoreFailed`."""

    def drop(self, before_us: int) -> None:
        """Forget pages whose ``free_us`` is before this. Raises `StoreFailed`."""


class MemoryGrants:
    """The store in memory, with a hook for faults: called with ``before`` and ``after``."""

    def __init__(self) -> None:
        self.pages: dict[tuple[str, int], GrantedPage] = {}
        self.fault: FaultHook | None = None

    def write(self, pages: Sequence[GrantedPage]) -> None:
        """Keep them."""
        if self.fault is not None:
            self.fault("before")
        for page in pages:
            self.pages[page.holder, page.page] = page
        if self.fault is not None:
            self.fault("after")

    def load(self) -> Iterable[GrantedPage]:
        """What was kept."""
        return list(self.pages.values())

    def drop(self, before_us: int) -> None:
        """Forget what is free again."""
        kept = {key: page for key, page in self.pages.items() if page.free_us >= before_us}
        self.pages = kept


class FaultHook(Protocol):
    """What a test makes fail."""

    def __call__(self, when: str) -> None:
        """Raise, or do nothing."""
