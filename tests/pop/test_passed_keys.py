"""Accelerator mode: a provider's own key is admitted by its hash and passed to that provider alone.

What is tapped: every byte that came to any engine, provider or peer, and everything that is kept or
told: journals, metrics, logs, errors, release, files.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.fabric import BadRelease, Key, Outcome, Refused, Release
from selvedge.ledger import Admitted, Keyring, hash_passed
from tests.support import Answer, Cut, Reset, Script, Status, run
from tests.support.abroad import provider, rig_abroad
from tests.support.fleets import NOW_US, PEPPER, bearer, make_release
from tests.support.pops import RIG_PEPPER, Fabric
from tests.support.scripted_engine import ScriptedEngine
from tests.support.wires import chat

OWN = "sk-proj-CANARY-of-the-tenant_0123456789"


def passing(*, falls_back: bool = False, to: str = "theirs") -> Any:
    def amend(release: Release) -> Release:
        key = Key(
            "acme",
            "free",
            "default",
            hash_passed(RIG_PEPPER, OWN),
            passes_to=to,
            falls_back=falls_back,
        )
        return msgspec.structs.replace(release, keys=(*release.keys, key))

    return amend


@contextlib.asynccontextmanager
async def accelerator(
    directory: Path, theirs: ScriptedEngine, *, falls_back: bool = False, **asked: Any
) -> AsyncIterator[tuple[Fabric, ScriptedEngine]]:
    other = ScriptedEngine(Script(Answer(("other",))))
    sites: Mapping[str, Any] = {"theirs": {"rtt_ms": 100}, "other": {"rtt_ms": 0}}
    stand_ins = {"theirs": theirs, "other": other}
    amend = passing(falls_back=falls_back)
    async with rig_abroad(directory, stand_ins, sites=sites, amend=amend, **asked) as fabric:
        yield fabric, other


async def asks(fabric: Fabric, body: bytes, header: str = "authorization", pop: str = "cgk") -> Any:
    more = "" if header == "authorization" else f"{header}: {OWN}\r\n"
    async with fabric.wire(pop) as wire:
        return await wire.ask(f"Bearer {OWN}" if not more else None, body, more=more)


def tapped(fabric: Fabric, *others: ScriptedEngine) -> list[bytes]:
    """Every byte that came to anyone but the key's own provider, and what is kept or told."""
    engines = [*others, *fabric.engines.values()]
    found = [one.head + one.body for engine in engines for one in engine.requests]
    for pop in fabric.pops.values():
        found += [*pop.journal.lines, pop.state.metrics.render()]
        found += [file.read_bytes() for file in pop.directory.rglob("*") if file.is_file()]
        found.append(repr((pop.state.view, pop.state.provider_keys, pop.state.gate)).encode())
        found += [bytes(one) for one in pop.state.gate._askers]
        if pop.id != "cgk":
            found += [repr(one.head).encode() for one in pop.seen]
    return found


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
@pytest.mark.parametrize("stream", [False, True])
def test_only_the_base_url_changes(
    tmp_path: Path, header: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        theirs = ScriptedEngine(Script(Answer(("a", "b"))))
        async with accelerator(tmp_path, theirs) as (fabric, other):
            for _ in range(2):
                answer = await asks(fabric, chat(stream=stream), header)
                assert answer.status == 200, answer.body
            receipts = await fabric.pop("cgk").until_receipts(2)
            assert {one.key for one in receipts} == {"acme"}
            assert {one.served_pop for one in receipts} == {"theirs"}
            assert all(one.planned == ("theirs",) for one in receipts)
            came = [one.headers["authorization"] for one in theirs.requests]
            assert came == [f"Bearer {OWN}"] * 2, "their own, not one of ours"
            assert not other.connections
            taps = [*tapped(fabric, other), caplog.text.encode()]
            assert not any(OWN.encode() in one for one in taps)
            assert not any(b"CANARY-of" in one for one in taps)

    caplog.set_level(logging.DEBUG)
    run(main())


@pytest.mark.parametrize(
    "fault", [Reset(), Status(500), Status(503), Answer(("a",), cut=Cut("close", 0))]
)
@pytest.mark.parametrize("falls_back", [False, True])
def test_a_fallback_elsewhere_is_by_our_own_engines_alone(
    tmp_path: Path, fault: Any, falls_back: bool
) -> None:
    async def main() -> None:
        theirs = ScriptedEngine(Script(fault))
        ours = Script(Answer(("ours",)))
        async with accelerator(tmp_path, theirs, falls_back=falls_back, sin=ours) as (
            fabric,
            other,
        ):
            answer = await asks(fabric, chat())
            (receipt,) = await fabric.pop("cgk").until_receipts()
            if falls_back:
                assert answer.status == 200
                assert [one.pop for one in receipt.attempts] == ["theirs", "sin"]
                assert receipt.served_pop == "sin"
            else:
                assert answer.status in (502, 503)
                assert [one.pop for one in receipt.attempts] == ["theirs"]
                assert receipt.outcome is Outcome.FAILED
            assert not other.connections, "it is no key of theirs"
            assert not any(OWN.encode() in one for one in tapped(fabric, other))
            assert OWN.encode() not in answer.body

    run(main())


@pytest.mark.parametrize(("status", "code"), [(401, "invalid_api_key"), (403, "invalid_api_key")])
def test_a_key_that_its_provider_does_not_accept(tmp_path: Path, status: int, code: str) -> None:
    async def main() -> None:
        theirs = ScriptedEngine(Script(Status(status)))
        async with accelerator(tmp_path, theirs) as (fabric, _):
            answer = await asks(fabric, chat())
            assert (answer.status, answer.error["code"]) == (401, code)
            assert not fabric.pop("cgk").state.load.view.cooling, "the provider is well"

    run(main())


def test_its_limit_is_the_clients_own_and_cools_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        theirs = ScriptedEngine(Script(Status(429, headers=(("retry-after", "7"),))))
        async with accelerator(tmp_path, theirs) as (fabric, _):
            answer = await asks(fabric, chat())
            assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
            assert answer.headers["retry-after"] == "7"
            assert not fabric.pop("cgk").state.load.view.cooling
            assert len(theirs.requests) == 1

    run(main())


def test_nobody_else_is_asked_with_it_and_it_asks_with_nobodys(tmp_path: Path) -> None:
    """Another tenant's request goes by the PoP's own secret, the passed key's never does."""

    async def main() -> None:
        theirs = ScriptedEngine(Script(Answer(("a",))))
        async with accelerator(tmp_path, theirs) as (fabric, _):
            async with fabric.wire("cgk") as wire:
                body = chat(provider={"only": ["theirs"]})
                assert (await wire.ask(bearer("free"), body)).status == 200
                assert (await wire.ask(f"Bearer {OWN}", chat())).status == 200
                elsewhere = chat(provider={"only": ["other"]})
                refused = await wire.ask(f"Bearer {OWN}", elsewhere)
                assert (refused.status, refused.error["code"]) == (400, "no_provider_left")
            came = [one.headers["authorization"] for one in theirs.requests]
            assert came[0].startswith("Bearer sk-upstream-")
            assert came[1] == f"Bearer {OWN}"

    run(main())


def test_a_pop_without_secrets_of_ours_passes_it_on(tmp_path: Path) -> None:
    async def main() -> None:
        theirs = ScriptedEngine(Script(Answer(("a",))))
        async with accelerator(tmp_path, theirs, secrets={}) as (fabric, _):
            assert (await asks(fabric, chat())).status == 200

    run(main())


def ring(**changes: Any) -> Keyring:
    fields = {"passes_to": "x", **changes}
    return Keyring([Key("acme", "t", "d", hash_passed(PEPPER, OWN), **fields)], PEPPER)


def test_the_keyring_knows_it_by_its_hash_alone() -> None:
    found = ring().admit(f"Bearer {OWN}", NOW_US)
    assert isinstance(found, Admitted)
    assert (found.key, found.passes_to, found.falls_back) == ("acme", "x", False)
    for wrong in (f"Bearer {OWN}x", "Bearer sk-acme-x", f"Bearer {OWN[:-1]}", "Bearer acme"):
        assert not isinstance(ring().admit(wrong, NOW_US), Admitted)
    assert not isinstance(ring(expires_us=NOW_US).admit(f"Bearer {OWN}", NOW_US), Admitted)
    revoked = ring().changed({"acme": None})
    assert not isinstance(revoked.admit(f"Bearer {OWN}", NOW_US), Admitted)
    added = Keyring([], PEPPER).changed({"acme": ring().released("acme")})
    assert isinstance(added.admit(f"Bearer {OWN}", NOW_US), Admitted)
    waiting = ring().changed({}, complete=False)
    assert isinstance(waiting.admit(f"Bearer {OWN}", NOW_US), Admitted)
    unknown = waiting.admit("Bearer sk-proj-another", NOW_US)
    assert isinstance(unknown, Refused)
    assert unknown.code == "not_ready"


def test_a_key_that_cannot_be_passed() -> None:
    hashed = hash_passed(PEPPER, OWN)
    with pytest.raises(BadRelease, match=r"keys\.k\.falls_back: goes only with 'passes_to'"):
        Key("k", "t", "d", hashed, falls_back=True)
    key = Key("k", "free", "default", hashed, passes_to="nobody")
    with pytest.raises(BadRelease, match=r"keys\.k\.passes_to: 'nobody' is not under providers"):
        make_release(keys=(key,))
    made = make_release(keys=(key,), providers=(provider("nobody", "http://127.0.0.1:1"),))
    assert OWN not in msgspec.json.encode(made).decode()
