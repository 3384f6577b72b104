"""What a PoP says of itself, the headers of its answers, and a release that changes meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import openai
import pytest

from selvedge.adapters import seal_release
from selvedge.fabric import Engine, Model, Release, Served
from selvedge.ledger import hash_secret
from tests.support import Answer, Gate, Script, run
from tests.support.fleets import bearer
from tests.support.pops import RIG_PEPPER, Fabric, RunningPop, rig
from tests.support.wires import Response, chat, post

POPS = pytest.mark.parametrize("pop", ["sin", "fra", "cgk"])
ENTRY = pytest.mark.parametrize("entry", ["sin", "cgk"])


async def get(fabric: Fabric, pop: str, path: str, key: str | None = None) -> Response:
    async with fabric.wire(pop) as wire:
        return await wire.get(path, bearer(key) if key else None)


@POPS
def test_health(pop: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            for path in ("/healthz", "/health/liveliness", "/health/liveness"):
                assert (await get(fabric, pop, path)).json == {"status": "ok"}
            for path in ("/readyz", "/health/readiness"):
                assert (await get(fabric, pop, path)).json == {"status": "ready"}
            health = (await get(fabric, pop, "/health?verbose=1")).json
            assert health["status"] == "ok"
            assert health["pop"] == pop
            assert health["country"] == {"sin": "SG", "fra": "DE", "cgk": "ID"}[pop]
            assert health["release"]["version"] == 1
            assert health["release"]["hash"].startswith("sha256:")
            assert health["wan_emulated"] is False
            assert health["open_intents"] == 0
            engine = {
                "models": ["chat", "embed"],
                "in_flight": 0,
                "waiting_tokens": 0,
                "running": 0,
                "slots": 64,
                "kv_free": 1.0,
                "prefill_tokens_per_s": 1000,
                "blocks_held": 0,
            }
            assert (health["routing_policy"], health["hears"]) == ("predictive", {})
            assert health["engines"] == ({} if pop == "cgk" else {"gpu": engine})
            # Nothing of an engine was asked for it.
            assert fabric.untouched({"sin": "fra", "fra": "sin", "cgk": "sin"}[pop])
            assert all(not one.connections for one in fabric.engines.values())

    run(main())


def test_health_while_a_request_runs(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate()
        async with rig(tmp_path, sin=Script(Answer(gate=gate))) as fabric:
            async with fabric.wire("sin") as wire:
                wire.send(post(bearer("asean"), chat()))
                await fabric.engines["sin"].until(lambda: fabric.engines["sin"].requests)
                health = (await get(fabric, "sin", "/health")).json
                assert health["open_intents"] == 1
                assert health["engines"]["gpu"]["in_flight"] == 1
                assert "selvedge_requests_running 1.0" in await metrics(fabric, "sin")
                gate.open()
                assert (await wire.answer()).status == 200
            health = (await get(fabric, "sin", "/health")).json
            assert health["open_intents"] == health["engines"]["gpu"]["in_flight"] == 0
            assert "selvedge_requests_running 0.0" in await metrics(fabric, "sin")

    run(main())


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/metrics"])
def test_head(path: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            for _ in range(2):
                response = await wire.get(path, method="HEAD")
                assert response.status == 200
                assert int(response.headers["content-length"]) > 0

    run(main())


async def metrics(fabric: Fabric, pop: str) -> str:
    response = await get(fabric, pop, "/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return response.body.decode()


def test_metrics(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(Answer(cached_tokens=3))) as fabric:
            async with fabric.wire("cgk") as wire:
                for body in (chat(), chat(stream=True), chat(model="nope-kenari")):
                    await wire.ask(bearer("asean"), body)
                await wire.ask("Bearer sk-x-y", chat())
            ingress, serving = await metrics(fabric, "cgk"), await metrics(fabric, "sin")
        for line in (
            "{outcome} 2.0".format(outcome=label("complete", "none")),
            "{outcome} 1.0".format(outcome=label("refused", "caller")),
            'selvedge_refusals_without_receipt_total{code="invalid_api_key"} 1.0',
            'selvedge_tokens_total{kind="input_uncached"} 8.0',
            'selvedge_tokens_total{kind="cache_read"} 6.0',
            'selvedge_tokens_total{kind="generated"} 8.0',
            'selvedge_time_to_first_token_seconds_count{served_by="sin"} 2.0',
            'selvedge_request_duration_seconds_count{route="/v1/chat/completions"} 3.0',
            "selvedge_release_version 1.0",
            'selvedge_pop{pop="cgk"} 1.0',
        ):
            assert line in ingress, line
        assert "kenari" not in ingress
        assert 'selvedge_peer_requests_total{ending="complete"} 2.0' in serving
        assert "selvedge_requests_total{" not in serving

    run(main())


def label(outcome: str, fault: str) -> str:
    route = "/v1/chat/completions"
    return f'selvedge_requests_total{{fault="{fault}",outcome="{outcome}",route="{route}"}}'


def far_model(_: str, release: Release) -> Release:
    """A further model, at Frankfurt's engine alone."""
    pops = []
    for pop in release.pops:
        (*engines,) = pop.engines
        if pop.id == "fra":
            served = (*engines[0].serves, Served("large", "large"))
            engines = [msgspec.structs.replace(engines[0], serves=served)]
        pops.append(msgspec.structs.replace(pop, engines=tuple(engines)))
    models = (*release.models, Model("large", "chat", "unknown", "Q8_0", 8192, owner="other"))
    return msgspec.structs.replace(release, pops=tuple(pops), models=models)


