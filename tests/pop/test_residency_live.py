"""The rules of three PoPs, at their sockets: who is served where, and what never leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.fabric import Outcome, Receipt, Release, Zone
from selvedge.ledger import row_of, settle
from selvedge.wire import holds
from tests.support import Answer, Cut, Drop, Gate, Hang, Reply, Reset, Script, Status, run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, RunningPop, rig, usage_of
from tests.support.wires import Response, chat, error_of, post

SIN = Answer(("from", " Singapore"))
FRA = Answer(("from", " Frankfurt"))
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
ENTRY = pytest.mark.parametrize("entry", ["sin", "cgk"])


def text_of(response: Response) -> str:
    if response.headers["content-type"] == "application/json":
        return str(response.json["choices"][0]["message"]["content"])
    *payloads, last = response.events
    assert last == b"[DONE]"
    return "".join(json.loads(one)["choices"][0]["delta"].get("content") or "" for one in payloads)


async def ask(fabric: Fabric, entry: str, key: str, stream: bool = False) -> Response:
    async with fabric.wire(entry) as wire:
        return await wire.ask(bearer(key), chat(stream=stream))


def attested(receipt: Receipt, fabric: Fabric, by: str) -> bool:
    """Whether the serving PoP's word is in the receipt, for this request, and holds."""
    view = fabric.pop(receipt.ingress_pop).state.view
    assert view is not None
    assert receipt.attested is not None
    words = receipt.attested.decode()
    assert (words.pop, words.request_id) == (by, receipt.request_id)
    assert (words.country, words.usage) == (receipt.processed_in, receipt.usage)
    assert receipt.attested in fabric.pop(by).attestations()
    return holds(receipt.attested, view.pair_keys[by])


@STREAM
@pytest.mark.parametrize(
    ("key", "by", "country", "transit", "other"),
    [("asean", "sin", "SG", False, "fra"), ("eea", "fra", "DE", True, "sin")],
)
def test_served_where_the_rule_allows(
    *, key: str, by: str, country: str, transit: bool, other: str, stream: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(SIN), fra=Script(FRA)) as fabric:
            response = await ask(fabric, "cgk", key, stream)
            (receipt,) = fabric.pop("cgk").receipts()
            assert attested(receipt, fabric, by)
            assert fabric.untouched(other)
            assert fabric.pop(by).receipts() == []
        assert text_of(response) == ("from Singapore" if by == "sin" else "from Frankfurt")
        assert response.headers["selvedge-processed-in"] == country
        assert response.headers["selvedge-served-by"] == f"{by}/gpu"
        assert (receipt.served_pop, receipt.processed_in) == (by, country)
        assert (receipt.ingress_country, receipt.transit) == ("ID", transit)
        assert (receipt.planned, receipt.outcome) == ((by,), Outcome.COMPLETE)

    run(main())


