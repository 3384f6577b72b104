"""What is true of a made history: what was asked, its faults, and its nights without them.

DATA/synth/asked.json       the options; who asks for others needs another folder
DATA/synth/2025-05.json     what was made of a month; the month is whole when it is there
DATA/truth.json             the faults as findings, true use by PoP and of the fleet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from selvedge.plan.history import WHOLE_BP, BadPlan, Finding
from selvedge.plan.synth.faults import Plan

_FOLDER: Final = "synth"
TRUTH: Final = "truth.json"
VERSION: Final = 1


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A history to be made."""

    version: int = VERSION
    pops: int = 4_100
    months: int = 18
    since: str = "2025-05"
    seed: int = 1
    faults: float = 0.05

    @classmethod
    def read(cls, folder: Path) -> Asked | None:
        """What the folder was made by; none where it is no made history. Raises `BadPlan`."""
        path = folder / _FOLDER / "asked.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise BadPlan(f"{path} cannot be read: {error}; name another folder.") from error

    def write(self, folder: Path) -> None:
        """Note it in the folder. Raises `OSError`."""
        _write(folder / _FOLDER / "asked.json", msgspec.json.encode(self))

    def words(self) -> str:
        """As options of the command."""
        return (
            f"--pops {self.pops} --months {self.months} --from {self.since} "
            f"--seed {self.seed} --faults {self.faults:g}"
        )


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A month that is whole."""

    month: str
    rows: int
    sums: list[list[int]]
    """By PoP of the manifest, as `series.night_sums` adds up."""

    @classmethod
    def read(cls, folder: Path, month: str) -> Note | None:
        """Of that month; none where it is not made, or not whole."""
        try:
            return msgspec.json.decode((folder / _FOLDER / f"{month}.json").read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def write(self, folder: Path) -> None:
        """Note that it is whole. Raises `OSError`."""
        _write(folder / _FOLDER / f"{self.month}.json", msgspec.json.encode(self))


class TrueUse(msgspec.Struct, frozen=True, kw_only=True):
    """Mean use of the network card without faults of data; shares of 1."""

    night: float
    """From 23:00 to 04:00 local time, each sample's use alike."""
    all_hours: float
    night_by_capacity: float
    """Bytes over what could have been carried: what is large counts for more."""
    all_hours_by_capacity: float
    night_samples: int
    samples: int


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """The truth file."""

    asked: Asked
    rows: int
    """Written, with duplicates and without gaps."""
    fleet: TrueUse
    """Of PoPs that the fleet file knows with a time zone."""
    pops: dict[str, TrueUse]
    outages: int
    findings: tuple[Finding, ...]


def write_truth(folder: Path, asked: Asked, plan: Plan, months: Sequence[str]) -> None:
    """Put it together of the months' notes. Raises `OSError`."""
    notes = [note for note in (Note.read(folder, month) for month in months) if note]
    by_pop = zip(*(note.sums for note in notes), strict=True)
    sums = [[sum(parts) for parts in zip(*rows, strict=True)] for rows in by_pop]
    known = [
        (entry.name, row)
        for entry, row in zip(plan.entries, sums, strict=True)
        if entry.name not in plan.unknown and entry.name not in plan.zones
    ]
    fleet = [sum(row[at] for _, row in known) for at in range(8)]
    truth = Truth(
        asked=asked,
        rows=sum(note.rows for note in notes),
        fleet=_use(fleet),
        pops={
            entry.name: _use(row) for entry, row in zip(plan.entries, sums, strict=True) if row[4]
        },
        outages=sum(len(entry.trait.outages) for entry in plan.entries),
        findings=tuple(fault.finding for fault in plan.faults),
    )
    _write(folder / TRUTH, msgspec.json.format(msgspec.json.encode(truth), indent=1))


def read_truth(folder: Path) -> Truth:
    """Of a made history. Raises `BadPlan`."""
    path = folder / TRUTH
    try:
        return msgspec.json.decode(path.read_bytes(), type=Truth)
    except (OSError, msgspec.MsgspecError) as error:
        words = "make the history with `selvedge plan synth`"
        raise BadPlan(f"{path} cannot be read as a truth file: {error}; {words}.") from error


def _use(row: Sequence[int]) -> TrueUse:
    return TrueUse(
        night=row[1] / max(1, row[0]) / WHOLE_BP,
        all_hours=row[5] / max(1, row[4]) / WHOLE_BP,
        night_by_capacity=row[3] / max(1, row[2]),
        all_hours_by_capacity=row[7] / max(1, row[6]),
        night_samples=row[0],
        samples=row[4],
    )


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(data)
    draft.replace(path)
