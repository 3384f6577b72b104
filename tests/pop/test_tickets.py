"""Tickets at a serving PoP's socket, and the serving PoP's word at the ingress's."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.fabric import Attestation, DataClass, Model, Outcome, Release, Route, Served, Usage
from selvedge.pop.clock import now_us
from selvedge.wire import (
    Ticket,
    attest,
    body_hash,
    issue,
    read_unverified,
    ticket_hash,
    write_attested,
)
from tests.support import Answer, Raw, Received, Reply, Script, run
from tests.support.fleets import bearer
from tests.support.pops import Fabric, rig, usage_of
from tests.support.scripted_engine import ScriptedEngine
from tests.support.wires import Response, Wire, chat, error_of

BODY = chat()


def ticket(fabric: Fabric, **changes: Any) -> str:  # Any: fields of a ticket
    """A ticket as Jakarta gives it to Singapore, but for `changes`."""
    view = fabric.pop("cgk").state.view
    assert view is not None
    made = Ticket(
        id=f"{now_us():032x}",
        request_id="req_1",
        ingress="cgk",
        serving="sin",
        tenant="asean",
        data_class="default",
        rule="asean/default",
        allowed=("sin", "cgk"),
        release=1,
        release_hash=view.release_hash,
        route=Route.CHAT,
        model="chat",
        body_sha256=body_hash(BODY),
        deadline_ms=5000,
        issued_us=now_us(),
    )
    return issue(msgspec.structs.replace(made, **changes), view.pair_keys["sin"])


async def ask(fabric: Fabric, key: str, **fields: Any) -> Response:
    async with fabric.wire("cgk") as wire:
        return await wire.ask(bearer(key), chat(**fields))


async def forward(wire: Wire, written: str, body: bytes = BODY, path: str | None = None) -> Any:
    more = f"selvedge-ticket: {written}\r\n"
    response = await wire.ask(None, body, path or Route.CHAT.value, more)
    return response.status, response.error["code"] if response.status != 200 else None


REFUSED = (403, "ticket_refused")


def test_a_ticket_is_used_once(tmp_path: Path) -> None:
    """The very bytes that Jakarta sent are refused when they come again."""

    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            assert (await ask(fabric, "asean")).status == 200
            (inbound,) = fabric.pop("sin").work()
            written = inbound.head.headers.get("selvedge-ticket")
            assert written is not None
            assert await forward(wire, written, chat(stream=False)) == REFUSED
            fresh = ticket(fabric)
            assert await forward(wire, fresh) == (200, None)
            assert await forward(wire, fresh) == REFUSED
            assert len(fabric.engines["sin"].requests) == 2
            assert fabric.pop("sin").tallied() == {"ticket_refused": 2}
            assert fabric.pop("sin").receipts() == []

    run(main())


FORGERIES: dict[str, dict[str, Any]] = {
    "for another PoP": {"serving": "fra"},
    "from nowhere": {"ingress": "nowhere"},
    "from another PoP": {"ingress": "fra"},
    "from itself": {"ingress": "sin"},
    "a second hop": {"hop": 2},
    "too old": {"issued_us": 1},
    "too new": {"issued_us": 2**52},
    "another version": {"v": 9},
    "another route": {"route": Route.COMPLETIONS},
    "another body": {"body_sha256": "00" * 32},
    "a request id that breaks lines": {"request_id": "r\r\nx-evil: 1", "serving": "fra"},
    "a request id in no alphabet": {"request_id": "要求", "serving": "fra"},
    "an endless request id": {"request_id": "r" * 4000, "serving": "fra"},
    "a deadline in the past": {"deadline_ms": -(2**60), "serving": "fra"},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_ticket_that_does_not_hold(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            assert await forward(wire, ticket(fabric, **FORGERIES[name])) == REFUSED
            assert fabric.untouched("fra")
            assert fabric.engines["sin"].connections == []
            assert fabric.pop("sin").tallied() == {"ticket_refused": 1}
            assert fabric.pop("sin").attestations() == []

    run(main())


def test_a_ticket_that_was_tampered_with(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            words, _, mac = ticket(fabric).partition(".")
            other, _, _ = ticket(fabric, tenant="free").partition(".")
            for written in (f"{other}.{mac}", f"{words}.{mac[:-2]}AA", f"{words}.", "x", "é", "."):
                assert await forward(wire, written) == REFUSED
            assert await forward(wire, ticket(fabric), chat("another")) == REFUSED
            # A key beside a ticket does not make it better.
            more = f"selvedge-ticket: {words}.\r\n"
            response = await wire.ask(bearer("asean"), BODY, more=more)
            assert (response.status, response.error["code"]) == REFUSED
            assert fabric.engines["sin"].connections == []

    run(main())


def test_a_ticket_cannot_bring_a_rule_that_the_peer_lacks(tmp_path: Path) -> None:
    def amend(pop: str, release: Release) -> Release:
        classes = (DataClass("new", "asean", "in-zone"),)
        tenants = tuple(
            msgspec.structs.replace(one, classes=one.classes + classes) for one in release.tenants
        )
        return msgspec.structs.replace(release, tenants=tenants) if pop == "cgk" else release

    async def main() -> None:
        async with rig(tmp_path, amend=amend) as fabric, fabric.wire("sin") as wire:
            written = ticket(fabric, data_class="new", rule="asean/new")
            assert await forward(wire, written) == (451, "residency_no_allowed_pop")
            outside = ticket(fabric, allowed=("fra",))
            assert await forward(wire, outside) == (451, "residency_no_allowed_pop")
            assert fabric.engines["sin"].connections == []

    run(main())


def vouched(fabric: Fabric, received: Received, **changes: Any) -> str:
    """Singapore's word on what was forwarded, but for `changes`, as a header or event has it."""
    view = fabric.pop("cgk").state.view
    assert view is not None
    written = received.headers["selvedge-ticket"]
    words = Attestation(
        ticket=ticket_hash(written),
        request_id=read_unverified(written)[0].request_id,
        pop="sin",
        country="SG",
        entity="Example SG",
        engine="gpu",
        model="chat",
        model_digest="sha256:" + "11" * 32,
        release_hash=view.release_hash,
        outcome=Outcome.COMPLETE,
        usage=Usage(input_uncached=1, output=1),
        started_us=1,
        ended_us=2,
    )
    return write_attested(
        attest(msgspec.structs.replace(words, **changes), view.pair_keys["sin"])
    ).decode()


