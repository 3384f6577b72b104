"""When other PoPs and own engines are asked, in virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from selvedge.fabric import Release
from selvedge.pop.clock import now_us
from selvedge.pop.engine_watch import SILENT_US, EngineWatch
from selvedge.pop.hearing import BACK_OFF_US_MAX, TURNS, Hearing
from selvedge.routing import Report
from tests.support import Raw, Script, run
from tests.support.fleets import make_release
from tests.support.pops import rig

SECOND_US = 1_000_000


class Timed(Hearing):
    """Asks nobody, and notes when it would have."""

    answers = True
    now = SECOND_US * 1_000

    def __init__(self, state: object) -> None:
        super().__init__(state, lambda: self.now)  # type: ignore[arg-type]
        self.asked: dict[str, list[int]] = {}

    def _ask(self, pop: str, peer: object, view: object, at_us: int) -> None:
        self.asked.setdefault(pop, []).append(at_us)
        peer.asked_us = at_us  # type: ignore[attr-defined]
        if self.answers:
            self.board.put(Report(pop, at_us, 1.0, {}), 300, at_us)
            self._taken(pop, peer, at_us)  # type: ignore[arg-type]
        else:
            self._failed(pop, peer, "failed")  # type: ignore[arg-type]

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds * TURNS):
            self.now += SECOND_US // TURNS
            self.turn(self.now)

    def gaps(self, pop: str) -> list[int]:
        at = self.asked[pop]
        return [b - a for a, b in pairwise(at)]


def test_each_is_asked_once_a_period_at_moments_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            state = fabric.pop("cgk").state
            hearing, again = Timed(state), Timed(state)
            hearing.pass_time(60)
            again.pass_time(60)
            assert hearing.asked == again.asked, "jitter is seeded"
            assert hearing.asked["sin"] != hearing.asked["fra"]
            for pop in ("sin", "fra"):
                assert 50 <= len(hearing.asked[pop]) <= 62
                assert max(hearing.gaps(pop)) <= SECOND_US * 5 // 4
            questions = sum(len(at) for at in hearing.asked.values())
            assert hearing.board.bytes_per_s(hearing.now) == 300 * questions // 60

    run(main())


def test_who_does_not_answer_is_asked_less_and_less(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            hearing = Timed(fabric.pop("cgk").state)
            hearing.answers = False
            hearing.pass_time(300)
            gaps = hearing.gaps("sin")
            assert len(gaps) < 25
            assert gaps[0] <= 2 * SECOND_US + SECOND_US // TURNS
            assert all(BACK_OFF_US_MAX // 2 <= one <= BACK_OFF_US_MAX + 125_000 for one in gaps[5:])
            assert fabric.pop("cgk").state.signals is None
            hearing.answers = True
            hearing.pass_time(31)
            before = len(hearing.asked["sin"])
            hearing.pass_time(10)
            assert len(hearing.asked["sin"]) - before >= 9, "it is as it was"
            assert fabric.pop("cgk").state.signals is hearing.board

    run(main())


def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            hearing = Timed(fabric.pop("cgk").state)
            hearing.pass_time(5)
            hearing.now -= 500 * SECOND_US
            before = len(hearing.asked["sin"])
            hearing.pass_time(5)
            assert len(hearing.asked["sin"]) - before >= 4
            report = hearing.board.report("sin", hearing.now)
            assert report is not None
            assert report.at_us <= hearing.now, "the newest, not the one of the future"
            assert fabric.pop("cgk").state.signals is hearing.board

    run(main())


def test_a_release_without_a_pop_forgets_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            cgk = fabric.pop("cgk")
            hearing = Timed(cgk.state)
            hearing.pass_time(3)
            assert hearing.board.report("fra", hearing.now) is not None
            pops = tuple(pop for pop in fabric.release.pops if pop.id != "fra")
            release: Release = make_release(
                pops=pops, keys=fabric.release.keys, version=fabric.release.version + 1
            )
            fabric.lay_down("cgk", release)
            cgk.keeper.look()
            hearing.pass_time(3)
            assert hearing.board.report("fra", hearing.now) is None
            assert hearing.board.report("sin", hearing.now) is not None

    run(main())


SLOTS = b'[{"n_ctx":2048,"is_processing":true},{"n_ctx":2048,"is_processing":false}]'


def said(body: bytes, status: bytes = b"200 OK") -> Raw:
    return Raw(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (said(SLOTS), "taken"),
        (said(b"[]"), "nonsense"),
        (said(b"{}", b"501 Not Implemented"), "refused"),
        (said(b" " * 3_000_000), "too_large"),
        (Raw(b"what?\r\n\r\n"), "failed"),
    ],
)
def test_an_engine_is_asked_for_its_load(tmp_path: Path, answer: Raw, ending: str) -> None:
    async def main() -> None:
        script = Script(on={"/slots": answer})
        async with rig(tmp_path, sin=script, profile="llama.cpp") as fabric:
            state, engine = fabric.pop("sin").state, fabric.engines["sin"]
            endings: asyncio.Queue[str] = asyncio.Queue()
            watch = EngineWatch(state)
            watch.ended = endings.put_nowait  # type: ignore[method-assign]
            begun_us = now_us()
            watch.turn(begun_us)
            watch.turn(begun_us + 2 * SECOND_US)
            async with asyncio.timeout(5):
                assert await endings.get() == ending
            known = state.own.state("gpu", "chat", ())
            assert known is not None
            assert known.load.slots == (2 if ending == "taken" else 64)
            wait_us = SECOND_US if ending == "taken" else SILENT_US
            watch.turn(begun_us + wait_us - SECOND_US // 2)
            assert len(engine.requests) == 1, "one question at a time, and no haste"
            watch.turn(now_us() + wait_us)
            async with asyncio.timeout(5):
                assert await endings.get() == ending
            assert len(engine.requests) == 2
            assert engine.requests[0].path == "/slots"
            watch.stop()

    run(main())


def test_an_engine_that_tells_no_load_is_not_asked(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            watch = EngineWatch(fabric.pop("sin").state)
            watch.turn(now_us())
            watch.turn(now_us() + 10 * SILENT_US)
            assert not watch._asked
            assert fabric.untouched("sin")

    run(main())
