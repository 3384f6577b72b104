"""The checks' own parts; where the public traces are on this machine, the checks on them too."""

from __future__ import annotations

from random import Random

import pytest

from selvedge.adapters import DataMissing, find_data, read_lines
from selvedge.sim.engines import Work
from selvedge.sim.hardware import HARDWARE
from selvedge.sim.pool import Pool, Timed
from selvedge.sim.validate import CHECKS, MOONCAKE
from selvedge.sim.validate.cache import reuse
from selvedge.sim.validate.check import Check, below, near, rank, within
from selvedge.sim.validate.llmd import PODS, STAGES, Scorer, workload


@pytest.fixture(scope="module")
def trace() -> list[bytes]:
    try:
        return read_lines(find_data(), MOONCAKE)
    except DataMissing as error:
        pytest.skip(str(error))


def test_bars() -> None:
    assert near("a", 1.1, 1.0, 0.1).met is False
    assert near("a", 0.91, 1.0, 0.1) == Check("a", 0.91, 1.0, "within 10%", True)
    assert within("a", 5.0, 1.0, 4.0).met
    assert below("a", 1.0, 1.0).met
    assert rank([3, 1, 2], 50) == 2
    assert rank(list(range(1, 101)), 99) == 99


@pytest.mark.parametrize("name", ["mooncake-cache", "dynamo-replay"])
def test_the_trace_meets_the_published_figures(name: str, trace: list[bytes]) -> None:
    missed = [check for check in CHECKS[name](lambda _: trace) if not check.met]
    assert not missed


def test_reuse_counts_no_more_than_the_prompt() -> None:
    prefixes = ((1, 2), (1, 2), (1, 3))
    requests = [Timed(0, Work(600, 1, prefix)) for prefix in prefixes]
    assert reuse(requests, 1 << 40) == (600 + 512) / 1800


def test_the_llm_d_workload_repeats_249_prompts_of_83_groups() -> None:
    prompts = workload(Random(1))
    assert len(prompts) == len(set(prompts)) == 249
    assert len({work.prefix[:100] for work in prompts}) == 83
    assert sum(rate * seconds for rate, seconds in STAGES[1:]) == 6560


def test_a_precise_scorer_goes_where_the_prefix_is_and_an_estimated_one_where_it_went() -> None:
    work, other = workload(Random(1))[:2]
    for policy in ("precise", "estimated"):
        pool = Pool(HARDWARE["llama-3.1-70b-4xh100"].engine, PODS)
        scorer = Scorer(policy, Random(3))
        first = scorer.choose(work, pool.engines)
        pool.engines[first].ask(work, None, _Deaf())
        pool.clock.run_until()
        assert scorer.choose(work, pool.engines) == first
        assert scorer.choose(other, pool.engines) in range(PODS)


class _Deaf:
    def token(self, count: int) -> None: ...

    def done(self) -> None: ...

    def broken(self) -> None: ...
