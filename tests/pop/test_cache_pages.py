"""What a tenant's key may ask of the cache itself: report a wrong hit, purge, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selvedge.adapters import journal_of, segment_path
from tests.pop.test_cache_live import ANSWER, EXACT, ask
from tests.support import Script, run
from tests.support.caches import open_cache, with_cache
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.wires import Response, Wire, chat


async def page(
    wire: Wire, path: str, body: object | None = None, key: str | None = "asean"
) -> Response:
    authorization = bearer(key) if key is not None else None
    if body is None:
        return await wire.get(path, authorization)
    return await wire.ask(authorization, json.dumps(body).encode(), path)


def test_a_tenant_reports_and_purges_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(EXACT)) as fabric:
            link = open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                for key in ("asean", "free"):
                    await ask(wire, chat(), key=key, more="selvedge-cache-tags: t\r\n")
                hit = await ask(wire, chat())
                entry = hit.headers["selvedge-cache-entry"]
                stats = await page(wire, "/v1/cache/stats")
                assert (stats.status, stats.json) == (200, {"entries": 1})
                foreign = await page(wire, "/v1/cache/report", {"entry": entry}, key="free")
                assert (foreign.status, foreign.error["param"]) == (400, "entry")
                told = await page(wire, "/v1/cache/report", {"entry": entry})
                assert (told.json, link.bad) == ({"reported": entry}, [("asean", entry)])
                again = await ask(wire, chat(), more="selvedge-cache-tags: t\r\n")
                assert again.headers["cache-status"] == "selvedge; fwd=uri-miss"
                bodies = [{"tag": "t"}, {"model": "chat"}, {"everything": True}]
                for number, body in enumerate(bodies):
                    assert (await page(wire, "/v1/cache/purge", body)).status == 200
                    more = "selvedge-cache-tags: t\r\n"
                    missed = await ask(wire, chat(), more=more)
                    assert missed.headers["cache-status"] == "selvedge; fwd=uri-miss", number
                kept = await ask(wire, chat(), key="free")
                assert kept.headers["cache-status"].startswith("selvedge; hit")

    run(main())


def test_a_wrong_hit_is_reported_by_its_receipt(tmp_path: Path) -> None:
    """From the journals of the PoP: another tenant's receipt is none, and one that was no hit."""

    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), amend=with_cache(EXACT)) as fabric:
            link, pop = open_cache(fabric.pop("sin")), fabric.pop("sin")
            async with fabric.wire("sin") as wire:
                made = await ask(wire, chat())
                hit = await ask(wire, chat())
                journal = journal_of(pop.directory, 0) / "receipts"
                journal.mkdir(parents=True)
                segment_path(journal, 1).write_bytes(b"".join(pop.journal.lines))
                for name, key in ((hit, "free"), (made, "asean")):
                    receipt = name.headers["selvedge-receipt"]
                    bad = await page(wire, "/v1/cache/report", {"receipt": receipt}, key)
                    assert (bad.status, bad.error["param"]) == (400, "receipt")
                receipt = hit.headers["selvedge-receipt"]
                told = await page(wire, "/v1/cache/report", {"receipt": receipt})
                assert told.json == {"reported": hit.headers["selvedge-cache-entry"]}
            assert link.bad == [("asean", link.kept[0][2].id)]

    run(main())


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("report", {}, "invalid_value"),
        ("report", {"entry": "a", "receipt": "b"}, "invalid_value"),
        ("report", {"entry": 3}, "invalid_value"),
        ("purge", {}, "invalid_value"),
        ("purge", {"tag": "a", "model": "b"}, "invalid_value"),
        ("purge", {"tenant": "free"}, "invalid_value"),
        ("purge", {"tag": "x" * 5000}, "request_too_large"),
    ],
)
def test_what_the_cache_is_not_asked(path: str, body: object, code: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=with_cache(EXACT)) as fabric:
            open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                answer = await page(wire, f"/v1/cache/{path}", body)
                assert answer.error["code"] == code
                keyless = await page(wire, f"/v1/cache/{path}", {"entry": "a"}, None)
                assert keyless.status == 401
                assert (await page(wire, f"/v1/cache/{path}")).status == 405
            async with fabric.wire("fra") as wire:
                away = await page(wire, "/v1/cache/stats")
                assert (away.status, away.error["code"]) == (503, "cache_unavailable")

    run(main())
