"""A provider's own key in the provider's own form: its client changes `base_url`, nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.fabric import Ask, Key, Release, Route
from selvedge.ledger import hash_passed
from selvedge.wire import DIALECTS, PROFILES, Order, Outgoing, parse
from tests.standins.anthropic import KEY, Says, tell
from tests.standins.server import StandIn
from tests.support import run
from tests.support.abroad import rig_abroad
from tests.support.fleets import NOW_US
from tests.support.pops import RIG_PEPPER
from tests.support.wires import chat, post

OWN = KEY


def amend(release: Release) -> Release:
    hashed = hash_passed(RIG_PEPPER, OWN)
    key = Key("acme", "free", "default", hashed, passes_to="anthropic-us")
    return msgspec.structs.replace(release, keys=(*release.keys, key))


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_it_is_passed_as_its_provider_wants_it(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        theirs = StandIn(lambda asked: tell(asked, Says()))
        stand_ins: Any = {"anthropic-us": theirs}
        sites = {"anthropic-us": {"profile": "anthropic"}}
        async with rig_abroad(tmp_path, stand_ins, sites=sites, amend=amend) as fabric:
            more = f"x-api-key: {OWN}\r\nanthropic-version: 2023-06-01\r\n"
            async with fabric.wire("cgk") as wire:
                wire.send(post(None, chat(max_tokens=20), path, more))
                answer = await wire.answer()
            assert answer.status == 200, answer.body
            (receipt,) = await fabric.pop("cgk").until_receipts()
            assert (receipt.key, receipt.served_pop) == ("acme", "anthropic-us")
            (asked,) = theirs.asked
            assert asked.headers["x-api-key"] == OWN
            assert "authorization" not in asked.headers
            assert not any(OWN.encode() in line for line in fabric.pop("cgk").journal.lines)

    run(main())


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_no_dialect_tells_what_is_said_to_the_fabric(dialect: str) -> None:
    body = json.loads(chat(max_tokens=5)) | {"provider": {"only": ["x"]}, "zone": "eea"}
    raw = json.dumps(body).encode()
    ask = parse(Route.CHAT, raw)
    assert isinstance(ask, Ask)
    profile = next(one for one in PROFILES.values() if one.dialect == dialect)
    order = Order(
        ask,
        raw,
        "theirs",
        profile,
        NOW_US,
        secret="ID:SECRET",
        host="bedrock-runtime.us-east-1.amazonaws.com",
    )
    made = DIALECTS[dialect].request(order)
    assert isinstance(made, Outgoing), made
    assert not {"provider", "zone"} & json.loads(made.body).keys()
