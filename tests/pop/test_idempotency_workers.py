"""`Idempotency-Key` at a PoP of two workers: one request, whichever of them it comes to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from selvedge.fabric import Outcome
from selvedge.ledger import settle
from tests.pop.test_workers import owner
from tests.support import Answer, Gate, Hang, Received, Reply, Script, run
from tests.support.wires import Response, Wire, chat
from tests.support.workers import Pop, running_pop

pytestmark = pytest.mark.fabric
ONCE = chat("once", stream=False)
TIMES = 200
CLIENTS, KEYS = 8, 15
DEATHS = range(12, CLIENTS * KEYS, 18)
"""At so many requests to the engine a worker dies."""
WIRES = 20
"""Connections to each worker."""


async def ask(pop: Pop, wire: Wire, word: str = "word", body: bytes = ONCE) -> Response:
    return await wire.ask(pop.bearer, body, more=f"idempotency-key: {word}\r\n")


def asked_once(pop: Pop) -> int:
    """How often the engine was asked what has a key."""
    return sum(b"once" in one.body for one in pop.engine.requests)


def test_a_key_sent_over_many_connections_is_one_request(tmp_path: Path) -> None:
    """Two hundred times at once, and again when it was answered."""
    gate = Gate(1)

    def choose(received: Received) -> Reply:
        once = b"once" in received.body
        return Answer(("a", "b"), gate=gate) if once else Answer(("a",))

    async def client(pop: Pop, wire: Wire, count: int) -> list[Response]:
        return [await ask(pop, wire) for _ in range(count)]

    async def main() -> None:
        async with running_pop(tmp_path, Script(choose=choose)) as pop:
            async with contextlib.AsyncExitStack() as stack:
                found = await pop.wires(stack, WIRES)
                wires = [wire for one in found.values() for wire in one[:WIRES]]
                before, each = len(pop.receipts()), TIMES // len(wires)
                tasks = [asyncio.create_task(client(pop, wire, each)) for wire in wires]
                done, running = await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
                while len(running) > 1:  # the first waits for the engine, all others do not
                    more, running = await asyncio.wait(running, return_when="FIRST_COMPLETED")
                    done |= more
                gate.open()
                answers = [one for task in tasks for one in await task]
                late = [await ask(pop, wire) for wire in wires]
            assert asked_once(pop) == 1
            receipts = pop.receipts()
            named = Counter(one.status for one in answers)
            assert named[200] + named[409] == TIMES
            assert named[409] >= TIMES - each
            assert {one.error["code"] for one in answers if one.status == 409} == {
                "idempotency_in_progress"
            }
            assert [one.status for one in late] == [200] * len(late)
            assert {one.headers["idempotent-replayed"] for one in late} == {"true"}
            assert len({one.body for one in late}) == 1
            assert len(receipts) - before == TIMES + len(late)
            keyed = [one for one in receipts if one.repeats is not None]
            (first,) = {one.repeats for one in keyed}
            rows = Counter(settle(one).row for one in keyed)
            assert set(rows) == {"refused_caller", "replayed"}
            assert [settle(one).row for one in receipts if one.id == first] == ["complete"]

    run(main(), 90)


def test_an_answer_outlives_the_worker_that_gave_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_pop(tmp_path, Script(Answer(("a", "b")))) as pop:
            async with contextlib.AsyncExitStack() as stack:
                found = await pop.wires(stack, 1)
                first = await ask(pop, found[1][0])
                stream = await ask(pop, found[1][0], "stream", chat("once", stream=True))
                os.kill(owner(pop, 1), signal.SIGKILL)
                again = await ask(pop, found[0][0])
                named = await ask(pop, found[0][0], "stream", chat("once", stream=True))
            assert (first.status, stream.status, again.status) == (200, 200, 200)
            assert again.body == first.body
            assert again.headers["selvedge-repeats"] == first.headers["selvedge-receipt"]
            assert (named.status, named.error["code"]) == (409, "idempotency_finished")
            await pop.until_workers(2)
            async with contextlib.AsyncExitStack() as stack:
                found = await pop.wires(stack, 1)
                assert (await ask(pop, found[1][0])).body == first.body  # at the one that is new
            assert asked_once(pop) == 2

    run(main(), 60)


def test_a_worker_that_dies_blocks_no_key(tmp_path: Path) -> None:
    """Killed while the engine works: nothing was billed, and the key is free again."""
    hangs = [True]

    def choose(received: Received) -> Reply:
        return Hang() if b"once" in received.body and hangs[0] else Answer(("a",))

    async def main() -> None:
        async with running_pop(tmp_path, Script(choose=choose)) as pop:
            async with contextlib.AsyncExitStack() as stack:
                found = await pop.wires(stack, 1)
                lost = asyncio.create_task(ask(pop, found[1][0]))
                await pop.engine.until(lambda: asked_once(pop))
                waits = await ask(pop, found[0][0])
                assert (waits.status, waits.error["code"]) == (409, "idempotency_in_progress")
                hangs[0] = False
                os.kill(owner(pop, 1), signal.SIGKILL)
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await lost

                async def free() -> bool:
                    return (await ask(pop, found[0][0])).status == 200

                await pop.until(free)
                again = await ask(pop, found[0][0])
                assert again.headers["idempotent-replayed"] == "true"
            await pop.until_workers(2)
            assert asked_once(pop) == 2
            ended = {one.id: one for one in pop.receipts()}
            (interrupted,) = [one for one in ended.values() if one.outcome is Outcome.INTERRUPTED]
            assert waits.headers["selvedge-receipt"] != interrupted.id
            assert ended[waits.headers["selvedge-receipt"]].repeats == interrupted.id
            billing = ended[again.headers["selvedge-repeats"]]
            assert settle(billing).row == "complete"

    run(main(), 60)


def body_of(number: int) -> bytes:
    """A request that its receipt tells from others by its size."""
    return chat("once" + "." * number, stream=False)


async def insist(pop: Pop, number: int) -> None:
    """Send a request under its key until it has been answered, as a client does that must know."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with Wire.to(pop.port) as wire:
                answer = await ask(pop, wire, f"key-{number}", body_of(number))
                if answer.status == 200 or answer.error["code"] == "idempotency_finished":
                    return
                assert answer.headers["x-should-retry"] == "true", answer.body


def test_every_key_is_billed_once_whatever_dies(tmp_path: Path) -> None:
    """Clients retry until they are answered, while one worker after the other is killed."""
    pops: list[Pop] = []
    deaths = []

    def kill(first: int) -> None:
        for number in (first, 1 - first):
            with contextlib.suppress(AssertionError, ProcessLookupError):  # none is there
                os.kill(owner(pops[0], number), signal.SIGKILL)
                deaths.append(number)
                return

    def choose(received: Received) -> Reply:
        asked = asked_once(pops[0])
        if asked in DEATHS:
            kill(asked // DEATHS.step % 2)
        return Answer(("a", "b"))

    async def client(pop: Pop, first: int) -> None:
        for number in range(first, first + KEYS):
            await insist(pop, number)

    async def main() -> None:
        async with running_pop(tmp_path, Script(choose=choose)) as pop:
            pops.append(pop)
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(client(pop, number * KEYS))
            await pop.until_workers(2)
            billed = Counter(one.body_bytes for one in pop.receipts() if settle(one).billed.total)
            assert len(billed) == CLIENTS * KEYS
            assert set(billed.values()) == {1}
            assert len(deaths) > len(DEATHS) // 2
            assert Outcome.INTERRUPTED in {one.outcome for one in pop.receipts()}

    run(main(), 90)
