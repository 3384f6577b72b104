"""Faults that are planted: where, what, and how each changes a stored history.

They are drawn for the whole period before the first month is made, and no two touch one PoP within
two days of each other, so that each can be found and counted by itself. What is drawn is the truth
file's list; `plant` does to a month's numbers what the list says, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.plan.history import STEP_S, Finding, FindingKind, Flag
from selvedge.plan.synth.calendars import DAY_S, month_name
from selvedge.plan.synth.traits import Trait

APART_S: Final = 2 * DAY_S
EACH_MONTH: Final = MappingProxyType(
    {
        "gap": 1.0,
        "duplicate": 0.4,
        "conflict": 0.25,
        "over_capacity": 0.25,
        "reset": 0.5,
        "late": 0.3,
    }
)
"""Expected faults of a PoP and month, times the asked share."""
EACH_POP: Final = MappingProxyType(
    {
        "frozen": 0.5,
        "mixed_units": 0.3,
        "clock_shift": 0.3,
        "empty_month": 0.2,
        "renamed": 0.1,
        "unknown_pop": 0.05,
        "unknown_time_zone": 0.05,
    }
)
"""Expected faults of a PoP in the whole period, times the asked share."""
UNITS: Final = ((8, 1), (1, 8), (1, 1000), (1, 1024), (1024, 1))
SHIFTS_H: Final = (-9, -8, -7, -6, -5, -4, -3, 3, 4, 5, 6, 7, 8, 9)
BAD_ZONES: Final = ("Mars/Olympus_Mons", "Europe/Bonn", "GMT+25", "America/Springfield")


class Entry(msgspec.Struct, frozen=True):
    """A PoP of the manifest: a made one, under a name of its own and for a while."""

    name: str
    trait: Trait
    from_s: int
    until_s: int


class Fault(msgspec.Struct, frozen=True):
    """A finding to be, with what planting it needs."""

    finding: Finding
    entry: int
    amount: float = 0.0


class Plan(msgspec.Struct, frozen=True):
    """The fleet as the manifest has it, and every fault."""

    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...]
    zones: dict[str, str]
    """PoP -> a time zone that IANA does not know, for the fleet file."""
    unknown: frozenset[str]
    """PoPs that the fleet file does not name."""

    def touching(self, from_s: int, until_s: int) -> dict[int, list[Fault]]:
        """By entry, faults whose samples lie in the period."""
        found: dict[int, list[Fault]] = {}
        for fault in self.faults:
            if fault.finding.from_s < until_s and fault.finding.until_s > from_s:
                found.setdefault(fault.entry, []).append(fault)
        return found


class _Drawer:
    """Draws faults without two of them near each other at a PoP."""

    def __init__(self, traits: Sequence[Trait], months: Sequence[int], seed: int) -> None:
        self.rng = np.random.default_rng([seed, 11])
        self.traits = traits
        self.months = months
        self.taken: dict[int, list[tuple[int, int]]] = {}
        for number, trait in enumerate(traits):
            if trait.upgrade_s:
                self.taken[number] = [(trait.upgrade_s, trait.upgrade_s + STEP_S)]

    def within_month(self, steps: int) -> tuple[int, int, int] | None:
        """A PoP, from and until, inside one month; none where no room was found."""
        for _ in range(50):
            number = int(self.rng.integers(len(self.traits)))
            month = int(self.rng.integers(len(self.months) - 1))
            room = (self.months[month + 1] - self.months[month]) // STEP_S - 2 - steps
            if room < 1:
                return None
            start = self.months[month] + STEP_S * (1 + int(self.rng.integers(room)))
            if self.take(number, start, start + steps * STEP_S):
                return number, start, start + steps * STEP_S
        return None

    def take(self, number: int, from_s: int, until_s: int) -> bool:
        """Whether a stretch was free, with its distance to others; it is taken then."""
        near = self.taken.setdefault(number, [])
        if any(from_s < end + APART_S and until_s + APART_S > start for start, end in near):
            return False
        near.append((from_s, until_s))
        return True

    def steps(self, low: int, high: int) -> int:
        """A length, small ones more often."""
        return int(np.exp(self.rng.uniform(np.log(low), np.log(high + 0.999))))


def draw_plan(traits: Sequence[Trait], months: Sequence[int], seed: int, share: float) -> Plan:
    """Every fault of the period. ``share`` scales how many; with 0 only capacities change."""
    drawer = _Drawer(traits, months, seed)
    from_s, until_s = months[0], months[-1]
    entries = [Entry(one.place.pop, one, from_s, until_s) for one in traits]
    faults = [fault for one in enumerate(traits) for fault in _upgrade(*one)]
    zones: dict[str, str] = {}
    unknown = set()
    counts = _counts(len(traits), len(months) - 1, share)
    for number in _few(drawer, counts["unknown_pop"]):
        entries[number] = Entry(f"old-{entries[number].name}", traits[number], from_s, until_s)
        unknown.add(entries[number].name)
        faults.append(_unknown(number, entries[number]))
    for number in _few(drawer, counts["renamed"]):
        faults += _rename(drawer, number, entries)
    for number in _few(drawer, counts["unknown_time_zone"]):
        zone = BAD_ZONES[int(drawer.rng.integers(len(BAD_ZONES)))]
        zones[entries[number].name] = zone
        detail = f"the fleet file says {zone!r}"
        finding = Finding(kind="unknown_time_zone", pop=entries[number].name, detail=detail)
        faults.append(Fault(finding, number))
    for kind, draw in _DRAWN.items():
        for _ in range(counts[kind]):
            found = draw(drawer)
            if found is not None:
                named = msgspec.structs.replace(found.finding, pop=entries[found.entry].name)
                faults.append(msgspec.structs.replace(found, finding=named))
    faults.sort(key=lambda one: (one.finding.from_s, one.entry, one.finding.kind))
    return Plan(tuple(entries), tuple(_late_names(faults, entries)), zones, frozenset(unknown))


def _counts(pops: int, months: int, share: float) -> dict[str, int]:
    if share <= 0:
        return dict.fromkeys([*EACH_MONTH, *EACH_POP], 0)
    found = {kind: max(1, round(share * pops * months * n)) for kind, n in EACH_MONTH.items()}
    found |= {kind: max(1, round(share * pops * n)) for kind, n in EACH_POP.items()}
    return found


def _few(drawer: _Drawer, count: int) -> list[int]:
    """PoPs that are renamed, unknown or without a zone: none twice, and no other fault there."""
    free = [one for one in range(len(drawer.traits)) if one not in drawer.taken]
    count = min(count, len(free) // 3)
    chosen = [free[int(one)] for one in drawer.rng.choice(len(free), count, replace=False)]
    for number in chosen:
        drawer.taken[number] = [(0, 2**40)]
    return chosen


def _upgrade(number: int, trait: Trait) -> Iterator[Fault]:
    if trait.upgrade_s:
        at = trait.upgrade_s
        yield Fault(
            Finding(
                kind="capacity_change",
                pop=trait.place.pop,
                series="capacity_bps",
                from_s=at,
                until_s=at + STEP_S,
                detail=f"from {trait.before_bps} to {trait.after_bps} bit/s",
            ),
            number,
        )


def _unknown(number: int, entry: Entry) -> Fault:
    steps = (entry.until_s - entry.from_s) // STEP_S
    words = "the fleet file does not name it"
    finding = Finding(
        kind="unknown_pop",
        pop=entry.name,
        from_s=entry.from_s,
        until_s=entry.until_s,
        count=steps,
        detail=words,
    )
    return Fault(finding, number)


def _rename(drawer: _Drawer, number: int, entries: list[Entry]) -> list[Fault]:
    old = entries[number]
    part = float(drawer.rng.uniform(0.2, 0.8))
    at = old.from_s + int((old.until_s - old.from_s) * part) // STEP_S * STEP_S
    new = f"{old.name}-2"
    entries[number] = Entry(old.name, old.trait, old.from_s, at)
    entries.append(Entry(new, old.trait, at, old.until_s))
    finding = Finding(
        kind="renamed",
        pop=old.name,
        series=new,
        from_s=at,
        until_s=at + STEP_S,
        detail=f"it goes on as {new}",
    )
    return [Fault(finding, number)]


def _late_names(faults: Sequence[Fault], entries: Sequence[Entry]) -> Iterator[Fault]:
    """Capacity changes under the names that PoPs have in the end."""
    for fault in faults:
        name = entries[fault.entry].name
        yield msgspec.structs.replace(
            fault, finding=msgspec.structs.replace(fault.finding, pop=name)
        )


def _fault(
    kind: FindingKind, where: tuple[int, int, int] | None, detail: str, amount: float = 0.0
) -> Fault | None:
    if where is None:
        return None
    number, from_s, until_s = where
    steps = (until_s - from_s) // STEP_S
    finding = Finding(kind=kind, from_s=from_s, until_s=until_s, count=steps, detail=detail)
    return Fault(finding, number, amount)


def _gap(drawer: _Drawer) -> Fault | None:
    steps = drawer.steps(1, 864)
    return _fault("gap", drawer.within_month(steps), f"{steps} samples are missing")


def _duplicate(drawer: _Drawer) -> Fault | None:
    steps = drawer.steps(1, 60)
    return _fault("duplicate", drawer.within_month(steps), f"{steps} samples stand there twice")


def _conflict(drawer: _Drawer) -> Fault | None:
    part = float(drawer.rng.uniform(0.3, 0.9))
    words = f"a second sample with {part:.0%} of the bytes stands behind each; the first is true"
    return _fault("conflict", drawer.within_month(drawer.steps(1, 36)), words, part)


def _over_capacity(drawer: _Drawer) -> Fault | None:
    wrapped = bool(drawer.rng.random() < 0.7)
    factor = float(drawer.rng.uniform(2.0, 40.0))
    words = (
        "a counter's fall taken for an unsigned number" if wrapped else "a backlog in one sample"
    )
    where = drawer.within_month(drawer.steps(1, 3))
    found = _fault("over_capacity", where, words, 0.0 if wrapped else factor)
    return _of_series(found, "out_bytes")


def _of_series(fault: Fault | None, series: str) -> Fault | None:
    if fault is None:
        return None
    finding = msgspec.structs.replace(fault.finding, series=series)
    return msgspec.structs.replace(fault, finding=finding)


def _reset(drawer: _Drawer) -> Fault | None:
    part = float(drawer.rng.uniform(0.05, 0.8))
    words = f"flagged; {part:.0%} of the bytes are left"
    return _fault("reset", drawer.within_month(1), words, part)


def _late(drawer: _Drawer) -> Fault | None:
    return _fault("late", drawer.within_month(drawer.steps(1, 40)), "flagged")


def _frozen(drawer: _Drawer) -> Fault | None:
    whole = bool(drawer.rng.random() < 0.7)
    found = _fault("frozen", drawer.within_month(drawer.steps(72, 864)), "a stuck agent")
    return found if whole else _of_series(found, "cpu_bp")


def _mixed_units(drawer: _Drawer) -> Fault | None:
    at = int(drawer.rng.integers(len(UNITS)))
    times, over = UNITS[at]
    where = drawer.within_month(drawer.steps(288, 2880))
    words = f"bytes times {times}" if over == 1 else f"bytes divided by {over}"
    return _of_series(_fault("mixed_units", where, words, float(at)), "out_bytes")


def _clock_shift(drawer: _Drawer) -> Fault | None:
    hours = SHIFTS_H[int(drawer.rng.integers(len(SHIFTS_H)))]
    span = (drawer.months[-1] - drawer.months[0]) // DAY_S
    days = int(drawer.rng.integers(10, min(91, span - 8))) if span > 19 else 0
    for _ in range(50 if days else 0):
        number = int(drawer.rng.integers(len(drawer.traits)))
        start = drawer.months[0] + DAY_S * int(drawer.rng.integers(4, span - days - 3))
        start += STEP_S * int(drawer.rng.integers(288))
        if drawer.take(number, start, start + days * DAY_S):
            words = f"the day's shape stands {hours:+d} h from where the sun has it"
            where = (number, start, start + days * DAY_S)
            return _fault("clock_shift", where, words, float(hours))
    return None


def _empty_month(drawer: _Drawer) -> Fault | None:
    for _ in range(50 if len(drawer.months) > 3 else 0):
        number = int(drawer.rng.integers(len(drawer.traits)))
        month = int(drawer.rng.integers(1, len(drawer.months) - 2))
        start, end = drawer.months[month], drawer.months[month + 1]
        if drawer.take(number, start, end):
            words = f"no sample in {month_name(start)}"
            return _fault("empty_month", (number, start, end), words)
    return None


_DRAWN: Final[dict[FindingKind, Callable[[_Drawer], Fault | None]]] = {
    "empty_month": _empty_month,
    "clock_shift": _clock_shift,
    "mixed_units": _mixed_units,
    "frozen": _frozen,
    "gap": _gap,
    "duplicate": _duplicate,
    "conflict": _conflict,
    "over_capacity": _over_capacity,
    "reset": _reset,
    "late": _late,
}
"""Long ones first, while there is room. The order is part of what a seed means."""


class Rows(msgspec.Struct):
    """A month of one PoP, to be changed in place; views of a block's arrays."""

    columns: dict[str, npt.NDArray[Any]]
    """By name as stored; `flags` too."""
    copies: npt.NDArray[np.uint8]
    """How often each row is written: 0, 1 or 2."""
    second: dict[int, float]
    """Step -> part of the bytes that the second copy has."""


