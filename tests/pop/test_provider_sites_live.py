"""Providers as sites, on sockets: dialled by the PoP itself, named by the receipt, keys in turn."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import ProviderSecrets
from selvedge.fabric import DataClass, Outcome, Release, Tenant
from tests.support import Answer, Cut, Reset, Script, Status, run
from tests.support.abroad import SECRETS, keys_seen, rig_abroad
from tests.support.fleets import bearer
from tests.support.pops import usage_of
from tests.support.scripted_engine import ScriptedEngine
from tests.support.wires import chat


def limited(retry_after: str | None = "2") -> Status:
    headers = (("retry-after", retry_after),) if retry_after is not None else ()
    return Status(429, headers=headers)


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_serves_and_the_receipt_names_it(tmp_path: Path, stream: bool) -> None:
    async def main() -> None:
        api = ScriptedEngine(Script(Answer(("a", "b"))))
        async with rig_abroad(
            tmp_path, {"us-api": api}, sites={"us-api": {"entity": "V"}}
        ) as fabric:
            async with fabric.wire("cgk") as wire:
                answer = await wire.ask(bearer("free"), chat(stream=stream))
            assert answer.status == 200, answer.body
            (receipt,) = await fabric.pop("cgk").until_receipts()
            assert (receipt.served_pop, receipt.served_engine) == ("us-api", "api")
            assert (receipt.processed_in, receipt.served_entity) == ("US", "V")
            assert receipt.attested is None
            assert receipt.planned[0] == "us-api"
            assert usage_of(receipt).generated == 2
            assert api.requests[0].json["model"] == "theirs"
            assert "selvedge-ticket" not in api.requests[0].headers
            assert fabric.untouched("sin")
            assert fabric.untouched("fra")

    run(main())


def test_a_class_bound_to_the_eea_never_reaches_it(tmp_path: Path) -> None:
    async def main() -> None:
        api = ScriptedEngine()
        async with rig_abroad(tmp_path, {"us-api": api}, fra=Script(Reset())) as fabric:
            async with fabric.wire("fra") as wire:
                answer = await wire.ask(bearer("eea-strict"), chat())
            assert answer.status == 503, answer.body
            (receipt,) = await fabric.pop("fra").until_receipts()
            assert receipt.planned == ("fra",)
            assert not api.connections, "not one byte"

    run(main())


def test_keys_take_turns_and_a_429_rests_the_key_alone(tmp_path: Path) -> None:
    async def main() -> None:
        def choose(asked: Any) -> Any:
            first = asked.headers["authorization"].endswith("1111")
            return limited("30") if first else Answer(("ok",))

        api = ScriptedEngine(Script(choose=choose))
        async with rig_abroad(tmp_path, {"us-api": api}) as fabric:
            async with fabric.wire("cgk") as wire:
                for _ in range(4):
                    assert (await wire.ask(bearer("free"), chat())).status == 200
            receipts = await fabric.pop("cgk").until_receipts(4)
            assert {one.served_pop for one in receipts} == {"us-api"}
            seen = keys_seen(api)
            assert seen.count("one") == 1, "it rests for as long as it was told"
            assert seen.count("two") == 4
            assert [len(one.attempts) for one in receipts] == [1] * 4, "one attempt, another key"
            assert "us-api/api" not in fabric.pop("cgk").state.load.view.cooling
            assert b'status="429"} 1' in fabric.pop("cgk").state.metrics.render()

    run(main())


def test_a_storm_of_429_is_bounded_and_the_next_attempt_answers(tmp_path: Path) -> None:
    async def main() -> None:
        api = ScriptedEngine(Script(limited("0")))
        async with rig_abroad(tmp_path, {"us-api": api}, sin=Script(Answer(("ours",)))) as fabric:
            async with fabric.wire("cgk") as wire:
                answer = await wire.ask(bearer("free"), chat())
            assert answer.status == 200
            (receipt,) = await fabric.pop("cgk").until_receipts()
            assert [one.pop for one in receipt.attempts] == ["us-api", "sin"]
            assert sorted(keys_seen(api)) == ["one", "two"], "each key once"
            assert receipt.served_pop == "sin"

    run(main())


def test_when_all_keys_rest_nobody_is_asked_until_one_is_free(tmp_path: Path) -> None:
    async def main() -> None:
        api = ScriptedEngine(Script(limited("40")))
        async with rig_abroad(tmp_path, {"us-api": api}, sin=Script(Answer(("ours",)))) as fabric:
            async with fabric.wire("cgk") as wire:
                for _ in range(5):
                    assert (await wire.ask(bearer("free"), chat())).status == 200
            await fabric.pop("cgk").until_receipts(5)
            assert len(api.requests) == 2, "the storm is two requests, whatever is asked of us"
            assert "us-api/api" in fabric.pop("cgk").state.load.view.cooling

    run(main())


def test_limits_are_learned_from_answers(tmp_path: Path) -> None:
    """A key whose answer says that nothing is left is not asked with until it has again."""

    async def main() -> None:
        def choose(asked: Any) -> Any:
            spent = asked.headers["authorization"].endswith("1111")
            headers = (
                ("x-ratelimit-limit-requests", "60"),
                ("x-ratelimit-remaining-requests", "0" if spent else "59"),
                ("x-ratelimit-reset-requests", "30s"),
            )
            return Answer(("ok",), headers=headers)

        api = ScriptedEngine(Script(choose=choose))
        async with rig_abroad(tmp_path, {"us-api": api}) as fabric:
            async with fabric.wire("cgk") as wire:
                for _ in range(5):
                    assert (await wire.ask(bearer("free"), chat())).status == 200
            assert keys_seen(api).count("one") == 1
            assert keys_seen(api).count("two") == 4

    run(main())


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_known_is_not_asked_with_again(tmp_path: Path, status: int) -> None:
    async def main() -> None:
        def choose(asked: Any) -> Any:
            bad = asked.headers["authorization"].endswith("1111")
            return Status(status) if bad else Answer(("ok",))

        api = ScriptedEngine(Script(choose=choose))
        async with rig_abroad(tmp_path, {"us-api": api}) as fabric:
            async with fabric.wire("cgk") as wire:
                for _ in range(3):
                    assert (await wire.ask(bearer("free"), chat())).status == 200
            assert keys_seen(api).count("one") == 1

    run(main())


def test_who_holds_no_secret_does_not_dial(tmp_path: Path) -> None:
    async def main() -> None:
        api = ScriptedEngine()
        async with rig_abroad(tmp_path, {"us-api": api}, secrets={}) as fabric:
            async with fabric.wire("cgk") as wire:
                assert (await wire.ask(bearer("free"), chat())).status == 200
                (receipt,) = await fabric.pop("cgk").until_receipts()
                assert "us-api" not in receipt.planned
                kept = ProviderSecrets(fabric.pop("cgk").directory, fabric.pop("cgk").identity)
                kept.set("one", SECRETS["one"])
                fabric.pop("cgk").keeper.secrets.look()
                assert (await wire.ask(bearer("free"), chat())).status == 200
            assert keys_seen(api) == ["one"], "it is taken without a restart"

    run(main())


def test_no_secret_is_seen_anywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the file, the journal, the metrics, an error, a log or the name of an object."""

    async def main() -> list[bytes]:
        api = ScriptedEngine(Script(Status(401), Status(401), Status(500), Answer(("a",))))
        async with rig_abroad(tmp_path, {"us-api": api}) as fabric:
            pop = fabric.pop("cgk")
            answers = []
            async with fabric.wire("cgk") as wire:
                for _ in range(3):
                    answers.append((await wire.ask(bearer("free"), chat())).body)
            await pop.until_receipts(3)
            sealed = ProviderSecrets(pop.directory, os_random()).open()
            assert sealed == ({}, ["one", "two"]), "another identity opens none"
            file = (pop.directory / "provider-secrets.json").read_bytes()
            assert (pop.directory / "provider-secrets.json").stat().st_mode & 0o777 == 0o600
            shown = repr((pop.state.provider_keys, pop.state.view, pop.keeper.secrets)).encode()
            taken = pop.state.provider_keys.take(pop.state.view.providers["us-api"], 2**60)
            return [
                *answers,
                *pop.journal.lines,
                pop.state.metrics.render(),
                file,
                shown,
                repr(taken).encode(),
            ]

    caplog.set_level(logging.DEBUG)
    places = [*run(main()), caplog.text.encode()]
    for secret in SECRETS.values():
        assert not any(secret.encode() in one or secret[5:].encode() in one for one in places)