ANSWER = b'{"model":"chat","choices":[{"index":0,"message":{},"finish_reason":"stop"}]}'
CHUNK = b'{"model":"chat","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}'


def json_answer(word: str | None) -> Reply:
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(ANSWER)}\r\n"
    if word is not None:
        head += f"selvedge-attested: {base64.b64encode(word.encode()).decode()}\r\n"
    return Raw(f"{head}\r\n".encode() + ANSWER)


def stream_answer(word: str | None) -> Reply:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    event = f"event: selvedge.attested\ndata: {word}\n\n".encode() if word is not None else b""
    return Raw(head + b"data: " + CHUNK + b"\n\n" + event + b"data: [DONE]\n\n")


WORDS: dict[str, dict[str, Any] | str | None] = {
    "nothing": None,
    "noise": "noise",
    "half": '{"attestation":{},"mac":""}',
    "another MAC": {},
    "another request": {"request_id": "req_2"},
    "another ticket": {"ticket": "00" * 32},
    "another PoP": {"pop": "fra"},
    "another country": {"country": "DE"},
}


def word(name: str, fabric: Fabric, received: Received) -> str | None:
    said = WORDS[name]
    if not isinstance(said, dict):
        return said
    written = vouched(fabric, received, **said)
    return written.replace('"mac":"', '"mac":"A') if name == "another MAC" else written


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("name", WORDS)
def test_a_word_that_does_not_hold_is_a_broken_answer(
    name: str, stream: bool, tmp_path: Path
) -> None:
    fabrics: list[Fabric] = []

    def lie(received: Received) -> Reply:
        said = word(name, fabrics[0], received)
        return stream_answer(said) if stream else json_answer(said)

    async def main() -> None:
        async with ScriptedEngine(Script(choose=lie)) as liar:
            settings = {"cgk": {"peer_addresses": {"sin": f"127.0.0.1:{liar.port}"}}}
            async with rig(tmp_path, settings=settings) as fabric:
                fabrics.append(fabric)
                response = await ask(fabric, "asean", stream=stream)
                (receipt,) = fabric.pop("cgk").receipts()
                assert fabric.untouched("fra")
        assert receipt.outcome is Outcome.FAILED
        assert receipt.attempts[0].outcome == "failed"
        assert b"[DONE]" not in response.body
        if stream:
            assert error_of(response.events[-1])["code"] == "engine_interrupted"
        else:
            assert (response.status, response.error["code"]) == (503, "no_engine_available")

    run(main())


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_word_that_holds(stream: bool, tmp_path: Path) -> None:
    """The same stand-in for a peer, when it tells the truth."""
    fabrics: list[Fabric] = []

    def tell(received: Received) -> Reply:
        said = vouched(fabrics[0], received)
        return stream_answer(said) if stream else json_answer(said)

    async def main() -> None:
        async with ScriptedEngine(Script(choose=tell)) as peer:
            settings = {"cgk": {"peer_addresses": {"sin": f"127.0.0.1:{peer.port}"}}}
            async with rig(tmp_path, settings=settings) as fabric:
                fabrics.append(fabric)
                response = await ask(fabric, "asean", stream=stream)
                (receipt,) = fabric.pop("cgk").receipts()
        assert response.status == 200
        assert (receipt.outcome, receipt.processed_in) == (Outcome.COMPLETE, "SG")
        assert usage_of(receipt).generated == 1
        assert b"attested" not in response.body
        assert "selvedge-attested" not in response.headers

    run(main())


