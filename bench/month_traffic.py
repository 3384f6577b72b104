"""A month of requests in ServeGen's shape: 20 clients of the public trace, each a tenant.

A tenant's rate is its client's, in the trace's own windows of 600 s: hours, days and weekends are
the trace's. Its fortnight is repeated to the end of the month, its first day taken as the month's
first. How arrivals crowd is the client's too: gaps are gamma variables of the window's coefficient
of variation, in a time that runs as the rate does. Lengths of prompts and answers are drawn from
the trace's distributions, which it tells of eight clients; the others take turns with those. The
sum is brought to as many requests as are asked for. Seeded and lazy.
"""

from __future__ import annotations

import csv
import heapq
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from random import Random

import msgspec

from bench.month_world import Buyer
from selvedge.adapters import read_lines
from selvedge.fabric import Ask, Route
from selvedge.sim import Arrival, Work

RATES = "servegen/m-large-client-traces.csv.gz"
LENGTHS = "servegen/m-large-top8-client-datasets.jsonl.gz"
WINDOW_US = 600_000_000
WINDOWS = 14 * 144
CV_MIN, CV_MAX = 0.3, 4.0
"""Beyond, a thinned client would come in one lump."""
PROMPT_TOKENS_MAX = 8192
OUTPUT_TOKENS_MAX = 2048
SYSTEM_TOKENS = 256
"""Of each project's own system prompt, where its prompts are longer than that."""
BLOCK_TOKENS = 64
BYTES_PER_TOKEN = 4
DEADLINE_US = 120_000_000
SHORT_DEADLINE_US = 4_000_000
_PAIR = re.compile(r"(\d+): ([0-9.e+-]+)")


class Curve(msgspec.Struct, frozen=True):
    """One client: its requests by window, and how unevenly they came."""

    requests: tuple[float, ...]
    cvs: tuple[float, ...]


class Lengths:
    """Token counts with their weights."""

    def __init__(self, counts: Mapping[int, float]) -> None:
        ordered = sorted(counts)
        self._values = ordered
        self._cumulative = list(accumulate(counts[one] for one in ordered))

    def draw(self, rng: Random) -> int:
        """One of them."""
        at = bisect_left(self._cumulative, rng.random() * self._cumulative[-1])
        return self._values[min(at, len(self._values) - 1)]


class Shapes(msgspec.Struct, frozen=True):
    """What is taken of the trace: the busiest clients, and pairs of lengths (prompt, answer)."""

    curves: tuple[Curve, ...]
    lengths: tuple[tuple[Lengths, Lengths], ...]


def read_shapes(folder: Path, clients: int) -> Shapes:
    """Read the trace. Raises `DataMissing`."""
    rates: dict[int, list[float]] = {}
    cvs: dict[int, list[float]] = {}
    for row in csv.DictReader(line.decode() for line in read_lines(folder, RATES)):
        client = int(row["client"])
        rates.setdefault(client, []).append(float(row["rate_rps"]))
        cvs.setdefault(client, []).append(float(row["cv"] or 0))
    busiest = sorted(rates, key=lambda one: (-sum(rates[one]), one))[:clients]
    curves = tuple(Curve(tuple(rates[one]), tuple(cvs[one])) for one in busiest)
    assert all(len(one.requests) == WINDOWS for one in curves), "the trace is a fortnight long"
    return Shapes(curves, tuple(_lengths(line) for line in read_lines(folder, LENGTHS)))


def _lengths(line: bytes) -> tuple[Lengths, Lengths]:
    """Of one client, over all its days."""
    parts = msgspec.json.decode(line)["dataset"].values()
    prompts: dict[int, float] = {}
    answers: dict[int, float] = {}
    for part in parts:
        for found, words in ((prompts, part["input_tokens"]), (answers, part["output_tokens"])):
            for tokens, weight in _PAIR.findall(words):
                found[int(tokens)] = found.get(int(tokens), 0.0) + float(weight)
    return Lengths(prompts), Lengths(answers)


def arrivals(
    buyers: tuple[Buyer, ...], shapes: Shapes, requests: int, seed: int, days: tuple[int, int]
) -> Iterator[Arrival]:
    """About so many requests in the order of time; ``days``: start in microseconds, and how many
    days.
    """
    start_us, count = days
    windows = count * 144
    whole = sum(one.requests[at % WINDOWS] for one in shapes.curves for at in range(windows))
    part = requests / whole
    streams = [
        _of_buyer(buyer, shapes, number, (part, windows), Random(f"{seed}/{number}"))
        for number, buyer in enumerate(buyers)
    ]
    for at_us, number, arrival in heapq.merge(*streams, key=lambda one: one[:2]):
        del number
        yield msgspec.structs.replace(arrival, at_us=start_us + at_us)


def _of_buyer(
    buyer: Buyer, shapes: Shapes, number: int, how: tuple[float, int], rng: Random
) -> Iterator[tuple[int, int, Arrival]]:
    curve, lengths = shapes.curves[number], shapes.lengths[number % len(shapes.lengths)]
    for at_us in _moments(curve, *how, rng):
        yield at_us, number, _arrival(buyer, lengths, at_us, rng)


def _moments(curve: Curve, part: float, windows: int, rng: Random) -> Iterator[int]:
    """When a client asks: gaps in a time that runs as its rate does."""
    gap = rng.random()
    for number in range(windows):
        expected = curve.requests[number % WINDOWS] * part
        if expected <= 0:
            continue
        cv = min(CV_MAX, max(CV_MIN, curve.cvs[number % WINDOWS] or 1.0))
        shape, passed = 1 / cv**2, 0.0
        while passed + gap < expected:
            passed += gap
            yield int((number + passed / expected) * WINDOW_US)
            gap = rng.gammavariate(shape, 1 / shape)
        gap -= expected - passed


def _arrival(buyer: Buyer, lengths: tuple[Lengths, Lengths], at_us: int, rng: Random) -> Arrival:
    use = buyer.uses[bisect_left(buyer.cumulative, rng.random() * buyer.cumulative[-1])]
    prompt = min(PROMPT_TOKENS_MAX, max(1, lengths[0].draw(rng)))
    output = min(OUTPUT_TOKENS_MAX, max(1, lengths[1].draw(rng)))
    shared = SYSTEM_TOKENS // BLOCK_TOKENS if prompt > SYSTEM_TOKENS else 0
    prefix = use.system[:shared]
    streams, fate = rng.random() < 0.8, rng.random()
    return Arrival(
        at_us=at_us,
        ingress=use.pops[int(rng.random() * len(use.pops))],
        key=use.key,
        body=b"",
        work=Work(prompt, output, prefix, BLOCK_TOKENS),
        ask=Ask(
            route=Route.CHAT,
            model=use.model if fate >= 0.002 else "no-such-model",
            stream=streams,
            prompt_bytes=prompt * BYTES_PER_TOKEN,
            block_tokens=BLOCK_TOKENS,
            prefix=prefix,
        ),
        leaves_after_tokens=rng.randint(1, output) if 0.01 <= fate < 0.03 else None,
        leaves_after_us=int(rng.expovariate(1 / 2e6)) if 0.03 <= fate < 0.04 else None,
        deadline_after_us=SHORT_DEADLINE_US if 0.04 <= fate < 0.05 else DEADLINE_US,
    )
