"""A model judges the cache at the sockets: the process asks, the worker asks for the tenant."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import AskJudge, SayJudged
from selvedge.exchange import Judged
from selvedge.fabric import CacheRule, Model, Outcome, Receipt, Release, Served
from selvedge.ledger import Admitted, settle
from selvedge.pop.cache_keeping import CacheKeeping, open_cache
from selvedge.pop.clock import now_us
from selvedge.pop.drain import drain
from selvedge.pop.judging import Judging
from tests.pop.test_cache_live import ask
from tests.pop.test_cache_pages import page
from tests.pop.test_cache_process_live import kept, link_of, until
from tests.support import Answer, Gate, Script, Status, run
from tests.support.caches import with_cache
from tests.support.fleets import bearer
from tests.support.pops import Fabric, RunningPop, rig
from tests.support.script import Received, Reply
from tests.support.wires import chat

DIGEST = "sha256:" + "33" * 32
SLOW = {"sin": {"cache_recall_ms_max": 10_000}}
RULE = CacheRule(semantic="static", threshold=0.8, audit_one_in=1, judge="engine:wise")
ONE, OTHER = "How do I open a door?", "How do I open the door?"
ENTRY, ANSWERED = "ce_" + "0" * 24, "ce_" + "1" * 24
WORDS = ("You compare.", "Do they say the same?")
Amend = Callable[[str, Release], Release]


def wise(at: str, rule: CacheRule = RULE) -> Amend:
    """The rig's release with a second model, `wise`, at one PoP's engine; classes have a cache."""
    cached = with_cache(rule)

    def amend(pop_id: str, release: Release) -> Release:
        made = Model("wise", "chat", DIGEST, "F16", 4096)
        pops = tuple(
            msgspec.structs.replace(
                pop,
                engines=tuple(
                    msgspec.structs.replace(one, serves=(*one.serves, Served("wise", "w")))
                    if pop.id == at and one.serves[0].model == "chat"
                    else one
                    for one in pop.engines
                ),
            )
            for pop in release.pops
        )
        return cached(
            pop_id,
            msgspec.structs.replace(release, models=(*release.models, made), pops=pops),
        )

    return amend


class Court:
    """An engine that serves both models: answers in turn, and words for the judge in turn."""

    def __init__(self, *words: str, gate: Gate | None = None) -> None:
        self.words = list(words)
        self.asked: list[dict[str, object]] = []
        self.answers = 0
        self.gate = gate

    def choose(self, received: Received) -> Reply:
        if received.json["model"] != "w":
            self.answers += 1
            return Answer(("Turn", " the", " handle", "." * self.answers))
        self.asked.append(received.json)
        word = self.words.pop(0) if len(self.words) > 1 else self.words[0]
        return Answer((word,), gate=self.gate)

    def script(self) -> Script:
        return Script(choose=self.choose, models=("chat", "w"))


@contextlib.asynccontextmanager
async def judged(pop: RunningPop) -> AsyncIterator[None]:
    """A PoP of a rig with its own cache process and judge, as `run_pop` has them."""
    settings = pop.state.settings
    keeping = CacheKeeping(settings, os.environ)
    pop.state.cache.opened_by(functools.partial(open_cache, settings), Judging(pop.state))
    pop.state.cache.serve(wanted=True)
    try:
        await keeping.look(wanted=True)
        await until(lambda: link_of(pop).is_up, "the process answers")
        yield
    finally:
        pop.state.cache.close()
        await keeping.look(wanted=False)


def judgements(pop: RunningPop) -> list[Receipt]:
    return [one for one in pop.receipts() if one.purpose == "judge"]


async def stats(pop: RunningPop) -> dict[str, object]:
    found = json.loads(await link_of(pop).stats())["judge"]
    assert isinstance(found, dict)
    return found


async def until_judged(pop: RunningPop, what: str) -> dict[str, object]:
    async with asyncio.timeout(20):
        while True:
            told = await stats(pop)
            unasked = told["unasked"]
            assert isinstance(unasked, dict)
            if told.get(what) or unasked.get(what):
                return told
            await asyncio.sleep(0.01)


def test_an_audit_is_judged_under_the_tenants_own_rule(tmp_path: Path) -> None:
    court = Court("Yes", "no")

    async def main() -> None:
        async with rig(tmp_path, sin=court.script(), amend=wise("sin"), settings=SLOW) as fabric:
            pop = fabric.pop("sin")
            async with judged(pop), fabric.wire("sin") as wire:
                await ask(wire, chat(ONE))
                await kept(pop, ONE, similar=True)
                second = await ask(wire, chat(OTHER))
                assert second.headers["cache-status"] == "selvedge; fwd=uri-miss"
                told = await until_judged(pop, "same")
                assert told["questions"] == 2
                metrics = (await wire.get("/metrics")).body.decode()
                usage = (await page(wire, "/v1/cache/stats")).json
            assert usage["scopes"][0]["routes"][0]["observations"] == 1
            one, other = [one for one in pop.receipts() if one.purpose == "request"]
            first, last = judgements(pop)
            for receipt in (first, last):
                assert (receipt.tenant, receipt.key, receipt.rule) == (
                    "asean",
                    "asean",
                    "asean/default",
                )
                assert (receipt.model, receipt.processed_in) == ("wise", "SG")
                assert (receipt.cache, receipt.cache_from) == ("off", other.id)
                assert receipt.cache_entry == first.cache_entry
                assert settle(receipt).billed.total == 0
                assert receipt.usage is not None
                assert receipt.usage.generated > 0
            seqs = sorted(one.seq for one in pop.receipts() if one.tenant == "asean")
            assert seqs == list(range(1, 5))
            assert one.seq == 1
            intents = [one.id for one in pop.intents() if one.purpose == "judge"]
            assert intents == [first.id, last.id]
        body = court.asked[0]
        assert (body["temperature"], body["max_tokens"], body.get("stream", False)) == (0, 8, False)
        assert 'selvedge_cache_judgements_total{ending="answered"} 2.0' in metrics
        assert 'outcome="complete",route="/v1/chat/completions"} 2.0' in metrics.replace(
            'fault="none",', ""
        )

    run(main())


def test_a_judge_outside_the_zone_is_never_asked(tmp_path: Path) -> None:
    """Also where it is the only one there is."""
    court = Court("yes", "no")

    async def main() -> None:
        async with rig(
            tmp_path,
            sin=court.script(),
            fra=court.script(),
            amend=wise("fra"),
            settings=SLOW,
        ) as fabric:
            pop = fabric.pop("sin")
            async with judged(pop), fabric.wire("sin") as wire:
                await ask(wire, chat(ONE))
                await kept(pop, ONE, similar=True)
                await ask(wire, chat(OTHER))
                told = await until_judged(pop, "no_engine")
            assert (told["questions"], told["tokens_today"]) == (0, 0)
            assert court.asked == []
            assert fabric.untouched("fra")
            assert judgements(pop) == []

    run(main())


def test_a_judge_at_another_pop_of_the_zone_is_asked(tmp_path: Path) -> None:
    """With a ticket, as a request is; and that PoP's attestation is in the receipt."""
    court = Court("yes", "no")

    async def main() -> None:
        async with rig(
            tmp_path,
            sin=court.script(),
            fra=court.script(),
            amend=wise("fra"),
            settings=SLOW,
        ) as fabric:
            pop = fabric.pop("sin")
            said = await begun(fabric, key="free")
            assert (said.word, said.asked, said.why) == ("yes", True, "")
            (receipt,) = judgements(pop)
            assert (receipt.processed_in, receipt.attested is not None) == ("DE", True)

    run(main())