@STREAM
def test_a_strict_rule_refuses_at_the_door(stream: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            response = await ask(fabric, "cgk", "eea-strict", stream)
            (receipt,) = fabric.pop("cgk").receipts()
            assert fabric.untouched("sin")
            assert fabric.untouched("fra")
            assert response.status == 451
            error = response.error
            assert error["code"] == "residency_ingress"
            assert fabric.pop("fra").url in error["message"]
            assert fabric.pop("sin").url not in error["message"]
            assert "'eea/strict'" in error["message"]
        assert response.headers["selvedge-rule"] == receipt.rule == "eea/strict"
        assert response.headers["selvedge-receipt"] == receipt.id
        assert response.headers["x-should-retry"] == "false"
        assert (receipt.outcome, receipt.status) == (Outcome.REFUSED, 451)
        assert (receipt.attempts, receipt.processed_in) == ((), None)

    run(main())


async def stop_engine(fabric: Fabric) -> None:
    await fabric.engines["sin"].refuse()


async def stop_pop(fabric: Fabric) -> None:
    await fabric.pop("sin").refuse()


async def leave(_: Fabric) -> None:
    """The script alone says how it fails."""


FAILURES: dict[str, tuple[Callable[..., Any], Reply]] = {
    "engine refused": (stop_engine, SIN),
    "pop refused": (stop_pop, SIN),
    "500": (leave, Status(500)),
    "503": (leave, Status(503, shape="llama")),
    "429": (leave, Status(429)),
    "404": (leave, Status(404, shape="text")),
    "drop": (leave, Drop()),
    "reset": (leave, Reset()),
    "close before a token": (leave, Answer(("a",), cut=Cut("close"))),
    "reset before a token": (leave, Answer(("a",), cut=Cut("reset"))),
    "error before a token": (leave, Answer(("a",), cut=Cut("error"))),
}
FAILURE = pytest.mark.parametrize("failure", FAILURES)


@STREAM
@FAILURE
def test_capacity_never_widens_the_rule(failure: str, stream: bool, tmp_path: Path) -> None:
    prepare, reply = FAILURES[failure]

    async def main() -> None:
        async with rig(tmp_path, sin=Script(reply)) as fabric:
            await prepare(fabric)
            response = await ask(fabric, "cgk", "asean", stream)
            assert fabric.untouched("fra")
            (receipt,) = fabric.pop("cgk").receipts()
        assert response.status == 503
        assert response.error["code"] == "no_engine_available"
        assert response.headers["retry-after-ms"] == "1000"
        assert response.headers["x-should-retry"] == "true"
        assert (receipt.outcome, receipt.status) == (Outcome.FAILED, 503)
        assert receipt.code == "no_engine_available"
        assert [(one.pop, one.outcome) for one in receipt.attempts] == [("sin", "failed")]

    run(main())


@ENTRY
@STREAM
@FAILURE
def test_failover_is_unseen(failure: str, stream: bool, entry: str, tmp_path: Path) -> None:
    prepare, reply = FAILURES[failure]
    if entry == "sin" and prepare is stop_pop:
        pytest.skip("nobody enters at a PoP that is down")

    async def main() -> None:
        async with rig(tmp_path, sin=Script(reply), fra=Script(FRA)) as fabric:
            await prepare(fabric)
            response = await ask(fabric, entry, "free", stream)
            (receipt,) = fabric.pop(entry).receipts()
            assert attested(receipt, fabric, "fra")
        assert response.status == 200
        assert text_of(response) == "from Frankfurt"
        assert response.headers["selvedge-served-by"] == "fra/gpu"
        assert response.headers["selvedge-processed-in"] == receipt.processed_in == "DE"
        assert receipt.planned == ("sin", "fra")
        tried = [(one.pop, one.outcome) for one in receipt.attempts]
        assert tried == [("sin", "failed"), ("fra", "relayed")]
        assert usage_of(receipt).generated == 2

    run(main())


@ENTRY
@pytest.mark.parametrize("how", ["close", "reset", "error"])
def test_a_broken_answer_is_told_in_band(how: Any, entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        broken = Answer(("a", "b", "c"), cut=Cut(how, after=2))
        async with rig(tmp_path, sin=Script(broken), fra=Script(FRA)) as fabric:
            response = await ask(fabric, entry, "free", stream=True)
            (receipt,) = fabric.pop(entry).receipts()
            assert fabric.untouched("fra")
        assert (response.status, response.whole) == (200, True)
        *payloads, last = response.events
        assert b"[DONE]" not in payloads
        assert error_of(last)["code"] == "engine_interrupted"
        said = [json.loads(one)["choices"][0]["delta"].get("content") for one in payloads]
        assert "".join(one or "" for one in said) == "ab"
        assert (receipt.outcome, receipt.code) == (Outcome.FAILED, "engine_interrupted")
        assert (receipt.status, usage_of(receipt).generated) == (200, 2)
        assert [one.tokens for one in receipt.attempts] == [2]

    run(main())


@ENTRY
@pytest.mark.parametrize("profile", ["openai", "llama.cpp"])
@pytest.mark.parametrize("how", ["close", "reset", "error"])
def test_a_broken_json_answer_moves_on(how: Any, profile: str, entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        broken = Answer(("a", "b", "c"), cut=Cut(how, after=2))
        scripts = {"sin": Script(broken), "fra": Script(FRA)}
        async with rig(tmp_path, profile=profile, **scripts) as fabric:  # type: ignore[arg-type]
            response = await ask(fabric, entry, "free")
            (receipt,) = fabric.pop(entry).receipts()
        assert text_of(response) == "from Frankfurt"
        assert [one.outcome for one in receipt.attempts] == ["failed", "relayed"]

    run(main())


@ENTRY
@STREAM
def test_a_deadline_before_the_first_token(stream: bool, entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            rig(tmp_path, sin=Script(Hang()), fra=Script(FRA)) as fabric,
            fabric.wire(entry) as wire,
        ):
            more = "selvedge-deadline-ms: 400\r\n"
            response = await wire.ask(bearer("free"), chat(stream=stream), more=more)
            engine = fabric.engines["sin"]
            await engine.until(lambda: engine.aborts)
            (receipt,) = fabric.pop(entry).receipts()
            assert fabric.untouched("fra")
        assert (response.status, response.error["code"]) == (504, "deadline_exceeded")
        assert response.headers["x-should-retry"] == "false"
        assert (receipt.outcome, receipt.code) == (Outcome.FAILED, "deadline_exceeded")
        assert [one.outcome for one in receipt.attempts] == ["deadline"]

    run(main())


@ENTRY
def test_a_deadline_after_the_first_token(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        hanging = Answer(("a", "b"), cut=Cut("hang", after=1))
        async with rig(tmp_path, sin=Script(hanging)) as fabric, fabric.wire(entry) as wire:
            more = "selvedge-deadline-ms: 1000\r\n"
            response = await wire.ask(bearer("free"), chat(stream=True), more=more)
            engine = fabric.engines["sin"]
            await engine.until(lambda: engine.aborts)
            (receipt,) = fabric.pop(entry).receipts()
            assert fabric.untouched("fra")
        assert error_of(response.events[-1])["code"] == "deadline_exceeded"
        assert (receipt.outcome, receipt.code) == (Outcome.FAILED, "deadline_exceeded")
        assert usage_of(receipt).generated == 1

    run(main())


async def gone(pop: RunningPop) -> Receipt:
    (receipt,) = await pop.until_receipts()
    assert receipt.outcome is Outcome.CLIENT_GONE
    return receipt


@ENTRY
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize(
    "case", [("openai", 2, "estimated"), ("llama.cpp", 6, "reported"), ("vllm", 6, "reported")]
)
def test_a_client_that_leaves_a_stream(
    case: tuple[str, int, str], reset: bool, entry: str, tmp_path: Path
) -> None:
    """After two chunks of three tokens each: by the engine's count, where it counts as it goes."""
    profile, billed, provenance = case

    async def main() -> None:
        llama = profile == "llama.cpp"
        answer = Answer(("a", "b", "c", "d"), gate=Gate(2), llama=llama, speculates=3)
        async with (
            rig(tmp_path, sin=Script(answer), profile=profile) as fabric,
            fabric.wire(entry) as wire,
        ):
            wire.send(post(bearer("asean"), chat(stream=True)))
            assert (await wire.head())[0] == 200
            while json.loads(await wire.event())["choices"][0]["delta"].get("content") != "b":
                pass
            wire.hang_up(reset=reset)
            engine = fabric.engines["sin"]
            await engine.until(lambda: engine.aborts)
            await engine.until(lambda: not engine.open_connections)
            receipt = await gone(fabric.pop(entry))
            if entry == "cgk":
                await fabric.pop("sin").until(fabric.pop("sin").attestations)
                (words,) = [one.decode() for one in fabric.pop("sin").attestations()]
                assert (words.outcome, words.usage.generated) == (Outcome.CLIENT_GONE, billed)
        assert [mark.token for mark in engine.aborts] == [2]
        assert (receipt.status, usage_of(receipt).generated) == (200, billed)
        assert usage_of(receipt).provenance == provenance
        assert usage_of(receipt).input == 7 or provenance == "estimated"
        assert settle(receipt).billed == receipt.usage
        assert [one.outcome for one in receipt.attempts] == ["gone"]

    run(main())


@ENTRY
@pytest.mark.parametrize("profile", ["openai", "llama.cpp"])
def test_a_client_that_leaves_before_its_json_answer(
    profile: str, entry: str, tmp_path: Path
) -> None:
    async def main() -> None:
        llama = profile == "llama.cpp"
        answer = Answer(("a", "b", "c", "d"), gate=Gate(2), llama=llama)
        async with (
            rig(tmp_path, sin=Script(answer), profile=profile) as fabric,
            fabric.wire(entry) as wire,
            fabric.wire("sin") as other,
        ):
            engine = fabric.engines["sin"]
            wire.send(post(bearer("asean"), chat()))
            await engine.until(lambda: any(one.kind == "head" for one in engine.marks))
            if profile == "llama.cpp":
                await engine.until(lambda: engine.requests[0].tokens_sent == 2)
            # What the engine has sent is read by the PoP before this is answered.
            assert (await other.get("/healthz")).status == 200
            wire.hang_up()
            await engine.until(lambda: engine.aborts)
            receipt = await gone(fabric.pop(entry))
        assert receipt.status == 0
        generated = 2 if (profile, entry) == ("llama.cpp", "sin") else 0
        assert usage_of(receipt).generated == generated
        assert usage_of(receipt).provenance == ("reported" if generated else "counted")
        assert row_of(receipt) == "gone_before"

    run(main())


@ENTRY
def test_a_client_that_leaves_before_its_body_is_complete(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            wire.send(post(bearer("asean"), b'{"model":"chat"', length=500))
            wire.hang_up()
            receipt = await gone(fabric.pop(entry))
            assert fabric.engines["sin"].connections == []
        assert (receipt.status, receipt.attempts, receipt.usage) == (0, (), None)

    run(main())


def strict(zone: str, *countries: str) -> Callable[[str, Release], Release]:
    """Singapore's own release narrows a zone; the others keep theirs."""

    def amend(pop: str, release: Release) -> Release:
        if pop != "sin":
            return release
        zones = tuple(Zone(one.id, countries) if one.id == zone else one for one in release.zones)
        return msgspec.structs.replace(release, zones=zones)

    return amend


@STREAM
def test_the_stricter_release_of_a_peer_holds(stream: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=strict("asean", "ID", "MY")) as fabric:
            response = await ask(fabric, "cgk", "asean", stream)
            (receipt,) = fabric.pop("cgk").receipts()
            assert fabric.engines["sin"].connections == []
            assert fabric.untouched("fra")
        assert response.status == 503
        assert response.error["code"] == "no_engine_available"
        (tried,) = receipt.attempts
        assert (tried.outcome, tried.reason) == ("failed", "residency_no_allowed_pop")
        assert receipt.outcome is Outcome.FAILED

    run(main())


def test_a_peer_that_refuses_is_passed_over(tmp_path: Path) -> None:
    async def main() -> None:
        amend = strict("world", "ID", "DE")
        async with rig(tmp_path, fra=Script(FRA), amend=amend) as fabric:
            response = await ask(fabric, "cgk", "free")
            assert fabric.engines["sin"].connections == []
        assert text_of(response) == "from Frankfurt"

    run(main())
