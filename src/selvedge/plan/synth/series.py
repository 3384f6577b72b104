"""The made series: a PoP's use of its network card, processors, memory, GPUs and power.

Every value is a function of seed, PoP and moment alone: noise is drawn from a hash of the moment,
and what hangs together over time is interpolated between drawn points 6 hours, 1 hour and 15
minutes apart. So any month can be made by itself, in any order, on any number of threads.

Shares are quantised as meters are: the network card's to a hundredth of a percent of its capacity,
the others to a tenth of a percent. That is also what makes a row small.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

SLOTS: Final = 288
"""Steps of a local day."""
NIGHT_FROM_S: Final = 23 * 3600
NIGHT_UNTIL_S: Final = 4 * 3600
"""The night of the seed figure: from 23:00 to 04:00 by the local clock."""

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


@njit(cache=True, nogil=True)
def fill(
    key: Any,
    start: int,
    traits: Any,
    curve: Any,
    days: Any,
    offsets: Any,
    release: Any,
    growth: Any,
    outage: Any,
    out: Any,
) -> None:
    """One PoP's steps from ``start`` (steps since 1970), into ``out``: shares by resource.

    ``curve``: daily shapes by kind of day and slot, and the evening of sport. ``days``: kind of
    local day and height of its sport, from the day before the first. ``growth``: what traffic over
    capacity is, by step. ``outage``: first step and the one after it. ``out``: network card,
    received share, processors, memory, GPU, power; integers, the first two in hundredths of a
    percent of the capacity.
    """
    steps = out.shape[1]
    first_day = start * 300 // 86_400 - 1
    lanes = np.zeros((4, 2))
    cells = np.full(4, -1, np.int64)
    widths = np.array([72, 12, 3, 144])
    z = np.zeros(4)
    burst = 1.0
    noise = traits[NOISE]
    for i in range(steps):
        at = start + i
        for lane in range(4):
            cell = at // widths[lane]
            if cell != cells[lane]:
                if cell == cells[lane] + 1:
                    lanes[lane, 0] = lanes[lane, 1]
                else:
                    lanes[lane, 0] = _normal(_hash(key, lane, cell))
                lanes[lane, 1] = _normal(_hash(key, lane, cell + 1))
                cells[lane] = cell
                if lane == 2:
                    drawn = _hash(key, 9, cell)
                    burst = 1.0
                    if drawn >> np.uint64(48) < np.uint64(200):
                        part = (float(drawn & np.uint64(0xFFFFFF)) + 1.0) / 16777217.0
                        burst = min(2.0, 1.0 + 0.12 * (part**-0.5 - 1.0))
            part = (at - cells[lane] * widths[lane]) / widths[lane]
            z[lane] = lanes[lane, 0] + (lanes[lane, 1] - lanes[lane, 0]) * part
        local = at * 300 + offsets[i]
        day = local // 86_400
        slot = (local - day * 86_400) // 300
        kind = int(days[0, day - first_day])
        h = _hash(key, 10, at)
        near = _normal(h)
        far = _normal(_mix(h))
        use = curve[kind, slot] + days[1, day - first_day] * curve[2, slot]
        wave = 1.0 + noise * (0.05 * z[0] + 0.04 * z[1] + 0.02 * z[2] + 0.012 * near)
        use *= traits[LEVEL] * growth[i] * (1.0 + traits[RELEASE] * release[i]) * wave * burst
        if outage[0] <= i < outage[1]:
            use *= 0.01 * (1.0 + 0.2 * far)
        if use > KNEE:
            over = (use - KNEE) / ROOM
            use = KNEE + ROOM * over / (1.0 + over)
        use = max(use, 0.0004 + 0.0001 * abs(near))
        cpu = traits[CPU_BASE] + traits[CPU_SLOPE] * use + 0.012 * z[1] + 0.006 * far
        memory = traits[MEMORY_BASE] + 0.012 * z[0] + 0.02 * z[3] + 0.06 * use
        out[0, i] = int(use * 10_000.0 + 0.5)
        got = use * traits[IN_SHARE] * (1.0 + 0.05 * z[1] + 0.02 * far)
        out[1, i] = int(max(got, 0.0001) * 10_000.0 + 0.5)
        out[2, i] = int(min(max(cpu, 0.01), 1.0) * 1_000.0 + 0.5) * 10
        out[3, i] = int(min(max(memory, 0.05), 0.98) * 1_000.0 + 0.5) * 10
        if traits[GPU_BASE] > 0.0:
            gpu = traits[GPU_BASE] * (0.75 + 0.25 * curve[kind, slot] / curve[0, 240])
            gpu *= 1.0 + 0.12 * z[0] + 0.15 * z[1] + 0.05 * far
            gpu = min(max(gpu, 0.0), 1.0)
            out[4, i] = int(gpu * 1_000.0 + 0.5) * 10
            power = 0.30 + 0.2 * cpu + 0.42 * gpu + 0.004 * near
            out[5, i] = int(min(power, 1.05) * 1_000.0 + 0.5) * 10


@njit(cache=True, nogil=True)
def night_sums(shares: Any, offsets: Any, start: int, unit: Any, alive: Any, sums: Any) -> None:
    """Add up one PoP: samples, use, capacity and bytes of the nights, then of all hours.

    ``unit``: bytes of a hundredth of a percent of the capacity, by step.
    """
    for i in range(alive[0], alive[1]):
        clock = ((start + i) * 300 + offsets[i]) % 86_400
        use = np.int64(shares[i])
        sums[4] += 1
        sums[5] += use
        sums[6] += unit[i] * 10_000 // 1_000
        sums[7] += unit[i] * use // 1_000
        if clock >= NIGHT_FROM_S or clock < NIGHT_UNTIL_S:
            sums[0] += 1
            sums[1] += use
            sums[2] += unit[i] * 10_000 // 1_000
            sums[3] += unit[i] * use // 1_000


def key_of(seed: int, number: int) -> np.uint64:
    """The hash key of a PoP's noise."""
    words = np.random.SeedSequence([seed, number, 1]).generate_state(1, np.uint64)
    return np.uint64(words[0])


Shares = npt.NDArray[np.uint16]
