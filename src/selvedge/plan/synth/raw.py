"""Raw polls of interface counters, as an SNMP poller writes them, for some PoPs of a made fleet.

    DATA/raw/2025-05/POP.csv      a row is one poll of one interface, in order of arrival
    DATA/raw/2025-05/POP-32.csv   the same of an interface whose counters have 32 bits
    DATA/raw/truth.json           faults as findings, true bytes by PoP and month
    DATA/raw/expected.parquet     the true five minutes of these PoPs, without any fault

Polls come every five minutes with a phase and a jitter, so that they never lie on the history's
steps. Counters are of 64 bits; one interface in some PoPs is old, slow and of 32 bits, and wraps at
most once between two polls. Columns have their names and units of IF-MIB (RFC 2863).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from selvedge.plan.history import (
    SAMPLES,
    STEP_S,
    WHOLE_BP,
    BadPlan,
    Finding,
    write_parquet,
)
from selvedge.plan.synth.calendars import DAY_S, Clock, month_name
from selvedge.plan.synth.faults import Entry
from selvedge.plan.synth.making import Made
from selvedge.plan.synth.polls import POLL_FAULTS, Polls, damage
from selvedge.plan.synth.traits import fill_trait

OLD_BPS: Final = 100_000_000
"""Of the old interface, whose counters have 32 bits."""
OLD_USE: Final = 0.6
JITTER_S: Final = 4
COLUMNS: Final = MappingProxyType(
    {
        64: ("", "ifHCOutOctets", "ifHCInOctets", "ifHighSpeed"),
        32: ("-32", "ifOutOctets", "ifInOctets", "ifSpeed"),
    }
)
"""By the bits of a counter: the end of the file's name, and the columns that depend on them."""
Counts = npt.NDArray[np.int64]


