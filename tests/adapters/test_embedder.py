"""Texts as vectors: as the book says, in batches, and whatever an engine answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from selvedge.adapters import BundledEmbedder, EmbedderFailed, UrlEmbedder, default_cache_dir
from selvedge.adapters.bundled_models import BUNDLED, wheel_directory
from selvedge.adapters.embedder import BATCH_MAX, QUEUE_MAX, EmbedQueue
from selvedge.adapters.embedder_wordpiece import TOKENS_MAX, WordPiece
from tests.adapters.bag_of_words import BagOfWords
from tests.adapters.bert_reference import Reference

MODEL = wheel_directory(BUNDLED["all-minilm-l6-v2"]) / "model"

TEXTS = [
    "How do I reset my password?",
    "naïve café’s “quotes” 北京",
    "x_y = foo(bar)[0]; $5 + 3 %",
    "A longer text, which says the same thing again and again. " * 12,
    "?",
]


def test_vectors_are_those_of_the_book() -> None:
    embedder, reference = BundledEmbedder(default_cache_dir()), Reference(MODEL)
    together = embedder.embed(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        assert float(vector @ reference.embed(text)) > 0.99999
        assert float(vector @ embedder.embed([text])[0]) > 0.99999
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_a_wheel_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EmbedderFailed, match="cannot be used"):
        BundledEmbedder(tmp_path / "file")


PIECES = {  # by the tokenizers library, 0.23
    "How do I reset my password?": [101, 2129, 2079, 1045, 25141, 2026, 20786, 1029, 102],
    "unaffable İstanbul": [101, 14477, 20961, 3468, 9960, 102],
    "[CLS] is no mark here": [101, 1031, 18856, 2015, 1033, 2003, 2053, 2928, 2182, 102],
    "a" * 150: [101, 100, 102],
    "tabs\tand\u00a0spaces\u200b": [101, 21628, 2015, 1998, 7258, 102],
    "": [101, 102],
}


@pytest.mark.parametrize("text", PIECES)
def test_pieces(text: str) -> None:
    assert WordPiece(MODEL / "vocab.txt").read(text) == PIECES[text]


def test_a_long_text_is_cut_with_its_mark() -> None:
    read = WordPiece(MODEL / "vocab.txt").read("word " * 1000)
    assert len(read) == TOKENS_MAX
    assert (read[0], read[-1]) == (101, 102)


def test_a_vocabulary_without_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"\[UNK\]"):
        WordPiece(tmp_path / "vocab.txt")


# The queue


def test_the_queue_batches_and_remembers() -> None:
    async def test() -> None:
        embedder = BagOfWords()
        with ThreadPoolExecutor(1) as threads:
            queue = EmbedQueue(embedder, threads)
            embedder.may_go.clear()
            asks = [asyncio.ensure_future(queue.vector(f"text {n % 30}")) for n in range(60)]
            await asyncio.sleep(0)
            assert queue.waiting == 29
            embedder.may_go.set()
            found = await asyncio.gather(*asks)
            assert all(one is not None for one in found)
            assert [len(call) for call in embedder.calls] == [1, BATCH_MAX, 13]
            assert await queue.vector("text 7") is found[7]
            assert queue.texts == 30

    asyncio.run(test())


def test_a_full_queue_refuses_and_a_failure_is_told() -> None:
    async def test() -> None:
        embedder = BagOfWords()
        with ThreadPoolExecutor(1) as threads:
            queue = EmbedQueue(embedder, threads)
            embedder.may_go.clear()
            embedder.fails = True
            asks = [asyncio.ensure_future(queue.vector(f"{n}")) for n in range(QUEUE_MAX + 5)]
            await asyncio.sleep(0)
            assert queue.refused == 4
            embedder.may_go.set()
            assert set(await asyncio.gather(*asks)) == {None}
            assert queue.failures == QUEUE_MAX + 1
            embedder.fails = False
            assert await queue.vector("0") is not None

    asyncio.run(test())


def test_a_long_text_is_not_kept_waiting_by_short_ones() -> None:
    async def test() -> None:
        embedder = BagOfWords()
        with ThreadPoolExecutor(1) as threads:
            queue = EmbedQueue(embedder, threads)
            embedder.may_go.clear()
            texts = ["first", "a very long text " * 9, *(f"s{n}" for n in range(40))]
            asks = [asyncio.ensure_future(queue.vector(text)) for text in texts]
            await asyncio.sleep(0)
            embedder.may_go.set()
            await asyncio.gather(*asks)
            assert texts[1] in embedder.calls[1]

    asyncio.run(test())


# An engine by its URL


@contextmanager
def engine(answer: Callable[[list[str]], tuple[int, bytes]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, data = answer(body["input"])
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def rows(*vectors: list[float]) -> bytes:
    data = [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    return json.dumps({"data": data[::-1]}).encode()


def test_an_engines_vectors_are_put_in_order_and_made_units() -> None:
    with engine(lambda texts: (200, rows([3.0, 4.0], [0.0, 2.0]))) as url:
        found = UrlEmbedder(url, "embedder", dims=2).embed(["a", "b"])
    assert np.allclose(found, [[0.6, 0.8], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (429, b'{"error":{"message":"slow down"}}'),
        (200, b"<html>"),
        (200, b"{}"),
        (200, b'{"error":{"message":"no"}}'),
        (200, rows([1.0, 0.0])),
        (200, rows([1.0], [1.0])),
        (200, rows([0.0, 0.0], [1.0, 0.0])),
        (200, b'{"data":[{"embedding":["x",1],"index":0}]}'),
    ],
)
def test_an_engine_that_answers_otherwise_has_failed(status: int, body: bytes) -> None:
    with engine(lambda texts: (status, body)) as url, pytest.raises(EmbedderFailed):
        UrlEmbedder(url, "embedder", dims=2).embed(["a", "b"])


def test_an_engine_that_is_slow_or_away_has_failed() -> None:
    waiting = threading.Event()

    def slow(texts: list[str]) -> tuple[int, bytes]:
        waiting.wait(20)
        return 200, rows([1.0, 0.0])

    with engine(slow) as url:
        embedder = UrlEmbedder(url, "embedder", dims=2, timeout_ms=50)
        with pytest.raises(EmbedderFailed):
            embedder.embed(["a"])
        waiting.set()
    with pytest.raises(EmbedderFailed):
        embedder.embed(["a"])


def test_vectors_of_another_engine_are_not_compared() -> None:
    marks = {
        UrlEmbedder("http://one/v1", "a", dims=2).mark,
        UrlEmbedder("http://one/v1", "b", dims=2).mark,
        UrlEmbedder("http://two/v1", "a", dims=2).mark,
        UrlEmbedder("http://two/v1", "a", dims=3).mark,
    }
    assert len(marks) == 4
