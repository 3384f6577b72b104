"""What goes wrong between a router's counters and a file of polls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.plan.history import Finding, FindingKind

POLL_FAULTS: Final[Mapping[FindingKind, tuple[float, int]]] = MappingProxyType(
    {
        "gap": (0.9, 40),
        "duplicate": (0.8, 6),
        "conflict": (0.5, 3),
        "late": (0.8, 12),
        "negative": (0.4, 1),
        "reset": (0.6, 1),
        "clock_shift": (0.4, 240),
        "renamed": (0.15, 1),
    }
)
"""Chance in a PoP's month, and polls at most; each at most once a month and PoP."""


class Polls(msgspec.Struct):
    """A month of polls of one interface, in order of time."""

    name: str
    port: str
    """The name before any renaming."""
    times: npt.NDArray[np.int64]
    out_octets: list[int]
    in_octets: list[int]
    bits: npt.NDArray[np.int64]
    speed_bps: npt.NDArray[np.int64]
    uptime_s: npt.NDArray[np.int64]


class _Sheet:
    """The rows of all interfaces, poll by poll, with where each arrives."""

    def __init__(self, polls: Sequence[Polls]) -> None:
        self.ports = len(polls)
        self.steps = len(polls[0].times)

        def laid(values: Sequence[Any]) -> npt.NDArray[Any]:
            return np.array(values, dtype=object).reshape(self.ports, self.steps).T.reshape(-1)

        self.rows = {
            "time": laid([one.times.tolist() for one in polls]),
            "interface": laid([[one.name] * self.steps for one in polls]),
            "out_octets": laid([one.out_octets for one in polls]),
            "in_octets": laid([one.in_octets for one in polls]),
            "bits": laid([one.bits.tolist() for one in polls]),
            "speed_bps": laid([one.speed_bps.tolist() for one in polls]),
            "uptime_s": laid([one.uptime_s.tolist() for one in polls]),
        }
        self.arrival = np.arange(self.ports * self.steps, dtype=np.float64)
        self.kept = np.ones(self.ports * self.steps, bool)
        self.more: list[tuple[float, int, dict[str, Any]]] = []

    def at(self, port: int, poll: int) -> int:
        """The row of a port's poll."""
        return poll * self.ports + port

    def name(self, port: int, poll: int) -> str:
        """What the interface is called then."""
        return str(self.rows["interface"][self.at(port, poll)])

    def columns(self) -> dict[str, list[Any]]:
        """All rows in order of arrival; octets as text, as some are negative."""
        order: list[tuple[float, int, dict[str, Any]]] = [
            (self.arrival[at], int(at), {}) for at in np.flatnonzero(self.kept)
        ]
        order += self.more
        order.sort(key=lambda one: (one[0], one[1]))
        found: dict[str, list[Any]] = {}
        for name, values in self.rows.items():
            found[name] = [change.get(name, values[at]) for _, at, change in order]
        for name in ("out_octets", "in_octets"):
            found[name] = [str(value) for value in found[name]]
        return found


def damage(
    polls: Sequence[Polls],
    plan: Mapping[str, tuple[int, int]],
    where: tuple[str, int],
    rng: np.random.Generator,
) -> tuple[list[Finding], dict[str, list[Any]]]:
    """The rows of a PoP's month as they arrive, and what is wrong with them."""
    sheet = _Sheet(polls)
    findings = []
    if "renamed" in plan:
        findings.append(_rename(sheet, polls[0], plan["renamed"][0], where[0]))
    findings += _wraps(sheet, polls, plan, where[0])
    for kind, (start, count) in plan.items():
        if kind == "renamed":
            continue
        whole = kind in ("gap", "reset", "clock_shift")
        ports = range(len(polls)) if whole else [int(rng.integers(len(polls)))]
        for port in ports[:1] if kind == "clock_shift" else ports:
            # Times of the finding are the device's own, not what a jumping clock says.
            times = polls[port].times
            from_s, last, after = (int(times[start + at]) for at in (0, count - 1, count))
            finding = Finding(
                kind=kind,  # type: ignore[arg-type]  # a key of POLL_FAULTS
                pop=where[0],
                series="" if kind == "clock_shift" else sheet.name(port, start),
                from_s=from_s,
                until_s=after if kind in ("gap", "clock_shift") else last + 1,
                count=count * (len(polls) if kind == "clock_shift" else 1),
                detail=_DETAILS[kind].format(count=count),
            )
            findings.append(finding)
        _change(sheet, kind, ports, (start, count, rng))
    return findings, sheet.columns()


def _rename(sheet: _Sheet, polls: Polls, start: int, pop: str) -> Finding:
    new = "xe-0/0/0" if polls.name == polls.port else polls.port
    for poll in range(start, sheet.steps):
        sheet.rows["interface"][sheet.at(0, poll)] = new
    at = int(polls.times[start])
    detail = f"{polls.name} goes on as {new}"
    return Finding(
        kind="renamed", pop=pop, series=polls.name, from_s=at, until_s=at + 1, detail=detail
    )


_DETAILS: Final = MappingProxyType(
    {
        "gap": "{count} polls are missing",
        "duplicate": "{count} rows stand there twice",
        "conflict": "{count} rows have a second one with other octets; the first is true",
        "late": "{count} rows arrive after later ones",
        "negative": "an exporter that knows signed numbers only",
        "reset": "the device was restarted 30 s before",
        "clock_shift": "the poller's clock was wrong for {count} polls",
    }
)


def _change(
    sheet: _Sheet, kind: str, ports: Sequence[int], what: tuple[int, int, np.random.Generator]
) -> None:
    start, count, rng = what
    jump = int(rng.integers(600, 7200)) * (1 if rng.random() < 0.5 else -1)
    delay = float(rng.integers(5, 200))
    for poll in range(start, start + count):
        for port in ports:
            row = sheet.at(port, poll)
            if kind == "gap":
                sheet.kept[row] = False
            elif kind == "duplicate":
                sheet.more.append((row + float(rng.integers(0, 4)) + 0.5, row, {}))
            elif kind == "conflict":
                part = float(rng.uniform(1.01, 1.3))
                octets = int(sheet.rows["out_octets"][row] * part) % 2 ** sheet.rows["bits"][row]
                sheet.more.append((row + 0.5, row, {"out_octets": octets}))
            elif kind == "late":
                sheet.arrival[row] += (count + delay) * sheet.ports + 0.5
            elif kind == "negative":
                sheet.rows["out_octets"][row] = -1
            elif kind == "clock_shift":
                sheet.rows["time"][row] += jump


def _wraps(
    sheet: _Sheet, polls: Sequence[Polls], plan: Mapping[str, tuple[int, int]], pop: str
) -> list[Finding]:
    """One finding for each interface that wraps in the month, with how often."""
    found = []
    restart = plan["reset"][0] if "reset" in plan else -1
    for port, one in enumerate(polls):
        falls: set[int] = set()
        for values in (one.out_octets, one.in_octets):
            falls |= {at for at in range(1, len(values)) if values[at] < values[at - 1]}
        falls.discard(restart)
        if falls:
            first, last = min(falls), max(falls)
            finding = Finding(
                kind="wrap",
                pop=pop,
                series=sheet.name(port, first),
                from_s=int(one.times[first]),
                until_s=int(one.times[last]) + 1,
                count=len(falls),
                detail=f"{one.bits[0]} bits",
            )
            found.append(finding)
    return found
