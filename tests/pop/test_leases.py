"""Limits on a running PoP: leases over a socket, headers, refusals, and a desk that is away.

Money of a month, because a minute may end while a test runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from selvedge.fabric import Limits, Price, Release, StoreFailed
from selvedge.ledger.budgets import CONCURRENT, MONTH
from tests.support import run
from tests.support.desks import DeskServer, Leases, desk_server
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig
from tests.support.script import Answer, Script
from tests.support.wires import Response, chat

ANSWER = Script(Answer(("a", "b"), usage="every"))
# The scripted engine counts 7 and 2 tokens.
PRICE = Price(input=1_000_000, output=1_000_000)
COST = 9
REQUESTS = 40
LIMITS = Limits(micro_dollars_per_month=COST * REQUESTS, requests_per_minute=100_000)
LEVEL = "key/free"
BODY = chat(max_tokens=2)

Scene = Callable[[Fabric, DeskServer], Awaitable[None]]


def played(directory: Path, scene: Scene, limits: Limits = LIMITS, *, leased: bool = True) -> None:
    """Two PoPs with an engine each, one without, and the desk; then the scene."""

    async def main() -> None:
        async with desk_server() as server:

            def amend(_: str, release: Release) -> Release:
                made = server.amend(release, limits)
                if not leased:
                    made = msgspec.structs.replace(made, control=None)
                models = tuple(msgspec.structs.replace(one, price=PRICE) for one in made.models)
                return msgspec.structs.replace(made, models=models)

            async with rig(directory, sin=ANSWER, fra=ANSWER, amend=amend) as fabric:
                if leased:
                    server.open(amend("", fabric.release))
                await scene(fabric, server)

    run(main())


async def ask(fabric: Fabric, pop: str = "sin", body: bytes = BODY) -> Response:
    async with fabric.wire(pop) as wire:
        return await wire.ask(bearer("free"), body)


async def spend(fabric: Fabric, leases: dict[str, Leases], rounds: int) -> int:
    """Ask at every PoP in turn, each renewing as it goes; how many were answered."""
    served = 0
    for _ in range(rounds):
        for pop, client in leases.items():
            served += (await ask(fabric, pop)).status == 200
            await client.ask()
    return served


def test_two_pops_spend_one_budget(tmp_path: Path) -> None:
    async def scene(fabric: Fabric, server: DeskServer) -> None:
        leases = {pop: Leases(fabric.pop(pop)) for pop in ("sin", "fra")}
        served = await spend(fabric, leases, REQUESTS)
        # Both were cold: one request each beyond what the desk granted, at most.
        assert REQUESTS - 4 <= served <= REQUESTS + 2
        assert server.desk is not None
        assert server.desk.granted(LEVEL, MONTH) <= COST * REQUESTS
        refused = await ask(fabric)
        assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
        assert refused.headers["x-should-retry"] == "false"
        assert "retry-after-ms" not in refused.headers
        assert f"micro_dollars_per_month is {COST * REQUESTS}" in refused.error["message"]
        receipts = fabric.pop("sin").receipts() + fabric.pop("fra").receipts()
        assert sum(one.code is None for one in receipts) == served

    played(tmp_path, scene)


@pytest.mark.parametrize("fields", [{}, {"stream": True}], ids=["whole", "stream"])
def test_headers_say_what_is_left_of_the_share(tmp_path: Path, fields: dict[str, object]) -> None:
    async def scene(fabric: Fabric, server: DeskServer) -> None:
        client = Leases(fabric.pop("sin"))
        body = chat(max_tokens=2, **fields)
        first = await ask(fabric, body=body)
        assert first.headers["x-ratelimit-limit-requests"] == "1"
        assert first.headers["x-ratelimit-remaining-requests"] == "0"
        assert await client.ask() == "taken"
        second = await ask(fabric, body=body)
        assert second.status == 200
        limit = int(second.headers["x-ratelimit-limit-requests"])
        assert 1 < limit <= 100_000
        assert int(second.headers["x-ratelimit-remaining-requests"]) in (limit - 1, limit - 2)
        assert second.headers["x-ratelimit-reset-requests"].endswith("s")
        assert "x-ratelimit-limit-tokens" not in second.headers

    played(tmp_path, scene)


def test_a_cold_pop_has_one_request_and_says_when_to_come_back(tmp_path: Path) -> None:
    async def scene(fabric: Fabric, server: DeskServer) -> None:
        assert (await ask(fabric)).status == 200
        refused = await ask(fabric)
        assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
        assert refused.headers["x-should-retry"] == "true"
        assert 0 < int(refused.headers["retry-after-ms"]) <= 1000
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["selvedge-receipt"]

    played(tmp_path, scene)


def test_without_a_control_plane_limits_are_each_pops_own(tmp_path: Path) -> None:
    async def scene(fabric: Fabric, server: DeskServer) -> None:
        leases = {pop: Leases(fabric.pop(pop)) for pop in ("sin", "fra")}
        # An estimate is above what a request costs, so the last two are not begun.
        assert await spend(fabric, leases, 8) == 2 * 3
        assert leases["sin"].endings == []

    played(tmp_path, scene, Limits(micro_dollars_per_month=COST * 5), leased=False)


@pytest.mark.parametrize("how", ["nonsense", "not written"])
def test_a_desk_that_does_not_answer_stops_nobody_who_has_a_lease(tmp_path: Path, how: str) -> None:
    async def scene(fabric: Fabric, server: DeskServer) -> None:
        client = Leases(fabric.pop("sin"))
        await ask(fabric)
        assert await client.ask() == "taken"

        def fail(_: str) -> None:
            raise StoreFailed("disk full")

        if how == "not written":
            server.store.fault = fail
        else:
            server.answer = lambda body: body
        assert (await ask(fabric)).status == 200
        assert await client.ask() == ("nonsense" if how == "nonsense" else "refused")
        assert (await ask(fabric)).status == 200

    played(tmp_path, scene)


def test_a_socket_that_is_closed(tmp_path: Path) -> None:
    async def scene(fabric: Fabric, server: DeskServer) -> None:
        client = Leases(fabric.pop("sin"))
        release = fabric.pop("sin").state.view
        assert release is not None
        control = msgspec.structs.replace(release.release.control, url="http://127.0.0.1:9")
        other = msgspec.structs.replace(release.release, control=control)
        fabric.pop("sin").state.view = msgspec.structs.replace(release, release=other)
        assert (await ask(fabric)).status == 200
        assert await client.ask() == "failed"
        assert (await ask(fabric)).error["code"] == "rate_limit_exceeded"
        page = fabric.pop("sin").state.metrics.render().decode()
        assert 'selvedge_lease_questions_total{ending="failed"} 1.0' in page
        assert "selvedge_quota_levels 1.0" in page

    played(tmp_path, scene)


def test_the_desk_begins_again_from_its_store(tmp_path: Path) -> None:
    async def scene(fabric: Fabric, server: DeskServer) -> None:
        leases = {pop: Leases(fabric.pop(pop)) for pop in ("sin", "fra")}
        served = await spend(fabric, leases, 5)
        assert fabric.pop("sin").state.view is not None
        release = fabric.pop("sin").state.view.release
        before = server.desk.granted(LEVEL, MONTH) if server.desk else 0
        desk = server.open(release)
        assert desk.granted(LEVEL, MONTH) == before > 0
        served += await spend(fabric, leases, REQUESTS)
        assert served <= REQUESTS + 2

    played(tmp_path, scene)


def test_a_worker_that_ends_gives_back(tmp_path: Path) -> None:
    async def scene(fabric: Fabric, server: DeskServer) -> None:
        client = Leases(fabric.pop("sin"))
        await ask(fabric)
        await client.ask()
        assert server.desk is not None
        assert server.desk.granted(LEVEL, MONTH) > COST
        await client.leave()
        assert server.desk.granted(LEVEL, MONTH) == COST
        assert server.desk.granted(LEVEL, CONCURRENT) == 0

    played(tmp_path, scene)


def test_questions_that_do_not_hold(tmp_path: Path) -> None:
    async def scene(fabric: Fabric, server: DeskServer) -> None:
        seen: list[bytes] = []
        by_desk = server.answer

        def note(body: bytes) -> bytes:
            seen.append(body)
            return by_desk(body)

        server.answer = note
        await ask(fabric)
        await Leases(fabric.pop("sin")).ask()
        (question,) = seen
        for body in (question, question[:-1], b"", bytes(64), bytes(32) + question[32:]):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = b"POST /pop/v1/leases HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
            assert b" 403 " in await reader.readuntil(b"\r\n")
            writer.close()
        assert server.refused[0] == "the question is older than one that was answered"
        assert server.refused[-1] == "the question's MAC does not hold"

    played(tmp_path, scene)


def test_a_key_lists_the_models_that_it_is_for(tmp_path: Path) -> None:
    async def main() -> None:
        def amend(_: str, release: Release) -> Release:
            keys = tuple(msgspec.structs.replace(one, models=("chat",)) for one in release.keys)
            return msgspec.structs.replace(release, keys=keys)

        async with rig(tmp_path, sin=ANSWER, amend=amend) as fabric, fabric.wire("sin") as wire:
            listed = await wire.get("/v1/models", bearer("free"))
            assert [one["id"] for one in listed.json["data"]] == ["chat"]

    run(main())
