"""Handlings of data classes at the sockets of three PoPs: who is asked, and what stays."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from selvedge.fabric import ACTS, CompiledRule, DataClass, Handling, Policy, Release, Tenant
from selvedge.pop.answered import Answered
from tests.pop.test_residency_live import ENTRY, FRA, STREAM, ask, text_of
from tests.support import Drop, Reset, Script, Status, run
from tests.support.fleets import bearer
from tests.support.policies import under_policy
from tests.support.pops import Amend, rig
from tests.support.wires import chat


def honouring(*pops: str) -> Amend:
    """The release in which tenant `free` asks for zero retention, honoured at these PoPs."""

    def amend(_: str, release: Release) -> Release:
        zero = DataClass("default", "world", "transit-allowed", handling=("zero-retention",))
        free = Tenant("free", (zero,))
        found = []
        for pop in release.pops:
            honours: tuple[Handling, ...] = ("zero-retention",) if pop.id in pops else ()
            engines = tuple(msgspec.structs.replace(one, honours=honours) for one in pop.engines)
            found.append(msgspec.structs.replace(pop, engines=engines))
        others = tuple(one for one in release.tenants if one.id != "free")
        return msgspec.structs.replace(release, tenants=(*others, free), pops=tuple(found))

    return amend


@STREAM
@ENTRY
def test_zero_retention_goes_where_it_is_honoured_and_leaves_nothing(
    entry: str, stream: bool, tmp_path: Path
) -> None:
    """At the engine, in the PoPs' memory, in the receipt and on the answer."""

    async def main() -> None:
        fra, amend = Script(FRA), honouring("fra")
        async with rig(tmp_path, fra=fra, profile="llama.cpp", amend=amend) as fabric:
            more = "idempotency-key: once\r\n"
            body = chat("word " * 1000, stream=stream, store=True, cache_prompt=True)
            async with fabric.wire(entry) as wire:
                response = await wire.ask(bearer("free"), body, more=more)
                again = await wire.ask(bearer("free"), body, more=more)
            assert fabric.engines["sin"].connections == []
            (asked,) = fabric.engines["fra"].requests
            assert asked.json["cache_prompt"] is False
            assert asked.json["store"] is False
            assert response.headers["selvedge-handling"] == "zero-retention"
            assert (again.status, again.error["code"]) == (409, "idempotency_finished")
            receipt, second = fabric.pop(entry).receipts()
            assert receipt.handling == second.handling == ("zero-retention",)
            for pop in fabric.pops.values():
                assert isinstance(pop.state.answered, Answered)
                assert pop.state.answered.bytes == 0
                assert [pop.state.own.held_blocks(one.id) for one in pop.state.own.engines] in (
                    [],
                    [0],
                )

    run(main())


@STREAM
@ENTRY
def test_where_a_policy_lets_nothing_be_kept_an_engine_keeps_nothing_either(
    entry: str, stream: bool, tmp_path: Path
) -> None:
    """A prompt in an engine's cache is kept as much as one in ours."""
    text = """permit(principal == Rule::"bare", action, resource);
    forbid(principal, action == Action::"cache", resource);"""

    def amend(_: str, release: Release) -> Release:
        return under_policy(release, text, {("free", "default"): "bare"})

    async def main() -> None:
        sin, fra = Script(FRA), Script(FRA)
        async with rig(tmp_path, sin=sin, fra=fra, profile="llama.cpp", amend=amend) as fabric:
            body = chat("word " * 1000, stream=stream, store=True, cache_prompt=True)
            async with fabric.wire(entry) as wire:
                await wire.ask(bearer("free"), body, more="idempotency-key: once\r\n")
            (asked,) = fabric.engines["sin"].requests + fabric.engines["fra"].requests
            assert asked.json["cache_prompt"] is False
            assert asked.json["store"] is False
            for pop in fabric.pops.values():
                assert isinstance(pop.state.answered, Answered)
                assert pop.state.answered.bytes == 0
                assert {pop.state.own.held_blocks(one.id) for one in pop.state.own.engines} <= {0}

    run(main())


@ENTRY
def test_handling_that_nobody_honours_leaves_nothing(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=honouring()) as fabric:
            response = await ask(fabric, entry, "free")
            assert (response.status, response.error["code"]) == (451, "residency_handling")
            assert response.headers["selvedge-rule"] == "free/default"
            others = {"sin", "fra", "cgk"} - {entry}
            assert all(fabric.untouched(one) for one in others)
            assert fabric.engines["sin"].connections == fabric.engines["fra"].connections == []

    run(main())


def test_a_serving_pop_whose_release_asks_for_more_refuses(tmp_path: Path) -> None:
    """Two releases at once: the stricter holds, before a byte reaches the engine."""
    strict_one = honouring("fra")

    def amend(pop: str, release: Release) -> Release:
        return strict_one(pop, release) if pop == "sin" else release

    async def main() -> None:
        async with rig(tmp_path, fra=Script(FRA), amend=amend) as fabric:
            response = await ask(fabric, "cgk", "free")
            assert text_of(response) == "from Frankfurt"
            assert fabric.engines["sin"].connections == []
            (receipt,) = fabric.pop("cgk").receipts()
            assert [one.pop for one in receipt.attempts] == ["sin", "fra"]

    run(main())


def ruled(process: str) -> Amend:
    """The release in which tenant `free` is under a policy that lets these sites process.

    Bits are in the release's order: sin, fra, cgk.
    """

    def amend(_: str, release: Release) -> Release:
        bits = dict.fromkeys(ACTS, "7") | {"process": process}
        policy = Policy("", "{}", "list", "sha256:" + "0" * 64, (CompiledRule("r", 0, **bits),))
        free = Tenant("free", (DataClass("default", "world", "transit-allowed", policy="r"),))
        others = tuple(one for one in release.tenants if one.id != "free")
        return msgspec.structs.replace(release, tenants=(*others, free), policy=policy)

    return amend


@STREAM
@pytest.mark.parametrize("how", ["dropped", "reset", "500", "engine away", "pop away"])
@pytest.mark.parametrize("by", ["handling", "policy"])
def test_every_allowed_pop_fails(by: str, how: str, stream: bool, tmp_path: Path) -> None:
    """503 as designed, and not one connection is made to who may not process it."""
    amend = honouring("fra") if by == "handling" else ruled("2")
    replies = {"dropped": Drop(), "reset": Reset(), "500": Status(500)}

    async def main() -> None:
        async with rig(tmp_path, fra=Script(replies.get(how, FRA)), amend=amend) as fabric:
            if how == "engine away":
                await fabric.engines["fra"].refuse()
            if how == "pop away":
                await fabric.pop("fra").refuse()
            response = await ask(fabric, "cgk", "free", stream)
            assert (response.status, response.error["code"]) == (503, "no_engine_available")
            (receipt,) = fabric.pop("cgk").receipts()
            assert receipt.planned == ("fra",)
            assert receipt.policy == ("list/" + "0" * 16 if by == "policy" else None)
            assert fabric.untouched("sin")

    run(main())


@STREAM
@ENTRY
def test_a_policy_that_allows_nobody_leaves_nothing(
    entry: str, stream: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=ruled("")) as fabric:
            response = await ask(fabric, entry, "free", stream)
            assert (response.status, response.error["code"]) == (451, "residency_no_allowed_pop")
            (receipt,) = fabric.pop(entry).receipts()
            assert receipt.status == 451
            others = {"sin", "fra", "cgk"} - {entry}
            assert all(fabric.untouched(one) for one in others)
            assert fabric.engines["sin"].connections == fabric.engines["fra"].connections == []

    run(main())
