"""The cache's process beside a PoP: started where it is wanted, lost and started again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from selvedge.adapters import CacheLink
from selvedge.cache import Scope, read_asked
from selvedge.fabric import Ask, CacheRule, Route
from selvedge.ledger import settle
from selvedge.pop.cache_keeping import CacheKeeping, open_cache
from selvedge.pop.clock import now_us
from selvedge.wire import parse
from tests.pop.test_cache_live import ANSWER, ask, asked, text_of
from tests.pop.test_cache_pages import page
from tests.support import Answer, Script, run
from tests.support.caches import with_cache
from tests.support.fleets import make_release
from tests.support.pops import RunningPop, rig
from tests.support.wires import chat

UNTIL_S_MAX = 20.0
SCOPE = Scope("asean", "default", "asean")
SLOW = {"sin": {"cache_recall_ms_max": 10_000}}  # a machine that pauses is no slow encoder
STATIC = CacheRule(semantic="static", threshold=0.8, audit_one_in=10**6)


async def until(happened: Callable[[], object], words: str) -> None:
    async with asyncio.timeout(UNTIL_S_MAX):
        while not happened():  # noqa: ASYNC110 (another process has it)
            await asyncio.sleep(0.01)
    assert happened(), words


@contextlib.asynccontextmanager
async def kept_up(pop: RunningPop) -> AsyncIterator[CacheKeeping]:
    """A PoP of a rig with its own cache process, as `run_pop` has it."""
    settings = pop.state.settings
    keeping = CacheKeeping(settings, os.environ)
    pop.state.cache.opening = functools.partial(open_cache, settings)
    pop.state.cache.serve(wanted=True)
    link = link_of(pop)
    try:
        await keeping.look(wanted=True)
        await until(lambda: link.is_up, "the process answers")
        yield keeping
    finally:
        pop.state.cache.close()
        await keeping.look(wanted=False)


def link_of(pop: RunningPop) -> CacheLink:
    link = pop.state.cache.link
    assert isinstance(link, CacheLink)
    return link


async def kept(pop: RunningPop, question: str, *, similar: bool = False) -> None:
    """Until an answer of `asean` to this question is found, or looked for when it is similar."""
    body = chat(question)
    ask = parse(Route.CHAT, body)
    assert isinstance(ask, Ask)
    asked = read_asked(ask, body, make_release().models[0].digest)
    assert asked is not None
    async with asyncio.timeout(UNTIL_S_MAX):
        while True:
            told = await link_of(pop).explain(SCOPE, STATIC, asked, now_us(), key="asean")
            if (b'"entry":"ce_' if similar else b'"identical":"ce_') in told:
                return
            await asyncio.sleep(0.01)


def test_answers_are_kept_by_the_process_and_found_by_the_worker(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(CacheRule())) as fabric:
            pop = fabric.pop("sin")
            async with kept_up(pop) as keeping, fabric.wire("sin") as wire:
                first = await ask(wire, chat())
                await kept(pop, "hi")
                hit = await ask(wire, chat(stream=True))
                assert text_of(hit) == text_of(first)
                assert asked(fabric) == 1
                assert (await ask(wire, chat(), key="free")).headers["cache-status"].count("fwd=")
                stats = (await page(wire, "/v1/cache/stats")).json
                assert [one["scope"][0] for one in stats["scopes"]] == ["asean"]
                entry = hit.headers["selvedge-cache-entry"]
                told = await page(wire, "/v1/cache/purge", {"entry": entry}, key="free")
                assert told.status == 200
                assert "age" in (await ask(wire, chat())).headers  # another's purge takes nothing
                await page(wire, "/v1/cache/purge", {"entry": entry})
                assert "age" not in (await ask(wire, chat())).headers
                assert keeping.failures == 0

    run(main())


def test_what_is_one_persons_or_of_its_day_is_not_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(CacheRule())) as fabric:
            pop = fabric.pop("sin")
            async with kept_up(pop), fabric.wire("sin") as wire:
                for text in ("Where is my order 4711?", "What is the weather today?"):
                    await ask(wire, chat(text))
                await ask(wire, chat())
                await kept(pop, "hi")
                told = json.loads(await link_of(pop).stats())
                assert (told["unfit"], told["kept"]) == (2, 1)

    run(main())


def test_without_its_process_a_pop_serves_on(tmp_path: Path) -> None:
    """Killed: what is kept is still found; what is new is not kept; it comes back by itself."""

    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(CacheRule())) as fabric:
            pop = fabric.pop("sin")
            async with kept_up(pop) as keeping, fabric.wire("sin") as wire:
                await ask(wire, chat())
                await kept(pop, "hi")
                link = link_of(pop)
                os.kill(keeping.pid or 0, signal.SIGKILL)
                await until(lambda: keeping.pid is None, "it is dead")
                assert "age" in (await ask(wire, chat())).headers
                await until(lambda: not link.is_up, "it is missed")
                assert (await ask(wire, chat("new"))).status == 200
                down = await page(wire, "/v1/cache/stats")
                assert (down.status, down.error["code"]) == (503, "cache_unavailable")
                await keeping.look(wanted=True)  # sees its end, and when it may begin again
                await keeping.look(wanted=True)
                await until(lambda: link.is_up, "it is back")
                assert "age" in (await ask(wire, chat())).headers
                assert keeping.failures == 1
                assert settle(pop.receipts()[-1]).row == "cache_hit"

    run(main())


@pytest.mark.engine
def test_similar_questions_are_answered_and_opposites_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(Answer(("Open", " the", " settings")), Answer(("another",)))
        async with rig(tmp_path, sin=script, amend=with_cache(STATIC), settings=SLOW) as fabric:
            pop = fabric.pop("sin")
            async with kept_up(pop), fabric.wire("sin") as wire:
                first = await ask(wire, chat("How do I turn on dark mode in the app?"))
                await kept(pop, "How do I turn on dark mode in the app?", similar=True)
                like = await ask(wire, chat("How can I turn on dark mode in the app?"))
                assert text_of(like) == text_of(first)
                assert like.headers["selvedge-cache-similarity"] < "1.0000"
                off = await ask(wire, chat("How do I turn off dark mode in the app?"))
                assert text_of(off) == "another"
                strict = "selvedge-cache-threshold: 0.9999\r\n"
                other = "How could I turn on dark mode in the app?"
                assert text_of(await ask(wire, chat(other), more=strict)) == "another"
                foreign = await ask(
                    wire, chat("How can I turn on dark mode in the app?"), key="free"
                )
                assert text_of(foreign) == "another"
            receipt = pop.receipts()[1]
            assert (receipt.cache, receipt.cache_from) == ("hit", pop.receipts()[0].id)
            assert 800_000 <= (receipt.cache_similarity or 0) < 1_000_000

    run(main())
