"""What an administrator was told, against what the store says in the end. Pure.

An act that was answered is done for good and has its lines in the audit. One whose answer was lost
is done whole or not at all: its rows and its lines are both there, or neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

LINES: Mapping[str, tuple[str, ...]] = {
    "create": ("key.create",),
    "revoke": ("key.revoke",),
    "rotate": ("key.create", "key.rotate"),
    "limit": ("key.set",),
    "project": ("project.set", "project.create"),
}
"""By kind of act, the lines that it may leave."""

Row = dict[str, Any]  # Any: JSON


@dataclass(slots=True)
class HeldKey:
    """A key as its maker knows it. Times are of `time.monotonic`; None: not answered."""

    id: str
    secret: str | None = None
    made_s: float | None = None
    revoke_sent: bool = False
    revoked_s: float | None = None


@dataclass(slots=True)
class Done:
    """One act that was answered."""

    kind: str
    what: str
    request_id: str
    row: Row


@dataclass(slots=True)
class Register:
    """All acts of all administrators."""

    keys: dict[str, HeldKey] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)
    sent: int = 0
    unanswered: int = 0
    away: int = 0
    refused: list[str] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)

    def living(self) -> list[HeldKey]:
        """Keys that were made, and that nobody asked to be revoked."""
        return [one for one in self.keys.values() if one.secret and not one.revoke_sent]

    def revoked(self) -> list[HeldKey]:
        """Keys whose revocation was acknowledged."""
        return [one for one in self.keys.values() if one.secret and one.revoked_s is not None]


def audit_register(
    register: Register, keys: Iterable[Row], lines: Sequence[Row]
) -> dict[str, list[str]]:
    """What should not be, by kind: empty lists where all holds."""
    rows = {row["id"]: row for row in keys}
    by_request: dict[str, list[Row]] = {}
    for line in lines:
        by_request.setdefault(line["request_id"], []).append(line)
    return {
        "keys_lost": _lost(register, rows),
        "keys_came_back": _came_back(register, rows),
        "acts_without_audit": list(_unwritten(register, by_request)),
        "acts_halved": list(_halved(register, rows, lines)),
        "stamps_out_of_order": _disorder(lines),
    }


def _lost(register: Register, rows: Mapping[str, Row]) -> list[str]:
    """Made and acknowledged, and not there, or revoked though nobody asked for it."""
    lost = [one.id for one in register.keys.values() if one.made_s and one.id not in rows]
    held = [one.id for one in register.living() if one.id in rows]
    return lost + [name for name in held if rows[name]["removed_us"] is not None]


def _came_back(register: Register, rows: Mapping[str, Row]) -> list[str]:
    ids = [one.id for one in register.revoked()]
    return [name for name in ids if name in rows and rows[name]["removed_us"] is None]


def _unwritten(register: Register, by_request: Mapping[str, list[Row]]) -> Iterable[str]:
    """Acknowledged acts whose lines are missing, are too many, or say something else."""
    for act in register.done:
        lines = by_request.get(act.request_id, [])
        names = sorted(line["act"] for line in lines)
        wanted = LINES[act.kind]
        whole = tuple(names) == wanted if act.kind == "rotate" else names in [[w] for w in wanted]
        if not whole or not any(line["after"] == act.row for line in lines):
            yield f"{act.kind} {act.what} {act.request_id}: {names}"


def _halved(register: Register, rows: Mapping[str, Row], lines: Sequence[Row]) -> Iterable[str]:
    """Keys whose row and whose lines do not tell the same, acknowledged or not."""
    newest: dict[str, Row] = {}
    made: dict[str, int] = {}
    for line in sorted(lines, key=lambda one: one["stamp"]):
        kind, _, name = line["what"].partition(" ")
        if kind == "key":
            newest[name] = line["after"]
            made[name] = made.get(name, 0) + (line["act"] == "key.create")
    for name in register.keys:
        row, last = rows.get(name), newest.get(name)
        if row != last or made.get(name, 0) != (row is not None):
            yield f"key {name}: {row} in the store, {last} in the audit"


def _disorder(lines: Sequence[Row]) -> list[str]:
    stamps = [line["stamp"] for line in lines]
    return [str(one) for one, other in pairwise(stamps) if one <= other]
