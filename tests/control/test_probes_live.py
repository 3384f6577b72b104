"""Probes at the sockets of real PoPs: served where there is room, refused where there is none."""

from __future__ import annotations

from pathlib import Path

import msgspec

from selvedge.control.probes import PopAsker, Probe, probes_of
from selvedge.fabric import PROBE_TENANT, DataClass, Key, Release, Route, Tenant
from selvedge.ledger import (
    Sealed,
    canonical,
    hash_secret,
    judge,
    row_of_receipt,
    settle,
    write_key,
)
from tests.support import Answer, Script, run
from tests.support.pops import RIG_PEPPER, Fabric, rig

SECRET = "s" * 32


def with_probes(_: str, release: Release) -> Release:
    """The release, with the operator's own tenant."""
    tenant = Tenant(PROBE_TENANT, (DataClass("default", "asean", "in-zone"),))
    key = Key("probe", PROBE_TENANT, "default", hash_secret(RIG_PEPPER, "probe", SECRET))
    return msgspec.structs.replace(
        release, tenants=(*release.tenants, tenant), keys=(*release.keys, key)
    )


def probe_at(fabric: Fabric, pop: str) -> Probe:
    assert fabric.release is not None
    (found,) = [
        one for one in probes_of(fabric.release) if (one.pop, one.route) == (pop, Route.CHAT)
    ]
    return msgspec.structs.replace(found, url=f"http://127.0.0.1:{fabric.pop(pop).port}")


def test_a_probe_is_answered_and_its_receipt_says_what_it_was(tmp_path: Path) -> None:
    async def main() -> None:
        answer = Script(Answer(("a", "b")))
        async with rig(tmp_path, sin=answer, amend=with_probes) as fabric:
            asker = PopAsker(write_key("probe", SECRET))
            assert await asker.ask(probe_at(fabric, "sin")) == 200
            (receipt,) = fabric.pop("sin").receipts()
            load = fabric.pop("sin").state.load
            load.enter("sin/gpu", 10**6)
            assert await asker.ask(probe_at(fabric, "sin")) == 503, "it waits for nobody"
            load.leave("sin/gpu", 10**6)
            _, busy = fabric.pop("sin").receipts()
            await asker.close()
            stranger = PopAsker("sk-none")
            assert await stranger.ask(probe_at(fabric, "sin")) == 401
            await stranger.close()
        assert (receipt.purpose, receipt.tenant, receipt.stream) == ("probe", PROBE_TENANT, True)
        assert receipt.first_token_us is not None
        assert settle(receipt).row == "probe"
        assert settle(receipt).billed.total == 0
        sealed = Sealed(msgspec.Raw(canonical(busy)), "")
        assert judge(row_of_receipt(sealed, busy)) == "yielded"

    run(main())
