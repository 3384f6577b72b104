"""Timed requests to an engine that runs, for calibration: whole groups of them, sent at once or
spread over time, each with a prompt that no cache has seen.

Blocking sockets and a thread for each request: a handful at a time, and the loop of a PoP has no
part in it. It measures and refuses to know what is fitted to it.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Final

import msgspec

from selvedge.fabric import SelvedgeError

_TIMEOUT_S: Final = 300.0
_WORDS: Final = (
    *("river", "stone", "cloud", "market", "engine", "paper", "silver", "window", "garden"),
    *("letter", "copper", "harbour", "winter", "basket", "candle", "forest", "mirror"),
)


class ProbeFailed(SelvedgeError):
    """The engine could not be measured; the text says what it answered."""


class Ask(msgspec.Struct, frozen=True):
    """One request to come: words of prompt, tokens of answer, and when after the first."""

    words: int
    output_tokens: int
    after_us: int = 0


class Heard(msgspec.Struct, frozen=True):
    """How it went, in microseconds: sent after the group's start, the rest after its sending."""

    sent_us: int
    first_us: int
    whole_us: int
    prompt_tokens: int
    output_tokens: int
    moments: tuple[int, ...] = ()
    """When each piece of text came, counted as ``sent_us`` is."""


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Choice(msgspec.Struct):
    text: str = ""


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None


class _Props(msgspec.Struct):
    total_slots: int = 0


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_CHUNK: Final = msgspec.json.Decoder(_Chunk)


class EngineProbe:
    """One engine, asked again and again with new prompts drawn from one seed."""

    def __init__(self, url: str, model: str | None = None, seed: int = 0) -> None:
        parts = urllib.parse.urlsplit(url if "//" in url else f"//{url}")
        try:
            self._port = parts.port or 80
        except ValueError as error:
            raise ProbeFailed(f"{url} has no readable port; give http://HOST:PORT.") from error
        if parts.scheme not in ("", "http") or not parts.hostname:
            raise ProbeFailed(f"{url} is no address of an engine; give http://HOST:PORT.")
        self._host = parts.hostname
        self._path = parts.path.rstrip("/").removesuffix("/v1")
        self._random = Random(seed)
        self.model = model or self._first_model()

    def slots(self) -> int:
        """How many answers it decodes together, by its own word; 0 where it does not say."""
        try:
            status, body = self._get("/props")
            return msgspec.json.decode(body, type=_Props).total_slots if status == 200 else 0
        except msgspec.MsgspecError:
            return 0

    def run(self, asks: Sequence[Ask]) -> list[Heard]:
        """Send each at its moment, and wait for all. Raises `ProbeFailed`."""
        prompts = [self._prompt(ask.words) for ask in asks]
        started = time.perf_counter()
        with ThreadPoolExecutor(len(asks)) as threads:
            sent = [
                threads.submit(self._send, ask, prompt, started)
                for ask, prompt in zip(asks, prompts, strict=True)
            ]
            return [one.result() for one in sent]

    def _prompt(self, words: int) -> str:
        drawn = [f"{self._random.getrandbits(24):06x}"]
        drawn += [self._random.choice(_WORDS) for _ in range(words)]
        return " ".join(drawn)

    def _send(self, ask: Ask, prompt: str, started: float) -> Heard:
        time.sleep(max(0.0, started + ask.after_us / 1e6 - time.perf_counter()))
        body = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": ask.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            sent = time.perf_counter()
            headers = {"content-type": "application/json"}
            connection.request("POST", f"{self._path}/v1/completions", json.dumps(body), headers)
            with connection.getresponse() as response:
                if response.status != 200:
                    raise ProbeFailed(f"the engine answered {response.status} to a completion.")
                came, usage = _listen(response)
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            raise ProbeFailed(f"the engine at {self._host}:{self._port} broke off.") from error
        finally:
            connection.close()
        return Heard(
            sent_us=int((sent - started) * 1e6),
            first_us=int((came[0] - sent) * 1e6),
            whole_us=int((came[-1] - sent) * 1e6),
            prompt_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            moments=tuple(int((at - started) * 1e6) for at in came),
        )

    def _first_model(self) -> str:
        status, body = self._get("/v1/models")
        try:
            found = msgspec.json.decode(body, type=_Models).data if status == 200 else []
        except msgspec.MsgspecError:
            found = []
        if not found:
            raise ProbeFailed("the engine lists no model; name one with --model.")
        return found[0].id

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", f"{self._path}{path}")
            with connection.getresponse() as response:
                return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            where = f"{self._host}:{self._port}"
            raise ProbeFailed(f"no engine answers at {where}; start it, or correct it.") from error
        finally:
            connection.close()


def _listen(response: http.client.HTTPResponse) -> tuple[list[float], _Usage]:
    """The moments at which text came, and what was counted."""
    came: list[float] = []
    usage: _Usage | None = None
    while line := response.readline():
        now = time.perf_counter()
        if not line.startswith(b"data: {"):
            continue
        chunk = _CHUNK.decode(line[6:])
        usage = chunk.usage or usage
        if chunk.choices and (not came or chunk.choices[0].text):
            came.append(now)
    if usage is None or not came:
        raise ProbeFailed("the engine sent no text or no usage; it must speak OpenAI's streams.")
    return came, usage
