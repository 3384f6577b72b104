"""What can be measured, and what its numbers mean in time."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from selvedge.plan.history import SHARES


class Kind(StrEnum):
    """What the numbers of a batch mean in time."""

    COUNTER = "counter"
    """Running totals, seen at `at_ms`: differences count. Wraps and resets are looked for."""
    GAUGE = "gauge"
    """Levels, seen at `at_ms`: an interval has their mean. Bytes are bytes per second here."""
    INTERVAL = "interval"
    """Whole intervals, from `at_ms` for `step_s`: the same one twice is a duplicate."""
    AMOUNT = "amount"
    """Something that happened at `at_ms`, or from then until `until_ms`: amounts add up.

    For log lines and flows. A reader adds up its own first: a row per PoP and five minutes.
    """


BYTES: Final = ("out_bytes", "in_bytes")
MEASURES: Final = (
    *BYTES,
    "capacity_bps",
    *SHARES,
    *("cpu_idle_ms", "memory_free_bytes", "memory_total_bytes", "power_w", "gpu_power_w"),
)
"""Columns a batch may have, each null where not measured.

- `out_bytes`, `in_bytes`: as in a history; several series of a PoP are added up
- `capacity_bps`: what the series can carry, one way; several series are added up
- `cpu_bp`, `memory_bp`, `gpu_bp`, `power_bp`: hundredths of a percent; the mean of several series
- `cpu_idle_ms`: COUNTER only, one series a processor: milliseconds it had nothing to do
- `memory_free_bytes`, `memory_total_bytes`: GAUGE only, one series a host
- `power_w`, `gpu_power_w`: GAUGE only, in watts, for the fleet file's `power_limit_kw`
"""
EXTRAS: Final = ("pop", "series", "at_ms", "until_ms", "flags", "uptime_ms", "width")
"""The other columns of a batch. `pop` and `at_ms` must be there.

- `pop`: string or dictionary of strings, as the source names it
- `series`: string or dictionary: interface, host, processor; leave it out where there is one
- `at_ms`, `until_ms`: int64, milliseconds since 1970-01-01 UTC
- `flags`: uint8, `Flag`, for what only the reader knows (SAMPLED, LATE)
- `uptime_ms`: COUNTER only: since the counter's device started; tells resets from wraps
- `width`: COUNTER only, uint8: 32 or 64 bits; 0 for one that never wraps (Prometheus)
"""