def os_random() -> bytes:
    return bytes(range(32))


@pytest.mark.parametrize("stream", [False, True])
def test_it_fails_before_the_first_token_and_the_next_answers(tmp_path: Path, stream: bool) -> None:
    async def main() -> None:
        api = ScriptedEngine(Script(Answer(("a",), cut=Cut("reset", 0))))
        ours = Script(Answer(("x", "y")))
        async with rig_abroad(tmp_path, {"us-api": api}, sin=ours) as fabric:
            async with fabric.wire("cgk") as wire:
                answer = await wire.ask(bearer("free"), chat(stream=stream))
            assert answer.status == 200
            (receipt,) = await fabric.pop("cgk").until_receipts()
            assert [(one.pop, one.outcome) for one in receipt.attempts] == [
                ("us-api", "failed"),
                ("sin", "relayed"),
            ]
            assert (receipt.served_pop, receipt.outcome) == ("sin", Outcome.COMPLETE)
            assert receipt.attested is not None

    run(main())


def test_zero_retention_asks_no_engine_that_does_not_honour_it(tmp_path: Path) -> None:
    def amend(release: Release) -> Release:
        kept = DataClass("default", "world", "transit-allowed", handling=("zero-retention",))
        tenants = tuple(
            Tenant("free", (kept,)) if one.id == "free" else one for one in release.tenants
        )
        return msgspec.structs.replace(release, tenants=tenants)

    async def main() -> None:
        loose, strict = ScriptedEngine(), ScriptedEngine()
        sites = {"strict": {"honours": ("zero-retention",)}}
        apis = {"loose": loose, "strict": strict}
        async with rig_abroad(tmp_path, apis, sites=sites, amend=amend) as fabric:
            async with fabric.wire("cgk") as wire:
                answer = await wire.ask(bearer("free"), chat(store=True))
            assert answer.status == 200
            (receipt,) = await fabric.pop("cgk").until_receipts()
            assert receipt.planned == ("strict",)
            assert not loose.connections
            assert strict.requests[0].json["store"] is False

    run(main())
