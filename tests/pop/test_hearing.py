"""PoPs that hear each other, on real sockets; and peers that say what they should not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.exchange import reports
from selvedge.fabric import Ask, Route
from selvedge.pop.clock import now_us
from selvedge.pop.hearing import HEARD_US, REPORT_TARGET
from selvedge.routing import BYTES_PER_S_MAX, Candidate, Delta, FleetMap, ModelReport
from selvedge.routing.digest import shorten
from selvedge.routing.policies.plain import Nearest
from selvedge.wire import payload_of, seal
from tests.support import Answer, Gate, Script, run
from tests.support.ears import Ears, answering, noting
from tests.support.fleets import bearer
from tests.support.pops import Fabric, RunningPop, rig
from tests.support.wires import Wire, chat

LONG = "The selvedge keeps the cloth from unravelling. " * 100
BOTH = ["fra taken", "sin taken"]


async def ask(fabric: Fabric, via: str, key: str = "asean", text: str = LONG) -> None:
    """One long prompt, answered."""
    async with fabric.wire(via) as wire:
        assert (await wire.ask(bearer(key), chat(text))).status == 200


def held(pop: RunningPop) -> list[int]:
    """Every block that a PoP's engine holds."""
    books = pop.state.own._engines["gpu"].held.values()
    return [block for book in books for blocks in book.by_zone().values() for block in blocks]


@pytest.mark.parametrize("secured", [True, False])
def test_an_ingress_hears_who_is_how_loaded_and_who_holds_what(
    tmp_path: Path, secured: bool
) -> None:
    async def main() -> None:
        answers = [Answer(("a",))] * 3
        async with rig(tmp_path, sin=Script(*answers), secured=secured) as fabric:
            cgk, sin = fabric.pop("cgk"), fabric.pop("sin")
            ears, there = Ears(cgk), Ears(sin)
            assert cgk.state.view is not None
            assert cgk.state.view.signals is None, "nobody has reported yet"
            assert await ears.round() == BOTH
            assert cgk.state.view.signals is ears.board
            await ask(fabric, "sin")
            await there.round()
            assert await ears.round() == BOTH
            blocks = held(sin)
            assert len(blocks) == 4
            prefix = tuple(reversed(blocks))
            assert ears.board.matched("sin", "chat", prefix, now_us()) == 4
            assert ears.board.matched("fra", "chat", prefix, now_us()) == 0
            await ask(fabric, "cgk")
            (planned,) = [one for one in cgk.receipts() if one.ingress_pop == "cgk"]
            assert planned.attempts[0].reason.startswith("warm: rtt")
            assert "tokens held)" in planned.attempts[0].reason
            report = ears.board.report("sin", now_us())
            assert report is not None
            assert report.models["chat"].slots == 64
            assert 0 <= now_us() - report.at_us < 5_000_000
            text = cgk.state.metrics.render().decode()
            assert 'selvedge_reports_total{ending="taken"} 4.0' in text
            assert "selvedge_reports_fresh 2.0" in text
            told = sin.state.metrics.render().decode()
            assert 'selvedge_reports_told_total{ending="told"} 2.0' in told
            for one in (ears, there):
                one.stop()

    run(main())


def test_a_loaded_pop_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate()
        async with rig(tmp_path, sin=Script(Answer(("a",), gate=gate))) as fabric:
            ears, there = Ears(fabric.pop("cgk")), Ears(fabric.pop("sin"))
            asking = asyncio.create_task(ask(fabric, "sin"))
            await fabric.engines["sin"].until(lambda: fabric.engines["sin"].requests)
            there.turn(now_us())
            await ears.round()
            report = ears.board.report("sin", now_us())
            assert report is not None
            assert report.models["chat"].running == 1
            assert report.models["chat"].waiting_tokens > 1000
            gate.open()
            await asking
            there.turn(now_us())
            await ears.round()
            report = ears.board.report("sin", now_us())
            assert report is not None
            assert report.models["chat"] == ModelReport(0, 0, 64, 1.0, 1000)
            ears.stop()
            there.stop()

    run(main())


