"""Requests as columns of numbers: what is left of each where a million of them would not fit.

One row per ended request, in the order in which they ended, 48 bytes each. Names are numbered as
they come. The digest covers every row, so that two runs with the same digest did the same.
"""

from __future__ import annotations

import hashlib
from array import array

from selvedge.fabric import Outcome, Receipt

NONE_US = -1
"""No first token came."""
UNKNOWN = -1


class Names:
    """Numbers for names, in the order in which they first came."""

    __slots__ = ("_number", "names")

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self.names: list[str] = []

    def number(self, name: str) -> int:
        """The number of a name; new names get the next."""
        known = self._number.get(name)
        if known is None:
            known = self._number[name] = len(self.names)
            self.names.append(name)
        return known


class Columns:
    """One row per ended request."""

    __slots__ = (
        "arrived_us",
        "cached_tokens",
        "ended_us",
        "ingress",
        "ingresses",
        "moved_on",
        "outcome",
        "outcomes",
        "output_tokens",
        "pops",
        "prompt_tokens",
        "served",
        "tenant",
        "tenants",
        "ttft_us",
        "watched",
        "watches",
    )

    def __init__(self, watches: str | None = None) -> None:
        self.watches = watches
        """The receipt of this id is kept whole."""
        self.watched: Receipt | None = None
        self.moved_on = 0
        """Complete answers after an attempt had failed unseen."""
        self.arrived_us = array("q")
        self.ended_us = array("q")
        self.ttft_us = array("q")
        self.prompt_tokens = array("i")
        self.cached_tokens = array("i")
        self.output_tokens = array("i")
        self.outcome = array("b")
        self.served = array("h")
        self.ingress = array("h")
        self.tenant = array("h")
        self.outcomes = Names()
        self.pops = Names()
        self.ingresses = Names()
        self.tenants = Names()
        self.outcomes.number(Outcome.COMPLETE.value)

    def __len__(self) -> int:
        return len(self.arrived_us)

    def add(self, receipt: Receipt) -> None:
        """A request ended with this receipt."""
        if receipt.id == self.watches:
            self.watched = receipt
        usage = receipt.usage
        cached = usage.cache_read if usage else 0
        first_us = receipt.first_token_us
        self.moved_on += receipt.outcome is Outcome.COMPLETE and len(receipt.attempts) > 1
        self.arrived_us.append(receipt.received_us)
        self.ended_us.append(receipt.ended_us)
        self.ttft_us.append(NONE_US if first_us is None else first_us - receipt.received_us)
        self.prompt_tokens.append(usage.input_uncached + cached if usage else 0)
        self.cached_tokens.append(cached)
        self.output_tokens.append(usage.output if usage else 0)
        self.outcome.append(self.outcomes.number(receipt.code or receipt.outcome.value))
        served = receipt.served_pop
        self.served.append(UNKNOWN if served is None else self.pops.number(served))
        self.ingress.append(self.ingresses.number(receipt.ingress_pop))
        self.tenant.append(self.tenants.number(receipt.tenant))

    def digest(self) -> str:
        """SHA-256, in hex, of every row and every name."""
        digest = hashlib.sha256()
        for column in (self.arrived_us, self.ended_us, self.ttft_us, self.prompt_tokens):
            digest.update(column)
        for column in (self.cached_tokens, self.output_tokens, self.outcome, self.served):
            digest.update(column)
        for column in (self.ingress, self.tenant):
            digest.update(column)
        for names in (self.outcomes, self.pops, self.ingresses, self.tenants):
            digest.update("\n".join([*names.names, ""]).encode())
        return digest.hexdigest()
