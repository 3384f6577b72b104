"""The kept corpus of attacks over real sockets: to the PoP's port, through nginx, through HAProxy.

Behind a front, the PoP must see the requests that h11 sees behind the same front, or refuse; on its
own port, those that h11 cuts from the same bytes, or refuse. Anything else is smuggling.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.attack_fronts import FRONTS, find, front
from bench.attack_recorders import Message, Recorder, h11_recorder, pop_recorder
from tests.attack.corpus import Attack

# A front that says nothing for so long waits for ever. On a busy machine it may only be late, so
# what differs is tried again with more patience; a true difference stays one.
QUIET_S = (0.25, 1.5, 5.0)
EQUAL_S_MAX = 0.4
LANES = 6
ROADS = ("direct", *FRONTS)
OUTCOMES = ("same", "refused", "stopped by the front", "differs")

AFTER: Message = ("GET", "/after", b"")
_REFUSAL = re.compile(rb"HTTP/1\.1 [45]")

Cut = Callable[[bytes], list[Message]]


@dataclass(slots=True)
class Result:
    """What every attack got on every road; `differing` names what must not be."""

    outcomes: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)
    tried: int = 0

    def note(self, road: str, attack: Attack, outcome: str, words: str) -> None:
        """Count one attack on one road."""
        self.tried += 1
        self.outcomes.setdefault((attack.kind, road), Counter())[outcome] += 1
        if outcome == "differs":
            self.differing.append(f"{road}: {attack.name}: {words}")

    def count(self, road: str, outcome: str) -> int:
        """How many attacks ended so on a road."""
        return sum(found[outcome] for (_, on), found in self.outcomes.items() if on == road)


def roads_here() -> tuple[str, ...]:
    """The roads that this machine has."""
    return ("direct", *(name for name in FRONTS if find(name) is not None))


async def attack_all(
    attacks: Sequence[Attack], roads: Iterable[str], directory: Path, cut: Cut
) -> Result:
    """Send every attack on every road. `cut` is h11's reading of the bytes themselves."""
    result = Result()
    lanes = [(road, at) for road in roads for at in range(LANES)]
    await asyncio.gather(
        *(
            _direct(attacks[at::LANES], cut, result)
            if road == "direct"
            else _through(road, attacks[at::LANES], directory / f"{road}-{at}", result)
            for road, at in lanes
        )
    )
    return result


async def _direct(attacks: Sequence[Attack], cut: Cut, result: Result) -> None:
    async with pop_recorder() as pop:
        for attack in attacks:
            theirs = cut(attack.raw)
            for quiet_s in QUIET_S:
                answered = await send(pop.port, attack.raw, quiet_s)
                seen = pop.take()
                outcome = _judge(seen, theirs, answered)
                if outcome != "differs":
                    break
            result.note("direct", attack, outcome, f"{_shown(seen)} against {_shown(theirs)}")
        assert not pop.faults, pop.faults


async def _through(name: str, attacks: Sequence[Attack], directory: Path, result: Result) -> None:
    async with contextlib.AsyncExitStack() as stack:
        pop = await stack.enter_async_context(pop_recorder())
        other = await stack.enter_async_context(h11_recorder())
        ports = [
            await stack.enter_async_context(front(name, one.port, directory / kind))
            for kind, one in (("pop", pop), ("h11", other))
        ]
        for attack in attacks:
            for quiet_s in QUIET_S:
                outcome, words = await _once(attack, pop, other, ports, quiet_s)
                if outcome != "differs":
                    break
            result.note(name, attack, outcome, words)
        assert not pop.faults, pop.faults


async def _once(
    attack: Attack, pop: Recorder, other: Recorder, ports: list[int], quiet_s: float
) -> tuple[str, str]:
    """One attack through both copies of a front: its outcome, and words for a difference."""
    before = (pop.broken, other.broken)
    answers = await asyncio.gather(*(send(port, attack.raw, quiet_s) for port in ports))
    await _settle(pop, other)
    seen, theirs = pop.take(), other.take()
    if (pop.broken, other.broken) != before:
        # A broken body ends its connection: what follows came on another one, as the front meant
        # it to. Whether a front goes on behind a refusal is its affair.
        seen, theirs = ([one for one in both if one != AFTER] for both in (seen, theirs))
    outcome = _judge(seen, theirs, answers[0])
    if outcome == "refused" and not seen and not theirs:
        outcome = "stopped by the front"
    return outcome, f"{_shown(seen)} against {_shown(theirs)}, answered {answers[0][:80]!r}"


def _judge(seen: list[Message], theirs: list[Message], answered: bytes) -> str:
    """Equal to h11; or fewer, in the same order, with a refusal for each that is missing."""
    if seen == theirs:
        return "same" if seen else "refused"
    left = iter(theirs)
    refusals = len(_REFUSAL.findall(answered))
    missing = len(theirs) - len(seen)
    in_order = all(message in left for message in seen)
    return "refused" if in_order and missing > 0 and refusals >= 1 else "differs"


async def _settle(pop: Recorder, other: Recorder) -> None:
    """Wait until both have written down the same, or long enough."""
    late = time.monotonic() + EQUAL_S_MAX
    while pop.messages != other.messages and time.monotonic() < late:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def send(port: int, raw: bytes, quiet_s: float) -> bytes:
    """Send bytes and read until the other side closes or says nothing for so long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = b""
    try:
        writer.write(raw)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while True:
                async with asyncio.timeout(quiet_s):
                    data = await reader.read(65_536)
                if not data:
                    break
                heard += data
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return heard


def _shown(messages: list[Message]) -> str:
    return str([(method, target[:20], body[:20]) for method, target, body in messages[:4]])
