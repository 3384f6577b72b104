"""PoP and collectors as processes: killed, restarted, away; usage and reconciliation over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.collect_loop import CollectLoop, measure
from tests.pop.test_kill import PLAN
from tests.support import run


@pytest.mark.fabric
@pytest.mark.parametrize("workers", [1, 2])
def test_deaths_of_pop_and_collectors_leave_no_difference(tmp_path: Path, workers: int) -> None:
    async def loop() -> None:
        plan = replace(PLAN, workers=workers, rounds=3, early=0.0)
        collecting = CollectLoop(tmp_path, plan)
        figures, met = await measure(collecting)
        found = collecting.reconciled
        assert found is not None
        assert met, (figures, found.findings)
        assert found.collected > 100
        assert int(figures["deaths"]) > 3

    run(loop(), timeout_s=120)