@pytest.mark.parametrize("entity", ["Česká síť a.s.", "シンガポール", 'A "B" \\ C'])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_an_entity_in_any_alphabet(stream: bool, entity: str, tmp_path: Path) -> None:
    def amend(_: str, release: Release) -> Release:
        pops = tuple(msgspec.structs.replace(one, entity=entity) for one in release.pops)
        return msgspec.structs.replace(release, pops=pops)

    async def main() -> None:
        async with rig(tmp_path, amend=amend) as fabric:
            response = await ask(fabric, "asean", stream=stream)
            assert response.status == 200, response
            (receipt,) = fabric.pop("cgk").receipts()
            assert receipt.served_entity == entity
            assert receipt.attested is not None
            assert receipt.attested.decode().entity == entity

    run(main())


def test_a_model_in_any_alphabet(tmp_path: Path) -> None:
    name = "模型/ä"

    def amend(_: str, release: Release) -> Release:
        models = (*release.models, Model(name, "chat", "unknown", "Q8_0", 4096))
        pops = tuple(
            msgspec.structs.replace(
                pop,
                engines=tuple(
                    msgspec.structs.replace(one, serves=(*one.serves, Served(name, "other")))
                    for one in pop.engines
                ),
            )
            for pop in release.pops
        )
        return msgspec.structs.replace(release, models=models, pops=pops)

    async def main() -> None:
        async with rig(tmp_path, sin=Script(Answer(("a",))), amend=amend) as fabric:
            for stream in (False, True):
                response = await ask(fabric, "asean", stream=stream, model=name)
                assert response.status == 200, response
            assert [one.model for one in fabric.pop("cgk").receipts()] == [name, name]
            assert fabric.engines["sin"].requests[0].json["model"] == "other"

    run(main())
