"""What other PoPs say of themselves, as one ingress can have heard it, with its age.

Reports are pulled by the policy, candidate by candidate: whoever holds them (the live board, a
simulator) answers with the newest that can have arrived. Structs are decoded from the wire, so this
module is not compiled.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from selvedge.fabric import Ask
from selvedge.routing.told import Told


class ModelReport(msgspec.Struct, frozen=True):
    """One model at one PoP, or at one engine."""

    waiting_tokens: int
    """Uncached prompt tokens that wait or are being prefilled."""
    running: int
    """Answers that are being decoded."""
    slots: int
    """How many may run at once."""
    kv_free: float
    """Share of the KV blocks that is free or may be evicted, 0 to 1."""
    prefill_tokens_per_s: int
    """Prompt tokens it computes in a second beside the answers that run now."""
    kv_tokens: int = 0
    """Tokens that its KV memory holds; 0 where that is not known."""
    kv_wanted: int = 0
    """Tokens of memory that requests without any yet wait for."""
    residence_ms: int = 0
    """How long an answer holds its memory, of those that ended lately; 0 where not known."""

    def __post_init__(self) -> None:
        if self.waiting_tokens < 0 or self.running < 0 or self.slots < 1:
            raise ValueError("a load report counts from 0, and slots from 1")
        if self.kv_tokens < 0 or self.kv_wanted < 0 or self.residence_ms < 0:
            raise ValueError("kv_tokens, kv_wanted and residence_ms count from 0")
        if not 0 <= self.kv_free <= 1 or self.prefill_tokens_per_s < 1:
            raise ValueError("kv_free is from 0 to 1, prefill_tokens_per_s at least 1")


class Report(msgspec.Struct, frozen=True):
    """A PoP's load at ``at_us``."""

    pop: str
    at_us: int
    reserve: float
    """Headroom left of the content's, after the surge reserve, 0 to 1."""
    models: dict[str, ModelReport]


class Delta(msgspec.Struct, frozen=True):
    """What one PoP tells of one zone class: additions since ``number`` - 1, or a new beginning.

    ``bits_count`` is 0 in what continues; where it is not, the filter is made anew with so many.
    """

    pop: str
    zone: str
    model: str
    epoch: int
    number: int
    bits_count: int
    shorts: bytes

    @property
    def size(self) -> int:
        """Bytes of it that travel, with its names and numbers."""
        names = len(self.pop) + len(self.zone) + len(self.model)
        return len(self.shorts) + names + 24


class Signals(Protocol):
    """What one ingress has heard."""

    def report(self, pop: str, now_us: int) -> Report | None:
        """The newest report of ``pop`` that can have come here by now; None where none has."""

    def told(self, pop: str, model: str, now_us: int) -> Told | None:
        """What that report says of a model; None where it says nothing, or there is none."""

    def matched(self, pop: str, model: str, prefix: tuple[int, ...], now_us: int) -> int:
        """How many leading blocks of ``prefix`` the PoP's digest claims to hold, as seen here."""


@runtime_checkable
class Foresight(Protocol):
    """Signals that know what is to come: a simulator's, for the oracle."""

    def first_token_us(self, pop: str, ask: Ask, tokens: int) -> int:
        """Until the first token there, the way not counted, if a prompt of so many came now."""


class EngineState(msgspec.Struct, frozen=True):
    """One engine of this PoP, exactly and now."""

    engine: str
    load: ModelReport
    matched: int = 0
    """Leading blocks of the request's prefix that it holds."""


class EngineStates(Protocol):
    """The engines of this PoP, by their own word."""

    def state(self, engine: str, model: str, prefix: tuple[int, ...]) -> EngineState | None:
        """The state of one engine; None where it says nothing of itself."""
