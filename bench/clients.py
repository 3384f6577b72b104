"""Clients that never tire: mixed requests on keep-alive connections, through every death of a PoP.

Each remembers which receipts it was told of and how its answers ended. A client waits for the PoP
on an event, never on the clock.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from bench.audit import Told
from bench.line import Heard, Line, open_line, post

PATH = "/v1/chat/completions"
ASK_S_MAX = 20.0
RECONNECT_EVERY = 40
# Kind -> weight. "hang" ones hang up after a random number of reads.
KINDS: Mapping[str, int] = {
    "stream": 36,
    "json": 24,
    "stream-llama": 8,
    "json-llama": 8,
    "hang-stream": 10,
    "hang-json": 4,
    "malformed": 5,
    "unknown-key": 5,
}


@dataclass(slots=True)
class Tally:
    """What all clients did and heard, together."""

    told: Told = field(default_factory=Told)
    started: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    cut_off: int = 0
    hung_up: int = 0
    stuck: int = 0
    goal: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def next_round(self, goal: int) -> None:
        """`reached` is set after so many further acknowledgements."""
        self.goal = goal
        self.reached.clear()
        if goal <= 0:
            self.reached.set()

    def hear(self, heard: Heard) -> None:
        """Write down one answer, or what came of it."""
        receipt_id = heard.header("selvedge-receipt")
        if receipt_id is not None:
            self.told.heard.add(receipt_id)
        if not heard.ended:
            return
        self.statuses[heard.status] += 1
        if receipt_id is not None:
            self.told.acknowledged[receipt_id] = heard.status
            self.goal -= 1
            if self.goal <= 0:
                self.reached.set()


class Client:
    """One client with its own seed. ``up`` is set while the PoP is to be asked."""

    def __init__(
        self, port: int, keys: Mapping[str, str], rng: Random, tally: Tally, up: asyncio.Event
    ) -> None:
        self._port = port
        self._rng = rng
        self._tally = tally
        self._up = up
        self._requests = {
            kind: [_request(kind, port, key) for key in keys.values()] for kind in KINDS
        }
        self._line: Line | None = None
        self.stopping = False

    async def run(self) -> None:
        """Ask until ``stopping``."""
        kinds, weights = list(KINDS), list(KINDS.values())
        while True:
            await self._up.wait()
            if self.stopping:
                break
            kind = self._rng.choices(kinds, weights)[0]
            request = self._rng.choice(self._requests[kind])
            parts_max = self._rng.randint(0, 3) if kind.startswith("hang") else None
            try:
                await self._ask(kind, request, parts_max)
            except OSError:
                await asyncio.sleep(0)  # It died a moment ago; whoever killed it clears `up`.
        if self._line is not None:
            self._line.close()

    async def _ask(self, kind: str, request: bytes, parts_max: int | None) -> None:
        line = self._line
        if line is None or not line.is_open or self._rng.randrange(RECONNECT_EVERY) == 0:
            if line is not None:
                line.close()
            line = self._line = await open_line(self._port)
        self._tally.started[kind] += 1
        asking = asyncio.ensure_future(line.ask(request, parts_max))
        done, _ = await asyncio.wait([asking], timeout=ASK_S_MAX)
        if not done:
            self._tally.stuck += 1
            line.close()
        heard = await asking
        self._tally.hear(heard)
        if not heard.ended:
            if parts_max is None:
                self._tally.cut_off += 1
            else:
                self._tally.hung_up += 1


def _request(kind: str, port: int, key: str) -> bytes:
    model = "scripted-llama" if kind.endswith("llama") else "scripted"
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": "Say it again."}],
            "max_tokens": 16,
            "stream": "stream" in kind,
        }
    ).encode()
    if kind == "malformed":
        body = b'{"model":"scripted","messages":7}'
    if kind == "unknown-key":
        key = key[:-1] + ("0" if key[-1] != "0" else "1")
    return post(PATH, port, body, key)
