"""The made series: a PoP's use of its network card, processors, memory, GPUs and power.

Every value is a function of seed, PoP and moment alone: noise is drawn from a hash of the moment,
and what hangs together over time is interpolated between drawn points 6 hours, 1 hour and 15
minutes apart. So any month can be made by itself, in any order, on any number of threads.

Shares are quantised as meters are: the network card's to a hundredth of a percent of its capacity,
the others to a tenth of a percent. That is also what makes a row small.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

SLOTS: Final = 288
"""Steps of a local day."""
NIGHT_FROM_S: Final = 23 * 3600
NIGHT_UNTIL_S: Final = 4 * 3600
"""The night of the seed figure: from 23:00 to 04:00 by the local clock."""

WIDTHS: Final = (72, 12, 3, 144)
"""Steps between drawn points of the lanes of noise: 6 hours, 1 hour, 15 minutes, 12 hours."""
KNEE, ROOM = 0.85, 0.15
"""Use bends above the knee: queues and adaptive bitrates hold it below the whole."""

# Columns of the traits that the kernel reads.
LEVEL, NOISE, RELEASE, IN_SHARE, CPU_BASE, CPU_SLOPE, MEMORY_BASE, GPU_BASE, TRAITS = range(9)


@njit(cache=True, inline="always")
def _mix(x: Any) -> Any:
    """Splitmix64's finaliser (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, inline="always")
def _hash(key: Any, lane: int, at: int) -> Any:
    step = np.uint64(0x9E3779B97F4A7C15)
    return _mix(key + np.uint64(lane) * np.uint64(0xD1342543DE82EF95) + np.uint64(at) * step)


@njit(cache=True, inline="always")
def _normal(h: Any) -> float:
    """Nearly normal, mean 0 and deviation 1: four uniform numbers of 16 bits together."""
    low = np.uint64(0xFFFF)
    total = (h & low) + ((h >> np.uint64(16)) & low) + ((h >> np.uint64(32)) & low)
    total += h >> np.uint64(48)
    return (float(total) - 131070.0) * (1.0 / 37837.0)


class Drive(NamedTuple):
    """What moves a PoP through a stretch of steps. `start`: steps since 1970."""

    key: Any
    start: int
    traits: Any
    curve: Any
    """Daily shapes by kind of day and slot, and in the third row the evening of sport."""
    days: Any
    """Kind of local day, and height of its sport, from the day before the first."""
    offsets: Any
    """Of the local clock, seconds by step."""
    release: Any
    growth: Any
    """What traffic over capacity is, by step, before day and week."""
    outage: Any
    """First step and the one after it."""


@njit(cache=True, inline="always")
def _move(key: Any, at: int, ends: Any, cells: Any, z: Any) -> None:
    """Noise that hangs together: interpolated between the ends of each lane's cell; the last
    number is the burst of the quarter of an hour, 1 mostly."""
    for lane in range(4):
        width = WIDTHS[lane]
        cell = at // width
        if cell != cells[lane]:
            next_door = cell == cells[lane] + 1
            ends[lane, 0] = ends[lane, 1] if next_door else _normal(_hash(key, lane, cell))
            ends[lane, 1] = _normal(_hash(key, lane, cell + 1))
            cells[lane] = cell
            if lane == 2:
                drawn = _hash(key, 9, cell)
                z[4] = 1.0
                if drawn >> np.uint64(48) < np.uint64(200):
                    part = (float(drawn & np.uint64(0xFFFFFF)) + 1.0) / 16777217.0
                    z[4] = min(2.0, 1.0 + 0.12 * (part**-0.5 - 1.0))
        part = (at - cell * width) / width
        z[lane] = ends[lane, 0] + (ends[lane, 1] - ends[lane, 0]) * part


@njit(cache=True, inline="always")
def _use(drive: Any, i: int, shape: float, z: Any, near: float) -> Any:
    """Of the network card, before it bends."""
    wave = 0.05 * z[0] + 0.04 * z[1] + 0.02 * z[2] + 0.012 * near
    use = shape * drive.traits[LEVEL] * drive.growth[i] * z[4]
    use *= (1.0 + drive.traits[RELEASE] * drive.release[i]) * (1.0 + drive.traits[NOISE] * wave)
    if drive.outage[0] <= i < drive.outage[1]:
        use *= 0.01 * (1.0 + 0.2 * near)
    if use > KNEE:
        over = (use - KNEE) / ROOM
        use = KNEE + ROOM * over / (1.0 + over)
    return max(use, 0.0004 + 0.0001 * abs(near))


