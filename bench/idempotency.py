"""What a key that several workers share costs its request: claim, end with an answer, give again.

    python -m bench.idempotency [--keys N] [--processes N]

Each process has a third of its keys in common with the others, so that locks are fought for.
Prints microseconds of CPU and of the clock; the clock's tail is the machine's, not the table's.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from selvedge.adapters import Memory
from selvedge.exchange import Claim, Kept, Served
from selvedge.pop.answered_together import AnsweredTogether, Shape

SHAPE = Shape(keys_max=65_536, bytes_max=16_000_000)
DAY_US = 86_400_000_000
SERVED = Served("sin", "gpu", "SG", "Example SG", None)
T = TypeVar("T")
Spans = dict[str, list[tuple[int, int]]]


def timed(spans: Spans, name: str, act: Callable[[], T]) -> T:
    """Do it, and note nanoseconds of CPU and of the clock."""
    cpu_ns, clock_ns = time.thread_time_ns(), time.perf_counter_ns()
    result = act()
    spans.setdefault(name, []).append(
        (time.thread_time_ns() - cpu_ns, time.perf_counter_ns() - clock_ns)
    )
    return result


def measure(memory: Memory, count: int, answer_bytes: int) -> Spans:
    """As one worker."""
    book = AnsweredTogether(Memory(memory.fd, SHAPE.size()), SHAPE, DAY_US, os.getpid())
    kept = Kept(b"x" * answer_bytes, SERVED, "stop")
    spans: Spans = {}
    for number in range(count):
        whose = "all" if number % 3 == 0 else str(os.getpid())
        word = f"{whose}-{answer_bytes}-{number}"
        claim = Claim(("acme", "web", word), bytes(16), f"rcpt_{number:032x}", keeps=True)
        claims = partial(book.claim, claim, 1 + number)
        if timed(spans, "claim", claims).state == "first":
            timed(spans, "end", partial(book.end, claim, spent=True, kept=kept))
        timed(spans, "again", claims)
    return spans


def show(spans: Spans, answer_bytes: int) -> None:
    """A line a kind."""
    for name, pairs in spans.items():
        told = []
        for kind, values in zip(("cpu", "clock"), zip(*pairs, strict=True), strict=True):
            ordered = sorted(values)
            p50, p99 = (ordered[len(ordered) * part // 100] / 1000 for part in (50, 99))
            told.append(f"{kind} p50 {p50:6.1f} p99 {p99:6.1f}")
        print(f"{answer_bytes:6d} bytes  {name:6s} {'   '.join(told)} us", flush=True)


def main() -> None:
    """Other processes do the same meanwhile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    memory = SHAPE.new_memory()
    for answer_bytes in (600, 4_000, 16_000, 48_000):
        others = []
        for _ in range(given.processes - 1):
            pid = os.fork()
            if pid == 0:
                measure(memory, given.keys, answer_bytes)
                os._exit(0)
            others.append(pid)
        show(measure(memory, given.keys, answer_bytes), answer_bytes)
        for pid in others:
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
