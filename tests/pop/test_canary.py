"""A canary in prompts and answers, through every ending: it is nowhere but at its two ends."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from selvedge.fabric import Outcome
from tests.support import Answer, Cut, Drop, Gate, Hang, Raw, Reply, Reset, Script, Status, run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, RunningPop, rig
from tests.support.script import ToolCall
from tests.support.wires import BROKEN, Response, chat, post

CANARY = "kenari-e5b1"
SAYS = (CANARY, " and ", CANARY)
MESSAGES = [
    {"role": "system", "content": f"Never say {CANARY}."},
    {"role": "user", "content": [{"type": "text", "text": CANARY}], "name": CANARY},
]
SCHEMA = {"type": "json_schema", "json_schema": {"name": CANARY, "schema": {}}}
FIELDS: dict[str, Any] = {
    "messages": MESSAGES,
    "user": f"{CANARY}@example.net",
    "stop": [CANARY],
    "response_format": SCHEMA,
    "metadata": {CANARY: CANARY},
}
ENTRY = pytest.mark.parametrize("entry", ["sin", "cgk"])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
MORE = f"x-client-request-id: {CANARY}\r\nopenai-project: {CANARY}\r\nuser-agent: {CANARY}\r\n"


async def pages(pop: RunningPop, fabric: Fabric) -> bytes:
    """What a PoP says of itself."""
    async with fabric.wire(pop.id) as wire:
        said = [
            (await wire.get(path, bearer("free"))).body
            for path in ("/health", "/healthz", "/readyz", "/metrics", "/v1/models")
        ]
    return b"".join(said)


def check_files(directory: Path) -> None:
    for path in directory.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path


@asynccontextmanager
async def silent(
    directory: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    **given: Any,  # Any: whatever `rig` takes
) -> AsyncIterator[Fabric]:
    """A rig, and afterwards: not a trace of the canary in anything that it has left."""
    with caplog.at_level(logging.DEBUG):
        async with rig(directory, **given) as fabric:
            yield fabric
            for pop in fabric.pops.values():
                assert CANARY.encode() not in b"".join(pop.journal.lines)
                assert CANARY.encode() not in await pages(pop, fabric)
    check_files(directory)
    assert CANARY not in caplog.text
    out, err = capfd.readouterr()
    assert CANARY not in out + err


async def ask(fabric: Fabric, entry: str, key: str | None, body: bytes, more: str = "") -> Response:
    async with fabric.wire(entry) as wire:
        return await wire.ask(bearer(key) if key else None, body, more=MORE + more)


def headers_of(response: Response) -> str:
    return json.dumps(dict(response.headers))


ENDINGS: dict[str, tuple[Reply, Outcome]] = {
    "complete": (Answer(SAYS), Outcome.COMPLETE),
    "tools": (
        Answer((), tool_calls=(ToolCall(CANARY, f'{{"a":"{CANARY}"}}'),), finish="tool_calls"),
        Outcome.COMPLETE,
    ),
    "logprobs": (Answer(SAYS, logprobs=True, id=CANARY), Outcome.COMPLETE),
    "broken at once": (Answer(SAYS, cut=Cut("error", message=CANARY)), Outcome.FAILED),
    "broken": (Answer(SAYS, cut=Cut("error", after=2, message=CANARY)), Outcome.FAILED),
    "reset": (Answer(SAYS, cut=Cut("reset", after=2)), Outcome.FAILED),
    "drop": (Drop(), Outcome.FAILED),
    "reset at once": (Reset(), Outcome.FAILED),
    "500": (Status(500, CANARY), Outcome.FAILED),
    "404": (Status(404, CANARY, shape="text"), Outcome.FAILED),
    "not json": (Raw(b"HTTP/1.1 200 OK\r\n\r\n" + CANARY.encode()), Outcome.FAILED),
    "not http": (Raw(CANARY.encode() + b"\r\n\r\n"), Outcome.FAILED),
    "a bad header": (
        Raw(b"HTTP/1.1 200 OK\r\n" + CANARY.encode() + b" x: y\r\n\r\n"),
        Outcome.FAILED,
    ),
    "a bad chunk": (
        Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + CANARY.encode() + b"\r\n"),
        Outcome.FAILED,
    ),
    "a chunk that is not json": (
        Raw(b"HTTP/1.1 200 OK\r\n\r\ndata: {" + CANARY.encode() + b"\n\n"),
        Outcome.FAILED,
    ),
}


@ENTRY
@STREAM
@pytest.mark.parametrize("profile", ["openai", "llama.cpp"])
@pytest.mark.parametrize("name", ENDINGS)
def test_endings_at_the_engine(
    *,
    name: str,
    profile: str,
    stream: bool,
    entry: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    reply, outcome = ENDINGS[name]

    async def main() -> None:
        given = {"sin": Script(reply), "profile": profile}
        async with silent(tmp_path, capfd, caplog, **given) as fabric:
            response = await ask(fabric, entry, "asean", chat(stream=stream, **FIELDS))
            (receipt,) = fabric.pop(entry).receipts()
            assert receipt.outcome is outcome
            if outcome is Outcome.COMPLETE:
                assert CANARY.encode() in response.body
            elif response.status != 200:
                assert CANARY.encode() not in response.body
            else:
                assert CANARY.encode() not in response.events[-1]
            assert CANARY not in headers_of(response)

    run(main())


@ENTRY
@STREAM
def test_the_engines_own_words_go_to_the_client_alone(
    stream: bool,
    entry: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An engine that quotes the prompt in a 400: its words, to the one who sent it."""

    async def main() -> None:
        script = Script(Status(400, f"cannot parse {CANARY}"))
        async with silent(tmp_path, capfd, caplog, sin=script) as fabric:
            response = await ask(fabric, entry, "asean", chat(stream=stream, **FIELDS))
            assert (response.status, response.error["code"]) == (400, "engine_rejected")
            assert CANARY in response.error["message"]
            (receipt,) = fabric.pop(entry).receipts()
            assert receipt.outcome is Outcome.REFUSED

    run(main())


