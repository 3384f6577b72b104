"""`dynamo.replay` (ai-dynamo 1.1.1, offline): the Mooncake conversation trace on 16 workers.

Its figures are of a run without any GPU: blocks of 512 tokens, 600 of them per worker, 128
sequences, 8,192 tokens per iteration, default timing. Round robin repeats to the digit, the KV
router to within a percent. Our engine has the same numbers and timing (`hardware`), and none of its
code. Under round robin it must give the same times; then a policy of ours, on our engine, must do
better than its KV router did on its own.

The policy here asks every engine, exactly, when this request's first token would come, adds a price
for the context that is decoded there, which both slow, and takes the least: what routing predicts
at best, with full and fresh state. Between prices of 0 and 6 us the mean stays within 219 and 225
ms, and the 99th percentile within 1,640 and 1,700, where the prompts' own length decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selvedge.sim.batching import BatchingEngine
from selvedge.sim.engines import Work
from selvedge.sim.hardware import HARDWARE
from selvedge.sim.mooncake import read_mooncake
from selvedge.sim.pool import Pool, Router, Run, Timed, round_robin
from selvedge.sim.validate.check import Check, below, mean, near, rank

WORKERS: Final = 16
CONTEXT_PRICE_US: Final = 1.5
ROUND_ROBIN: Final = {"ttft_mean": 257.43, "ttft_p99": 1818.21, "e2e_mean": 3369.28, "tpot": 8.970}
KV_ROUTER: Final = {"ttft_mean": 236.98, "ttft_p99": 1675.71, "e2e_mean": 3097.79, "reused": 0.162}
"""Milliseconds, and the share of prompt tokens reused; by `dynamo.replay` on this trace."""


def check_replay(lines: Sequence[bytes]) -> list[Check]:
    """Our engine under round robin, and our policy against theirs."""
    requests = read_mooncake(lines, "mooncake conversation trace")
    ours = figures(play(requests, round_robin()))
    checks = [
        near(f"round robin, {name}, ms", ours[name], reference, 0.10)
        for name, reference in ROUND_ROBIN.items()
    ]
    soon = figures(play(requests, soonest))
    for name in ("ttft_mean", "ttft_p99", "e2e_mean"):
        checks.append(below(f"soonest vs KV router, {name}, ms", soon[name], KV_ROUTER[name]))
    reused, theirs = soon["reused"], KV_ROUTER["reused"]
    checks.append(Check("soonest vs KV router, reused", reused, theirs, "above", reused > theirs))
    return checks


def play(requests: Sequence[Timed], route: Router) -> Run:
    """The trace on the workers of the reference."""
    return Pool(HARDWARE["mocker"].engine, WORKERS).run(requests, route)


def soonest(work: Work, engines: Sequence[BatchingEngine]) -> int:
    """The engine whose exact state promises the first token soonest; the first of equals."""

    def cost_us(index: int) -> float:
        engine = engines[index]
        return engine.predict_us(work) + CONTEXT_PRICE_US * engine.context

    return min(range(len(engines)), key=cost_us)


def figures(run: Run) -> dict[str, float]:
    """Milliseconds, and the share of prompt tokens that were in memory."""
    first = [served.first_us / 1000 for served in run.served]
    steps = [served.step_us / 1000 for served in run.served if served.work.output_tokens > 1]
    prompts = sum(served.work.prompt_tokens for served in run.served)
    return {
        "ttft_mean": mean(first),
        "ttft_p99": rank(first, 99),
        "e2e_mean": mean([served.whole_us / 1000 for served in run.served]),
        "tpot": mean(steps),
        "reused": sum(served.cached_tokens for served in run.served) / prompts,
    }
