"""Clients of the soak: mixed requests, slow readers and hang-ups; every answer must be explained.

An answer is explained by what was asked (a malformed request gets 400), by the client (it hung up
itself), or by the schedule (an engine was down, or had been a moment ago). All else is counted.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from bench.audit import Told
from bench.line import DONE, Heard, Line, open_line, post

ASK_S_MAX = 60.0
RECONNECT_EVERY = 50
PAUSE_S = (0.0, 0.05)
SLOW_S = 0.3
AFTER_OUTAGE_S = 8.0
"""What began so long after an engine was back may still be refused: it cools, and calls end."""
UNEXPLAINED_KEPT = 20
# Kind -> weight.
KINDS: Mapping[str, int] = {
    "json": 25,
    "stream": 25,
    "embed": 15,
    "slow": 8,
    "hang-stream": 8,
    "hang-json": 4,
    "malformed": 6,
    "unknown-model": 3,
    "unknown-key": 6,
}
EXPECTED = {"malformed": 400, "unknown-key": 401, "unknown-model": 404}


class Outages:
    """When engines were down, on the clock of `time.monotonic`."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        self.down = 0

    def begin(self) -> None:
        """An engine is about to be killed."""
        self.down += 1
        self._spans.append((time.monotonic(), float("inf")))

    def end(self) -> None:
        """It serves again."""
        self.down -= 1
        self._spans[-1] = (self._spans[-1][0], time.monotonic())

    def explain(self, began: float, ended: float) -> bool:
        """Whether one touches this span of time."""
        return any(
            began < back + AFTER_OUTAGE_S and ended > down for down, back in self._spans[-3:]
        )


@dataclass(slots=True)
class Score:
    """What all clients heard, together; ``told`` by PoP."""

    told: dict[str, Told]
    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    unexplained_count: int = 0

    def hear(self, kind: str, pop: str, heard: Heard, explained: bool) -> None:
        """Write down one answer, and whether it is one to be expected."""
        self.requests[kind] += 1
        self.statuses[heard.status] += 1
        told = self.told[pop]
        receipt_id = heard.header("selvedge-receipt")
        streams = (heard.header("content-type") or "").startswith("text/event-stream")
        if receipt_id is not None:
            told.heard.add(receipt_id)
            if DONE in heard.raw if streams else heard.whole:
                told.acknowledged[receipt_id] = heard.status
        if kind.startswith("hang"):
            self.explained["hung up"] += not heard.ended
            return
        good = heard.whole and heard.status == EXPECTED.get(kind, 200)
        good = good and (not streams or DONE in heard.raw)
        if good:
            return
        if explained:
            self.explained["an engine was down"] += 1
            return
        self.unexplained_count += 1
        if len(self.unexplained) < UNEXPLAINED_KEPT:
            self.unexplained.append(f"{kind} at {pop}: {heard.status} {heard.raw[-200:]!r}")


class SlowLine(Line):
    """Reads a little, then nothing for a while, again and again."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        transport = self._transport
        if transport is not None and not transport.is_closing() and not self._heard.whole:
            transport.pause_reading()
            asyncio.get_running_loop().call_later(SLOW_S, self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


class SoakClient:
    """One client with its own seed; it asks at one PoP after the other."""

    def __init__(
        self,
        ports: Mapping[str, int],
        keys: Sequence[str],
        rng: Random,
        score: Score,
        outages: Outages,
    ) -> None:
        self._ports = ports
        self._keys = keys
        self._rng = rng
        self._score = score
        self._outages = outages
        self._lines: dict[str, Line] = {}
        self.stopping = False

    async def run(self) -> None:
        """Ask until ``stopping``."""
        kinds, weights = list(KINDS), list(KINDS.values())
        while not self.stopping:
            kind = self._rng.choices(kinds, weights)[0]
            pop = self._rng.choice(list(self._ports))
            began = time.monotonic()
            heard = await self._ask(kind, pop)
            explained = self._outages.explain(began, time.monotonic())
            self._score.hear(kind, pop, heard, explained)
            await asyncio.sleep(self._rng.uniform(*PAUSE_S))
        for line in self._lines.values():
            line.close()

    async def _ask(self, kind: str, pop: str) -> Heard:
        request = _request(kind, self._ports[pop], self._rng.choice(self._keys))
        parts_max = self._rng.randint(0, 3) if kind.startswith("hang") else None
        line = await self._line(kind, pop)
        try:
            async with asyncio.timeout(ASK_S_MAX):
                return await line.ask(request, parts_max)
        except TimeoutError:
            line.close()
            return Heard(0)
        finally:
            if kind == "slow":
                line.close()

    async def _line(self, kind: str, pop: str) -> Line:
        port = self._ports[pop]
        if kind == "slow":
            loop = asyncio.get_running_loop()
            _, slow = await loop.create_connection(SlowLine, "127.0.0.1", port)
            return slow
        line = self._lines.get(pop)
        if line is None or not line.is_open or self._rng.randrange(RECONNECT_EVERY) == 0:
            if line is not None:
                line.close()
            line = self._lines[pop] = await open_line(port)
        return line


def _request(kind: str, port: int, key: str) -> bytes:
    path = "/v1/embeddings" if kind == "embed" else "/v1/chat/completions"
    if kind == "unknown-key":
        key = key[:-1] + ("0" if key[-1] != "0" else "1")
    body: dict[str, object] = {
        "model": "nobody" if kind == "unknown-model" else "scripted",
        "messages": [{"role": "user", "content": "Say it again."}],
        "max_tokens": 64,
        "stream": "stream" in kind or kind == "slow",
    }
    if kind == "malformed":
        body["messages"] = 7
    if kind == "embed":
        body = {"model": "vectors", "input": ["warp and weft"] * 4}
    return post(path, port, json.dumps(body).encode(), key)
