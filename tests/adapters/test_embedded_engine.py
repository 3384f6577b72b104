"""The embedded engine as its callers meet it: a process, a port, and no word of any prompt."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from selvedge.adapters.embedded_engine import (
    CHAT_CONTEXT_TOKENS,
    EMBEDDING_CONTEXT_TOKENS,
    EngineRefused,
    EngineSettings,
    default_cache_dir,
    main,
    parse,
)
from tests.support.engines import RunningEngine, end, free_port, launch, running_engine

CANARY = "Zanzibar-quokka-7731"
CANCEL_S_MAX = 6.0
"""Far above two prompt batches, far below the whole prefill that a deaf engine would do."""

LONG_PROMPT = "river stone cloud market engine paper silver window garden letter " * 180
USER = [{"role": "user", "content": "Say hi."}]

Json = Any  # the bodies under test are JSON of every shape


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    with running_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


def post(engine: RunningEngine, path: str, body: Json) -> tuple[int, Json]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(engine.url + path, data)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def chat(engine: RunningEngine, **fields: Json) -> tuple[int, Json]:
    body = {"model": "small", "messages": USER, "max_tokens": 4, "temperature": 0, **fields}
    return post(engine, "/v1/chat/completions", body)


def stream(engine: RunningEngine, **fields: Json) -> list[Json]:
    """The events of a streamed answer; `[DONE]` must be the last."""
    body = {"model": "small", "messages": USER, "max_tokens": 4, "stream": True, **fields}
    data = json.dumps(body).encode()
    url = f"{engine.url}/v1/chat/completions"
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=120) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        lines = [line.removeprefix(b"data: ").strip() for line in response if line.strip()]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def slots(engine: RunningEngine) -> list[Json]:
    with urllib.request.urlopen(f"{engine.url}/slots", timeout=60) as response:
        found: list[Json] = json.load(response)
    return found


def is_busy(engine: RunningEngine) -> bool:
    return any(slot["is_processing"] for slot in slots(engine))


# What starts, and what is refused before a model is touched.


def test_settings_from_a_command_line() -> None:
    settings = parse(["--model", "m", "--alias", "a", "--port", "1", "--threads", "2"])
    assert settings.context_per_slot == settings_default("context_per_slot") == CHAT_CONTEXT_TOKENS
    assert (settings.threads, settings.slots, settings.embeddings) == (2, 4, False)
    assert settings.tokens_per_batch == settings.batch
    encoder = parse(["--model", "m", "--alias", "a", "--port", "1", "--embeddings"])
    assert encoder.tokens_per_batch == EMBEDDING_CONTEXT_TOKENS


def settings_default(name: str) -> object:
    return getattr(EngineSettings(model="m", alias="a", port=1), name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 0),
        ("slots", 0),
        ("context_per_slot", 1),
        ("threads", 0),
        ("batch", 1),
        ("cache_ram_mib", -1),
        ("model", ""),
        ("alias", ""),
        ("host", ""),
    ],
)
def test_a_setting_out_of_range_is_named(field: str, value: object) -> None:
    given: Json = {"model": "m", "alias": "a", "port": 1, field: value}
    with pytest.raises(EngineRefused, match="--" + field.replace("_", "-")):
        EngineSettings(**given)


def test_the_cache_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/tmp/xdg")
    assert default_cache_dir() == Path("/tmp/xdg/selvedge")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "selvedge"


def refusal(tmp_path: Path, *options: str) -> str:
    log = tmp_path / "log"
    assert end_of(launch(log, "--alias", "a", *options)) == 2
    said = log.read_text()
    assert said.startswith("selvedge engine: ")
    assert said.count("\n") == 1
    return said


def end_of(process: Any) -> int:
    return int(process.wait(60))


def test_a_taken_port_ends_with_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = str(taken.getsockname()[1])
        said = refusal(tmp_path, "--model", "smollm2-135m-instruct", "--port", port)
    assert f"127.0.0.1:{port} cannot be listened on (address already in use)" in said


def test_a_model_that_cannot_be_served_ends_with_one_sentence(tmp_path: Path) -> None:
    port = str(free_port())
    text = tmp_path / "notes.txt"
    text.write_text("not a model")
    assert "nor a file" in refusal(tmp_path / "", "--model", "absent", "--port", port)
    (tmp_path / "log").unlink()
    assert "is not a GGUF file" in refusal(tmp_path, "--model", str(text), "--port", port)
    (tmp_path / "log").unlink()
    assert "--port is 0" in refusal(tmp_path, "--model", str(text), "--port", "0")


@pytest.mark.engine
def test_a_broken_gguf_ends_with_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    process = launch(tmp_path / "log", "--alias", "a", "--model", str(broken), "--port", "1234")
    assert end_of(process) == 2
    assert "broken.gguf cannot be served" in (tmp_path / "log").read_text()


def test_main_refuses_in_process_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        assert main(["--model", "m", "--alias", "", "--port", "1"]) == 2
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert capsys.readouterr().err == "selvedge engine: --alias is empty.\n"


# What it answers.


@pytest.mark.engine
def test_a_plain_answer(engine: RunningEngine) -> None:
    status, answer = chat(engine)
    assert (status, answer["object"], answer["model"]) == (200, "chat.completion", "small")
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.engine
def test_a_streamed_answer_ends_in_usage(engine: RunningEngine) -> None:
    events = stream(engine, stream_options={"include_usage": True}, return_progress=True)
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    last = events[-1]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 4
    assert [e["choices"][0]["finish_reason"] for e in events[:-1]][-1] == "length"
    progress = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    assert progress[-1]["processed"] == progress[-1]["total"] == last["usage"]["prompt_tokens"]


@pytest.mark.engine
def test_a_schema_is_kept(engine: RunningEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 9}, "n": {"type": "integer"}},
        "required": ["city", "n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    _, answer = chat(engine, response_format=form, max_tokens=60)
    assert set(json.loads(answer["choices"][0]["message"]["content"])) == {"city", "n"}


@pytest.mark.engine
def test_usage_of_several_choices_counts_the_first_alone(engine: RunningEngine) -> None:
    """A quirk that billing must know: n=2 reports half of what was generated."""
    _, answer = chat(engine, n=2)
    assert len(answer["choices"]) == 2
    assert answer["usage"]["completion_tokens"] == 4
    events = stream(engine, n=2, stream_options={"include_usage": True})
    counts = [event["usage"]["completion_tokens"] for event in events if "usage" in event]
    assert counts == [4, 4]


@pytest.mark.engine
@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"messages": [{"role": "user", "content": LONG_PROMPT * 3}]}, 400, "exceed_context_size"),
        ({"messages": "x"}, 400, "invalid_request"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "invalid_request"),
        ({"messages": [{"content": "x"}]}, 500, "server"),
        ({"max_tokens": -5}, 400, "invalid_request"),
        ({"n": 9}, 400, "invalid_request"),
        ({"tools": "x"}, 500, "server"),
        ({"response_format": {"type": "alien"}}, 400, "invalid_request"),
    ],
)
def test_error_shapes(fields: Json, status: int, kind: str, engine: RunningEngine) -> None:
    got, answer = chat(engine, **fields)
    assert (got, answer["error"]["type"]) == (status, f"{kind}_error")
    assert answer["error"]["code"] == status


@pytest.mark.engine
def test_endpoints_that_are_on_and_off(engine: RunningEngine) -> None:
    assert len(slots(engine)) == 4
    with urllib.request.urlopen(f"{engine.url}/metrics", timeout=60) as response:
        assert b"llamacpp:prompt_tokens_total" in response.read()
    with urllib.request.urlopen(f"{engine.url}/v1/models", timeout=60) as response:
        assert [model["id"] for model in json.load(response)["data"]] == ["small"]
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(f"{engine.url}/", timeout=60)
    refused.value.close()
    assert post(engine, "/v1/embeddings", {"input": "x"})[0] == 501


@pytest.mark.engine
def test_no_web_page_may_read_an_answer(engine: RunningEngine) -> None:
    request = urllib.request.Request(
        f"{engine.url}/v1/models", headers={"Origin": "http://page.example"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.headers["Access-Control-Allow-Origin"] == ""


# What it must never do, and how it stops.


@pytest.mark.engine
def test_no_word_of_a_prompt_is_said(engine: RunningEngine) -> None:
    user = [{"role": "user", "content": CANARY}]
    pattern = {"type": "string", "pattern": f"({CANARY}(", "description": CANARY}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": pattern}}
    for fields in (
        {"messages": user},
        {"messages": CANARY},
        {"messages": user, "tools": CANARY},
        {"messages": user, "response_format": form},
        {"messages": user, "grammar": f"root ::= {CANARY}"},
        {"messages": user, "max_tokens": CANARY},
        {"messages": [{"role": "user", "content": CANARY * 2_000}]},
        {"messages": user, "logit_bias": CANARY, "stop": CANARY, "lora": CANARY},
    ):
        chat(engine, **fields)
    post(engine, "/v1/chat/completions", f'{{"messages":"{CANARY}'.encode())
    post(engine, "/v1/completions", {"prompt": CANARY, "max_tokens": 1})
    stream(engine, messages=user)
    said = engine.log.read_text()
    assert said == f"selvedge engine: small at {engine.url}\n"


@pytest.mark.engine
def test_a_hang_up_while_the_prompt_is_read_frees_the_slot(engine: RunningEngine) -> None:
    body = {"messages": [{"role": "user", "content": LONG_PROMPT}], "max_tokens": 4}
    body |= {"stream": True, "return_progress": True}
    connection = HTTPConnection("127.0.0.1", engine.port, timeout=60)
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    response = connection.getresponse()
    assert b"prompt_progress" in response.readline()
    response.close()
    connection.close()
    hung_up = time.monotonic()
    while is_busy(engine):
        assert time.monotonic() - hung_up < CANCEL_S_MAX


@pytest.mark.engine
def test_a_queue_of_prompts_leaves_health_reachable(tmp_path: Path) -> None:
    with running_engine(tmp_path) as engine:
        body = json.dumps({"messages": [{"role": "user", "content": LONG_PROMPT}]})
        waiting = [HTTPConnection("127.0.0.1", engine.port, timeout=60) for _ in range(24)]
        for connection in waiting:
            connection.request("POST", "/v1/chat/completions", body)
        with urllib.request.urlopen(f"{engine.url}/health", timeout=30) as response:
            assert json.load(response) == {"status": "ok"}
        for connection in waiting:
            connection.close()


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_zero_even_at_work(number: signal.Signals, tmp_path: Path) -> None:
    with running_engine(tmp_path) as engine:
        body = json.dumps({"messages": [{"role": "user", "content": LONG_PROMPT}]})
        connection = HTTPConnection("127.0.0.1", engine.port, timeout=60)
        connection.request("POST", "/v1/chat/completions", body)
        while not is_busy(engine):
            pass
        os.kill(engine.process.pid, number)
        assert engine.process.wait(5) == 0
        connection.close()


@pytest.mark.engine
def test_a_signal_while_the_model_loads_ends_it(tmp_path: Path) -> None:
    options = ("--model", "smollm2-135m-instruct", "--alias", "a", "--port", str(free_port()))
    process = launch(tmp_path / "log", *options)
    while "xllamacpp" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
    assert end(process, grace_s=5) == 0


@pytest.mark.engine
def test_an_embedder_answers_like_openai(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    options = ("--embeddings", "--cache-dir", cache)
    with running_engine(tmp_path, *options, model="all-minilm-l6-v2", alias="mini") as engine:
        _, one = post(engine, "/v1/embeddings", {"input": "hello", "model": "mini"})
        assert one["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        _, many = post(engine, "/v1/embeddings", {"input": ["hello", [101, 7592, 102]]})
        assert [entry["index"] for entry in many["data"]] == [0, 1]
        first, second = (entry["embedding"] for entry in many["data"])
        assert first == pytest.approx(second, abs=1e-5)
        assert len(first) == 384
        assert post(engine, "/v1/embeddings", {"input": "word " * 510})[0] == 200
        status, refused = post(engine, "/v1/embeddings", {"input": "word " * 600})
        assert (status, refused["error"]["type"]) == (500, "server_error")
        assert post(engine, "/v1/embeddings", {"input": []})[0] == 400


def test_a_prompt_is_forgotten_with_its_answer(tmp_path: Path) -> None:
    """Nothing of it is used again, also by one who asks for that; nor is memory ever dumped."""
    prompt = [{"role": "user", "content": LONG_PROMPT[:600]}]
    with running_engine(tmp_path, "--zero-retention", "--slots", "1") as engine:
        for cache_prompt in (None, True):
            wish = {} if cache_prompt is None else {"cache_prompt": cache_prompt}
            for _ in range(2):
                status, said = chat(engine, messages=prompt, **wish)
                assert status == 200
                assert said["timings"]["cache_n"] == 0
                wait_erased(engine)
        status, _ = post(engine, "/slots/0?action=save", {"filename": "slot"})
        assert status == 500
        limits = Path(f"/proc/{engine.process.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)


def wait_erased(engine: RunningEngine) -> None:
    """Erasing again, and finding nothing, tells that it was done."""
    deadline = time.monotonic() + CANCEL_S_MAX
    while time.monotonic() < deadline:
        with urllib.request.urlopen(engine.url + "/slots", timeout=60) as answer:
            (slot,) = json.load(answer)
        if not slot.get("n_prompt_tokens"):
            return
        time.sleep(0.05)
    raise AssertionError(f"not erased: {slot}")
