"""Make a fleet's history, a month at a time.

A month is made in blocks of PoPs, a part each, on as many threads as there are cores; a block's
numbers are some tens of megabytes. What was made is noted beside the samples, by month: who stops
in between goes on with the next month, and the truth file is put together of the notes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.history import (
    SAMPLES,
    STEP_S,
    WHOLE_BP,
    BadPlan,
    History,
    Manifest,
    write_sites,
)
from selvedge.plan.synth.calendars import DAY_S, Clock, month_name, month_starts, release_height
from selvedge.plan.synth.faults import Entry, Fault, Plan, Rows, draw_plan, plant
from selvedge.plan.synth.places import read_places
from selvedge.plan.synth.series import Drive, fill, night_sums
from selvedge.plan.synth.traits import (
    Period,
    Trait,
    drive_of,
    fill_trait,
    make_period,
    make_traits,
)
from selvedge.plan.synth.truth import Asked, Note, write_truth

BLOCK: Final = 128
"""PoPs of a part: about a million rows and one row group a month."""
_NAMES: Final = ("out_bytes", "in_bytes", "cpu_bp", "memory_bp", "gpu_bp", "power_bp")


class Made(msgspec.Struct, frozen=True):
    """A fleet drawn from a seed: everything but the samples."""

    asked: Asked
    months: tuple[int, ...]
    period: Period
    plan: Plan


class Month(msgspec.Struct, frozen=True):
    """What blocks of one month share."""

    made: Made
    from_s: int
    steps: int
    release: npt.NDArray[np.float32]
    clocks: dict[str, Clock]
    faults: dict[int, list[Fault]]


def make_fleet(asked: Asked) -> Made:
    """Draw the PoPs and the faults. Raises `BadPlan` for what cannot be asked."""
    months = month_starts(asked.since, asked.months)
    if not 0 <= asked.faults <= 1:
        raise BadPlan(f"--faults {asked.faults} is outside 0 to 1.")
    places = read_places(asked.pops)
    period = make_period(asked.seed, months[0], months[-1])
    plan = draw_plan(make_traits(places, period), months, asked.seed, asked.faults)
    return Made(asked, tuple(months), period, plan)


def make_history(
    folder: Path,
    asked: Asked,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> History:
    """Make it, or what is missing of it. ``progress``: rows done and rows of all.

    Raises `BadPlan` where the folder holds another history, or for what cannot be asked; `OSError`.
    """
    made = make_fleet(asked)
    history = _open(folder, made)
    write_sites(folder / "fleet.csv", fleet_of(made.plan))
    zones = {one.trait.place.timezone for one in made.plan.entries}
    first, last = made.months[0] - 2 * DAY_S, made.months[-1] + 2 * DAY_S
    clocks = {zone: Clock(zone, first, last) for zone in sorted(zones)}
    whole = len(made.plan.entries) * (made.months[-1] - made.months[0]) // STEP_S
    done = 0
    for from_s, until_s in zip(made.months, made.months[1:], strict=False):
        note = Note.read(folder, month_name(from_s))
        if note is None:
            steps = (until_s - from_s) // STEP_S
            release = release_height(made.period.releases, from_s, steps)
            faults = made.plan.touching(from_s, until_s)
            month = Month(made, from_s, steps, release, clocks, faults)
            note = _make_month(history, month, threads, _counter(progress, done, whole))
            note.write(folder)
        done += len(made.plan.entries) * (until_s - from_s) // STEP_S
        if progress is not None:
            progress(done, whole)
    write_truth(folder, asked, made.plan, [month_name(one) for one in made.months[:-1]])
    return history


def _counter(
    progress: Callable[[int, int], None] | None, done: int, whole: int
) -> Callable[[int], None]:
    state = [done]

    def add(rows: int) -> None:
        state[0] += rows
        if progress is not None:
            progress(state[0], whole)

    return add


def _open(folder: Path, made: Made) -> History:
    manifest = Manifest(pops=tuple(entry.name for entry in made.plan.entries))
    asked = Asked.read(folder)
    if asked is None:
        if folder.exists() and any(folder.iterdir()):
            raise BadPlan(f"{folder} is not empty and no made history; name another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        made.asked.write(folder)
    elif asked != made.asked:
        words = "it was made with other options"
        raise BadPlan(f"{folder}: {words} ({asked.words()}); name another folder, or these.")
    history = History.create(folder)
    if history.read_manifest() != manifest:
        history.write_manifest(manifest)
    return history


def fleet_of(plan: Plan) -> list[Any]:
    """The fleet file: every PoP but those that it shall not know."""
    found = []
    for entry in plan.entries:
        if entry.name not in plan.unknown:
            zone = plan.zones.get(entry.name) or entry.trait.place.timezone
            installed = entry.trait.installed
            found.append(msgspec.structs.replace(installed, pop=entry.name, timezone=zone))
    return found


def _make_month(history: History, month: Month, threads: int, add: Callable[[int], None]) -> Note:
    name = month_name(month.from_s)
    entries = month.made.plan.entries
    starts = range(0, len(entries), BLOCK)

    def make(start: int) -> tuple[npt.NDArray[np.int64], int]:
        block = list(enumerate(entries))[start : start + BLOCK]
        table, sums = make_block(month, block)
        if table.num_rows:
            history.write_part(name, f"made-{start // BLOCK:04d}", table)
        add(len(block) * month.steps)
        return sums, table.num_rows

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(make, starts))
    sums = np.concatenate([one for one, _ in found])
    return Note(month=name, rows=sum(rows for _, rows in found), sums=sums.tolist())


def make_block(
    month: Month, block: Sequence[tuple[int, Entry]]
) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """The samples of some PoPs with their faults, and their sums without."""
    count, steps = len(block), month.steps
    shares = np.zeros((count, 6, steps), np.uint16)
    columns = {name: np.zeros((count, steps), np.uint64) for name in _NAMES[:2]}
    capacity = np.zeros((count, steps), np.uint64)
    flags = np.zeros((count, steps), np.uint8)
    copies = np.ones((count, steps), np.uint8)
    second: dict[int, float] = {}
    sums = np.zeros((count, 8), np.int64)
    for at, (number, entry) in enumerate(block):
        faults = month.faults.get(number, [])
        capacity[at] = entry.trait.capacity(month.from_s, steps)
        alive = _alive(entry, month)
        copies[at, : alive[0]] = 0
        copies[at, alive[1] :] = 0
        drive = _fill_entry(month, entry.trait, shares[at])
        unit = capacity[at] * np.uint64(STEP_S) // np.uint64(8 * WHOLE_BP)
        night_sums(drive, shares[at, 0], unit, alive, sums[at])
        for fault in faults:
            if fault.finding.kind == "clock_shift":
                _shift(month, entry.trait, fault, shares[at])
        for place, name in enumerate(_NAMES[:2]):
            columns[name][at] = shares[at, place] * unit
        if faults:
            of = {name: columns[name][at] for name in _NAMES[:2]}
            of |= {name: shares[at, 2 + one] for one, name in enumerate(_NAMES[2:])}
            of |= {"flags": flags[at], "capacity_bps": capacity[at]}
            rows = Rows(of, copies[at], {})
            for fault in faults:
                plant(fault, rows, month.from_s)
            second |= {at * steps + step: part for step, part in rows.second.items()}
    arrays = _flat(month, block, shares) | columns | {"capacity_bps": capacity, "flags": flags}
    return _table({name: one.reshape(-1) for name, one in arrays.items()}, copies, second), sums


def _fill_entry(month: Month, trait: Trait, out: npt.NDArray[np.uint16]) -> Drive:
    offsets = month.clocks[trait.place.timezone].offsets(month.from_s, month.steps)
    drive = drive_of(trait, month.made.period, (month.from_s, offsets), month.release)
    fill(drive, out)
    return drive


def _alive(entry: Entry, month: Month) -> tuple[int, int]:
    low = (entry.from_s - month.from_s) // STEP_S
    high = (entry.until_s - month.from_s) // STEP_S
    low = min(max(low, 0), month.steps)
    return low, min(max(high, low), month.steps)


def _shift(month: Month, trait: Trait, fault: Fault, out: npt.NDArray[np.uint16]) -> None:
    """Put what was measured some hours before or after in place of what was."""
    low = max(0, (fault.finding.from_s - month.from_s) // STEP_S)
    high = min(month.steps, (fault.finding.until_s - month.from_s) // STEP_S)
    from_s = month.from_s + low * STEP_S - int(fault.amount * 3600)
    offsets = month.clocks[trait.place.timezone].offsets(from_s, high - low)
    moved = np.zeros((6, high - low), np.uint16)
    fill_trait(trait, month.made.period, (from_s, offsets), moved)
    out[:, low:high] = moved


def _flat(
    month: Month, block: Sequence[tuple[int, Entry]], shares: npt.NDArray[np.uint16]
) -> dict[str, npt.NDArray[Any]]:
    numbers = np.array([number for number, _ in block], np.uint16)
    at = np.uint32(month.from_s) + np.arange(month.steps, dtype=np.uint32) * np.uint32(STEP_S)
    found: dict[str, npt.NDArray[Any]] = {
        "pop": np.repeat(numbers, month.steps),
        "at_s": np.tile(at, len(block)),
    }
    found |= {name: shares[:, 2 + one] for one, name in enumerate(_NAMES[2:])}
    return found


def _table(
    arrays: dict[str, npt.NDArray[Any]], copies: npt.NDArray[np.uint8], second: dict[int, float]
) -> pa.Table:
    """Rows as often as they are to be written; GPU and power are null where there is no GPU."""
    if not (copies == 1).all():
        taken = np.repeat(np.arange(copies.size), copies.reshape(-1))
        arrays = {name: one[taken] for name, one in arrays.items()}
        if second:
            again = np.flatnonzero(np.diff(taken, prepend=-1) == 0)
            for row in again[np.isin(taken[again], list(second))]:
                for name in ("out_bytes", "in_bytes"):
                    arrays[name][row] = int(int(arrays[name][row]) * second[int(taken[row])])
    bare = arrays["power_bp"] == 0
    columns = []
    for field in SAMPLES:
        if field.name in ("gpu_bp", "power_bp"):
            whole = bool(bare.all())
            made = (
                pa.nulls(len(bare), field.type)
                if whole
                else pa.array(arrays[field.name], field.type, mask=bare)
            )
        else:
            made = pa.array(arrays[field.name], field.type)
        columns.append(made)
    return pa.Table.from_arrays(columns, schema=SAMPLES)
