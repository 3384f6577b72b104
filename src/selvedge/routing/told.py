"""A report taken apart: what a PoP told of one model, as plain numbers.

A decision reads a dozen figures of each of a dozen candidates or more. Reading them off a decoded
struct costs more than what is done with them, so a report is taken apart once, when it is first
asked, and whoever reads it later, at any ingress of a simulation, finds it done.
"""

from __future__ import annotations


class Told:
    """What one report says of one model. Fields are those of `Report` and `ModelReport`."""

    __slots__ = (
        "at_us",
        "kv_free",
        "kv_free_share",
        "kv_held",
        "kv_tokens",
        "rate",
        "reserve",
        "residence_us",
        "running",
        "slots",
        "waiting",
    )

    def __init__(self, at_us: int, reserve: float, rate: int) -> None:
        self.at_us = at_us
        self.reserve = reserve
        self.rate = rate
        """Prompt tokens a second."""
        self.waiting = 0
        self.running = 0
        self.slots = 1
        self.residence_us = 0
        """How long an answer holds its memory; 0 where that is not known."""
        self.kv_tokens = 0
        """Of its memory; 0 where that is not known."""
        self.kv_free_share = 1.0
        self.kv_free = 0
        """Tokens that are free beyond what its queue wants; below 0 where that is more."""
        self.kv_held = 0
