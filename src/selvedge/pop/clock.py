"""The PoP's one clock of the day."""

from __future__ import annotations

import time


def now_us() -> int:
    """Integer microseconds UTC."""
    return time.time_ns() // 1000
