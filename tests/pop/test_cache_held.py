"""One client of a tenant neither holds up its others nor empties what is kept for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from selvedge.fabric import Release
from tests.pop.test_cache_live import ANSWER, EXACT, ask, text_of
from tests.pop.test_cache_pages import page
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


def test_a_narrowed_key_purges_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        def amend(name: str, release: Release) -> Release:
            made = with_cache(EXACT)(name, release)
            narrow = {"routes": ("/v1/embeddings",)}
            keys = [
                msgspec.structs.replace(one, **narrow) if one.id == "free" else one
                for one in made.keys
            ]
            keys = [
                msgspec.structs.replace(one, models=("chat",)) if one.id == "asean" else one
                for one in keys
            ]
            return msgspec.structs.replace(made, keys=tuple(keys))

        async with rig(tmp_path, sin=Script(ANSWER), amend=amend) as fabric:
            open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                for key in ("free", "asean"):
                    for path, body in (
                        ("/v1/cache/purge", {"everything": True}),
                        ("/v1/cache/stats", None),
                    ):
                        told = await page(wire, path, body, key=key)
                        assert (told.status, told.error["code"]) == (403, "key_scope")

    run(main())
