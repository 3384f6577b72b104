"""A client of one API, a provider of another: two translations, and one form between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.standins.fabric import provider_rig
from tests.standins.providers import ROWS, Row
from tests.standins.server import StandIn
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import usage_of

HI: Any = [{"role": "user", "content": "hi"}]  # Any: the client wants its own TypedDicts
EACH = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
KEY = bearer("free").removeprefix("Bearer ")


@EACH
def test_messages(row: Row, tmp_path: Path) -> None:
    async def main() -> None:
        provider = StandIn(lambda asked: row.hello(asked, None))
        async with provider_rig(tmp_path, provider, row) as fabric:
            url = fabric.pop("sin").url
            async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY) as client:
                asked: Any = {"model": "chat", "max_tokens": 50, "messages": HI}
                whole = await client.messages.create(**asked)
                async with client.messages.stream(**asked) as stream:
                    streamed = await stream.get_final_message()
            receipts = await fabric.pop("sin").until_receipts(2)
        for one in (whole, streamed):
            blocks: list[Any] = list(one.content)
            (block,) = blocks
            assert (block.type, block.text) == ("text", "Hello there.")
            assert one.stop_reason == "end_turn"
            assert one.usage.output_tokens == row.usage.generated
            assert one.usage.input_tokens == row.usage.input_uncached
            assert one.usage.cache_read_input_tokens == row.usage.cache_read
        assert [usage_of(one) for one in receipts] == [row.usage] * 2

    run(main())


@EACH
def test_responses_with_a_call(row: Row, tmp_path: Path) -> None:
    async def main() -> None:
        async with provider_rig(tmp_path, StandIn(row.call), row) as fabric:
            url = f"{fabric.pop('sin').url}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key=KEY) as client:
                asked: Any = {"model": "chat", "input": "hi"}
                whole = await client.responses.create(**asked)
                async with client.responses.stream(**asked) as stream:
                    streamed = await stream.get_final_response()
        for one in (whole, streamed):
            output: list[Any] = list(one.output)
            call = next(item for item in output if item.type == "function_call")
            assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Oslo"})
            assert one.usage is not None
            assert one.usage.total_tokens == row.usage.total

    run(main())