def test_models_are_those_a_key_can_reach(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=far_model) as fabric:
            offered = {}
            for key in ("asean", "eea", "free"):
                listed = (await get(fabric, "cgk", "/v1/models", key)).json
                assert listed["object"] == "list"
                offered[key] = [one["id"] for one in listed["data"]]
            row = (await get(fabric, "cgk", "/v1/models/large", "eea")).json
            hidden = await get(fabric, "cgk", "/v1/models/large", "asean")
            unknown = await get(fabric, "cgk", "/v1/models", None)
            outside = await get(fabric, "cgk", "/v1/models", "eea-strict")
            assert fabric.pop("cgk").tallied() == {"missing_api_key": 1}
            assert fabric.pop("cgk").receipts() == []
            async with fabric.wire("cgk") as wire:
                refused = await wire.ask(bearer("asean"), chat(model="large"))
        assert offered["asean"] == ["chat", "embed"]
        assert offered["eea"] == offered["free"] == ["chat", "embed", "large"]
        assert row["id"] == "large"
        assert row["owned_by"] == "other"
        assert row["created"] == fabric.release.made_us // 1_000_000
        assert (hidden.status, hidden.error["code"]) == (404, "model_not_found")
        assert hidden.headers["x-request-id"].startswith("req_")
        assert (unknown.status, unknown.error["code"]) == (401, "missing_api_key")
        assert (outside.status, outside.error["code"]) == (451, "residency_ingress")
        assert outside.headers["selvedge-rule"] == "eea/strict"
        assert (refused.status, refused.error["code"]) == (451, "residency_model")

    run(main())


@pytest.mark.parametrize("name", ["org/model", "模型 1", "a%2Fb", "?"])
def test_a_model_of_any_name_can_be_looked_up(name: str, tmp_path: Path) -> None:
    def amend(_: str, release: Release) -> Release:
        pops = tuple(
            msgspec.structs.replace(
                pop,
                engines=tuple(
                    msgspec.structs.replace(one, serves=(Served(name, "x"),)) for one in pop.engines
                ),
            )
            for pop in release.pops
        )
        models = (Model(name, "chat", "unknown", "Q8_0", 4096),)
        return msgspec.structs.replace(release, models=models, pops=pops)

    async def main() -> None:
        async with rig(tmp_path, amend=amend) as fabric:
            url = f"{fabric.pop('cgk').url}/v1"
            secret = bearer("asean").removeprefix("Bearer ")
            async with openai.AsyncOpenAI(base_url=url, api_key=secret) as client:
                assert (await client.models.retrieve(name)).id == name
            found = await get(fabric, "cgk", f"/v1/models/{quote(name, safe='')}", "asean")
            assert found.json["id"] == name

    run(main())


