"""What engines really send of usage -> the normal form, file by file.

Where each file of `usage/` comes from is in the table. `recorded`: the bytes of the embedded
server (xllamacpp 2026.10.11549, SmolLM2-135M and all-MiniLM), asked by hand. The others are
written after the named description, field by field; nobody asked those services for these tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import pytest

from selvedge.fabric import Ask, Route, Usage
from selvedge.wire import StreamScan, read_answer, usage_of_events
from selvedge.wire.sse import SseReader

FILES: Final = Path(__file__).parent / "usage"
RECORDED: Final = "recorded"
OPENAI: Final = "OpenAI's OpenAPI description (CompletionUsage, ResponseUsage, stream events)"
ANTHROPIC: Final = "Anthropic's description of messages and their streams"
VLLM: Final = "vLLM, entrypoints/openai/engine/protocol.py (UsageInfo, StreamOptions)"
SGLANG: Final = "SGLang, srt/entrypoints/openai/protocol.py (UsageInfo)"
OLLAMA: Final = "Ollama, openai/openai.go (Usage)"


class Golden(NamedTuple):
    """Where a file is from, and its five counts."""

    source: str
    counts: tuple[int, int, int, int, int]


GOLDEN: Final = {
    "openai-chat.json": Golden(OPENAI, (86, 1920, 0, 172, 128)),
    "openai-chat.sse": Golden(OPENAI, (86, 1920, 0, 172, 128)),
    "openai-completions.json": Golden(OPENAI, (5, 0, 0, 7, 0)),
    "openai-embeddings.json": Golden(OPENAI, (8, 0, 0, 0, 0)),
    "openai-responses.json": Golden(OPENAI, (20, 100, 0, 15, 30)),
    "openai-responses-completed.sse": Golden(OPENAI, (20, 100, 0, 15, 30)),
    "openai-responses-incomplete.sse": Golden(OPENAI, (20, 100, 0, 15, 30)),
    "openai-responses-failed.sse": Golden(OPENAI, (20, 100, 0, 15, 30)),
    "anthropic-messages.json": Golden(ANTHROPIC, (20, 500, 90, 77, 0)),
    "anthropic-messages.sse": Golden(ANTHROPIC, (20, 500, 90, 77, 0)),
    "anthropic-messages-cut.sse": Golden(ANTHROPIC, (20, 500, 90, 1, 0)),
    "llama.cpp-chat.json": Golden(RECORDED, (34, 0, 0, 3, 0)),
    "llama.cpp-chat-cached.json": Golden(RECORDED, (1, 33, 0, 3, 0)),
    "llama.cpp-chat.sse": Golden(RECORDED, (1, 33, 0, 3, 0)),
    "llama.cpp-chat-n2.sse": Golden(RECORDED, (1, 33, 0, 3, 0)),
    "llama.cpp-completions.sse": Golden(RECORDED, (3, 0, 0, 3, 0)),
    "llama.cpp-embeddings.json": Golden(RECORDED, (4, 0, 0, 0, 0)),
    "llama.cpp-responses.sse": Golden(RECORDED, (1, 33, 0, 3, 0)),
    "llama.cpp-messages.json": Golden(RECORDED, (1, 33, 0, 3, 0)),
    "llama.cpp-messages.sse": Golden(RECORDED, (1, 33, 0, 3, 0)),
    "vllm-chat.json": Golden(VLLM, (11, 32, 0, 8, 0)),
    "vllm-chat-continuous.sse": Golden(VLLM, (11, 32, 0, 8, 0)),
    "vllm-chat-continuous-n2.sse": Golden(VLLM, (43, 0, 0, 7, 0)),
    "sglang-chat.json": Golden(SGLANG, (11, 32, 0, 8, 12)),
    "sglang-chat-plain.json": Golden(SGLANG, (43, 0, 0, 8, 0)),
    "ollama-chat.json": Golden(OLLAMA, (26, 0, 0, 9, 0)),
}
CHAT: Final = Ask(Route.CHAT, "small", stream=True)


def events(name: str) -> list[bytes]:
    """The data of a file's events; of JSON the one document."""
    data = (FILES / name).read_bytes()
    if name.endswith(".json"):
        return [data]
    reader = SseReader()
    return [one.data for one in reader.feed(data) + reader.close()]


def test_every_file_is_in_the_table() -> None:
    assert {one.name for one in FILES.iterdir()} == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_normal_form(name: str) -> None:
    expected = Usage(*GOLDEN[name].counts, provenance="reported")
    assert usage_of_events(events(name)) == expected


