"""Seeded traffic: who asks what, where and when, and how patient they are.

A flow is the Poisson stream of one key at one ingress PoP; each has its own seeded generator, so
that adding a flow changes no other. Bodies are real JSON, built once per size and shared. Arrivals
are lazy: ten million of them need the memory of one per flow. It refuses to know how a request
ends: a client's plans are data, and the interpreter carries them out.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import Final

import msgspec

from selvedge.fabric import Ask, Route
from selvedge.routing import BYTES_PER_TOKEN
from selvedge.sim.engines import SECOND_US, Work

DEADLINE_US: Final = 600 * SECOND_US
MALFORMED: Final = b'{"model": "malformed", "messages": ['
UNKNOWN_MODEL: Final = "no-such-model"
_WORDS: Final = "so that every prompt has the bytes its tokens would have, "


class Arrival(msgspec.Struct, frozen=True):
    """One client's request and its plans. Delays run from ``at_us``, the moment of its head.

    ``key`` names a key of the release; an unknown one is a client whom nobody knows. A client that
    leaves after a number of tokens can only do so where it asked for a stream.
    """

    at_us: int
    ingress: str
    key: str
    body: bytes
    work: Work
    route: Route = Route.CHAT
    body_after_us: int = 0
    leaves_after_us: int | None = None
    leaves_after_tokens: int | None = None
    deadline_after_us: int = DEADLINE_US
    ask: Ask | None = None
    """The facts of the body, where they are known without reading one; ``body`` is then empty."""


class Shares(msgspec.Struct, frozen=True):
    """How many of a flow's requests are out of the ordinary, in parts of one."""

    streams: float = 0.9
    leaves_after_tokens: float = 0.03
    leaves_after_time: float = 0.02
    short_deadline: float = 0.02
    unknown_key: float = 0.01
    malformed: float = 0.005
    unknown_model: float = 0.005


class Flow(msgspec.Struct, frozen=True):
    """Poisson arrivals of one key at one PoP, ``per_hour`` on average.

    ``prompts`` are sizes in tokens with their weights; answers are exponential around
    ``output_tokens_mean``, cut at ``output_tokens_max``.
    """

    ingress: str
    key: str
    model: str
    per_hour: float
    prompts: tuple[tuple[int, int], ...] = ((32, 4), (96, 3), (256, 2), (512, 1))
    output_tokens_mean: int = 40
    output_tokens_max: int = 256
    patience_us: int = 8 * SECOND_US
    """Mean of the random times after which clients leave, and of short deadlines."""
    shares: Shares = Shares()


@functools.lru_cache(maxsize=1024)
def chat_body(model: str, prompt_tokens: int, stream: bool) -> bytes:
    """A chat request of about this many prompt tokens, as routing estimates them from bytes."""
    text = _WORDS * (prompt_tokens * BYTES_PER_TOKEN // len(_WORDS) + 1)
    fields = {"model": model, "messages": [{"role": "user", "content": ""}], "stream": stream}
    room = prompt_tokens * BYTES_PER_TOKEN - len(msgspec.json.encode(fields))
    fields["messages"] = [{"role": "user", "content": text[: max(room, 1)]}]
    return msgspec.json.encode(fields)


def arrivals(flows: tuple[Flow, ...], seed: int, start_us: int) -> Iterator[Arrival]:
    """All flows' arrivals in order of time, without end; none without flows."""
    streams = [_flow(flow, Random(f"{seed}/{index}"), start_us) for index, flow in enumerate(flows)]
    return heapq.merge(*streams, key=lambda arrival: arrival.at_us)


def _flow(flow: Flow, rng: Random, start_us: int) -> Iterator[Arrival]:
    at_us = float(start_us)
    sizes = [tokens for tokens, _ in flow.prompts]
    weights = list(accumulate(weight for _, weight in flow.prompts))
    while flow.per_hour > 0:
        at_us += rng.expovariate(flow.per_hour / (3600 * SECOND_US))
        prompt_tokens = rng.choices(sizes, cum_weights=weights)[0]
        yield _arrival(flow, rng, round(at_us), prompt_tokens)


def _arrival(flow: Flow, rng: Random, at_us: int, prompt_tokens: int) -> Arrival:
    shares = flow.shares
    output_tokens = 1 + int(rng.expovariate(1 / flow.output_tokens_mean))
    output_tokens = min(output_tokens, flow.output_tokens_max)
    streams = rng.random() < shares.streams
    model = UNKNOWN_MODEL if rng.random() < shares.unknown_model else flow.model
    body = chat_body(model, prompt_tokens, streams)
    after_tokens = rng.random() < shares.leaves_after_tokens
    after_time = rng.random() < shares.leaves_after_time
    short = rng.random() < shares.short_deadline
    patience_us = 1 + int(rng.expovariate(1 / flow.patience_us))
    return Arrival(
        at_us=at_us,
        ingress=flow.ingress,
        key="" if rng.random() < shares.unknown_key else flow.key,
        body=MALFORMED if rng.random() < shares.malformed else body,
        work=Work(prompt_tokens, output_tokens),
        leaves_after_us=patience_us if after_time else None,
        leaves_after_tokens=rng.randint(1, output_tokens) if after_tokens else None,
        deadline_after_us=patience_us if short else DEADLINE_US,
    )
