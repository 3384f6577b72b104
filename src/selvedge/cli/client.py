"""The command line's own OpenAI client: one chat question, streamed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from selvedge.adapters import ClientSettings, HttpClient, Outgoing, TransportFailed
from selvedge.fabric import SelvedgeError
from selvedge.wire import ResponseHead, SseReader

ANSWER_S_MAX = 600


class Question(msgspec.Struct, frozen=True):
    """A prompt for one PoP."""

    url: str
    via: str
    key: str
    prompt: str
    model: str | None
    max_tokens: int

    def __repr__(self) -> str:
        return f"Question(via={self.via!r})"


class Answer(msgspec.Struct):
    """What came back. ``error`` and ``code`` are the error object's, where there is one."""

    text: str = ""
    status: int = 0
    code: str | None = None
    error: str | None = None
    receipt_id: str | None = None
    served_by: str | None = None
    processed_in: str | None = None
    first_token_ms: float | None = None
    total_ms: float = 0.0


class _Listener:
    """Takes the stream apart and shows it as it comes."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.answer = Answer()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._show = show
        self._reader = SseReader()
        self._body = b""
        self._started = time.perf_counter()

    def head(self, head: ResponseHead) -> None:
        get = head.headers.get
        self.answer.status = head.status
        self.answer.receipt_id = get("selvedge-receipt")
        self.answer.served_by = get("selvedge-served-by")
        self.answer.processed_in = get("selvedge-processed-in")

    def data(self, part: bytes) -> None:
        if self.answer.status != 200:
            self._body += part
            return
        for event in self._reader.feed(part):
            if event.data != b"[DONE]":
                self._chunk(msgspec.json.decode(event.data))

    def _chunk(self, chunk: dict[str, object]) -> None:
        if "error" in chunk:
            self._error(chunk)
            return
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            text = choice.get("delta", {}).get("content")
            if text:
                if self.answer.first_token_ms is None:
                    self.answer.first_token_ms = self._elapsed_ms()
                self.answer.text += text
                self._show(text)

    def _error(self, body: dict[str, object]) -> None:
        error = body.get("error")
        if isinstance(error, dict):
            self.answer.error = str(error.get("message"))
            self.answer.code = str(error.get("code"))

    def end(self) -> None:
        if self.answer.status != 200:
            self._error(msgspec.json.decode(self._body))
        self.answer.total_ms = self._elapsed_ms()
        self.done.set_result(None)

    def failed(self, error: TransportFailed) -> None:
        self.done.set_exception(SelvedgeError(f"the PoP did not answer: {error}"))

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000


async def ask_once(question: Question, show: Callable[[str], None]) -> Answer:
    """Ask and wait for the end; ``show`` gets each piece of text. Raises `SelvedgeError`."""
    client = HttpClient(ClientSettings())
    try:
        model = question.model or await _first_chat_model(client, question)
        body = msgspec.json.encode(
            {
                "model": model,
                "messages": [{"role": "user", "content": question.prompt}],
                "max_tokens": question.max_tokens,
                "stream": True,
            }
        )
        listener = _Listener(show)
        client.send(_request(question, "/v1/chat/completions", body), listener)
        async with asyncio.timeout(ANSWER_S_MAX):
            await listener.done
        return listener.answer
    except TimeoutError as error:
        raise SelvedgeError(f"the PoP at {question.url} did not answer in time") from error
    finally:
        await client.close()


async def _first_chat_model(client: HttpClient, question: Question) -> str:
    answer = await client.fetch(_request(question, "/v1/models", b""))
    found = msgspec.json.decode(answer.body)
    rows = found.get("data", []) if isinstance(found, dict) else []
    # A refusal here is met again, with its receipt, when the question itself is asked.
    return str(rows[0]["id"]) if rows else "default"


def _request(question: Question, path: str, body: bytes) -> Outgoing:
    host, port = address(question.url)
    headers = [("authorization", f"Bearer {question.key}"), ("content-type", "application/json")]
    return Outgoing(host, port, "POST" if body else "GET", path, headers, body)


def address(url: str) -> tuple[str, int]:
    """Host and port of an ``http://host:port`` URL."""
    host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
    return host.strip("[]"), int(port)
