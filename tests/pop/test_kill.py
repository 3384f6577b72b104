"""A PoP killed with -9 under load: nothing acknowledged is lost, nothing is billed twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.kill_loop import KillLoop, Plan
from tests.support import run

PLAN = Plan(
    rounds=5,
    clients=8,
    seed=7,
    goal_max=80,
    early=0.2,
    segment_bytes=(8_192, 65_536),
    tokens=4,
    delay_ms=1.0,
)


@pytest.mark.fabric
@pytest.mark.parametrize("workers", [1, 2])
def test_deaths_lose_nothing_and_bill_nothing_twice(tmp_path: Path, workers: int) -> None:
    async def loop() -> None:
        # Deaths of one worker of two meet fewer requests between intent and receipt.
        plan = replace(PLAN, workers=workers, rounds=PLAN.rounds * workers)
        result = await KillLoop(tmp_path, plan).run()
        assert result.holds, (result.faults_by_kind, result.audit.faults)
        assert len(result.tally.told.acknowledged) >= PLAN.clients
        assert result.audit.outcomes["complete"] > 0
        assert result.audit.outcomes["interrupted"] > 0
        assert result.audit.segments > 1

    run(loop(), timeout_s=120)
