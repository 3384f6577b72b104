"""The bundled models through the fabric, with the official client: what users will really get.

What must be exact is tested against scripted engines; here the engine is llama.cpp. The hang-up
bounds are generous: 100 ms is measured quietly and reported, a busy test machine may take longer.
"""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.fabric import Fabric, running_fabric

CHAT = "smollm2-135m-instruct"
EMBED = "all-minilm-l6-v2"
HELLO: Any = [{"role": "user", "content": "Say hello."}]  # Any: the client's message types
SLOT_FREE_S_MAX = 5.0

pytestmark = [pytest.mark.engine, pytest.mark.fabric]


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    with running_fabric(tmp_path_factory.mktemp("real") / "home") as one:
        yield one
        assert one.interrupt() == 0


@pytest.fixture(params=["sin", "cgk"])
def client(fabric: Fabric, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    url = fabric.running["pops"][request.param]["url"]
    with openai.OpenAI(base_url=f"{url}/v1", api_key=fabric.keys["asean"], max_retries=0) as one:
        yield one


def test_a_chat_and_its_stream_say_the_same(client: openai.OpenAI) -> None:
    asked: Any = {"model": CHAT, "messages": HELLO, "max_tokens": 12, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    options: Any = {"include_usage": True}
    with client.chat.completions.create(**asked, stream=True, stream_options=options) as stream:
        chunks = list(stream)
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == whole.choices[0].message.content
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 12
    assert {one.model for one in chunks} == {whole.model} == {CHAT}


def test_a_schema_is_kept(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}}}
    wanted: Any = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {**schema, "required": ["name"]}},
    }
    answer = client.chat.completions.create(
        model=CHAT, messages=HELLO, max_tokens=60, response_format=wanted, temperature=0
    )
    assert set(json.loads(answer.choices[0].message.content or "")) == {"name"}


def test_choices_logprobs_and_stop(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=HELLO, max_tokens=4, n=2, logprobs=True, top_logprobs=2
    )
    assert [one.index for one in answer.choices] == [0, 1]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    stopped = client.chat.completions.create(
        model=CHAT, messages=HELLO, max_tokens=20, stop=[" "], seed=7, logprobs=True
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].logprobs is not None


def test_a_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=CHAT, prompt="Once upon", max_tokens=5)
    assert answer.choices[0].text
    with client.completions.create(
        model=CHAT, prompt="Once upon", max_tokens=5, stream=True
    ) as stream:
        assert "".join(one.choices[0].text for one in stream)


def test_embeddings(client: openai.OpenAI) -> None:
    near = client.embeddings.create(
        model=EMBED, input=["a small cat", "a little kitten", "tax law"]
    )
    cat, kitten, law = (one.embedding for one in near.data)
    assert len(cat) == 384
    assert dot(cat, kitten) > dot(cat, law) + 0.2
    floats = client.embeddings.create(model=EMBED, input="a small cat", encoding_format="float")
    assert dot(floats.data[0].embedding, cat) > 0.999


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, "context_length_exceeded"),
        ({"model": EMBED}, "unsupported_route"),
        ({"tools": [{"type": "function"}]}, "invalid_value"),
        ({"n": 9}, "engine_rejected"),
        ({"response_format": {"type": "nonsense"}}, "engine_rejected"),
    ],
)
def test_what_the_model_cannot_do_is_the_callers_fault(
    client: openai.OpenAI, change: dict[str, Any], code: str
) -> None:
    asked: Any = {"model": CHAT, "messages": HELLO, "max_tokens": 4, **change}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**asked)
    assert caught.value.code == code


def test_an_input_over_the_embedders_context(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="longer than the model's context"):
        client.embeddings.create(model=EMBED, input="word " * 900)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("entry", ["sin", "cgk"])
def test_a_hang_up_frees_the_slot(fabric: Fabric, entry: str, stream: bool) -> None:
    slots = fabric.running["pops"]["sin"]["engines"]["sin-chat"] + "/slots"
    asked = {"model": CHAT, "messages": HELLO, "max_tokens": 1500, "stream": stream, "seed": 1}
    body = json.dumps({**asked, "logit_bias": {"2": -100}}).encode()
    host, port = fabric.running["pops"][entry]["url"].removeprefix("http://").split(":")
    key = fabric.keys["asean"]
    with socket.create_connection((host, int(port))) as wire:
        wire.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        until(lambda: busy(slots), "the engine works")
    until(lambda: not busy(slots), "the slot is free")


def busy(slots: str) -> bool:
    with urllib.request.urlopen(slots) as answer:
        return any(one["is_processing"] for one in json.load(answer))


def until(state: Any, what: str) -> None:  # Any: a callable
    """Poll, bounded; the engine tells nobody when a slot changes."""
    end = time.monotonic() + SLOT_FREE_S_MAX
    while not state():
        assert time.monotonic() < end, f"not within {SLOT_FREE_S_MAX} s: {what}"
