"""The llm-d 37-capacity report: four balancers before four pods of Llama-3.1-70B on 4 H100 each.

83 system prompts of 8,000 tokens with 3 questions of 1,000 each, 249 prompts that are sent over and
over in one shuffled order at a constant rate; answers of 1,000 tokens; stages of 9 (warm-up), 3, 4,
5, 6, 8, 10, 12, 15 and 20 requests/s, each of which drains before the next begins. Reference
figures: `benchmarking/37-capacity/README.md` of llm-d-kv-cache-manager, time to first token.

Fitted, and to which cells: the engine (`hardware`: decoding to the precise row's time per token,
prefill to load at 3 requests/s); `FRONT_US`, what client, gateway and tokenizer add, to the level
of the precise row; `STALE_US`, the age of the metrics that scorers see, to load at 3 requests/s,
which is worse than random there only if arrivals within a second see the same metrics; `TOKENS`,
because prompts of random tokens have more of them after text and back, to the height of the load
row. The rest is prediction: the order of policies, where they collapse, and how far.

Scorers are the report's: queue and KV use (min-max and share free) with weight 1 each; precise
adds the min-max share of blocks held with weight 2; estimated adds, with weight 2, the share of the
first 256 hash blocks of 64 characters that it routed to a pod before. Ties are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from selvedge.sim.batching import BatchingEngine
from selvedge.sim.engines import Work
from selvedge.sim.hardware import HARDWARE
from selvedge.sim.pool import Pool, Timed
from selvedge.sim.validate.check import Check, near, rank

PODS: Final = 4
FRONT_US: Final = 170_000
STALE_US: Final = 1_000_000
TOKENS: Final = 1.15
BLOCK_TOKENS: Final = 64
SEEN_TOKENS: Final = 4096
SEEN_BLOCKS_MAX: Final = 31_250 * 16 // BLOCK_TOKENS
STAGES: Final = (
    (9, 30),
    (3, 210),
    (4, 180),
    (5, 120),
    (6, 120),
    (8, 90),
    (10, 70),
    (12, 60),
    (15, 50),
    (20, 50),
)
"""Requests per second, and for how many seconds; the first warms up."""
SEEDS: Final = (1, 2, 3)
POLICIES: Final = ("precise", "estimated", "load", "random")
P90_S: Final = {
    "precise": (0.201, 0.277, 0.281, 0.281, 0.280, 0.282, 0.282, 0.288, 0.290),
    "estimated": (0.399, 0.700, 0.900, 0.794, 1.110, 1.309, 1.199, 1.900, 43.568),
    "load": (2.400, 16.101, 28.581, 59.389, 73.762, 86.063, 94.109, 114.672, 173.540),
    "random": (1.502, 23.480, 41.795, 62.490, 78.656, 83.002, 98.661, 139.286, 176.975),
}
"""Time to first token, 90th percentile in seconds, at every rate after the warm-up."""
RATES: Final = tuple(rate for rate, _ in STAGES[1:])


def check_llmd(seeds: Sequence[int] = SEEDS) -> list[Check]:
    """The order of the policies, the rows of precise and load, and the collapse; medians."""
    ours = {policy: _median_rows(policy, seeds) for policy in POLICIES}
    checks = []
    for policy in ("precise", "load"):
        for rate, got, reference in zip(RATES, ours[policy], P90_S[policy], strict=True):
            checks.append(near(f"{policy} at {rate}/s, TTFT p90, s", got, reference, 0.30))
    for at, rate in enumerate(RATES):
        precise, estimated = ours["precise"][at], ours["estimated"][at]
        words = "at most the estimated row's (ties within 10%)"
        checks.append(
            Check(f"precise at {rate}/s", precise, estimated, words, precise <= 1.1 * estimated)
        )
        if rate >= 6:
            worse = min(ours["load"][at], ours["random"][at])
            met = 5 * max(precise, estimated) < worse
            words = "below a fifth of load's and random's"
            checks.append(Check(f"estimated at {rate}/s", estimated, worse, words, met))
    for policy in ("load", "random"):
        row = ours[policy]
        met = row[0] < 5.0 < 20.0 < row[3]
        words = "under 5 s at 3/s, over 20 s at 6/s"
        checks.append(Check(f"collapse of {policy}: at 6/s, s", row[3], row[0], words, met))
    return checks


def _median_rows(policy: str, seeds: Sequence[int]) -> list[float]:
    rows = [play(policy, seed) for seed in seeds]
    return [rank(column, 50) for column in zip(*rows, strict=True)]


def play(policy: str, seed: int) -> list[float]:
    """TTFT p90 in seconds at every rate after the warm-up."""
    prompts = workload(Random(seed))
    pool = Pool(HARDWARE["llama-3.1-70b-4xh100"].engine, PODS)
    scorer = Scorer(policy, Random(seed + 1))
    sent = 0
    row = []
    for rate, seconds in STAGES:
        stage = []
        for number in range(rate * seconds):
            work = prompts[sent % len(prompts)]
            stage.append(Timed(number * 1_000_000 // rate, work))
            sent += 1
        served = pool.run(stage, scorer.choose).served
        row.append(rank([one.first_us + FRONT_US for one in served], 90) / 1e6)
    return row[1:]


def workload(rng: Random) -> list[Work]:
    """The prompts in their shuffled order."""
    shared, own = (int(tokens * TOKENS) // BLOCK_TOKENS for tokens in (8000, 1000))
    prompts = [
        Work(
            prompt_tokens=int(9000 * TOKENS),
            output_tokens=1000,
            prefix=(*_names(group, shared), *_names(1000 + 3 * group + question, own)),
            block_tokens=BLOCK_TOKENS,
        )
        for group in range(83)
        for question in range(3)
    ]
    rng.shuffle(prompts)
    return prompts


def _names(text: int, blocks: int) -> range:
    return range(text * 1000, text * 1000 + blocks)


class Scorer:
    """One of the report's four configurations."""

    def __init__(self, policy: str, rng: Random) -> None:
        self._policy = policy
        self._rng = rng
        self._metrics: list[tuple[int, float]] = []
        self._polled_us = -STALE_US
        self._seen: list[dict[int, None]] = [{} for _ in range(PODS)]

    def choose(self, work: Work, engines: Sequence[BatchingEngine]) -> int:
        """The pod with the highest score; of several, a drawn one."""
        if self._policy == "random":
            return self._rng.randrange(len(engines))
        now_us = engines[0].now_us
        if now_us - self._polled_us >= STALE_US:
            self._metrics = [engine.metrics() for engine in engines]
            self._polled_us = now_us
        queues = _spread([-waiting for waiting, _ in self._metrics], 1.0)
        scores = [
            queue + 1.0 - used for queue, (_, used) in zip(queues, self._metrics, strict=True)
        ]
        if self._policy == "precise":
            held = _spread([engine.matched(work.prefix) for engine in engines], 0.0)
            scores = [score + 2 * share for score, share in zip(scores, held, strict=True)]
        elif self._policy == "estimated":
            scores = [score + 2 * self._known(at, work) for at, score in enumerate(scores)]
        best = max(scores)
        chosen = self._rng.choice([at for at, score in enumerate(scores) if score > best - 1e-9])
        if self._policy == "estimated":
            self._remember(chosen, work)
        return chosen

    def _known(self, pod: int, work: Work) -> float:
        head = work.prefix[: SEEN_TOKENS // BLOCK_TOKENS]
        seen, known = self._seen[pod], 0
        for name in head:
            if name not in seen:
                break
            known += 1
        return known / len(head)

    def _remember(self, pod: int, work: Work) -> None:
        seen = self._seen[pod]
        for name in work.prefix[: SEEN_TOKENS // BLOCK_TOKENS]:
            seen.pop(name, None)
            seen[name] = None
        while len(seen) > SEEN_BLOCKS_MAX:
            del seen[next(iter(seen))]


def _spread(values: Sequence[int], equal: float) -> list[float]:
    """Values on a scale from the least, 0, to the greatest, 1; ``equal`` where all are the same."""
    low, high = min(values), max(values)
    if low == high:
        return [equal] * len(values)
    return [(value - low) / (high - low) for value in values]