# At the worker alone


def asks(number: int = 1, ms_max: int = 10_000) -> AskJudge:
    return AskJudge(number, ANSWERED, ENTRY, "wise", WORDS, ms_max)


async def begun(fabric: Fabric, *, key: str = "asean", ms_max: int = 10_000) -> SayJudged:
    """One question of the process's, as the worker hears it; what it says to it."""
    return await begin(fabric, judging_of(fabric, key), ms_max)


def judging_of(fabric: Fabric, key: str = "asean") -> Judging:
    state = fabric.pop("sin").state
    view = state.view
    assert view is not None
    admitted = view.keyring.admit(bearer(key), now_us())
    assert isinstance(admitted, Admitted)
    judging = Judging(state)
    judging.expects(ANSWERED, Judged(admitted, None, "rcpt_asked"))
    return judging


async def begin(fabric: Fabric, judging: Judging, ms_max: int = 10_000) -> SayJudged:
    said: asyncio.Future[SayJudged] = asyncio.get_running_loop().create_future()
    judging.begin(asks(ms_max=ms_max), said.set_result)
    async with asyncio.timeout(20):
        return await said


def test_an_answer_that_is_not_remembered_is_not_asked_for(tmp_path: Path) -> None:
    court = Court("yes")

    async def main() -> None:
        async with rig(tmp_path, sin=court.script(), amend=wise("sin")) as fabric:
            said = await begin(fabric, Judging(fabric.pop("sin").state))
            assert (said.why, said.asked) == ("unknown", False)
            assert court.asked == []

    run(main())