class RawTruth(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of the raw polls."""

    findings: tuple[Finding, ...]
    bytes: Mapping[str, Mapping[str, tuple[int, int]]]
    """By PoP and UTC month, sent and received, between its first and its last poll."""


class Interface(msgspec.Struct, frozen=True):
    """One port of a PoP's router."""

    name: str
    bits: int
    bytes: tuple[Counts, Counts]
    """True bytes by step, sent and received."""
    speed_bps: Counts
    """By step."""
    base: tuple[int, int]
    """Where its counters stood at the start."""


def write_raw(folder: Path, made: Made, count: int) -> RawTruth:
    """Write the polls of the first ``count`` PoPs that are whole. Raises `OSError`."""
    chosen = [
        (number, entry)
        for number, entry in enumerate(made.plan.entries)
        if entry.until_s - entry.from_s == made.months[-1] - made.months[0]
        and entry.name not in made.plan.unknown
    ][:count]
    findings: list[Finding] = []
    totals: dict[str, dict[str, tuple[int, int]]] = {}
    expected = []
    for number, entry in chosen:
        rng = np.random.default_rng([made.asked.seed, 13, number])
        ports = _interfaces(made, entry, number, rng)
        found, totals[entry.name] = _write_pop(folder / "raw", made, entry, ports, rng)
        findings += found
        expected.append(_expected(made, number, ports))
    truth = RawTruth(findings=tuple(findings), bytes=totals)
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    write_parquet(folder / "raw" / "expected.parquet", pa.concat_tables(expected))
    data = msgspec.json.format(msgspec.json.encode(truth), indent=1)
    (folder / "raw" / "truth.json").write_bytes(data)
    return truth


def read_raw_truth(folder: Path) -> RawTruth:
    """Of the raw polls of a made history. Raises `BadPlan`."""
    path = folder / "raw" / "truth.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=RawTruth)
    except (OSError, msgspec.MsgspecError) as error:
        words = "make it with `selvedge plan synth --raw`"
        raise BadPlan(f"{path} cannot be read as a truth file: {error}; {words}.") from error


def _interfaces(made: Made, entry: Entry, number: int, rng: np.random.Generator) -> list[Interface]:
    """The PoP's traffic over two to four ports, and over an old one at every third PoP."""
    shares, capacity = _whole(made, entry)
    unit = capacity * STEP_S // (8 * WHOLE_BP)
    ports = int(rng.integers(2, 5))
    weights = rng.dirichlet(np.full(ports, 40.0))
    rest = [shares[0] * unit, shares[1] * unit]
    found = []
    for at in range(ports):
        last = at == ports - 1
        mine = [rest[way] if last else _part(shares[way] * unit, weights[at]) for way in (0, 1)]
        rest = [rest[way] - mine[way] for way in (0, 1)]
        # One port's counter stands near its end: it wraps in the first month.
        near = 2**64 - int(mine[0][:2000].sum()) if at == 0 else int(rng.integers(2**50))
        base = (near, int(rng.integers(2**50)))
        found.append(Interface(f"eth{at}", 64, (mine[0], mine[1]), capacity // ports, base))
    if number % 3 == 0:
        full = OLD_BPS // 8 * STEP_S
        slow = [(shares[way] * (OLD_USE * full / WHOLE_BP)).astype(np.int64) for way in (0, 1)]
        speed = np.full(len(capacity), OLD_BPS, np.int64)
        base = (int(rng.integers(2**32)), int(rng.integers(2**32)))
        found.append(Interface("fe0", 32, (slow[0], slow[1]), speed, base))
    return found


def _part(whole: Counts, weight: float) -> Counts:
    found: Counts = (whole * weight).astype(np.int64)
    return found


def _whole(made: Made, entry: Entry) -> tuple[Counts, Counts]:
    """Sent and received in hundredths of a percent of the capacity, and that, by step."""
    first, last = made.months[0], made.months[-1]
    clock = Clock(entry.trait.place.timezone, first - 2 * DAY_S, last + 2 * DAY_S)
    parts = []
    for from_s, until_s in zip(made.months, made.months[1:], strict=False):
        steps = (until_s - from_s) // STEP_S
        shares = np.zeros((6, steps), np.uint16)
        when = (from_s, clock.offsets(from_s, steps))
        fill_trait(entry.trait, made.period, when, shares)
        parts.append(shares[:2])
    capacity = entry.trait.capacity(first, (last - first) // STEP_S)
    return np.concatenate(parts, axis=1).astype(np.int64), capacity.astype(np.int64)


def _write_pop(
    folder: Path, made: Made, entry: Entry, ports: Sequence[Interface], rng: np.random.Generator
) -> tuple[list[Finding], dict[str, tuple[int, int]]]:
    phase = int(rng.integers(JITTER_S + 1, STEP_S - JITTER_S))
    booted = made.months[0] - int(rng.integers(10**5, 10**7))
    findings = list(_capacity(entry, ports))
    renamed: dict[str, str] = {}
    for from_s, until_s in zip(made.months, made.months[1:], strict=False):
        steps = (until_s - from_s) // STEP_S
        jitter = rng.integers(-JITTER_S, JITTER_S + 1, steps)
        times = from_s + STEP_S * np.arange(steps) + phase + jitter
        plan = _plan_faults(rng, steps, entry, from_s)
        reset = plan.get("reset")
        restart = int(times[reset[0]]) - 30 if reset is not None else 0
        polls = [
            _poll(made, port, times, renamed.get(port.name, port.name), (booted, restart))
            for port in ports
        ]
        if restart:
            booted = restart
        found, rows = damage(polls, plan, (entry.name, from_s), rng)
        findings += found
        for one in found:
            if one.kind == "renamed":
                new = one.detail.rpartition(" ")[2]
                renamed[ports[0].name] = new
        _write(folder / month_name(from_s), entry.name, rows)
    return findings, _totals(made, ports, phase)


def _plan_faults(
    rng: np.random.Generator, steps: int, entry: Entry, from_s: int
) -> dict[str, tuple[int, int]]:
    """By kind, first poll and how many; each on a day of its own, with a day between."""
    days = list(range(2, steps // 288 - 1, 2))
    upgrade = (entry.trait.upgrade_s - from_s) // DAY_S
    days = [day for day in days if abs(day - upgrade) > 1]
    order = rng.permutation(days)
    found: dict[str, tuple[int, int]] = {}
    for day, (kind, (chance, longest)) in zip(order, POLL_FAULTS.items(), strict=False):
        length = int(rng.integers(1, longest + 1))
        start = int(day) * 288 + int(rng.integers(1, 288 - length))
        if rng.random() < chance:
            found[kind] = (start, length)
    return found


def _poll(made: Made, port: Interface, times: Counts, name: str, boots: tuple[int, int]) -> Polls:
    """What the device answers; ``boots``: the restart before the month, and one in it or 0."""
    booted, restart = boots
    after = (times >= restart) if restart else np.zeros(len(times), bool)
    up = np.where(after, times - restart, times - booted)
    since = made.months[0]
    counters = []
    for way in (0, 1):
        sums = np.concatenate([[0], np.cumsum(port.bytes[way])])
        start = port.base[way] if booted < since else -_carried(sums, since, booted)
        again = -_carried(sums, since, restart) if restart else 0
        seen = [_carried(sums, since, int(at)) for at in times]
        counters.append(
            [
                (value + (again if late else start)) % 2**port.bits
                for value, late in zip(seen, after, strict=True)
            ]
        )
    speed = port.speed_bps[(times - since) // STEP_S]
    width = np.full(len(times), port.bits)
    return Polls(name, port.name, times.copy(), counters[0], counters[1], width, speed, up)


def _carried(sums: Counts, since: int, at_s: int) -> int:
    """Bytes from the start until then: evenly within a step."""
    step, rest = divmod(at_s - since, STEP_S)
    if step < 0:
        return 0
    if step >= len(sums) - 1:
        return int(sums[-1])
    return int(sums[step]) + (int(sums[step + 1]) - int(sums[step])) * rest // STEP_S


def _capacity(entry: Entry, ports: Sequence[Interface]) -> Iterator[Finding]:
    trait = entry.trait
    for port in ports:
        changes = np.flatnonzero(np.diff(port.speed_bps))
        for at in changes:
            yield Finding(
                kind="capacity_change",
                pop=entry.name,
                series=port.name,
                from_s=trait.upgrade_s,
                until_s=trait.upgrade_s + STEP_S,
                detail=f"from {port.speed_bps[at]} to {port.speed_bps[at + 1]} bit/s",
            )


def _totals(made: Made, ports: Sequence[Interface], phase: int) -> dict[str, tuple[int, int]]:
    """Bytes by month between the first poll and the last one, but for the polls' jitter."""
    first, last = made.months[0] + phase, made.months[-1] - STEP_S + phase
    found = {}
    for from_s, until_s in zip(made.months, made.months[1:], strict=False):
        ways = []
        for way in (0, 1):
            total = 0
            for port in ports:
                sums = np.concatenate([[0], np.cumsum(port.bytes[way])])
                high = _carried(sums, made.months[0], min(until_s, last))
                total += high - _carried(sums, made.months[0], max(from_s, first))
            ways.append(total)
        found[month_name(from_s)] = (ways[0], ways[1])
    return found


def _write(folder: Path, pop: str, rows: Mapping[str, Sequence[Any]]) -> None:
    """A file for each width of counters that there is."""
    table = pa.table({name: pa.array(values) for name, values in rows.items()})
    folder.mkdir(parents=True, exist_ok=True)
    for bits, (end, sent, received, speed) in COLUMNS.items():
        some = table.filter(pc.equal(table["bits"], bits))
        if not some.num_rows:
            continue
        bps = some["speed_bps"]
        columns = {
            "time": some["time"],
            "pop": pa.array([pop] * some.num_rows),
            "interface": some["interface"],
            sent: some["out_octets"],
            received: some["in_octets"],
            speed: pc.divide(bps, 10**6) if bits == 64 else bps,
            "sysUpTime": pc.multiply(some["uptime_s"], 100),
        }
        options = pa.csv.WriteOptions(quoting_style="none", quoting_header="none")
        pa.csv.write_csv(pa.table(columns), folder / f"{pop}{end}.csv", options)


def _expected(made: Made, number: int, ports: Sequence[Interface]) -> pa.Table:
    steps = (made.months[-1] - made.months[0]) // STEP_S
    values = {
        "pop": np.full(steps, number, np.uint16),
        "at_s": made.months[0] + STEP_S * np.arange(steps),
        "out_bytes": sum(port.bytes[0] for port in ports),
        "in_bytes": sum(port.bytes[1] for port in ports),
        "capacity_bps": sum(port.speed_bps for port in ports),
        "flags": np.zeros(steps, np.uint8),
    }
    columns = [
        pa.array(values[field.name]).cast(field.type)
        if field.name in values
        else pa.nulls(steps, field.type)
        for field in SAMPLES
    ]
    return pa.Table.from_arrays(columns, schema=SAMPLES)
