"""Kept answers at a PoP of two workers: what one has kept the other goes on from, and forgets."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from tests.support import Answer, Script, run
from tests.support.wires import Response, Wire
from tests.support.workers import Pop, running_pop

pytestmark = pytest.mark.fabric
PATH = "/v1/responses"
TURNS = 12


async def ask(pop: Pop, wire: Wire, text: str, previous: str | None) -> Response:
    body = {"model": "chat", "input": text, "previous_response_id": previous}
    return await wire.ask(pop.bearer, json.dumps(body).encode(), PATH)


def test_a_conversation_goes_on_wherever_it_comes_to(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_pop(tmp_path, Script(Answer(("a",)))) as pop:
            async with contextlib.AsyncExitStack() as stack:
                found = await pop.wires(stack, 1)
                one, two = (wires[0] for wires in found.values())
                ids: list[str] = []
                for turn in range(TURNS):
                    wire = (one, two)[turn % 2]
                    answer = await ask(pop, wire, f"turn {turn}", ids[-1] if ids else None)
                    assert answer.status == 200, answer.body
                    ids.append(answer.json["id"])
                last = pop.engine.requests[-1].json["messages"]
                read = await two.get(f"{PATH}/{ids[0]}", pop.bearer)
                deleted = await one.get(f"{PATH}/{ids[0]}", pop.bearer, "DELETE")
                gone = await two.get(f"{PATH}/{ids[0]}", pop.bearer)
                broken = await ask(pop, two, "on", ids[-1])
            last_of_all = max(pop.receipts(), key=lambda one: one.ended_us)  # of either worker
            assert last_of_all.code == "previous_response_not_found"
        asked = [one["content"] for one in last if one["role"] == "user"]
        assert asked == [f"turn {turn}" for turn in range(TURNS)]
        assert [one["role"] for one in last[1::2]] == ["assistant"] * (TURNS - 1)
        assert (read.status, deleted.json["deleted"]) == (200, True)
        assert (gone.status, gone.error["code"]) == (404, "response_not_found")
        assert (broken.status, broken.error["param"]) == (400, "previous_response_id")

    run(main())
