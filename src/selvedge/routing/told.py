"""What a PoP told of one model, as plain numbers: a report taken apart.

A decision reads a dozen figures of each of a dozen candidates or more, and reading them off a
decoded struct costs more than what is done with them. So whoever hears a report takes it apart
once; in a simulation that is once for all ingresses.
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
