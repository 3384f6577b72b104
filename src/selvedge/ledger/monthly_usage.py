"""What one tenant's receipts of one month come to before any price: sums, and who they are.

A fold: whatever the order in which receipts, or parts of them, are taken in, the same comes out.
Receipts that bill nothing are counted by how they ended, and their numbers belong to the month as
those of the others do: an invoice tells of every receipt that it has looked at.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

from selvedge.fabric import Receipt, SelvedgeError
from selvedge.ledger.ranges import Run
from selvedge.ledger.settlement import settle
from selvedge.ledger.usage_rows import NONE, UsageRow, day_of

Sort = Literal["standard", "batch", "cached"]
BLOCK: Final = 64
"""So many numbers are one mask."""


class Origin(NamedTuple):
    """A journal of a PoP: receipts of a tenant are numbered in it without gaps."""

    pop: str
    worker: int


class Atom(NamedTuple):
    """The smallest thing that has one price."""

    project: str
    model: str
    zone: str
    sort: Sort
    day: str
    """Its own, or the first of a period in which no price changes."""


class Counts(NamedTuple):
    """What receipts of one atom come to together; cached answers are hits and bill no tokens."""

    requests: int = 0
    hits: int = 0
    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(*map(sum, zip(self, other, strict=True)))


class NumberSpan(NamedTuple):
    """Receipts of one origin: the first and the last number, and how many."""

    first: int
    last: int
    receipts: int

    def plus(self, other: NumberSpan) -> NumberSpan:
        """Both together."""
        first, last = min(self.first, other.first), max(self.last, other.last)
        return NumberSpan(first, last, self.receipts + other.receipts)


class DoubleReceipt(SelvedgeError):
    """One receipt is there twice: it must not be billed twice, and nobody guesses which counts."""


class Numbers:
    """Which receipts, by origin and number: a set, kept as masks of sixty-four."""

    __slots__ = ("masks",)

    def __init__(self) -> None:
        self.masks: dict[Origin, dict[int, int]] = {}

    @classmethod
    def of_runs(cls, runs: Iterable[tuple[Origin, Iterable[Run]]]) -> Numbers:
        """Those of these runs."""
        found = cls()
        for origin, ones in runs:
            for first, last in ones:
                found._add_run(origin, first, last)
        return found

    def _add_run(self, origin: Origin, first: int, last: int) -> None:
        blocks = self.masks.setdefault(origin, {})
        for block in range(first // BLOCK, last // BLOCK + 1):
            low = max(first - block * BLOCK, 0)
            high = min(last - block * BLOCK, BLOCK - 1)
            mask = (1 << (high + 1)) - (1 << low)
            blocks[block] = blocks.get(block, 0) | mask

    def add(self, origin: Origin, block: int, mask: int) -> None:
        """Add these. Raises `DoubleReceipt` where one of them is there."""
        blocks = self.masks.setdefault(origin, {})
        known = blocks.get(block, 0)
        if known & mask:
            number = block * BLOCK + (known & mask).bit_length() - 1
            raise double(origin, number, number)
        blocks[block] = known | mask

    def __contains__(self, key: tuple[Origin, int]) -> bool:
        origin, number = key
        mask = self.masks.get(origin, {}).get(number // BLOCK, 0)
        return bool(mask >> number % BLOCK & 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbers) and list(self.runs()) == list(other.runs())

    __hash__ = None  # type: ignore[assignment]  # it changes

    @property
    def count(self) -> int:
        """How many."""
        return sum(mask.bit_count() for blocks in self.masks.values() for mask in blocks.values())

    def without(self, other: Numbers) -> Numbers:
        """Those of these that are not in the other."""
        found = Numbers()
        for origin, blocks in self.masks.items():
            theirs = other.masks.get(origin, {})
            for block, mask in blocks.items():
                if left := mask & ~theirs.get(block, 0):
                    found.add(origin, block, left)
        return found

    def join(self, other: Numbers) -> None:
        """Add the other's; both may have some."""
        for origin, blocks in other.masks.items():
            mine = self.masks.setdefault(origin, {})
            for block, mask in blocks.items():
                mine[block] = mine.get(block, 0) | mask

    def runs(self) -> Iterator[tuple[Origin, tuple[Run, ...]]]:
        """By origin, in order."""
        for origin in sorted(self.masks):
            if found := tuple(_runs_of(self.masks[origin])):
                yield origin, found


def _runs_of(blocks: Mapping[int, int]) -> Iterator[Run]:
    first, last = 0, -1
    for block in sorted(blocks):
        for low, high in _runs_of_mask(blocks[block]):
            start, end = block * BLOCK + low, block * BLOCK + high
            if start == last + 1 and last >= first:
                last = end
                continue
            if last >= first:
                yield first, last
            first, last = start, end
    if last >= first:
        yield first, last


def _runs_of_mask(mask: int) -> Iterator[Run]:
    at = 0
    while mask:
        skip = (mask & -mask).bit_length() - 1
        mask >>= skip
        ones = (~mask & mask + 1).bit_length() - 1
        yield at + skip, at + skip + ones - 1
        mask >>= ones
        at += skip + ones


def double(origin: Origin, first: int, last: int) -> DoubleReceipt:
    """The error that names what is there twice."""
    numbers = f"number {first}" if first == last else f"a number of {first} to {last}"
    return DoubleReceipt(
        f"PoP {origin.pop}, worker {origin.worker}: {numbers} is there twice; "
        "'selvedge reconcile' names it, and --collected may name one directory twice"
    )