def plant(fault: Fault, rows: Rows, from_s: int) -> None:
    """Do what the fault says to a month that starts at ``from_s``; `clock_shift` is done before."""
    steps = len(rows.copies)
    low = max(0, (fault.finding.from_s - from_s) // STEP_S)
    high = min(steps, (fault.finding.until_s - from_s) // STEP_S)
    kind, of = fault.finding.kind, rows.columns
    if kind in ("gap", "empty_month"):
        rows.copies[low:high] = 0
    elif kind == "duplicate":
        rows.copies[low:high] = 2
    elif kind == "conflict":
        rows.copies[low:high] = 2
        rows.second |= dict.fromkeys(range(low, high), fault.amount)
    elif kind == "over_capacity":
        _overflow(fault, of, low, high)
    elif kind == "reset":
        _scale(of, slice(low, high), fault.amount)
        of["flags"][low:high] |= np.uint8(Flag.RESET)
    elif kind == "late":
        of["flags"][low:high] |= np.uint8(Flag.LATE)
    elif kind == "frozen":
        names = [fault.finding.series] if fault.finding.series else list(of)
        for name in names:
            if name not in ("flags", "capacity_bps"):
                of[name][low:high] = of[name][low]
    elif kind == "mixed_units":
        times, over = UNITS[int(fault.amount)]
        for name in ("out_bytes", "in_bytes"):
            of[name][low:high] = of[name][low:high] * np.uint64(times) // np.uint64(over)


def _scale(of: dict[str, npt.NDArray[Any]], where: slice, part: float) -> None:
    for name in ("out_bytes", "in_bytes"):
        of[name][where] = (of[name][where].astype(np.float64) * part).astype(np.uint64)


def _overflow(fault: Fault, of: dict[str, npt.NDArray[Any]], low: int, high: int) -> None:
    if fault.amount:
        full = of["capacity_bps"][low:high] // np.uint64(8) * np.uint64(STEP_S)
        of["out_bytes"][low:high] = (full.astype(np.float64) * fault.amount).astype(np.uint64)
    else:
        # The counter fell from a few terabytes to nearly 0, and nobody asked why.
        fell = np.uint64(5 * 10**12) + of["out_bytes"][low:high]
        of["out_bytes"][low:high] = np.uint64(2**64 - 1) - fell
