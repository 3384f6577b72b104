"""One client of a tenant neither holds up its others nor empties what is kept for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.pop.test_cache_live import ANSWER, EXACT, ask, text_of
from tests.support import Answer, Gate, Script, run
from tests.support.caches import open_cache, with_cache
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.wires import chat, post


def test_who_reads_slowly_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        gate = Gate(1)
        script = Script(Answer(("a", "b"), gate=gate), ANSWER)
        async with rig(tmp_path, sin=script, amend=with_cache(EXACT)) as fabric:
            open_cache(fabric.pop("sin"))
            pop, engine = fabric.pop("sin"), fabric.engines["sin"]
            monkeypatch.setattr("selvedge.pop.answer_cache.LOOK_AGAIN_US", 10_000)
            async with fabric.wire("sin") as one, fabric.wire("sin") as two:
                one.send(post(bearer("asean"), chat(stream=True)))
                await engine.until(lambda: engine.requests)
                two.send(post(bearer("asean"), chat(stream=True)))
                while not any(each.waiting for each in pop.state.cache.flights.values()):
                    async with fabric.wire("sin") as other:
                        more = "selvedge-deadline-ms: 1\r\n"
                        await ask(other, chat("warm"), key="free", more=more)
                (flight,) = pop.state.cache.flights.values()
                held_up = SimpleNamespace(paused=True)  # as by a socket that is full
                flight.leader = held_up  # type: ignore[assignment]
                second = await two.answer()
                gate.open()
            assert text_of(second) == "from Singapore, with love"

    run(main())
