"""Two workers of one PoP, in processes of their own: one PoP to its clients, peers and operator."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from selvedge.adapters import journal_of
from selvedge.fabric import Outcome, Receipt
from tests.support import Answer, Gate, Hang, Received, Reply, Script, run
from tests.support.wires import Response, Wire, chat
from tests.support.workers import Pop, running_pop

pytestmark = pytest.mark.fabric
REQUESTS = 500
CONNECTIONS = 20
SERVED = 'selvedge_requests_total{fault="none",outcome="complete",route="/v1/chat/completions"}'
COUNTS = 'selvedge_request_duration_seconds_count{route="/v1/chat/completions"}'


def no_gap(receipts: list[Receipt], number: int) -> bool:
    return [(one.worker, one.seq) for one in receipts] == [
        (number, at) for at in range(1, len(receipts) + 1)
    ]


async def load(pop: Pop, count: int) -> Counter[int]:
    """So many further requests over kept connections to both workers; statuses."""
    statuses: Counter[int] = Counter()

    async def client(wire: Wire) -> None:
        for _ in range(count // CONNECTIONS):
            statuses[(await wire.ask(pop.bearer, pop.body)).status] += 1

    async with contextlib.AsyncExitStack() as stack:
        found = await pop.wires(stack, CONNECTIONS // 2)
        chosen = [wire for wires in found.values() for wire in wires[: CONNECTIONS // 2]]
        await asyncio.gather(*(client(wire) for wire in chosen))
    return statuses


def test_two_workers_count_as_one(tmp_path: Path) -> None:
    """Counts are whole and exact, also after one worker was killed in the middle of a request."""

    def choose(received: Received) -> Reply:
        return Hang() if b"hang" in received.body else Answer(("a",))

    async def main() -> None:
        async with running_pop(tmp_path, Script(choose=choose)) as pop:
            assert await load(pop, REQUESTS) == {200: REQUESTS}
            count = len(pop.receipts())
            assert count >= REQUESTS
            assert set(pop.journals()) == {0, 1}
            for _ in range(4):  # whoever answers
                shown = await pop.metrics()
                assert (shown[SERVED], shown[COUNTS]) == (count, count)
                assert shown['selvedge_tokens_total{kind="generated"}'] == count
                assert (shown["selvedge_requests_running"], shown["selvedge_workers"]) == (0, 2)
            await kill_one(pop)
            assert await load(pop, REQUESTS) == {200: REQUESTS}
            outcomes = Counter(one.outcome for one in pop.receipts())
            assert outcomes[Outcome.INTERRUPTED] == 1
            assert (await pop.metrics())[SERVED] == outcomes[Outcome.COMPLETE] > 2 * REQUESTS
            assert all(no_gap(found, number) for number, found in pop.journals().items())

    run(main(), 60)


async def kill_one(pop: Pop) -> None:
    """One worker dies with a request in its hands; the other serves on, another takes its place."""
    before = pop.children()
    async with contextlib.AsyncExitStack() as stack:
        wire = (await pop.wires(stack, 1))[1][0]
        asked = asyncio.create_task(wire.ask(pop.bearer, chat("hang", stream=False)))
        await pop.engine.until(lambda: any(b"hang" in one.body for one in pop.engine.requests))
        assert (await pop.metrics())["selvedge_requests_running"] == 1
        assert (await pop.page("/health")).json["engines"]["gpu"]["in_flight"] == 1
        os.kill(owner(pop, 1), signal.SIGKILL)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asked
    async with Wire.to(pop.port) as wire:
        assert (await wire.ask(pop.bearer, pop.body)).status == 200

    async def replaced() -> bool:
        now = set(pop.children())
        return len(now) == 2 and len(now & set(before)) == 1

    await pop.until(replaced)
    await pop.until_workers(2)
    assert (await pop.metrics())["selvedge_requests_running"] == 0
    assert (await pop.page("/health")).json["engines"]["gpu"]["in_flight"] == 0


def test_a_worker_that_stands_still_is_replaced(tmp_path: Path) -> None:
    """One that runs on as a process and serves nobody is ended by the keeper."""

    async def main() -> None:
        async with running_pop(tmp_path, Script(), worker_still_ms_max=1000) as pop:
            before = set(pop.children())
            still = owner(pop, 1)
            os.kill(still, signal.SIGSTOP)

            async def replaced() -> bool:
                now = set(pop.children())
                return len(now) == 2 and now & before == before - {still}

            await pop.until(replaced)
            await pop.until_workers(2)
            assert await load(pop, REQUESTS) == {200: REQUESTS}
            assert f"process {still} stands still for 1000 ms (worker_still_ms_max)" in pop.log

    run(main(), 60)


def owner(pop: Pop, number: int) -> int:
    """The worker that holds the lock of a journal."""
    inode = (journal_of(pop.state_dir, number) / "receipts" / "lock").stat().st_ino
    for line in Path("/proc/locks").read_text("utf-8").splitlines():
        _, kind, *_, pid, place, _, _ = line.split()
        if kind == "FLOCK" and place.rpartition(":")[2] == str(inode):
            return int(pid)
    raise AssertionError(f"nobody owns journal {number}")


def test_limits_are_of_the_pop_not_of_a_worker(tmp_path: Path) -> None:
    gate = Gate()

    def choose(received: Received) -> Reply:
        return Answer(("a", "b"), gate=gate) if b"wait" in received.body else Answer(("a",))

    async def main() -> None:
        async with (
            running_pop(tmp_path, Script(choose=choose), in_flight_max=3) as pop,
            contextlib.AsyncExitStack() as stack,
        ):
            one, other = (await pop.wires(stack, 3)).values()
            admitted = [one[0], other[0], one[1]]
            for count, wire in enumerate(admitted, 1):
                asked = asyncio.create_task(wire.ask(pop.bearer, chat("wait", stream=False)))
                stack.push_async_callback(within, asked, 10)
                await pop.engine.until(
                    lambda count=count: (
                        count == sum(b"wait" in found.body for found in pop.engine.requests)
                    )
                )
            for wire in (one[2], other[1], other[2]):
                refused = await wire.ask(pop.bearer, chat("wait", stream=False))
                assert (refused.status, refused.error["code"]) == (503, "no_engine_available")
            gate.open()
            assert (await other[1].ask(pop.bearer, pop.body)).status in (200, 503)
            await ticket_is_used_once(pop, [one[2], other[2]])

    run(main(), 60)


async def ticket_is_used_once(pop: Pop, wires: list[Wire]) -> None:
    """Whichever worker it comes to first, the other refuses it."""
    for order in (wires, wires[::-1]):
        more = f"selvedge-ticket: {pop.ticket(f'{id(order):032x}')}\r\n"
        answers = [await wire.ask(None, pop.body, more=more) for wire in order]
        assert [one.status for one in answers] == [200, 403]
        assert answers[1].error["code"] == "ticket_refused"


def test_a_rolling_restart_loses_nothing(tmp_path: Path) -> None:
    """Closed-loop clients over kept connections, plain and streaming, while SIGHUP replaces all."""
    done: Counter[str] = Counter()

    async def client(pop: Pop, stop: asyncio.Event, *, stream: bool) -> None:
        body = chat("hi", stream=stream)
        while not stop.is_set():
            async with Wire.to(pop.port) as wire:
                kept = True
                while kept and not stop.is_set():
                    answer = await wire.ask(pop.bearer, body)
                    assert (answer.status, answer.whole) == (200, True)
                    assert not stream or answer.events[-1] == b"[DONE]"
                    kept = answer.headers.get("connection") != "close"
                    done["stream" if stream else "plain"] += 1
                done["closed"] += not kept

    async def main() -> None:
        script = Script(Answer(("a", "b", "c"), delay_ms=2))
        async with running_pop(tmp_path, script) as pop, Wire.to(pop.port) as idle:
            assert (await idle.ask(pop.bearer, pop.body)).status == 200
            before, stop = set(pop.children()), asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for number in range(8):
                    group.create_task(client(pop, stop, stream=number % 2 == 0))
                pop.signal(signal.SIGHUP)

                async def replaced() -> bool:
                    now = pop.children()
                    return len(now) == 2 and not before & set(now)

                await pop.until(replaced)
                stop.set()
            assert await idle.ended()
            assert done["closed"] >= 8
            receipts = pop.receipts()
            assert {one.outcome for one in receipts} == {Outcome.COMPLETE}
            assert len(receipts) == done["stream"] + done["plain"] + 1
            assert (await pop.metrics())[SERVED] == len(receipts)
            assert all(no_gap(found, number) for number, found in pop.journals().items())

    run(main(), 60)


async def within(asked: asyncio.Task[Response], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await asked
