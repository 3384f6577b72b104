"""A judge at a URL, held against labels: the words are the cache's own."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from selvedge.adapters import JudgeFailed, UrlJudge
from selvedge.cache.judging import TEXT_BYTES_MAX, Exchange, prompt

KEPT, NEW = Exchange("a?", "One."), Exchange("b?", "Uno.")


class _Engine(http.server.BaseHTTPRequestHandler):
    words: ClassVar[list[bytes]] = []
    asked: ClassVar[list[Any]] = []
    keys: ClassVar[list[str | None]] = []
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append(json.loads(body))
        self.keys.append(self.headers["authorization"])
        said = self.words.pop(0)
        self.send_response(self.status)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def engine(*words: str | bytes, status: int = 200) -> Iterator[tuple[type[_Engine], str]]:
    said = [one if isinstance(one, bytes) else _answer(one) for one in words]
    kind = type("Engine", (_Engine,), {"words": said, "asked": [], "keys": [], "status": status})
    server = http.server.HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield kind, f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(word: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": word}}]}).encode()


@pytest.mark.parametrize(
    ("words", "same", "counted"),
    [
        (("yes", "no"), True, "same"),
        (("no",), False, "different"),
        (("yes", "yes"), False, "contradicted"),
        (("perhaps",), False, "unclear"),
    ],
)
def test_it_decides_as_the_cache_does(words: tuple[str, ...], same: bool, counted: str) -> None:
    with engine(*words) as (asked, url):
        judge = UrlJudge(url, "wise", "secret")
        assert judge.says_same(KEPT, NEW) is same
    assert judge.counts[counted] == 1
    assert judge.counts["questions"] == len(words) == len(asked.asked)
    system, user = prompt(KEPT, NEW, 0)
    first = asked.asked[0]
    assert [one["content"] for one in first["messages"]] == [system, user]
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("wise", 0, 8)
    assert set(asked.keys) == {"Bearer secret"}


def test_what_is_too_long_is_not_asked() -> None:
    judge = UrlJudge("http://127.0.0.1:1/v1", "wise")
    assert judge.says_same(KEPT, Exchange("", "a" * TEXT_BYTES_MAX)) is None


@pytest.mark.parametrize(("said", "status"), [(b"<html>", 200), (b"{}", 404), (b"[]", 200)])
def test_an_engine_that_is_none_is_named(said: bytes, status: int) -> None:
    with engine(said, status=status) as (_, url), pytest.raises(JudgeFailed, match="the judge at"):
        UrlJudge(url, "wise").says_same(KEPT, NEW)
    with pytest.raises(JudgeFailed, match="failed"):
        UrlJudge("http://127.0.0.1:1/v1", "wise").says_same(KEPT, NEW)
