"""Engines behind one router: nobody is lost, memory lasts from run to run, runs repeat."""

from __future__ import annotations

from selvedge.sim.batching import BatchingModel, Timing
from selvedge.sim.engines import Work
from selvedge.sim.pool import Pool, Timed, round_robin

MODEL = BatchingModel(Timing(100, 10, 1000), 2_000, slots=2, batch_tokens=64, in_flight_max=3)


def test_every_request_is_served_or_refused() -> None:
    requests = [Timed(at, Work(100, 10)) for at in range(20)]
    run = Pool(MODEL, 2).run(requests, round_robin())
    assert (len(run.served), run.refused) == (6, 14)
    assert {one.engine for one in run.served} == {0, 1}
    assert run == Pool(MODEL, 2).run(requests, round_robin())


def test_memory_lasts_and_times_count_from_the_run() -> None:
    pool = Pool(MODEL, 1)
    request = Timed(7, Work(100, 2, (1, 2, 3), 32))
    first = pool.run([request], round_robin()).served[0]
    second = pool.run([request], round_robin()).served[0]
    assert (first.cached_tokens, second.cached_tokens) == (0, 96)
    assert second.first_us < first.first_us
    assert first.step_us == 1000.0