WHOLE: Final = [
    one
    for one in GOLDEN
    if one.endswith(".json") and "responses" not in one and "messages" not in one
]


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_that_we_relay(name: str) -> None:
    route = Route.EMBEDDINGS if "embeddings" in name else Route.CHAT
    read = read_answer(Ask(route, "small"), events(name)[0])
    assert read is not None
    assert read[0].usage == Usage(*GOLDEN[name].counts, provenance="reported")


STREAMS: Final = {
    "openai-chat.sse": (1, (86, 1920, 0, 172, 128)),
    "llama.cpp-chat.sse": (1, (1, 33, 0, 3, 0)),
    "llama.cpp-chat-n2.sse": (2, (1, 33, 0, 6, 0)),
    "llama.cpp-completions.sse": (1, (3, 0, 0, 3, 0)),
    "vllm-chat-continuous.sse": (1, (11, 32, 0, 8, 0)),
    "vllm-chat-continuous-n2.sse": (2, (43, 0, 0, 7, 0)),
}


def asked(name: str, choices: int) -> Ask:
    route = Route.COMPLETIONS if "completions" in name else Route.CHAT
    return Ask(route, "small", stream=True, choices=choices)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_we_relay(name: str) -> None:
    choices, counts = STREAMS[name]
    scan = StreamScan(asked(name, choices))
    sent = b"".join(scan.feed((FILES / name).read_bytes()) + scan.close())
    assert scan.fault is None
    assert scan.usage == Usage(*counts, provenance="reported")
    assert b'"usage"' not in sent
    assert b'"predicted_n"' not in sent or "completions" in name  # its terminal chunk keeps them


# Bytes of a chunk after which the client hangs up, and what it has had by the engine's own count.
HANG_UPS: Final = [
    ("llama.cpp-chat.sse", 1, b'"predicted_n":1,', (1, 33, 0, 1, 0)),
    ("llama.cpp-chat.sse", 1, b'"predicted_n":2,', (1, 33, 0, 2, 0)),
    ("llama.cpp-chat-n2.sse", 2, b'"predicted_n":2,', (1, 33, 0, 3, 0)),
    ("llama.cpp-completions.sse", 1, b'"predicted_n":2,', (3, 0, 0, 2, 0)),
    ("vllm-chat-continuous.sse", 1, b'"completion_tokens":1}', (43, 0, 0, 1, 0)),
    ("vllm-chat-continuous.sse", 1, b'"completion_tokens":5}', (43, 0, 0, 5, 0)),
    ("vllm-chat-continuous-n2.sse", 2, b'"completion_tokens":2}', (43, 0, 0, 5, 0)),
]


@pytest.mark.parametrize(("name", "choices", "last", "counts"), HANG_UPS)
def test_a_hang_up_is_counted_by_the_engine(
    name: str, choices: int, last: bytes, counts: tuple[int, ...]
) -> None:
    scan = StreamScan(asked(name, choices))
    for event in events(name):
        scan.feed(b"data: " + event + b"\n\n")
        if last in event:
            break
    assert scan.usage == Usage(*counts, provenance="reported")


def test_chunks_are_not_tokens() -> None:
    """Under speculation a chunk brings several: the third of this stream is the fifth token."""
    scan = StreamScan(CHAT)
    for event in events("vllm-chat-continuous.sse")[:3]:
        scan.feed(b"data: " + event + b"\n\n")
    assert scan.usage is not None
    assert (scan.counted().output, scan.usage.output) == (2, 5)


@pytest.mark.parametrize("name", STREAMS)
def test_a_peer_is_told_what_the_engine_tells(name: str) -> None:
    """From the engine through the serving PoP: the ingress counts the same at every chunk."""
    choices, counts = STREAMS[name]
    ask = asked(name, choices)
    serving = StreamScan(Ask(ask.route, "small", True, True, choices), to_peer=True)
    ingress = StreamScan(ask, from_peer=True)
    for event in events(name):
        for payload in serving.feed(b"data: " + event + b"\n\n"):
            ingress.feed(b"data: " + payload + b"\n\n")
        had = serving.usage if serving.usage and serving.usage.output else None
        if had is not None and name.startswith(("llama.cpp", "vllm")):
            seen = ingress.usage
            assert seen is not None
            assert (seen.input, seen.generated) == (had.input, had.generated)
    for payload in serving.tail():
        ingress.feed(b"data: " + payload + b"\n\n")
    assert ingress.usage == Usage(*counts, provenance="reported")


def test_what_is_no_usage_tells_nothing() -> None:
    assert usage_of_events([b"[DONE]", b"{", b'{"usage":7}', b'{"usage":{}}', b"\xff"]) is None
    assert usage_of_events([b'{"usage":null,"message":{"usage":null}}']) is None
