"""Whether anything is missing: numbers of receipts against each other, and against invoices.

A PoP numbers a tenant's receipts in each of its journals from 1 without gaps, in the order in which
they were written; a period takes them by when they were received. So the numbers of a period are a
run with frayed ends, and what is missing is told by what lies on both sides of it: a gap whose
neighbours are both of another time is that time's. No I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from selvedge.ledger import Numbers, Origin, Ranges, Run
from selvedge.plan.residency_report import NAMED_MAX, Named

BEFORE: Final = "before"
WITHIN: Final = "within"
AFTER: Final = "after"
ELSEWHERE: Final = "elsewhere"

Runs = Mapping[Origin, Iterable[Run]]


class Numbered(NamedTuple):
    """Which numbers of one tenant there are: of the period, and around it."""

    within: Numbers
    before: Numbers
    after: Numbers
    elsewhere: Runs
    """Told by PoPs to be of zones; whether their receipts were read is seen from the others."""
    held: Runs
    """That a collector has taken at some time, also what it has dropped since."""


class Gap(NamedTuple):
    """Numbers of which no receipt is here."""

    origin: Origin
    first: int
    last: int


class Findings:
    """What differs: all counted by kind, the first of each named."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._named: dict[str, list[Named]] = {}

    def add(self, kind: str, where: str, what: str, count: int = 1) -> None:
        """One thing; ``count`` is by how much."""
        self.counts[kind] += count
        named = self._named.setdefault(kind, [])
        if len(named) < NAMED_MAX:
            named.append(Named(kind, where, what, count))

    @property
    def named(self) -> tuple[Named, ...]:
        """Those that are named, in order."""
        return tuple(sorted(one for named in self._named.values() for one in named))


def where_of(origin: Origin, first: int, last: int | None = None) -> str:
    """A receipt, or a run of them, as people read it."""
    numbers = f"number {first}" if last in (None, first) else f"numbers {first} to {last}"
    return f"PoP {origin.pop}, worker {origin.worker}, {numbers}"


def gaps_of(numbered: Numbered) -> Iterator[Gap]:
    """Numbers that may be of the period and are nowhere."""
    for origin, found in _by_origin(numbered).items():
        yield from (Gap(origin, first, last) for first, last in _gaps(found, numbered, origin))


def unread_of(numbered: Numbered) -> int:
    """How many numbers of the period went to zones whose receipts were not read."""
    return sum(_unread(found) for found in _by_origin(numbered).values())


_Labelled = list[tuple[int, int, str]]
"""First, last, and of which time: in order, without overlaps."""


def _by_origin(numbered: Numbered) -> dict[Origin, _Labelled]:
    found: dict[Origin, _Labelled] = {}
    read: dict[Origin, Ranges] = {}
    for label, numbers in (
        (BEFORE, numbered.before),
        (WITHIN, numbered.within),
        (AFTER, numbered.after),
    ):
        for origin, runs in numbers.runs():
            found.setdefault(origin, []).extend((*run, label) for run in runs)
            ranges = read.setdefault(origin, Ranges())
            for run in runs:
                ranges.add(*run)
    for origin, told in numbered.elsewhere.items():
        known = read.get(origin, Ranges())
        for run in told:
            unread = ((*part, ELSEWHERE) for part in outside(run, known))
            found.setdefault(origin, []).extend(unread)
    for origin in numbered.held:
        found.setdefault(origin, [])
    return {origin: sorted(found[origin]) for origin in sorted(found)}


def outside(run: Run, known: Iterable[Run]) -> Iterator[Run]:
    """The parts of a run that are in none of these, which are in order."""
    first, last = run
    for low, high in known:
        if high < first:
            continue
        if low > last:
            break
        if low > first:
            yield first, low - 1
        first = max(first, high + 1)
    if first <= last:
        yield first, last


def _gaps(found: _Labelled, numbered: Numbered, origin: Origin) -> Iterator[Run]:
    left, due = BEFORE, 1
    open_: list[Run] = []
    """Gaps whose right neighbour is not known yet: what is elsewhere is nobody's neighbour."""
    for first, last, label in found:
        if first > due:
            open_.append((due, first - 1))
        due = max(due, last + 1)
        if label == ELSEWHERE:
            continue
        if not (left == label and label != WITHIN):
            yield from open_
        open_, left = [], label
    ends = max((last for _, last in numbered.held.get(origin, ())), default=0)
    if ends >= due:
        open_.append((due, ends))
    if left != AFTER:
        yield from open_


def _unread(found: _Labelled) -> int:
    left, count, open_ = BEFORE, 0, 0
    for first, last, label in found:
        if label == ELSEWHERE:
            open_ += last - first + 1
            continue
        if not (left == label and label != WITHIN):
            count += open_
        open_, left = 0, label
    return count + (open_ if left != AFTER else 0)


def find_gaps(numbered: Numbered, billed: Numbers, findings: Findings) -> None:
    """Name what is missing. ``billed``: receipts in invoices of other months, which explain it."""
    held = {origin: Ranges(runs) for origin, runs in numbered.held.items()}
    for gap in gaps_of(numbered):
        missing = Numbers.of_runs([(gap.origin, ((gap.first, gap.last),))]).without(billed)
        for origin, runs in missing.runs():
            for first, last in runs:
                known = origin in held and first in held[origin]
                words = "was collected, and is not here any more" if known else "is nowhere"
                findings.add("gap", where_of(origin, first, last), words, last - first + 1)


def compare_numbers(
    ours: Numbers, theirs: Numbers, findings: Findings, words: tuple[str, str]
) -> None:
    """Name what only one side has; ``words`` say so of ours, then of theirs, with their kind."""
    for kind_and_words, found in zip(
        words, (ours.without(theirs), theirs.without(ours)), strict=True
    ):
        kind, _, what = kind_and_words.partition(": ")
        for origin, runs in found.runs():
            for first, last in runs:
                findings.add(kind, where_of(origin, first, last), what, last - first + 1)
