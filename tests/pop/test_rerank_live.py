"""`POST /v1/rerank` through PoPs: who reranks, what its client and its receipt are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.fabric import Engine, Model, Outcome, Release, Served, Usage
from tests.standins.server import Asked, StandIn, Told
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import Amend, rig, usage_of

Json = dict[str, Any]  # Any: JSON
PATH = "/v1/rerank"
RESULTS = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
FORMS: dict[str, tuple[str, str, Json, tuple[int, str]]] = {
    "vllm": (
        "vllm",
        "/v1/rerank",
        {"id": "r", "model": "theirs", "usage": {"total_tokens": 56}, "results": RESULTS},
        (56, "reported"),
    ),
    "jina": (
        "openai",
        "/v1/rerank",
        {
            "model": "theirs",
            "object": "list",
            "usage": {"prompt_tokens": 50, "total_tokens": 56},
            "results": RESULTS,
        },
        (50, "reported"),
    ),
    "llama.cpp": (
        "llama.cpp",
        "/v1/rerank",
        {"model": "theirs", "usage": {"prompt_tokens": 9, "total_tokens": 9}, "results": RESULTS},
        (9, "reported"),
    ),
    "cohere": (
        "cohere",
        "/v2/rerank",
        {
            "id": "r",
            "results": RESULTS,
            "meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 77}},
        },
        (77, "reported"),
    ),
    "cohere without tokens": (
        "cohere",
        "/v2/rerank",
        {"results": RESULTS, "meta": {"billed_units": {"search_units": 1}}},
        (26, "estimated"),
    ),
}


def body(**fields: Any) -> bytes:  # Any: JSON
    asked = {"model": "rank", "query": "CANARY?", "documents": ["a", "b"], **fields}
    return json.dumps(asked).encode()


def at(url: str, profile: str) -> Amend:
    """A release whose Singapore reranks at this engine."""

    def amend(_: str, release: Release) -> Release:
        served = (Served("rank", "theirs"), Served("chat", "theirs"))
        engine = Engine("away", url, profile, served, prefill_tokens_per_s=10**6)
        pops = tuple(
            msgspec.structs.replace(pop, engines=(engine,) if pop.id == "sin" else ())
            for pop in release.pops
        )
        model = Model("rank", "rerank", "unknown", "unknown", 8192)
        return msgspec.structs.replace(release, pops=pops, models=(*release.models, model))

    return amend


@pytest.mark.parametrize("entry", ["sin", "cgk"])
@pytest.mark.parametrize("form", FORMS)
def test_a_ranking(form: str, entry: str, tmp_path: Path) -> None:
    profile, path, told, (tokens, provenance) = FORMS[form]

    async def main() -> None:
        async with (
            StandIn(lambda _: Told((json.dumps(told).encode(),))) as engine,
            rig(tmp_path, amend=at(engine.url, profile)) as fabric,
        ):
            async with fabric.wire(entry) as wire:
                asked = body(top_n=2, return_documents=False)
                response = await wire.ask(bearer("free"), asked, PATH)
            assert response.status == 200, response.body
            assert response.json["results"] == RESULTS
            assert response.json.get("model", "rank") == "rank"
            (receipt,) = await fabric.pop(entry).until_receipts()
            usage = usage_of(receipt)
            assert (usage.provenance, usage.output) == (provenance, 0)
            if provenance == "reported":
                assert usage == Usage(tokens, 0, 0, 0, 0, "reported")
            assert (receipt.route, receipt.served_pop) == (PATH, "sin")
            assert receipt.outcome is Outcome.COMPLETE
            (came,) = engine.asked
            assert came.target == path
            assert (came.json["model"], came.json["top_n"]) == ("theirs", 2)
            assert "stream" not in came.json

    run(main())


def test_residency_is_the_same(tmp_path: Path) -> None:
    """Singapore is outside the EEA: nothing is asked of it."""

    def unasked(_: Asked) -> Told:
        raise AssertionError

    async def main() -> None:
        async with (
            StandIn(unasked) as engine,
            rig(tmp_path, amend=at(engine.url, "vllm")) as fabric,
        ):
            async with fabric.wire("fra") as wire:
                response = await wire.ask(bearer("eea"), body(), PATH)
            assert response.status in (451, 503)
            (receipt,) = await fabric.pop("fra").until_receipts()
            assert receipt.served_pop is None
            assert fabric.untouched("sin")

    run(main())


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"query": ""}, "invalid_value", "query"),
        ({"documents": []}, "invalid_value", "documents"),
        ({"top_n": 0}, "invalid_value", "top_n"),
        ({"documents": [{"image": "http://10.0.0.1/"}]}, "invalid_value", "documents[0].image"),
        ({"documents": [1]}, "invalid_type", "documents[0]"),
        ({"model": "chat"}, "unsupported_route", "model"),
    ],
)
def test_bad_requests(fields: Json, code: str, param: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=at("http://127.0.0.1:9", "vllm")) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), body(**fields), PATH)
            assert (response.error["code"], response.error["param"]) == (code, param)

    run(main())


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"results":1}', b"", b"[]"])
def test_what_is_no_ranking(answer: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            StandIn(lambda _: Told((answer,))) as engine,
            rig(tmp_path, amend=at(engine.url, "vllm")) as fabric,
        ):
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), body(), PATH)
            assert response.error["code"] == "no_engine_available"

    run(main())


def test_who_cannot_rerank(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, amend=at("http://127.0.0.1:9", "anthropic")) as fabric:
            async with fabric.wire("sin") as wire:
                response = await wire.ask(bearer("free"), body(), PATH)
            assert response.error["code"] == "unsupported_route"

    run(main())
