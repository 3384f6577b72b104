"""The answer cache at the sockets: the same question is answered once, by one engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import KeptAnswer, Put
from selvedge.cache import Asked, Scope
from selvedge.fabric import CacheRule, Outcome
from selvedge.ledger import settle, sums_of
from tests.support import Answer, Cut, Gate, Reply, Script, Status, ToolCall, run
from tests.support.caches import Like, open_cache, with_cache
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig
from tests.support.wires import Response, Wire, chat, post

EXACT = CacheRule()
ANSWER = Answer(("from", " Singapore", ", with", " love"))
USAGE = {"include_usage": True}


async def ask(wire: Wire, body: bytes, *, key: str = "asean", more: str = "") -> Response:
    return await wire.ask(bearer(key), body, more=more)


def asked(fabric: Fabric, pop: str = "sin") -> int:
    return len(fabric.engines[pop].requests)


def text_of(answer: Response) -> str:
    if answer.headers["content-type"].startswith("text/event-stream"):
        chunks = [json.loads(one) for one in answer.events[:-1]]
        return "".join(
            piece["delta"].get("content") or "" for chunk in chunks for piece in chunk["choices"]
        )
    return str(answer.json["choices"][0]["message"]["content"])


@pytest.mark.parametrize("profile", ["openai", "llama.cpp"])
@pytest.mark.parametrize("second", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("first", [False, True], ids=["whole", "stream"])
def test_the_same_question_is_answered_from_the_cache(
    first: bool, second: bool, profile: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with rig(
            tmp_path, sin=Script(ANSWER), profile=profile, amend=with_cache(EXACT)
        ) as fabric:
            link = open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                one = await ask(wire, chat(stream=first))
                two = await ask(wire, chat(stream=second))
                three = await ask(wire, chat("other", stream=second))
            assert asked(fabric) == 2
            made, hit, other = fabric.pop("sin").receipts()
        assert (one.status, two.status, three.status) == (200, 200, 200)
        assert text_of(two) == text_of(one) == "from Singapore, with love"
        assert (made.cache, hit.cache, other.cache) == ("miss", "hit", "miss")
        assert (hit.cache_from, hit.cache_entry) == (made.id, link.kept[0][2].id)
        assert (hit.usage, hit.attempts) == (made.usage, ())
        assert (hit.served_engine, hit.processed_in) == (made.served_engine, "SG")
        assert settle(hit).row == "cache_hit"
        assert sums_of([made, hit]).output == sums_of([made]).output
        assert one.headers["cache-status"] == "selvedge; fwd=uri-miss"
        assert two.headers["cache-status"].startswith("selvedge; hit; ttl=86")
        assert two.headers["age"] == "0"
        assert two.headers["selvedge-cache-entry"] == hit.cache_entry
        assert two.headers["selvedge-cache-similarity"] == "1.0000"
        assert "cache;dur=" in two.headers["server-timing"]
        assert two.headers["selvedge-served-by"] == one.headers["selvedge-served-by"]
        if not first and not second:
            fresh = {**two.json, "id": one.json["id"]}
            assert fresh == one.json
            assert two.json["id"] == "chatcmpl-" + hit.request_id.removeprefix("req_")

    run(main())


@pytest.mark.parametrize("wants", [{}, {"stream_options": USAGE}], ids=["plain", "usage"])
@pytest.mark.parametrize("before", [{}, {"stream_options": USAGE}], ids=["plain", "usage"])
def test_a_stream_is_replayed_as_it_was_sent(
    before: dict[str, object], wants: dict[str, object], tmp_path: Path
) -> None:
    """Equal to what an engine's stream would have been for this client, but for the answer's id."""

    async def main() -> None:
        tools = Answer(("let", " me"), tool_calls=(ToolCall("look", '{"at": "\\"id\\":\\"x\\""}'),))
        async with rig(
            tmp_path, sin=Script(tools, tools), amend=with_cache(EXACT, "asean")
        ) as fabric:
            open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                await ask(wire, chat(stream=True, **before))
                again = await ask(wire, chat(stream=True, **wants))
                plain = await ask(wire, chat(stream=True, **wants), key="free")
            assert asked(fabric) == 2
        name = json.loads(again.events[0])["id"]
        assert "cache-status" not in plain.headers
        told = again.body.replace(name.encode(), b"chatcmpl-scripted")
        assert told == plain.body

    run(main())


BROKEN: dict[str, Reply] = {
    "status": Status(500),
    "rejected": Status(400),
    "cut": Answer(("a", "b"), cut=Cut("reset", after=1)),
    "error inside": Answer(("a", "b"), cut=Cut("error", after=1)),
    "length": Answer(("a", "b"), finish="length"),
    "filtered": Answer(("a", "b"), finish="content_filter"),
    "no reason": Answer(("a", "b"), terminals=0, finish=None),
    "empty reason": Answer(("a", "b"), finish=""),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("how", BROKEN)
def test_what_was_no_whole_answer_is_never_kept(how: str, stream: bool, tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(BROKEN[how], ANSWER)
        async with rig(tmp_path, sin=script, amend=with_cache(EXACT)) as fabric:
            link = open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                await ask(wire, chat(stream=stream))
            assert link.kept == []
            async with fabric.wire("sin") as wire:
                again = await ask(wire, chat(stream=stream))
            assert (again.status, asked(fabric), len(link.kept)) == (200, 2, 1)
            assert text_of(again) == "from Singapore, with love"

    run(main())


def test_who_leaves_midway_keeps_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(1)
        script = Script(Answer(("a", "b"), gate=gate), ANSWER)
        async with rig(tmp_path, sin=script, amend=with_cache(EXACT)) as fabric:
            link = open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                wire.send(post(bearer("asean"), chat(stream=True)))
                await wire.head()
            (left,) = await fabric.pop("sin").until_receipts()
            assert (left.outcome, left.cache) == (Outcome.CLIENT_GONE, "miss")
            assert link.kept == []
            assert fabric.pop("sin").state.cache.flights == {}

    run(main())


def test_a_large_answer_is_not_kept(tmp_path: Path) -> None:
    async def main() -> None:
        small = CacheRule(answer_bytes_max=100)
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(small)) as fabric:
            link = open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                for stream in (False, True):
                    assert (await ask(wire, chat(stream=stream))).status == 200
            assert (link.kept, asked(fabric)) == ([], 2)

    run(main())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_identical_requests_in_flight_share_one_call(stream: bool, tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(1)
        script = Script(Answer(("a", "b"), gate=gate))
        async with rig(tmp_path, sin=script, amend=with_cache(EXACT)) as fabric:
            open_cache(fabric.pop("sin"))
            pop, engine = fabric.pop("sin"), fabric.engines["sin"]
            async with fabric.wire("sin") as one, fabric.wire("sin") as two:
                one.send(post(bearer("asean"), chat(stream=stream)))
                await engine.until(lambda: engine.requests)
                two.send(post(bearer("asean"), chat(stream=not stream)))
                async with fabric.wire("sin") as other:  # whoever comes after has been read after
                    await ask(other, chat("warm"), key="free", more="selvedge-deadline-ms: 1\r\n")
                (flight,) = pop.state.cache.flights.values()
                assert len(flight.waiting) == 1
                gate.open()
                first, second = await one.answer(), await two.answer()
            receipts = [one for one in pop.receipts() if one.tenant == "asean"]
        assert text_of(first) == text_of(second) == "ab"
        assert second.headers["cache-status"].startswith("selvedge; fwd=uri-miss; ttl=")
        assert second.headers["cache-status"].endswith("; collapsed")
        assert [settle(one).row for one in receipts] == ["complete", "cache_hit"]
        assert receipts[1].cache_from == receipts[0].id
        assert pop.state.cache.flights == {}

    run(main())


def test_a_leader_that_fails_lets_all_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(0)
        broken = Answer(("a", "b"), gate=gate, cut=Cut("reset", after=1))
        script = Script(broken, ANSWER)
        async with rig(tmp_path, sin=script, amend=with_cache(EXACT)) as fabric:
            open_cache(fabric.pop("sin"))
            engine = fabric.engines["sin"]
            async with fabric.wire("sin") as one, fabric.wire("sin") as two:
                one.send(post(bearer("asean"), chat(stream=True)))
                await engine.until(lambda: engine.requests)
                two.send(post(bearer("asean"), chat(stream=True)))
                async with fabric.wire("sin") as other:
                    await ask(other, chat("warm"), key="free", more="selvedge-deadline-ms: 1\r\n")
                gate.open()
                await one.answer()
                second = await two.answer()
            assert text_of(second) == "from Singapore, with love"
            assert fabric.pop("sin").state.cache.flights == {}

    run(main())


def test_who_waits_may_leave_and_has_a_deadline(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(0)
        script = Script(Answer(("a", "b"), gate=gate))
        async with rig(tmp_path, sin=script, amend=with_cache(EXACT)) as fabric:
            open_cache(fabric.pop("sin"))
            pop, engine = fabric.pop("sin"), fabric.engines["sin"]
            async with fabric.wire("sin") as one, fabric.wire("sin") as late:
                one.send(post(bearer("asean"), chat()))
                await engine.until(lambda: engine.requests)
                async with fabric.wire("sin") as gone:
                    gone.send(post(bearer("asean"), chat()))
                    second = await ask(late, chat(), more="selvedge-deadline-ms: 30\r\n")
                await pop.until_receipts(2)
                gate.open()
                assert (await one.answer()).status == 200
            assert len(engine.requests) == 1
            rows = sorted(settle(one).row for one in await pop.until_receipts(3))
        assert (second.status, second.error["code"]) == (504, "deadline_exceeded")
        assert rows == ["complete", "deadline_before", "gone_before"]

    run(main())


def test_what_headers_ask_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(EXACT, "asean")) as fabric:
            link = open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                only = await ask(wire, chat(), more="cache-control: only-if-cached\r\n")
                assert (only.status, only.error["code"], asked(fabric)) == (504, "not_cached", 0)
                assert only.headers["x-should-retry"] == "false"
                stored = await ask(wire, chat(), more="cache-control: no-store\r\n")
                assert "cache-status" not in stored.headers
                assert link.kept == []
                tagged = "selvedge-cache-tags: blue, green\r\n"
                await ask(wire, chat(), more=tagged)
                assert link.kept[0][2].tags == ("blue", "green")
                fresh = await ask(wire, chat(), more="cache-control: no-cache\r\n")
                assert fresh.headers["cache-status"] == "selvedge; fwd=request"
                assert (asked(fabric), len(link.kept)) == (3, 2)
                hit = await ask(wire, chat(), more="cache-control: only-if-cached\r\n")
                assert hit.headers["selvedge-cache-entry"] == link.kept[1][2].id
                for header in (
                    "cache-control: max-age=1h\r\n",
                    "selvedge-cache-threshold: 2\r\n",
                    f"selvedge-cache-tags: {'x' * 200}\r\n",
                ):
                    bad = await ask(wire, chat(), more=header)
                    assert (bad.status, bad.error["code"]) == (400, "invalid_header")
                    assert bad.error["param"] == header.partition(":")[0]
                    assert (await ask(wire, chat(), key="free", more=header)).status == 200

    run(main())


def test_nobody_finds_what_another_tenant_was_answered(tmp_path: Path) -> None:
    """The same bytes by three tenants are three questions; each finds its own alone."""

    async def main() -> None:
        keys = ("asean", "free")
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(EXACT)) as fabric:
            link = open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                for key in keys:
                    assert (await ask(wire, chat(), key=key)).status == 200
                again = [await ask(wire, chat(), key=key) for key in keys]
            assert asked(fabric) == 2
            found = [one.headers["selvedge-cache-entry"] for one in again]
            assert found == [kept.id for _, _, kept in link.kept]
            assert len({scope for scope, _, _ in link.kept}) == 2

    run(main())


def test_a_pop_in_transit_and_the_serving_one_keep_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(EXACT)) as fabric:
            links = [open_cache(fabric.pop(one)) for one in ("sin", "cgk", "fra")]
            async with fabric.wire("cgk") as wire:
                transit = await ask(wire, chat(), key="eea")
                inside = [await ask(wire, chat()) for _ in range(2)]
            assert "cache-status" not in transit.headers
            assert [len(one.kept) for one in links] == [0, 1, 0]
            assert inside[1].headers["selvedge-served-by"] == "sin/gpu"
            assert fabric.pop("cgk").receipts()[2].processed_in == "SG"

    run(main())


def test_an_idempotency_key_is_spent_by_a_hit(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(EXACT)) as fabric:
            open_cache(fabric.pop("sin"))
            word = "idempotency-key: abc\r\n"
            async with fabric.wire("sin") as wire:
                await ask(wire, chat())
                hit = await ask(wire, chat(), more=word)
                again = await ask(wire, chat(), more=word)
            rows = [settle(one).row for one in fabric.pop("sin").receipts()]
            assert rows == ["complete", "cache_hit", "replayed"]
            assert again.body == hit.body

    run(main())


class Raises:
    """A store that breaks every promise."""

    def get(self, scope: Scope, exact: bytes, now_us: int) -> KeptAnswer | None:
        raise RuntimeError("broken")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_broken_entry_and_a_broken_store_are_misses(stream: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(EXACT)) as fabric:
            link = open_cache(fabric.pop("sin"))
            pop = fabric.pop("sin")
            async with fabric.wire("sin") as wire:
                await ask(wire, chat())
                scope, question, kept = link.kept[0]
                for body in (b"[]", b"{", b'{"choices":3}', b""):
                    broken = msgspec.structs.replace(kept, body=body, payloads=())
                    link.store.put(Put(scope, question.exact, broken), kept.made_us)
                    answer = await ask(wire, chat(stream=stream))
                    assert (answer.status, pop.receipts()[-1].cache) == (200, "miss")
                pop.state.cache.store = Raises()
                assert (await ask(wire, chat(stream=stream))).status == 200
            assert asked(fabric) == 6
            assert [str(one) for one in pop.faults] == ["broken"]
            pop.faults.clear()
            assert [one.cache for one in pop.receipts()] == ["miss"] * 6

    run(main())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_clients_of_other_apis_share_the_answer_in_their_own_form(
    stream: bool, tmp_path: Path
) -> None:
    """A question by Anthropic's API that was answered before is answered in Anthropic's form."""

    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(EXACT)) as fabric:
            open_cache(fabric.pop("sin"))
            message = {"role": "user", "content": "hi"}
            body = {"model": "chat", "max_tokens": 9, "messages": [message], "stream": stream}
            sent = json.dumps(body).encode()
            async with fabric.wire("sin") as wire:
                first = await wire.ask(bearer("asean"), sent, "/v1/messages")
                again = await wire.ask(bearer("asean"), sent, "/v1/messages")
            assert (first.status, again.status, asked(fabric)) == (200, 200, 1)
            assert again.headers["cache-status"].startswith("selvedge; hit")
            assert again.headers["request-id"] != first.headers["request-id"]
            if stream:
                assert b"event: message_stop" in again.body
                assert again.body.count(b"text_delta") == first.body.count(b"text_delta") > 0
            else:
                assert again.json["content"] == first.json["content"]
                assert again.json["usage"] == first.json["usage"]
            assert [one.cache for one in fabric.pop("sin").receipts()] == ["miss", "hit"]

    run(main())


def like(kept: KeptAnswer, similarity: float = 0.97) -> Callable[[Scope, Asked], Like | None]:
    """A link that finds this for whatever is asked in the scope of `asean`."""
    return lambda scope, _: Like(kept, similarity) if scope.tenant == "asean" else None


def test_a_similar_question_is_looked_for_and_who_asks_may_leave(tmp_path: Path) -> None:
    async def main() -> None:
        static = CacheRule(semantic="static", threshold=0.96)
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(static)) as fabric:
            pop = fabric.pop("sin")
            link = open_cache(pop)
            async with fabric.wire("sin") as wire:
                await ask(wire, chat("first"))
                link.similar = like(link.kept[0][2])
                hit = await ask(wire, chat("second", stream=True))
                assert hit.headers["selvedge-cache-similarity"] == "0.9700"
                assert text_of(hit) == "from Singapore, with love"
                strict = "selvedge-cache-threshold: 0.98\r\n"
                assert "age" not in (await ask(wire, chat("third"), more=strict)).headers
                assert [rule.threshold for _, rule, _ in link.asked] == [0.96, 0.96, 0.98]
                assert "age" not in (await ask(wire, chat("second"), key="free")).headers
                tools = chat("with a picture", n=2)
                assert (await ask(wire, tools)).status == 200
                link.held = []
                async with fabric.wire("sin") as gone:
                    gone.send(post(bearer("asean"), chat("fourth")))
                    async with asyncio.timeout(10):
                        while not link.held:  # noqa: ASYNC110 (a few turns of the loop)
                            await asyncio.sleep(0)
                await pop.until(lambda: pop.receipts()[-1].outcome is Outcome.CLIENT_GONE)
                for tell in link.held:
                    tell()
                link.held = None
                assert "age" in (await ask(wire, chat("fifth"))).headers
            assert [one.cache_similarity for one in pop.receipts()][1] == 970_000
            assert pop.state.cache.flights == {}

    run(main())
