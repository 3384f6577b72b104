"""Probes in virtual time: when they are due, that they are spread, and that none is made up for."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import TransportFailed
from selvedge.control import ControlSettings
from selvedge.control.probes import (
    AT_ONCE_MAX,
    PopAsker,
    Probe,
    Prober,
    ProbeTimes,
    probe_every_ms,
    probes_of,
    run_probes,
)
from selvedge.fabric import Route
from tests.cli.test_sla import BOOK_TEXT
from tests.support.fleets import make_release

MINUTE = 60_000_000
SECOND = 1_000_000
BEGIN = 1_800_000_000 * SECOND
MANY = [Probe(f"pop-{number}", "m", "http://a", Route.CHAT) for number in range(40)]


def test_every_pop_and_model_has_one() -> None:
    release = make_release()
    found = probes_of(release)
    pairs = {
        (pop.id, one.model)
        for pop in release.pops
        for engine in pop.engines
        for one in engine.serves
    }
    assert [(one.pop, one.model) for one in found] == sorted(pairs)
    routes = {one.model: one.route for one in found}
    for model in release.models:
        if model.id in routes:
            assert (routes[model.id] is Route.EMBEDDINGS) == (model.kind == "embedding")
    body = msgspec.json.decode(MANY[0].body)
    assert (body["max_tokens"], body["stream"]) == (4, True)
    assert b'"input"' in Probe("p", "m", "http://a", Route.EMBEDDINGS).body


def test_each_is_asked_once_in_its_time_and_not_all_at_once() -> None:
    times = ProbeTimes(MINUTE, BEGIN)
    asked: Counter[str] = Counter()
    most = 0
    for second in range(1, 601):
        due = times.due(MANY, BEGIN + second * SECOND)
        most = max(most, len(due))
        asked.update(one.pop for one in due)
    assert set(asked.values()) == {10}, "ten minutes"
    assert most <= 8


def test_what_was_slept_through_is_not_made_up_for() -> None:
    times = ProbeTimes(MINUTE, BEGIN)
    times.due(MANY, BEGIN)
    assert times.due(MANY, BEGIN + 3_600 * SECOND) == MANY
    assert times.due(MANY, BEGIN + 3_600 * SECOND) == []
    assert times.due(MANY, BEGIN) == [], "a clock that was set back"


def test_a_probe_keeps_its_moment_after_a_restart() -> None:
    def moments(since: int) -> list[int]:
        times = ProbeTimes(MINUTE, since)
        seconds = range(since // SECOND + 1, BEGIN // SECOND + 300)
        return [at for at in seconds if times.due(MANY[:1], at * SECOND)]

    assert moments(BEGIN + 90 * SECOND) == [
        at for at in moments(BEGIN) if at > BEGIN // SECOND + 90
    ]


class Pops:
    """PoPs that answer when a test says so."""

    def __init__(self) -> None:
        self.waiting: dict[Probe, asyncio.Future[int]] = {}

    async def ask(self, probe: Probe) -> int:
        self.waiting[probe] = asyncio.get_running_loop().create_future()
        return await self.waiting[probe]


def test_one_at_a_time_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selvedge.control.probes.probes_of", lambda _: MANY)

    async def main() -> None:
        pops = Pops()
        prober = Prober(ProbeTimes(MINUTE, BEGIN), make_release, pops.ask)
        first = prober.step(BEGIN + 2 * MINUTE)
        await asyncio.sleep(0)
        assert len(first) == len(pops.waiting) == AT_ONCE_MAX
        assert prober.step(BEGIN + 4 * MINUTE) == [], "all still wait"
        one, two, *_ = first
        pops.waiting[one].set_result(200)
        pops.waiting[two].set_exception(TransportFailed("connect", "refused", bytes_sent=False))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(prober.step(BEGIN + 6 * MINUTE)) == 2
        await prober.close()
        nothing = Prober(ProbeTimes(MINUTE, BEGIN), lambda: None, pops.ask)
        assert nothing.step(BEGIN + 9 * MINUTE) == []

    asyncio.run(main())


def test_it_is_off_unless_something_is_promised(tmp_path: Path) -> None:
    key = str(tmp_path / "probe.key")
    plain = ControlSettings(home=str(tmp_path), probe_key_file=key)
    assert probe_every_ms(ControlSettings(home=str(tmp_path), probes_every_ms=5)) == 0, "no key"
    assert probe_every_ms(plain) == 0
    (tmp_path / "prices.yaml").write_text(BOOK_TEXT)
    assert probe_every_ms(plain) == 60_000
    assert probe_every_ms(msgspec.structs.replace(plain, probes_every_ms=0)) == 0
    assert probe_every_ms(msgspec.structs.replace(plain, probes_every_ms=7)) == 7


def test_without_its_key_it_says_so_and_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ControlSettings(
        home=str(tmp_path), probe_key_file=str(tmp_path / "none"), probes_every_ms=5
    )
    asyncio.run(run_probes(settings, make_release, lambda: BEGIN))
    assert "nothing is probed: probe_key_file" in caplog.text


def test_what_is_sent() -> None:
    async def main() -> None:
        seen: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            asker = PopAsker("sk-probe-x")
            probe = Probe("sin", "m", f"http://127.0.0.1:{port}", Route.CHAT)
            assert await asker.ask(probe) == 503
            await asker.close()
        head = seen[0].decode().lower().split("\r\n")
        assert head[0].startswith("post /v1/chat/completions ")
        assert {"authorization: bearer sk-probe-x", "prefer: wait=0"} <= set(head)

    asyncio.run(main())
