"""One sample: what a PoP's network card, processors and memory did in five minutes.

A history is Parquet, one file or more a month, sorted by PoP and time. Every number is an integer
with its unit in its name. A null is "not measured"; a row that is absent is a gap. Nothing is ever
filled in: what is estimated is flagged, and what is missing stays missing.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final

import pyarrow as pa

STEP_S: Final = 300
"""Seconds of one sample: the five minutes by which networks are billed."""
WHOLE_BP: Final = 10_000
"""A whole, in hundredths of a percent (basis points)."""
POPS_MAX: Final = 65_535
"""PoPs of one history: their numbers are 16 bits."""

RESOURCES: Final = ("nic", "cpu", "memory", "gpu", "power")
"""What can run out at a site. `nic` is derived: bytes over capacity; the others are columns."""
SHARES: Final = ("cpu_bp", "memory_bp", "gpu_bp", "power_bp")
"""Columns with a share in use, in hundredths of a percent of what is installed."""

SAMPLES: Final = pa.schema(
    [
        pa.field("pop", pa.uint16(), nullable=False),
        pa.field("at_s", pa.uint32(), nullable=False),
        pa.field("out_bytes", pa.uint64()),
        pa.field("in_bytes", pa.uint64()),
        pa.field("capacity_bps", pa.uint64()),
        *(pa.field(name, pa.uint16()) for name in SHARES),
        pa.field("flags", pa.uint8(), nullable=False),
    ]
)
"""The columns of every part.

- `pop`: position in the manifest's list of PoPs
- `at_s`: start of the interval, seconds since 1970-01-01 UTC, a multiple of `STEP_S`
- `out_bytes`, `in_bytes`: sent to and received from clients in the interval, all interfaces
- `capacity_bps`: bits per second that the interfaces could carry then, one way
- `cpu_bp`, `memory_bp`, `gpu_bp`, `power_bp`: mean share in use; more than a whole is allowed
- `flags`: `Flag`, 0 for a sample without reservations
"""


class Flag(IntFlag):
    """Why a sample is to be read with care."""

    LATE = 1
    """It came after the samples that follow it."""
    PARTIAL = 2
    """Less than the whole interval was seen: of the bytes, a lower bound."""
    RESET = 4
    """A counter began anew inside it: of the bytes, a lower bound."""
    SPREAD = 8
    """One reading over several intervals, shared out evenly among them."""
    SAMPLED = 16
    """Scaled up from sampled packets or flows."""