@njit(cache=True, inline="always")
def _install(traits: Any, shape: float, use: float, z: Any, noise: Any) -> Any:
    """Received share, processors, memory, GPU and power, for a use of the network card."""
    near, far = noise
    got = use * traits[IN_SHARE] * (1.0 + 0.05 * z[1] + 0.02 * far)
    cpu = traits[CPU_BASE] + traits[CPU_SLOPE] * use + 0.012 * z[1] + 0.006 * far
    memory = traits[MEMORY_BASE] + 0.012 * z[0] + 0.02 * z[3] + 0.06 * use
    gpu = traits[GPU_BASE] * (0.75 + 0.25 * shape)
    gpu *= 1.0 + 0.12 * z[0] + 0.15 * z[1] + 0.05 * far
    gpu = min(max(gpu, 0.0), 1.0)
    power = min(0.30 + 0.2 * cpu + 0.42 * gpu + 0.004 * near, 1.05)
    return max(got, 0.0001), min(max(cpu, 0.01), 1.0), min(max(memory, 0.05), 0.98), gpu, power


@njit(cache=True, nogil=True)
def fill(drive: Any, out: Any) -> None:
    """One PoP's steps, as many as ``out`` has columns: network card, received, processors, memory,
    GPU, power; integers in hundredths of a percent, the first two of the card's capacity."""
    first_day = drive.start * 300 // 86_400 - 1
    ends = np.zeros((4, 2))
    cells = np.full(4, -1, np.int64)
    z = np.ones(5)
    for i in range(out.shape[1]):
        at = drive.start + i
        _move(drive.key, at, ends, cells, z)
        local = at * 300 + drive.offsets[i]
        day = local // 86_400
        slot = (local - day * 86_400) // 300
        kind = int(drive.days[0, day - first_day])
        h = _hash(drive.key, 10, at)
        near, far = _normal(h), _normal(_mix(h))
        shape = drive.curve[kind, slot]
        sport = drive.days[1, day - first_day] * drive.curve[2, slot]
        use = _use(drive, i, shape + sport, z, near)
        busy = shape / drive.curve[0, 240]
        got, cpu, memory, gpu, power = _install(drive.traits, busy, use, z, (near, far))
        out[0, i] = int(use * 10_000.0 + 0.5)
        out[1, i] = int(got * 10_000.0 + 0.5)
        out[2, i] = int(cpu * 1_000.0 + 0.5) * 10
        out[3, i] = int(memory * 1_000.0 + 0.5) * 10
        if drive.traits[GPU_BASE] > 0.0:
            out[4, i] = int(gpu * 1_000.0 + 0.5) * 10
            out[5, i] = int(power * 1_000.0 + 0.5) * 10


@njit(cache=True, nogil=True)
def night_sums(drive: Any, shares: Any, unit: Any, alive: Any, sums: Any) -> None:
    """Add up one PoP: samples, use, capacity and bytes of the nights, then of all hours.

    ``unit``: bytes of a hundredth of a percent of the capacity, by step.
    """
    for i in range(alive[0], alive[1]):
        clock = ((drive.start + i) * 300 + drive.offsets[i]) % 86_400
        use = np.int64(shares[i])
        whole = np.int64(unit[i]) // 1_000
        sums[4] += 1
        sums[5] += use
        sums[6] += whole * 10_000
        sums[7] += whole * use
        if clock >= NIGHT_FROM_S or clock < NIGHT_UNTIL_S:
            sums[0] += 1
            sums[1] += use
            sums[2] += whole * 10_000
            sums[3] += whole * use


def key_of(seed: int, number: int) -> np.uint64:
    """The hash key of a PoP's noise."""
    words = np.random.SeedSequence([seed, number, 1]).generate_state(1, np.uint64)
    return np.uint64(words[0])


Shares = npt.NDArray[np.uint16]