def test_requests_in_line_go_first(tmp_path: Path) -> None:
    court = Court("yes")

    async def main() -> None:
        async with rig(tmp_path, sin=court.script(), amend=wise("sin")) as fabric:
            fabric.pop("sin").state.gate.line.waiting = 1
            assert (await begun(fabric)).why == "busy"
            fabric.pop("sin").state.gate.line.waiting = 0
            assert court.asked == []
            assert judgements(fabric.pop("sin")) == []

    run(main())


def test_half_of_the_room_stays_free(tmp_path: Path) -> None:
    court = Court("yes")

    async def main() -> None:
        async with rig(tmp_path, sin=court.script(), amend=wise("sin")) as fabric:
            state = fabric.pop("sin").state
            assert state.view is not None
            engine = next(one for one in state.view.here.engines if one.serves[0].model == "chat")
            where, half = f"sin/{engine.id}", -(-engine.in_flight_max // 2)
            for _ in range(half):
                state.load.enter(where, 1, now_us())
            assert (await begun(fabric)).why == "busy"
            for _ in range(half):
                state.load.leave(where, 1)
            assert (await begun(fabric)).why == ""

    run(main())


def test_a_slow_judge_is_late_and_its_receipt_says_so(tmp_path: Path) -> None:
    court = Court("yes", gate=Gate())

    async def main() -> None:
        async with rig(tmp_path, sin=court.script(), amend=wise("sin")) as fabric:
            said = await begun(fabric, ms_max=50)
            assert (said.why, said.asked) == ("late", True)
            (receipt,) = judgements(fabric.pop("sin"))
            assert receipt.code == "deadline_exceeded"
            assert fabric.pop("sin").state.gate.running == 0

    run(main())


@pytest.mark.parametrize("how", ["forsaken", "drained"])
def test_who_is_not_waited_for_stops_its_engine(how: str, tmp_path: Path) -> None:
    court = Court("yes", gate=Gate())

    async def main() -> None:
        async with rig(tmp_path, sin=court.script(), amend=wise("sin")) as fabric:
            pop = fabric.pop("sin")
            judging = judging_of(fabric)
            pop.state.cache.judges = judging
            asking = asyncio.ensure_future(begin(fabric, judging))
            await until(lambda: court.asked, "the engine is asked")
            if how == "forsaken":
                judging.forsake()
            else:
                await drain([], pop.state, pop.state.settings)
                assert (await begin(fabric, judging)).why == "stopping"
            assert (await asking).why == "forsaken"
            (receipt,) = judgements(pop)
            assert (receipt.outcome, receipt.purpose) == (Outcome.CLIENT_GONE, "judge")
            assert pop.state.gate.running == 0
            assert pop.state.metrics.running.total() == 0

    run(main())


def test_an_engine_that_fails_is_no_word(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(Status(500))
        async with rig(tmp_path, sin=script, amend=wise("sin")) as fabric:
            said = await begun(fabric)
            assert (said.why, said.asked) == ("failed", True)
            (receipt,) = judgements(fabric.pop("sin"))
            assert receipt.outcome is Outcome.FAILED

    run(main())