@ENTRY
@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"model": "nope"}])
def test_headers(fields: dict[str, Any], entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            first = await wire.ask(bearer("asean"), chat(**fields))
            second = await wire.ask(bearer("asean"), chat(**fields))
            receipts = fabric.pop(entry).receipts()
        for response, receipt in zip((first, second), receipts, strict=True):
            headers = response.headers
            assert headers["x-request-id"] == receipt.request_id
            assert headers["selvedge-receipt"] == receipt.id
            assert headers["selvedge-pop"] == entry
            assert int(headers["openai-processing-ms"]) >= 0
            assert "selvedge-engine" not in headers
            assert "selvedge-attested" not in headers
            if "model" in fields:
                assert "selvedge-served-by" not in headers
                continue
            assert headers["selvedge-served-by"] == "sin/gpu"
            assert headers["selvedge-processed-in"] == "SG"
            named = [one.partition(";dur=") for one in headers["server-timing"].split(", ")]
            assert [name for name, _, _ in named][0::3] in (["pop"], ["pop", "engine"])
            assert all(float(value) >= 0 for _, _, value in named)
        assert len({one.id for one in receipts} | {one.request_id for one in receipts}) == 4
        # Ids sort by time, to the millisecond.
        assert receipts[0].id[:17] <= receipts[1].id[:17]

    run(main())


def test_without_a_release(tmp_path: Path) -> None:
    async def main() -> None:
        amend = lambda pop, release: None if pop == "sin" else release  # noqa: E731
        async with rig(tmp_path, amend=amend) as fabric, fabric.wire("sin") as wire:
            assert (await wire.get("/healthz")).status == 200
            ready = await wire.get("/readyz")
            assert (ready.status, ready.json) == (503, {"status": "no release"})
            assert (await wire.get("/health")).json["status"] == "no release"
            for response in (
                await wire.ask(bearer("asean"), chat()),
                await wire.ask(None, chat()),
                await wire.get("/v1/models", bearer("asean")),
            ):
                assert (response.status, response.error["code"]) == (503, "not_ready")
                assert response.headers["retry-after-ms"] == "1000"
                assert response.headers["x-should-retry"] == "true"
            fabric.lay_down("sin", fabric.release)
            fabric.pop("sin").keeper.look()
            assert (await wire.get("/readyz")).status == 200
            assert (await wire.ask(bearer("asean"), chat())).status == 200

    run(main())


def newer(release: Release, version: int = 2) -> Release:
    """The next release: the key of `free` is revoked, that of `asean` has another secret."""
    keys = tuple(
        msgspec.structs.replace(one, hash=hash_secret(RIG_PEPPER, "asean", "new"))
        if one.id == "asean"
        else one
        for one in release.keys
        if one.id != "free"
    )
    return msgspec.structs.replace(release, version=version, keys=keys)


def test_a_newer_release_is_taken_whole(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(1)
        async with rig(tmp_path, sin=Script(Answer(gate=gate), Answer())) as fabric:
            pop = fabric.pop("sin")
            async with fabric.wire("sin") as running, fabric.wire("sin") as later:
                running.send(post(bearer("free"), chat(stream=True)))
                await running.head()
                fabric.lay_down("sin", newer(fabric.release))
                pop.keeper.look()
                refused = await later.ask(bearer("free"), chat())
                assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
                assert (await later.ask(bearer("asean"), chat())).status == 401
                assert (await later.ask("Bearer sk-asean-new", chat())).status == 200
                gate.open()
                body, whole = await running.rest()
                assert whole
                assert body.endswith(b"data: [DONE]\n\n")
            assert [one.release for one in pop.receipts()] == [2, 1]
            assert (await get(fabric, "sin", "/health")).json["release"]["version"] == 2
            assert "selvedge_release_version 2.0" in await metrics(fabric, "sin")

    run(main())


def without_me(release: Release) -> Release:
    pops = tuple(one for one in release.pops if one.id != "sin")
    return msgspec.structs.replace(release, version=9, pops=pops)


def with_another_key(release: Release) -> Release:
    stolen = release.pop("fra").public_key
    pops = tuple(
        msgspec.structs.replace(one, public_key=stolen) if one.id == "sin" else one
        for one in release.pops
    )
    return msgspec.structs.replace(release, version=9, pops=pops)


def tampered(fabric: Fabric) -> bytes:
    sealed = seal_release(newer(fabric.release, 9), fabric.operator)
    return sealed.replace(b'"in-zone"', b'"transit-allowed"')


Bad = Callable[[Fabric], bytes]
BAD: dict[str, Bad] = {
    "nothing": lambda _: b"",
    "not json": lambda _: b"{",
    "no release": lambda _: b'{"release":{},"hash":"","signature":""}',
    "forged": lambda fabric: seal_release(newer(fabric.release, 9), os.urandom(32)),
    "tampered": tampered,
    "without this pop": lambda fabric: seal_release(without_me(fabric.release), fabric.operator),
    "another's key": lambda fabric: seal_release(with_another_key(fabric.release), fabric.operator),
    "half": lambda fabric: seal_release(newer(fabric.release, 9), fabric.operator)[:-20],
}


async def serves_by(pop: RunningPop, fabric: Fabric, version: int) -> None:
    async with fabric.wire(pop.id) as wire:
        assert (await wire.ask(bearer("free"), chat())).status == 200
    assert pop.receipts()[-1].release == version


@pytest.mark.parametrize("name", BAD)
def test_a_bad_release_is_refused(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            pop = fabric.pop("sin")
            pop.inbox.write_bytes(BAD[name](fabric))
            pop.keeper.look()
            await serves_by(pop, fabric, 1)
            assert "selvedge_releases_refused_total 1.0" in await metrics(fabric, "sin")
            pop.keeper.look()  # The same file again: nothing new to refuse.
            assert "selvedge_releases_refused_total 1.0" in await metrics(fabric, "sin")
            # A good one that comes after it is taken.
            fabric.lay_down("sin", msgspec.structs.replace(fabric.release, version=2))
            pop.keeper.look()
            await serves_by(pop, fabric, 2)

    run(main())


def test_an_older_release_is_not_taken(tmp_path: Path) -> None:
    def at_five(_: str, release: Release) -> Release:
        return msgspec.structs.replace(release, version=5)

    async def main() -> None:
        async with rig(tmp_path, amend=at_five) as fabric:
            pop = fabric.pop("sin")
            for version in (4, 5):
                fabric.lay_down("sin", newer(fabric.release, version))
                pop.keeper.look()
                await serves_by(pop, fabric, 5)

    run(main())


def test_a_release_that_takes_the_engine_away(tmp_path: Path) -> None:
    """Engines move with the release: the next request goes where the new one says."""

    async def main() -> None:
        async with rig(tmp_path) as fabric:
            fra = fabric.engines["fra"].url
            engine = Engine("cpu", fra, "openai", (Served("chat", "chat"),))
            pops = tuple(
                msgspec.structs.replace(one, engines=(engine,)) if one.id == "sin" else one
                for one in fabric.release.pops
            )
            await serves_by(fabric.pop("sin"), fabric, 1)
            fabric.lay_down("sin", msgspec.structs.replace(fabric.release, version=2, pops=pops))
            fabric.pop("sin").keeper.look()
            await serves_by(fabric.pop("sin"), fabric, 2)
            assert len(fabric.engines["sin"].requests) == 1
            assert len(fabric.engines["fra"].requests) == 1
            assert fabric.pop("sin").receipts()[-1].served_engine == "cpu"

    run(main())
