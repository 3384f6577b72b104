"""What a policy chooses from and what it says: candidates in, attempts out.

A candidate is a PoP of the allowed set that serves the model; there is no other way to name a PoP,
so that a policy cannot choose outside. An attempt says what was predicted, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

from selvedge.fabric import Ask
from selvedge.fabric.value import Value
from selvedge.routing.told import Told

BYTES_PER_TOKEN: Final = 4
"""English prose at common vocabularies, until a model has shown its own ratio."""
BLOCK_BYTES: Final = 1024
"""Of a fingerprint's block; see `wire.prefix`."""
ATTEMPTS_MAX: Final = 3
_BITS: Final = 0x7FFFFFFF


class Attempt(Value, frozen=True):
    """One engine to try. ``engine`` is None where the serving PoP chooses among its own.

    ``wait_us`` is the part of ``ttft_us`` that is spent in queues. ``patience_us`` is how long the
    first token may take from the request's arrival at the PoP, by its own exact state; if longer,
    the PoP sends the request back at once, and the next attempt is better. 0: it is not asked.
    """

    pop: str
    country: str
    engine: str | None
    ttft_us: int
    reason: str
    wait_us: int = 0
    patience_us: int = 0


class Plan(Value, frozen=True):
    """A short, ordered list of attempts, best first; never empty."""

    attempts: tuple[Attempt, ...]

    def __post_init__(self) -> None:
        if not self.attempts:
            raise ValueError("a plan has at least one attempt: otherwise it is a refusal")


class Seat:
    """One engine that this PoP asks itself, and the place under which its load is counted."""

    __slots__ = ("engine", "place", "rate")

    def __init__(self, engine: str, place: str, rate: int) -> None:
        self.engine = engine
        self.place = place
        self.rate = rate
        """Prompt tokens a second."""


class Outlook:
    """What a policy last made of a candidate: what it told, and what that comes to now."""

    __slots__ = ("blocks", "cost", "crowd", "prefill", "price", "told", "ttft", "wait")

    def __init__(self) -> None:
        self.told: Told | None = None
        """What its report says of the model; None where it says nothing."""
        self.price = 0
        """Of the headroom that it tells of."""
        self.blocks = 0
        self.wait = 0
        self.prefill = 0
        self.ttft = 0
        self.crowd = 0
        self.cost = 0


class Candidate:
    """A site that may serve a request, as this ingress sees it. ``seats`` are empty where another
    PoP chooses among its engines.
    """

    __slots__ = ("country", "outlook", "pop", "rate", "rtt_us", "seats", "seed")

    def __init__(
        self,
        pop: str,
        country: str,
        rtt_us: int,
        rate: int,
        *,
        seats: tuple[Seat, ...] = (),
        seed: int | None = None,
    ) -> None:
        self.pop = pop
        self.country = country
        self.rtt_us = rtt_us
        self.rate = rate
        """Prompt tokens a second, of its fastest engine, as the release says."""
        self.seats = seats
        self.seed: int = seed_of(pop) if seed is None else seed
        """That of its name; to be given where it is known already."""
        self.outlook = Outlook()


class Draws:
    """Draws that depend on a seed and on how many came before: chance that can be run again."""

    __slots__ = ("_count", "_seed")

    def __init__(self, seed: str) -> None:
        self._seed = seed_of(seed)
        self._count = 0

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1."""
        self._count = (self._count + 1) & _BITS
        return mix(self._seed, self._count * 0x9E3779B & _BITS) % limit


def seed_of(name: str) -> int:
    """31 bits of a name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big") & _BITS


def mix(seed: int, number: int) -> int:
    """31 well-mixed bits of two numbers of 31 bits.

    A multiply and xor-shift finaliser (as in MurmurHash3), in a size whose products stay small
    integers.
    """
    mixed = ((seed ^ number) * 0x45D9F3B) & _BITS
    mixed = ((mixed ^ (mixed >> 15)) * 0x2C1B3C6D) & _BITS
    mixed = ((mixed ^ (mixed >> 13)) * 0x297A2D39) & _BITS
    return mixed ^ (mixed >> 16)


def fold(number: int) -> int:
    """31 bits of a fingerprint."""
    return (number ^ (number >> 31) ^ (number >> 62)) & _BITS


def prompt_tokens_of(ask: Ask, ratios: Mapping[str, float] | None = None) -> int:
    """Prompt tokens estimated from the body's bytes; ``ratios`` are bytes a token, by model."""
    if ratios:
        return int(ask.prompt_bytes / ratios.get(ask.model, float(BYTES_PER_TOKEN))) + 1
    return ask.prompt_bytes // BYTES_PER_TOKEN + 1


def block_tokens_of(ask: Ask, ratios: Mapping[str, float] | None = None) -> int:
    """Prompt tokens that one block of the request's prefix stands for."""
    if ask.block_tokens:
        return ask.block_tokens
    ratio = ratios.get(ask.model, float(BYTES_PER_TOKEN)) if ratios else float(BYTES_PER_TOKEN)
    return int(BLOCK_BYTES / ratio)