REFUSALS: dict[str, tuple[str | None, bytes, str]] = {
    "no key": (None, chat(CANARY), "missing_api_key"),
    "half": ("asean", chat(CANARY)[:-5], "invalid_json"),
    "a bare word": ("asean", CANARY.encode(), "invalid_json"),
    "a key twice": ("asean", chat(CANARY) + CANARY.encode(), "invalid_json"),
    "not utf-8": ("asean", chat(CANARY)[:-3] + b"\xff" + CANARY.encode(), "invalid_json"),
    "text for a list": ("asean", chat(messages=CANARY), "invalid_type"),
    "a list for text": ("asean", chat(model=[CANARY]), "invalid_type"),
    "role": ("asean", chat(messages=[{"role": CANARY}]), "invalid_value"),
    "role of a number": ("asean", chat(messages=[{"role": 1, "c": CANARY}]), "invalid_type"),
    "content": ("asean", chat(messages=[{"role": "user", "content": {CANARY: 1}}]), "invalid_type"),
    "part": (
        "asean",
        chat(messages=[{"role": "user", "content": [{"type": CANARY}]}]),
        "invalid_value",
    ),
    "temperature": ("asean", chat(temperature=CANARY), "invalid_type"),
    "stop": ("asean", chat(stop={CANARY: CANARY}), "invalid_type"),
    "stops": ("asean", chat(stop=[CANARY] * 17), "invalid_value"),
    "user": ("asean", chat(user=CANARY * 100), "invalid_value"),
    "tools": ("asean", chat(tools=[CANARY]), "invalid_type"),
    "rule": ("eea-strict", chat(**FIELDS), "residency_ingress"),
    "another model": ("asean", chat(**{**FIELDS, "model": "embed"}), "unsupported_route"),
    "too large": ("asean", chat(CANARY * 400), "request_too_large"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(
    name: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    key, body, code = REFUSALS[name]

    async def main() -> None:
        settings = {"cgk": {"body_bytes_max": 4000}}
        async with silent(tmp_path, capfd, caplog, settings=settings) as fabric:
            response = await ask(fabric, "cgk", key, body)
            assert response.error["code"] == code
            assert CANARY.encode() not in response.body
            assert CANARY not in headers_of(response)
            assert fabric.engines["sin"].connections == []

    run(main())


@ENTRY
@pytest.mark.parametrize("kind", ["I", "R", "A"])
def test_a_journal_that_fails(
    kind: str,
    entry: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with silent(tmp_path, capfd, caplog, sin=Script(Answer(SAYS))) as fabric:
            for pop in fabric.pops.values():
                pop.journal.faults[kind] = "lost"
            response = await ask(fabric, entry, "asean", chat(**FIELDS))
            if (kind, entry) != ("A", "sin"):  # Nobody attests to itself.
                assert response.status == 503
                assert CANARY.encode() not in response.body

    run(main())


@ENTRY
@STREAM
def test_a_client_that_leaves(
    stream: bool,
    entry: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        script = Script(Answer(SAYS, gate=Gate(1)))
        given = {"sin": script, "profile": "llama.cpp"}
        async with silent(tmp_path, capfd, caplog, **given) as fabric, fabric.wire(entry) as wire:
            wire.send(post(bearer("asean"), chat(stream=stream, **FIELDS), more=MORE))
            engine = fabric.engines["sin"]
            await engine.until(lambda: engine.requests and engine.requests[0].tokens_sent)
            wire.hang_up()
            (receipt,) = await fabric.pop(entry).until_receipts()
            assert receipt.outcome is Outcome.CLIENT_GONE

    run(main())


@ENTRY
def test_a_deadline(
    entry: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with silent(tmp_path, capfd, caplog, sin=Script(Hang())) as fabric:
            more = "selvedge-deadline-ms: 50\r\n"
            response = await ask(fabric, entry, "asean", chat(**FIELDS), more)
            assert response.status == 504
            assert CANARY.encode() not in response.body

    run(main())


@ENTRY
def test_a_body_that_never_ends(
    entry: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with silent(tmp_path, capfd, caplog) as fabric, fabric.wire(entry) as wire:
            wire.send(post(bearer("asean"), CANARY.encode(), more=MORE, length=100))
            wire.hang_up()
            await fabric.pop(entry).until_receipts()
            with pytest.raises(BROKEN):
                await wire.head()

    run(main())
