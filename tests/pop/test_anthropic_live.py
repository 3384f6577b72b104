"""Anthropic as an engine of a PoP, at a stand-in that speaks its wire format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selvedge.fabric import Outcome, Usage
from tests.standins import anthropic
from tests.standins.anthropic import KEY, Says, event, fails, tell
from tests.standins.fabric import provider_rig
from tests.standins.server import Asked, StandIn, Told
from tests.support import Answer, Script, run
from tests.support.fleets import bearer
from tests.support.pops import usage_of
from tests.support.wires import chat, error_of, post

Json = dict[str, Any]  # Any: JSON

CALLS = Says(
    (
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
    ),
    "tool_use",
    {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 15},
)
ENTRY = pytest.mark.parametrize("entry", ["sin", "cgk"])


@ENTRY
def test_a_stream_with_a_call(entry: str, tmp_path: Path) -> None:
    """What the client sees is OpenAI's; the receipt has the provider's own count."""

    async def main() -> None:
        provider = StandIn(lambda asked: tell(asked, CALLS))
        async with provider_rig(tmp_path, provider, "anthropic", KEY) as fabric:
            body = chat(stream=True, stream_options={"include_usage": True}, temperature=0.5)
            async with fabric.wire(entry) as wire:
                response = await wire.ask(bearer("free"), body)
            assert response.status == 200, response.body
            *chunks, done = response.events
            assert done == b"[DONE]"
            read = [json.loads(one) for one in chunks]
            assert {one["model"] for one in read} == {"chat"}
            assert read[0]["choices"][0]["delta"]["role"] == "assistant"
            deltas = [one["choices"][0]["delta"] for one in read if one["choices"]]
            assert "".join(one.get("content") or "" for one in deltas) == "Looking."
            pieces = [one["tool_calls"][0]["function"] for one in deltas if "tool_calls" in one]
            assert pieces[0]["name"] == "weather"
            assert json.loads("".join(one["arguments"] for one in pieces)) == {"city": "Oslo"}
            assert read[-1]["usage"]["prompt_tokens"] == 30
            assert read[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 5
            assert not any("prompt_progress" in one for one in read)
            (receipt,) = await fabric.pop(entry).until_receipts()
            assert usage_of(receipt) == Usage(25, 5, 0, 15, 0, "reported")
            assert (receipt.finish_reason, receipt.served_engine) == ("tool_calls", "away")
            (asked,) = provider.asked
            assert asked.json["model"] == "theirs"

    run(main())


def test_a_whole_answer(tmp_path: Path) -> None:
    async def main() -> None:
        provider = StandIn(lambda asked: tell(asked, Says()))
        async with provider_rig(tmp_path, provider, "anthropic", KEY) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat())
            assert response.status == 200, response.body
            assert response.json["choices"][0]["message"]["content"] == "Hello there."
            assert response.json["usage"]["total_tokens"] == 40
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert usage_of(receipt) == Usage(25, 0, 0, 15, 0, "reported")

    run(main())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, (400, "engine_rejected")),
        (401, (503, "no_engine_available")),
        (403, (503, "no_engine_available")),
        (404, (503, "no_engine_available")),
        (413, (413, "request_too_large")),
        (429, (503, "no_engine_available")),
        (500, (503, "no_engine_available")),
        (529, (503, "no_engine_available")),
    ],
)
def test_errors(status: int, code: tuple[int, str], stream: bool, tmp_path: Path) -> None:
    async def main() -> None:
        provider = StandIn(lambda _: fails(status, retry_after="3"))
        async with provider_rig(tmp_path, provider, "anthropic", KEY) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(stream=stream))
            assert (response.status, response.error["code"]) == code
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert receipt.usage is None or receipt.usage.total == 0
            load = fabric.pop("sin").state.load
            assert KEY not in response.body.decode()
            assert bool(load._cooling) == (status not in (400, 413))

    run(main())


FAULTS = {
    "error within a 200": Told((anthropic.error(529),), kind="text/event-stream"),
    "html": Told((b"<html>Bad Gateway</html>",), kind="text/html"),
    "nothing": Told((), kind="text/event-stream"),
    "half a stream": Told(tuple(Says().events()[:2]), kind="text/event-stream"),
    "cut": Told(tuple(Says().events()[:2]), kind="text/event-stream", cut=True),
    "no JSON": Told((b"data: {nonsense\n\n",), kind="text/event-stream"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", [False, True])
def test_what_breaks_before_the_answer_goes_elsewhere_unseen(
    fault: str, stream: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        provider = StandIn(lambda _: FAULTS[fault])
        async with provider_rig(
            tmp_path, provider, "anthropic", KEY, after=lambda engine: engine
        ) as fabric:
            fabric.engines["sin"].script = Script(Answer(("a", "b")))
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(stream=stream))
            assert response.status == 200, response.body
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert receipt.outcome is Outcome.COMPLETE
            assert [one.outcome for one in receipt.attempts] == ["failed", "relayed"]
            assert [one.engine for one in receipt.attempts][1] == "gpu"

    run(main())


def test_what_breaks_during_the_answer_ends_in_band(tmp_path: Path) -> None:
    failed = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    parts = (*Says().events()[:5], failed)

    async def main() -> None:
        provider = StandIn(lambda _: Told(parts, kind="text/event-stream"))
        async with provider_rig(tmp_path, provider, "anthropic", KEY) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(stream=True))
            assert response.status == 200
            assert error_of(response.events[-1])["code"] == "engine_interrupted"
            (receipt,) = await fabric.pop("sin").until_receipts()
            assert receipt.outcome is Outcome.FAILED
            assert usage_of(receipt).input == 25
            assert usage_of(receipt).provenance == "counted"

    run(main())


@ENTRY
def test_a_client_that_leaves_stops_the_provider(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        provider = StandIn(lambda asked: tell(asked, Says(), hold_at=5))
        async with provider_rig(tmp_path, provider, "anthropic", KEY) as fabric:
            async with fabric.wire(entry) as wire:
                wire.send(post(bearer("free"), chat(stream=True)))
                await wire.head()
                await wire.event()
                wire.hang_up(reset=True)
                assert await provider.until_aborted() == 5
            (receipt,) = await fabric.pop(entry).until_receipts()
            assert receipt.outcome is Outcome.CLIENT_GONE
            told = usage_of(receipt)
            # What a PoP further away was not told by then, it estimates.
            found = (told.provenance, told.input) if entry == "sin" else (told.provenance,)
            assert found == (("counted", 25) if entry == "sin" else ("estimated",))

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_field_it_cannot_be_told(stream: bool, tmp_path: Path) -> None:
    """Nothing leaves; another engine that can be told it is asked."""

    async def main() -> None:
        def unasked(_: Asked) -> Told:
            raise AssertionError

        provider = StandIn(unasked)
        async with provider_rig(tmp_path, provider, "anthropic", KEY) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(seed=1, stream=stream))
            assert (response.status, response.error["code"]) == (400, "unsupported_field")
            assert response.error["param"] == "seed"
        other = tmp_path / "other"
        provider = StandIn(unasked)
        async with provider_rig(
            other, provider, "anthropic", KEY, after=lambda engine: engine
        ) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), chat(seed=1, stream=stream))
            assert response.status == 200
            assert fabric.engines["sin"].requests[0].json["seed"] == 1

    run(main())