class MonthlyUsage:
    """The fold of one tenant's receipts of one month."""

    def __init__(self) -> None:
        self.atoms: dict[Atom, Counts] = {}
        self.spans: dict[Atom, dict[Origin, NumberSpan]] = {}
        self.ends: Counter[str] = Counter()
        """How many ended so, by the rows of settlement; all receipts."""
        self.numbers = Numbers()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MonthlyUsage) and (
            (self.atoms, self.spans, self.ends, self.numbers)
            == (other.atoms, other.spans, other.ends, other.numbers)
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    @property
    def count(self) -> int:
        """How many receipts."""
        return self.ends.total()

    @property
    def billed(self) -> int:
        """How many of them are in some atom."""
        return sum(one.requests + one.hits for one in self.atoms.values())

    def add(self, atom: Atom, origin: Origin, counts: Counts, span: NumberSpan) -> None:
        """Receipts of one atom and origin."""
        known = self.atoms.get(atom)
        self.atoms[atom] = counts if known is None else known.plus(counts)
        spans = self.spans.setdefault(atom, {})
        other = spans.get(origin)
        spans[origin] = span if other is None else other.plus(span)

    def join(self, other: MonthlyUsage) -> None:
        """Take in another fold's receipts. Raises `DoubleReceipt`."""
        for origin, blocks in other.numbers.masks.items():
            for block, mask in blocks.items():
                self.numbers.add(origin, block, mask)
        self.ends.update(other.ends)
        for atom, spans in other.spans.items():
            counts = other.atoms[atom]
            for origin, span in spans.items():
                self.add(atom, origin, counts, span)
                counts = Counts()

    def add_row(self, row: UsageRow, day: str) -> None:
        """One receipt, as a row of usage; ``day`` is its atom's. Raises `DoubleReceipt`."""
        origin = Origin(row.pop, row.worker)
        self.numbers.add(origin, row.seq // BLOCK, 1 << row.seq % BLOCK)
        self.ends[row.settled_by] += 1
        tokens = (row.input_uncached, row.cache_read, row.cache_write, row.output + row.reasoning)
        hit = row.settled_by == "cache_hit"
        if hit or any(tokens):
            atom = Atom(row.project, row.model or NONE, row.zone, sort_of(row.settled_by), day)
            counts = Counts(int(not hit), int(hit), *tokens)
            self.add(atom, origin, counts, NumberSpan(row.seq, row.seq, 1))

    def add_receipt(self, receipt: Receipt) -> None:
        """One receipt, settled here: the plain fold, which everything quicker must equal."""
        settlement = settle(receipt)
        origin, billed = Origin(receipt.ingress_pop, receipt.worker), settlement.billed
        self.numbers.add(origin, receipt.seq // BLOCK, 1 << receipt.seq % BLOCK)
        self.ends[settlement.row] += 1
        hit = settlement.row == "cache_hit"
        if not hit and billed.input + billed.generated == 0:
            return
        day, sort = day_of(receipt.received_us), sort_of(settlement.row)
        atom = Atom(receipt.project, receipt.model or NONE, receipt.zone, sort, day)
        tokens = (billed.input_uncached, billed.cache_read, billed.cache_write, billed.generated)
        counts = Counts(int(not hit), int(hit), *tokens)
        self.add(atom, origin, counts, NumberSpan(receipt.seq, receipt.seq, 1))


def sort_of(row: str) -> Sort:
    """The sort of a receipt that settlement puts into this row."""
    if row == "cache_hit":
        return "cached"
    return "batch" if row == "batch_line" else "standard"


class FoldAsked(NamedTuple):
    """Which receipts to fold: of a time (from, below; microseconds), perhaps of one tenant.

    ``only`` and ``without`` are numbers of that tenant. ``starts`` are days, in order, with which
    periods begin; None: each day is told by itself.
    """

    since_us: int
    until_us: int
    tenant: str | None = None
    only: Numbers | None = None
    without: Numbers | None = None
    starts: tuple[str, ...] | None = None

    def period(self, day: str) -> str:
        """The day that stands for this one."""
        if self.starts is None:
            return day
        return self.starts[max(bisect_right(self.starts, day) - 1, 0)]

    def takes(self, row: UsageRow) -> bool:
        """Whether this row counts."""
        key = (Origin(row.pop, row.worker), row.seq)
        return (
            not row.conflict
            and self.since_us <= row.received_us < self.until_us
            and self.tenant in (None, row.tenant)
            and (self.only is None or key in self.only)
            and (self.without is None or key not in self.without)
        )


Folded = dict[str, MonthlyUsage]
"""By tenant."""


def fold_rows(rows: Iterable[UsageRow], wish: FoldAsked) -> Folded:
    """Usage of these rows, by tenant. Raises `DoubleReceipt`."""
    found: Folded = {}
    for row in rows:
        if wish.takes(row):
            found.setdefault(row.tenant, MonthlyUsage()).add_row(row, wish.period(row.day))
    return found


def join_folds(folds: Iterable[Folded]) -> Folded:
    """Usage of several sources together. Raises `DoubleReceipt`."""
    found: Folded = {}
    for one in folds:
        for tenant, usage in one.items():
            if tenant in found:
                found[tenant].join(usage)
            else:
                found[tenant] = usage
    return found
