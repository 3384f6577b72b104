"""The OpenAPI document: served, whole, and about the routes and statuses that there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selvedge.fabric import DIALECT_PATHS, REFUSALS, Route
from selvedge.pop.app import App
from selvedge.pop.cache_pages import METHODS
from selvedge.pop.openapi import render_openapi
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.wires import chat

DOCUMENT: dict[str, Any] = json.loads(render_openapi("1"))  # Any: JSON


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_every_reference_resolves_and_no_private_name_is_shown() -> None:
    found = set(references(DOCUMENT))
    schemas = DOCUMENT["components"]["schemas"]
    assert found
    assert found <= {f"#/components/schemas/{name}" for name in schemas}
    assert not [name for name in schemas if name.startswith("_")]


def test_it_tells_of_every_page_and_route(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric:
            pages = set(App(fabric.pop("sin").state)._pages)
            told = set(DOCUMENT["paths"])
            aliases = {page for page in pages if page.startswith("/health/")}
            named = {
                "/v1/models/{id}",
                "/v1/responses/{id}",
                "/v1/responses/{id}/input_items",
                *METHODS,
            }
            assert told == (pages - aliases) | {*Route, *DIALECT_PATHS} | named

    run(main())


def test_every_status_that_a_request_for_work_can_get_is_told() -> None:
    for path in (*Route, *DIALECT_PATHS):
        shape = "AnthropicError" if path.startswith("/v1/messages") else "Error"
        told = set(DOCUMENT["paths"][path]["post"]["responses"])
        assert {str(row.status) for row in REFUSALS.values()} <= told
        for status, answer in DOCUMENT["paths"][path]["post"]["responses"].items():
            if status != "200":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": f"#/components/schemas/{shape}"}


def test_it_is_served_to_everyone_and_describes_a_real_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            for _ in range(2):
                response = await wire.get("/openapi.json")
                assert response.status == 200
                assert response.json["openapi"] == "3.1.0"
                assert response.json["paths"] == DOCUMENT["paths"]
            assert (await wire.get("/openapi.json", method="POST")).status == 405
            answer = await wire.ask(bearer("asean"), chat())
            told = DOCUMENT["paths"][Route.CHAT.value]["post"]["responses"]["200"]
            assert set(told["content"]["application/json"]) == {"schema"}
            own = {name for name in answer.headers if name.startswith(("selvedge", "x-", "openai"))}
            assert own <= set(told["headers"])
            required = DOCUMENT["components"]["schemas"]["chat.completion"]["required"]
            assert set(required) <= set(answer.json)

    run(main())


def test_bodies_are_those_that_are_read() -> None:
    body = DOCUMENT["components"]["schemas"]["ChatBody"]
    assert body["required"] == ["messages", "model"] or set(body["required"]) == {
        "messages",
        "model",
    }
    assert {"type": "integer", "minimum": 1, "maximum": 16} in body["properties"]["n"]["anyOf"]
    role = DOCUMENT["components"]["schemas"]["Message"]["properties"]["role"]
    assert "assistant" in role["enum"]
