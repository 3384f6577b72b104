"""What a client can do wrong, at the socket: the exact status, code and param, and never a 5xx."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selvedge.fabric import Outcome
from tests.support import Answer, Gate, Raw, Script, run
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.wires import chat, error_of, post

ENTRY = pytest.mark.parametrize("entry", ["sin", "cgk"])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
ROLE = b'{"model":"chat","messages":[{"role":"user","content":"%b"}]%b}'

BODIES: dict[str, tuple[bytes, int, str, str | None]] = {
    "nothing": (b"", 400, "invalid_json", None),
    "half": (chat()[:-1], 400, "invalid_json", None),
    "more": (chat() + b"x", 400, "invalid_json", None),
    "not a number": (ROLE % (b"", b',"temperature":NaN'), 400, "invalid_json", None),
    "not utf-8": (ROLE % (b"\xff", b""), 400, "invalid_json", None),
    "half a character": (ROLE % (b"\xe4", b""), 400, "invalid_json", None),
    "utf-16": (chat().decode().encode("utf-16"), 400, "invalid_json", None),
    "half a pair": (ROLE % (b"\\ud800", b""), 400, "invalid_json", None),
    "control character": (ROLE % (b"\x00", b""), 400, "invalid_json", None),
    "deep": (ROLE % (b"", b',"x":' + b"[" * 50_000 + b"]" * 50_000), 400, "invalid_json", None),
    "array": (b"[]", 400, "invalid_type", None),
    "null": (b"null", 400, "invalid_type", None),
    "no model": (b'{"messages":[]}', 400, "missing_field", "model"),
    "no messages": (b'{"model":"chat"}', 400, "missing_field", "messages"),
    "model is a number": (chat(model=5), 400, "invalid_type", "model"),
    "model is null": (chat(model=None), 400, "invalid_type", "model"),
    "model is empty": (chat(model=""), 400, "invalid_value", "model"),
    "model is long": (chat(model="m" * 129), 400, "invalid_value", "model"),
    "unknown model": (chat(model="gpt"), 404, "model_not_found", "model"),
    "a model that breaks lines": (chat(model="a\r\nb"), 404, "model_not_found", "model"),
    "wrong route": (chat(model="embed"), 400, "unsupported_route", "model"),
    "messages are text": (chat(messages="hi"), 400, "invalid_type", "messages"),
    "messages are empty": (chat(messages=[]), 400, "invalid_value", "messages"),
    "role is missing": (chat(messages=[{}]), 400, "missing_field", "messages[0].role"),
    "role is unknown": (
        chat(messages=[{"role": "wizard"}]),
        400,
        "invalid_value",
        "messages[0].role",
    ),
    "a picture": (
        chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
        400,
        "invalid_value",
        "messages",
    ),
    "negative max_tokens": (chat(max_tokens=-1), 400, "invalid_value", "max_tokens"),
    "no max_tokens": (chat(max_tokens=0), 400, "invalid_value", "max_tokens"),
    "endless max_tokens": (chat(max_tokens=2**31), 400, "invalid_value", "max_tokens"),
    "huge max_tokens": (chat(max_tokens=10**30), 400, "invalid_value", "max_tokens"),
    "max_tokens is text": (chat(max_tokens="5"), 400, "invalid_type", "max_tokens"),
    "n too large": (chat(n=17), 400, "invalid_value", "n"),
    "n is zero": (chat(n=0), 400, "invalid_value", "n"),
    "hot": (chat(temperature=2.1), 400, "invalid_value", "temperature"),
    "temperature is text": (chat(temperature="hot"), 400, "invalid_type", "temperature"),
    "stream is text": (chat(stream="yes"), 400, "invalid_type", "stream"),
    "options without a stream": (
        chat(stream_options={"include_usage": True}),
        400,
        "invalid_value",
        "stream_options",
    ),
    "tools are an object": (chat(tools={}), 400, "invalid_type", "tools"),
    "long user": (chat(user="u" * 513), 400, "invalid_value", "user"),
}


@ENTRY
@pytest.mark.parametrize("name", BODIES)
def test_a_body(name: str, entry: str, tmp_path: Path) -> None:
    body, status, code, param = BODIES[name]

    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            response = await wire.ask(bearer("asean"), body)
            assert fabric.engines["sin"].connections == []
            (receipt,) = fabric.pop(entry).receipts()
            assert (response.status, response.error["code"]) == (status, code)
            assert response.error["param"] == param
            assert response.error["type"] == "invalid_request_error"
            assert response.headers["x-should-retry"] == "false"
            assert (receipt.outcome, receipt.code) == (Outcome.REFUSED, code)
            assert receipt.status == status
            # The connection is as good as before.
            assert (await wire.ask(bearer("asean"), chat())).status == 200
            assert fabric.pop(entry).accepted == 1

    run(main())


HEADS: dict[str, tuple[str, int, str, str | None]] = {
    "a form": (
        "content-type: application/x-www-form-urlencoded\r\n",
        415,
        "unsupported_media_type",
        "content-type",
    ),
    "text": ("content-type: text/plain\r\n", 415, "unsupported_media_type", "content-type"),
    **{
        f"deadline {value!r}": (
            f"selvedge-deadline-ms: {value}\r\n",
            400,
            "invalid_header",
            "selvedge-deadline-ms",
        )
        for value in ("soon", "-1", "1.5", "", "1e3", "+5", "0x10", "9" * 16, "\xb2")
    },
}


@ENTRY
@pytest.mark.parametrize("name", HEADS)
def test_a_head(name: str, entry: str, tmp_path: Path) -> None:
    more, status, code, param = HEADS[name]

    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            response = await wire.ask(bearer("asean"), chat(), more=more)
            (receipt,) = fabric.pop(entry).receipts()
            assert (response.status, response.error["code"]) == (status, code)
            assert response.error["param"] == param
            assert receipt.code == code
            assert fabric.engines["sin"].connections == []

    run(main())


def test_a_post_without_a_length(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nauthorization: {bearer('asean')}"
            wire.send(head.encode() + b"\r\n\r\n")
            response = await wire.answer()
            assert (response.status, response.error["code"]) == (411, "length_required")

    run(main())


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/embeddings", "POST"),
        ("GET", "/v1/responses", "POST"),
        ("DELETE", "/v1/models/chat", "GET, HEAD"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
        ("OPTIONS", "/healthz", "GET, HEAD"),
    ],
)
def test_a_method(method: str, path: str, allow: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            response = await wire.get(path, bearer("asean"), method)
            assert (response.status, response.error["code"]) == (405, "method_not_allowed")
            assert response.headers["allow"] == allow
            assert response.headers["x-should-retry"] == "false"
            assert fabric.pop("sin").receipts() == []

    run(main())


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/files", "/v1/chat/completions/", "/%00é"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path(method: str, path: str, tmp_path: Path) -> None:
    written = path.encode().decode("latin-1") if path.isascii() else "/%00"

    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            if method == "GET":
                response = await wire.get(written)
            else:
                response = await wire.ask(None, b"{}", written)
            assert (response.status, response.error["code"]) == (404, "unknown_url")
            assert response.headers["x-request-id"].startswith("req_")
            assert written in response.error["message"]

    run(main())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("NONSENSE\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nhost: x\r\nbad header: x\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
        ),
        ("GET /healthz HTTP/1.1\r\nhost: x\r\nx: " + "y" * 70_000 + "\r\n\r\n", 431),
    ],
    ids=["nonsense", "no host", "bad header", "two lengths", "length and chunks", "too long"],
)
def test_what_is_not_http(head: str, status: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            wire.send(head.encode())
            response = await wire.answer()
            assert response.status == status
            assert error_of(response.body)["code"]
            assert response.headers["connection"] == "close"
            assert await wire.ended()

    run(main())


CONTEXT = {
    "error": {
        "code": 400,
        "message": "the request exceeds the available context size, try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 9000,
        "n_ctx": 4096,
    }
}


@ENTRY
@STREAM
@pytest.mark.parametrize("profile", ["openai", "llama.cpp"])
def test_a_prompt_over_the_context(profile: str, stream: bool, entry: str, tmp_path: Path) -> None:
    """In llama.cpp's shape; the client's fault, so no other engine is asked."""
    body = json.dumps(CONTEXT).encode()
    head = (
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    )
    reply = Raw(head % len(body) + body, close=False)

    async def main() -> None:
        async with (
            rig(tmp_path, sin=Script(reply), profile=profile) as fabric,
            fabric.wire(entry) as wire,
        ):
            response = await wire.ask(bearer("free"), chat(stream=stream))
            (receipt,) = fabric.pop(entry).receipts()
            assert fabric.untouched("fra")
        assert (response.status, response.error["code"]) == (400, "context_length_exceeded")
        assert response.error["param"] == "messages"
        assert "longer than the model's context" in response.error["message"]
        assert (receipt.outcome, receipt.code) == (Outcome.REFUSED, "context_length_exceeded")
        assert [one.outcome for one in receipt.attempts] == ["rejected"]

    run(main())


UNREAD: dict[str, tuple[str | None, str, int, str]] = {
    "too large": ("asean", "", 413, "request_too_large"),
    "too large, expected": ("asean", "expect: 100-continue\r\n", 413, "request_too_large"),
    "no key": (None, "", 401, "missing_api_key"),
    "no key, expected": (None, "expect: 100-continue\r\n", 401, "missing_api_key"),
    "rule": ("eea-strict", "", 451, "residency_ingress"),
    "type": ("asean", "content-type: text/plain\r\n", 415, "unsupported_media_type"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_refused_before_the_body_is_read(name: str, tmp_path: Path) -> None:
    key, more, status, code = UNREAD[name]

    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("cgk") as wire:
            authorization = bearer(key) if key else None
            wire.send(post(authorization, b"", more=more, length=10_000_001))
            response = await wire.answer()
            assert (response.status, response.error["code"]) == (status, code)
            assert response.headers["connection"] == "close"
            assert fabric.pop("cgk").state.bodies.held == 0
            assert len(fabric.pop("cgk").receipts()) == (1 if key else 0)
            # A client that goes on sending can read the answer, and finds the end behind it.
            wire.send(b"x" * 100_000)
            assert await wire.ended()

    run(main())


def test_an_unknown_key_is_told_nothing_of_its_body(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            more = "content-type: text/plain\r\nselvedge-deadline-ms: soon\r\n"
            response = await wire.ask("Bearer sk-asean-wrong", b"{", more=more)
            assert (response.status, response.error["code"]) == (401, "invalid_api_key")
            assert response.headers["www-authenticate"] == "Bearer"
            assert "selvedge-receipt" not in response.headers
            assert fabric.pop("sin").tallied() == {"invalid_api_key": 1}

    run(main())


@ENTRY
def test_chunks_over_the_limit(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        settings = {entry: {"body_bytes_max": 200}}
        async with (
            rig(tmp_path, settings=settings) as fabric,
            fabric.wire(entry) as wire,
            fabric.wire(entry) as other,
        ):
            chunked = "transfer-encoding: chunked\r\n"
            wire.send(post(bearer("asean"), b"", more=chunked) + b"96\r\n" + b" " * 150 + b"\r\n")
            wire.send(b"96\r\n" + b" " * 150 + b"\r\n")
            response = await wire.answer()
            assert (response.status, response.error["code"]) == (413, "request_too_large")
            assert "200" in response.error["message"]
            body = chat()
            other.send(post(bearer("asean"), b"", more=chunked))
            other.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            assert (await other.answer()).status == 200
            assert fabric.pop(entry).state.bodies.held == 0

    run(main())


def test_all_bodies_together_have_a_limit(tmp_path: Path) -> None:
    body = chat()

    async def main() -> None:
        settings = {"sin": {"bodies_bytes_max": len(body) + 10}}
        gate = Gate()
        async with (
            rig(tmp_path, sin=Script(Answer(gate=gate)), settings=settings) as fabric,
            fabric.wire("sin") as first,
            fabric.wire("sin") as second,
        ):
            first.send(post(bearer("asean"), body))
            await fabric.engines["sin"].until(lambda: fabric.engines["sin"].requests)
            refused = await second.ask(bearer("asean"), body)
            assert (refused.status, refused.error["code"]) == (503, "overloaded")
            assert refused.headers["retry-after-ms"] == "1000"
            (receipt,) = fabric.pop("sin").receipts()
            assert (receipt.status, receipt.code) == (503, "overloaded")
            gate.open()
            assert (await first.answer()).status == 200
            assert fabric.pop("sin").state.bodies.held == 0
            async with fabric.wire("sin") as third:
                assert (await third.ask(bearer("asean"), body)).status == 200

    run(main())
