"""Samples the stack of the process it is put into, where py-spy may not look.

Python imports this by itself when the directory is on PYTHONPATH. SIGUSR1 starts: each millisecond
or two of CPU raises SIGPROF, whose handler counts the main thread's stack. SIGUSR2 stops and writes
them to the file named by BENCH_STACKS, as ``outermost;...;innermost count``.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from types import CodeType, FrameType

INTERVAL_S = 0.002


class Sampler:
    """Stacks and how often each was seen."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: Counter[tuple[CodeType, ...]] = Counter()

    def start(self, *_: object) -> None:
        """Begin to count."""
        signal.signal(signal.SIGPROF, self.take)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def take(self, _: int, frame: FrameType | None) -> None:
        """Count the stack of this moment."""
        stack = []
        while frame is not None:
            stack.append(frame.f_code)
            frame = frame.f_back
        self._seen[tuple(stack)] += 1

    def stop(self, *_: object) -> None:
        """Write what was counted, whole or not at all."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        with open(self._path + ".new", "w", encoding="utf-8") as out:
            for stack, count in self._seen.items():
                names = (f"{one.co_name} ({one.co_filename}:1)" for one in reversed(stack))
                out.write(f"{';'.join(names)} {count}\n")
        os.rename(self._path + ".new", self._path)


if "BENCH_STACKS" in os.environ:
    _sampler = Sampler(os.environ["BENCH_STACKS"])
    signal.signal(signal.SIGUSR1, _sampler.start)
    signal.signal(signal.SIGUSR2, _sampler.stop)
