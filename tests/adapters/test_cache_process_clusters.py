"""Which entries the process takes to share an answer: more than those it would have served."""

from __future__ import annotations

from pathlib import Path

import pytest

from selvedge.adapters import CacheLink
from tests.adapters.test_cache_process import ACME, NOW, STATIC, answer, asked, json_of, rigged, run

QUESTION = "where is parcel number {} that was sent to me by your shop"


async def crowd(link: CacheLink, text: str) -> tuple[float, int, int]:
    """Rival, other answers near, entries of the same answer near: as a decider sees them."""
    told = await json_of(link.explain(ACME, STATIC, asked(text), NOW))
    pair = told["pair"]
    assert isinstance(pair, dict)
    return pair["rival"], pair["near"], pair["agree"]


@pytest.mark.parametrize(("words", "shared"), [("It is on its way.", True), ("It is lost.", False)])
def test_what_the_gates_turned_away_may_still_share_an_answer(
    tmp_path: Path, words: str, shared: bool
) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(QUESTION.format(10))
            assert await rig.recall(QUESTION.format(20)) is None
            await rig.keep(QUESTION.format(20), answer(words))
            rival, near, agree = await crowd(rig.link, QUESTION.format(10))
            assert (near, agree) == ((0, 1) if shared else (1, 0))
            assert (rival == -1.0) is shared

    run(test)
