"""Over which hours a mean is taken: whole hours of UTC in which the fabric was watched.

Who gives `--since` and `--until` says that it was watched from the one to the other. An end that is
left open is where receipts begin or end, and the hour of that receipt is left out with it: what a
Poisson process has between its first and its last event has the process's own rate; with the two
themselves it would have more. An hour that lies in the window in part is left out, and an hour of
the day is divided by how often it was seen whole: so no day at an end counts for a whole one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from selvedge.fabric import SelvedgeError
from selvedge.ledger import HOUR_US, DemandAsked, Hours, HourWindow, hours_asked

DAYS_FEW: Final = 7
QUIET_HOURS: Final = 7 * 24
"""After so long without a receipt it is another time: a clock was wrong, or all stood still."""
_DAY: Final = 24
_NAMED: Final = 5


class FoundWindow(NamedTuple):
    """The window, and what is to be said of it."""

    window: HourWindow
    notes: tuple[str, ...]


class _Block(NamedTuple):
    """Hours with receipts that no week of silence divides: the first, the last, how many."""

    first: int
    last: int
    receipts: int


def hour_in_words(hour: int) -> str:
    """An hour counted from 1970, as 2026-11-07T10:00Z."""
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%dT%H:00Z")


def counted(count: int, noun: str) -> str:
    """As people say it: 1 receipt, 2,000 receipts."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"


def named(words: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(words) - _NAMED:,} more" if len(words) > _NAMED else ""
    return ", ".join(words[:_NAMED]) + more


def find_window(hours: Hours, asked: DemandAsked) -> FoundWindow:
    """The hours asked for; an open end is where receipts begin or end.

    A week of silence divides receipts, and the window is where most of them are: one receipt of
    1970 makes no window of half a century, nor does ``--since 2020-01-01``. Raises
    `SelvedgeError` where no hour is left.
    """
    since, until = (at // HOUR_US for at in hours_asked(asked))
    hour_now = asked.now_us // HOUR_US
    until = min(until, hour_now)
    # A clock a little ahead does not make the hour that runs a whole one.
    hours = Hours(_until(hours.seen, hour_now), hours.future)
    if asked.since_us is not None and since >= until:
        words = "no whole hour of UTC lies between --since and --until, or it is yet to come"
        raise SelvedgeError(f"{words}; give at least one, as 2026-11-07T10:00 and 2026-11-07T11:00")
    if not hours.seen:
        raise SelvedgeError(f"there is no receipt{_when(asked, since, until)}{_yet(hours)}")
    blocks = _blocks(hours.seen)
    block = max(blocks, key=lambda one: (one.receipts, one.last))
    begin, end = block.first + 1, block.last
    if asked.since_us is not None and block.first - since < QUIET_HOURS:
        begin = since
    if asked.until_us is not None and until - 1 - block.last < QUIET_HOURS:
        end = until
    if not any(begin <= hour < end for hour in hours.seen):
        words = f"receipts tell of no whole hour of UTC: {'all' if len(blocks) == 1 else 'most'}"
        words += f" are from {hour_in_words(block.first)} to {hour_in_words(block.last + 1)}, and"
        words += " both ends are hours seen in part; wait, or say by --since and --until which"
        raise SelvedgeError(f"{words} hours are whole")
    window = HourWindow(begin, end)
    return FoundWindow(window, tuple(_notes(hours, window, asked)))


def _until(seen: Counter[int], hour_now: int) -> Counter[int]:
    """Receipts by hour, those of hours yet to come in the present one."""
    found = Counter[int]()
    for hour, count in seen.items():
        found[min(hour, hour_now)] += count
    return found


def _when(asked: DemandAsked, since: int, until: int) -> str:
    begun = f" since {hour_in_words(since)}" if asked.since_us is not None else ""
    ended = f" before {hour_in_words(until)}" if asked.until_us is not None else ""
    return begun + ended


def _yet(hours: Hours) -> str:
    if not hours.future:
        return "; ask something first, or name another --home or --collected"
    words = f"but {hours.future.total():,} of a time yet to come, of {_pops(hours.future)}"
    return f" {words}: set the clocks there"


def _pops(counts: Mapping[str, int]) -> str:
    return f"PoP {named(sorted(counts))}"


def _blocks(seen: Mapping[int, int]) -> list[_Block]:
    found: list[_Block] = []
    for hour, count in sorted(seen.items()):
        if found and hour - found[-1].last <= QUIET_HOURS:
            found[-1] = _Block(found[-1].first, hour, found[-1].receipts + count)
        else:
            found.append(_Block(hour, hour, count))
    return found


def _notes(hours: Hours, window: HourWindow, asked: DemandAsked) -> Iterator[str]:
    days = window.days
    if days < DAYS_FEW:
        words = f"the window has {days:.1f} days: fewer than {DAYS_FEW} show no week, and the busy"
        yield f"{words} hour of so few is largely chance; take more, as four weeks"
    if window.end - window.begin < _DAY:
        yield f"only {window.end - window.begin} hours of the day were seen, the busy one of these"
    if asked.until_us is not None and asked.until_us > asked.now_us:
        yield f"--until is yet to come: the window ends with {hour_in_words(window.end)}"
    if hours.future:
        words = f"{counted(hours.future.total(), 'receipt')} of a time yet to come left out, of"
        yield f"{words} {_pops(hours.future)}: set the clocks there"
    yield from _cut(window, asked)
    yield from _beside(hours.seen, window)
    yield from _silence(hours.seen, window)


def _cut(window: HourWindow, asked: DemandAsked) -> Iterator[str]:
    since, until = (at // HOUR_US for at in hours_asked(asked))
    if asked.since_us is not None and window.begin > since:
        words = "--since is more than a week before these receipts: the window begins with"
        yield f"{words} {hour_in_words(window.begin)}"
    if asked.until_us is not None and window.end < min(until, asked.now_us // HOUR_US):
        words = "--until is more than a week after these receipts: the window ends with"
        yield f"{words} {hour_in_words(window.end)}"


def _beside(seen: Mapping[int, int], window: HourWindow) -> Iterator[str]:
    """What lies beyond the window and the broken hours at its ends."""
    for where, count in (
        ("before", sum(count for hour, count in seen.items() if hour < window.begin - 1)),
        ("after", sum(count for hour, count in seen.items() if hour > window.end)),
    ):
        if count:
            words = f"{counted(count, 'receipt')} {where} a week of silence left out; narrow"
            yield f"{words} --since and --until to those where they are meant"


def _silence(seen: Mapping[int, int], window: HourWindow) -> Iterator[str]:
    """Days without a receipt of anybody: was the fabric watched?"""
    inside = [hour for hour in seen if window.begin <= hour < window.end]
    for what, quiet in (
        ("first", min(inside) - window.begin),
        ("last", window.end - 1 - max(inside)),
    ):
        if quiet >= _DAY:
            words = f"the {what} {quiet / _DAY:.1f} of {window.days:.1f} days have no receipt of"
            yield f"{words} anybody, and count as days without demand; narrow the window if not so"
    days = {hour // _DAY for hour in inside}
    silent = max(days) - min(days) + 1 - len(days)
    if silent:
        words = f"{counted(silent, 'day')} between the first and the last without a receipt of"
        yield f"{words} anybody: without demand, or not watched; narrow the window if so"