def test_a_bound_zones_digests_never_reach_a_pop_outside(tmp_path: Path) -> None:
    """What Singapore tells Frankfurt and Jakarta, byte for byte as it came to their sockets."""

    async def main() -> None:
        heard = {"fra": bytearray(), "cgk": bytearray()}
        async with rig(tmp_path, sin=Script(*[Answer(("a",))] * 4)) as fabric:
            port = fabric.pop("sin").port
            async with noting(port, heard["fra"]) as fra, noting(port, heard["cgk"]) as cgk:
                for name, listening in (("fra", fra), ("cgk", cgk)):
                    state = fabric.pop(name).state
                    state.settings.peer_addresses["sin"] = f"127.0.0.1:{listening}"
                await ask(fabric, "sin", "asean")
                bound = held(fabric.pop("sin"))
                await ask(fabric, "sin", "free")
                everywhere = [one for one in held(fabric.pop("sin")) if one not in bound]
                ears = {name: Ears(fabric.pop(name)) for name in ("fra", "cgk", "sin")}
                await ears["sin"].round()
                for name in ("fra", "cgk"):
                    assert "sin taken" in await ears[name].round()
                    assert "sin taken" in await ears[name].round()

                def told(name: str, blocks: list[int]) -> list[int]:
                    found = bytes(heard[name])
                    return [one for one in blocks if shorten(one).to_bytes(4, "big") in found]

                assert len(bound) == len(everywhere) == 4
                assert told("cgk", bound) == bound, "Jakarta lies in the zone"
                assert told("fra", everywhere) == told("cgk", everywhere) == everywhere
                assert told("fra", bound) == [], "Frankfurt does not"
                assert b"asean" not in heard["fra"]
                for one in ears.values():
                    one.stop()

    run(main())


def test_who_asks_is_known_by_certificate_and_by_mac(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, secured=True) as fabric:
            view = fabric.pop("cgk").state.view
            assert view is not None
            question = reports.ask(view, "sin", bytes(16), {})
            sin = fabric.pop("sin")
            assert sin.peer_sock is not None
            port = sin.peer_sock.getsockname()[1]
            for name, status in (("cgk", 200), ("fra", 403)):
                dialling = fabric.pop(name).state.peering.dial("sin")
                async with Wire.to(port, tls=dialling) as wire:  # type: ignore[arg-type]
                    answer = await wire.ask(None, question, REPORT_TARGET)
                    assert answer.status == status
                    if status == 403:
                        assert answer.error["code"] == "ticket_refused"
                    for spoilt in (b"", question[:-1], question[1:], b"x" * 70_000):
                        assert (await wire.ask(None, spoilt, REPORT_TARGET)).status == 403
            async with fabric.wire("sin") as wire:
                assert (await wire.ask(None, question, REPORT_TARGET)).status == 404
            told = sin.state.metrics.render().decode()
            assert 'selvedge_reports_told_total{ending="told"} 1.0' in told
            assert 'selvedge_reports_told_total{ending="refused"} 9.0' in told

    run(main())


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def with_hostile(tmp_path: Path, serve: Serve, ending: str, rounds: int = 1) -> Ears:
    """Jakarta hears a Singapore that is another's; whatever it says, requests are served."""
    async with (
        rig(tmp_path, sin=Script(Answer(("a",)))) as fabric,
        answering(serve) as port,
    ):
        cgk = fabric.pop("cgk")
        honest = cgk.state.settings.peer_addresses
        ears = Ears(cgk)
        ears.timeout_s = 0.2
        honest["sin"] = f"127.0.0.1:{port}"
        for _ in range(rounds):
            assert await ears.round() == ["fra taken", f"sin {ending}"]
        assert ears.board.report("fra", now_us()) is not None
        text = cgk.state.metrics.render().decode()
        count = float(rounds) + (rounds if ending == "taken" else 0)
        assert f'selvedge_reports_total{{ending="{ending}"}} {count}' in text
        del honest["sin"]
        await ask(fabric, "cgk")
        ears.stop()
        return ears


def saying(answer: bytes) -> Serve:
    """A server that says these bytes to every question."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_question(reader):
            writer.write(answer)
            await writer.drain()

    return serve


async def read_question(reader: asyncio.StreamReader) -> bytes:
    """The body of one request; nothing at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (ok(b"nonsense"), "nonsense"),
        (ok(b""), "nonsense"),
        (ok(b"\0" * 200_000), "nonsense"),
        (ok(b"\0" * 300_000), "too_large"),
        (b"HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n", "refused"),
        (b"HTTP/1.1 301 there\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "refused"),
        (b"not HTTP at all\r\n\r\n", "failed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "slow"),
        (b"", "slow"),
    ],
)
def test_a_peer_that_answers_otherwise_is_counted_and_ignored(
    tmp_path: Path, answer: bytes, ending: str
) -> None:
    async def main() -> None:
        ears = await with_hostile(tmp_path, saying(answer), ending)
        assert ears.board.report("sin", now_us()) is None

    run(main())


def test_a_peer_that_drips_is_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        cut = asyncio.Event()

        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_question(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx")
            await writer.drain()
            try:
                assert not await reader.read()
            finally:
                cut.set()

        await with_hostile(tmp_path, drip, "slow")
        await cut.wait()

    run(main())


def forging(forge: Callable[[reports.Question], reports.Told]) -> Serve:
    """A server that holds the pair's key, and answers as it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while body := await read_question(reader):
            question = msgspec.msgpack.decode(payload_of(body), type=reports.Question)
            written = msgspec.msgpack.encode(forge(question))
            writer.write(ok(seal(reports._TELLS, written, KEYS["cgk"])))
            await writer.drain()

    return serve


KEYS: dict[str, bytes] = {}


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair shares one key, so that a test can speak as a peer."""
    KEYS["cgk"] = b"k" * 32
    monkeypatch.setattr(
        "selvedge.pop.process.pair_keys",
        lambda release, here, _: {pop.id: KEYS["cgk"] for pop in release.pops if pop.id != here},
    )


def forged(question: reports.Question, *deltas: Delta, pop: str = "sin") -> reports.Told:
    load = ModelReport(5, 0, 1, 1.0, 1000)
    return reports.Told(pop, question.asker, question.nonce, 0, 1.0, {"chat": load}, list(deltas))


def part(zone: str, epoch: int, number: int, bits: int, *blocks: int) -> Delta:
    shorts = b"".join(shorten(one).to_bytes(4, "big") for one in blocks)
    return Delta("sin", zone, "chat", epoch, number, bits, shorts)


@pytest.mark.usefixtures("keyed")
def test_an_answer_to_another_question_is_none(tmp_path: Path) -> None:
    async def main() -> None:
        said: list[reports.Told] = []

        def replay(question: reports.Question) -> reports.Told:
            said.append(forged(question))
            return msgspec.structs.replace(said[0], nonce=b"n" * 16)

        ears = await with_hostile(tmp_path, forging(replay), "nonsense")
        assert ears.board.report("sin", now_us()) is None

    run(main())


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("zone", ["eea", "no-such-zone"])
def test_a_digest_of_a_zone_outside_is_not_kept(tmp_path: Path, zone: str) -> None:
    async def main() -> None:
        forge = forging(lambda question: forged(question, part(zone, 1, 0, 4096, 1)))
        ears = await with_hostile(tmp_path, forge, "nonsense")
        assert ears.board.matched("sin", "chat", (1,), now_us()) == 0

    run(main())


@pytest.mark.usefixtures("keyed")
def test_a_wrong_epoch_empties_the_copy_and_the_whole_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        known: list[object] = []

        def forge(question: reports.Question) -> reports.Told:
            known.append(question.known)
            turns = [
                part("world", 7, 3, 4096, 1),
                part("world", 8, 4, 0, 2),  # of another epoch
                part("world", 8, 4, 4096, 1, 2),
                part("world", 8, 9, 0, 3),  # with a gap
                part("world", 8, 9, 4096, 1, 2, 3),
            ]
            return forged(question, turns[len(known) - 1])

        ears = await with_hostile(tmp_path, forging(forge), "taken", rounds=5)
        assert known == [
            {},
            {"chat": {"world": (7, 3)}},
            {"chat": {}},
            {"chat": {"world": (8, 4)}},
            {"chat": {}},
        ]
        assert ears.board.matched("sin", "chat", (1, 2, 3), now_us()) == 3

    run(main())


@pytest.mark.usefixtures("keyed")
def test_what_is_heard_has_a_bound(tmp_path: Path) -> None:
    """Above it, reports are asked for without digests."""

    async def main() -> None:
        known: list[object] = []

        def forge(question: reports.Question) -> reports.Told:
            known.append(question.known)
            return forged(question, part("world", 1, 0, 1 << 19, *range(40_000)))

        ears = await with_hostile(tmp_path, forging(forge), "taken", rounds=20)
        assert known[0] == {}
        assert known[-1] is None
        heard = ears.board.bytes_per_s(now_us())
        assert BYTES_PER_S_MAX < heard < BYTES_PER_S_MAX * 1.1

    run(main())


def test_reports_that_grow_old_are_no_reports(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            cgk = fabric.pop("cgk")
            ears = Ears(cgk)
            await ears.round()
            assert cgk.state.signals is ears.board
            ears.turn(now_us() + HEARD_US + 5_000_000)
            assert cgk.state.signals is None
            ears.stop()
            await ears.round()
            assert cgk.state.signals is ears.board
            ears.turn(now_us() - 3_600_000_000)
            assert cgk.state.signals is None, "the clock was set back"
            ears.stop()

    run(main())


def test_a_pop_that_is_alone_asks_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, settings={"cgk": {"reports_from_max": 0}}) as fabric:
            ears = Ears(fabric.pop("cgk"))
            assert await ears.round() == []
            assert all(fabric.untouched(pop) for pop in ("sin", "fra"))
            state = fabric.pop("sin").state
            there = Ears(fabric.pop("sin"))
            assert await there.round() == ["fra taken"]
            assert state.view is not None
            assert state.view.states is state.own
            ears.stop()
            there.stop()

    run(main())


def test_the_prefix_and_the_session_reach_routing(tmp_path: Path) -> None:
    """What policies are given, as it comes from a body."""

    async def main() -> None:
        async with rig(tmp_path, sin=Script(Answer(("a",)))) as fabric:
            seen: list[Ask] = []

            class Noting:
                """The nearest, and what was asked."""

                def order(
                    self, facts: Ask, shortlist: Sequence[Candidate], *rest: Any
                ) -> Any:  # Any: as in `Policy`
                    seen.append(facts)
                    return Nearest().order(facts, shortlist, *rest)

            state = fabric.pop("sin").state
            assert state.view is not None
            routes = FleetMap(state.view.release, "sin", Noting())
            state.view = msgspec.structs.replace(state.view, routes=routes)
            async with fabric.wire("sin") as wire:
                body = chat(LONG, prompt_cache_key="conversation-7")
                assert (await wire.ask(bearer("asean"), body)).status == 200
            (facts,) = seen
            assert (facts.route, len(facts.prefix), facts.session) == (
                Route.CHAT,
                4,
                "conversation-7",
            )
            assert sorted(held(fabric.pop("sin"))) == sorted(facts.prefix)

    run(main())
