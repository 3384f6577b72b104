"""Limits end to end, and the table of all of them: what it names exists."""

from __future__ import annotations

import ast
import importlib
import re
import resource
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.fabric import Outcome
from selvedge.pop.app import CLIENT_ID_CHARS_MAX
from selvedge.pop.limits import allow_files, client_settings, server_settings
from selvedge.pop.settings import Settings
from tests.support import run
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.script import Answer, Gate, Raw, Script
from tests.support.wires import chat, post

ROOT = Path(__file__).parent.parent.parent
TABLE = ROOT / "docs" / "limits.md"
ROW = re.compile(r"^\| `([^`]+)`[^|]*\|([^|]*)\|([^|]*)\|(.*)\|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[a-z_/0-9]+\.py)::(test_[a-z0-9_]+)`")


def test_a_slow_reader_costs_a_bounded_buffer_and_is_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(Answer(("x" * 65_536,) * 512))
        settings = {"sin": {"client_buffer_bytes_max": 65_536, "write_ms_max": 30_000}}
        async with (
            rig(tmp_path, sin=script, settings=settings) as fabric,
            fabric.wire("sin") as wire,
        ):
            engine, pop = fabric.engines["sin"], fabric.pop("sin")
            wire.send(post(bearer("asean"), chat(stream=True)))
            await wire.head()
            wire.read_nothing()
            await engine.until(
                lambda: (
                    any(one.write_paused for one in pop.connections)
                    and any(not one.writable.is_set() for one in engine._serving)
                )
            )
            (connection,) = pop.connections
            assert connection._transport.get_write_buffer_size() < 65_536 + 4 * 65_536
            for later_s in (0, 29):
                connection.check_time(time.monotonic() + later_s)
            assert not connection._transport.is_closing()
            connection.check_time(time.monotonic() + 62)
            (receipt,) = await pop.until_receipts()
            assert receipt.outcome is Outcome.CLIENT_GONE
            assert 0 < receipt.attempts[0].tokens < 512
            await engine.until(lambda: engine.aborts)

    run(main())


def test_connections_in_use_to_one_engine_have_a_limit(tmp_path: Path) -> None:
    gate = Gate()

    async def main() -> None:
        script = Script(Answer(("a",), gate=gate))
        settings = {"sin": {"engine_connections_max": 1}}
        async with (
            rig(tmp_path, sin=script, settings=settings) as fabric,
            fabric.wire("sin") as one,
            fabric.wire("sin") as other,
        ):
            engine = fabric.engines["sin"]
            one.send(post(bearer("asean"), chat()))
            await engine.until(lambda: engine.requests)
            refused = await other.ask(bearer("asean"), chat())
            assert (refused.status, refused.error["code"]) == (503, "no_engine_available")
            assert "engine_connections_max" in refused.error["message"]
            gate.open()
            assert (await one.answer()).status == 200
            assert (await other.ask(bearer("asean"), chat())).status == 200
            assert len(engine.connections) == 1

    run(main())


def test_an_answer_that_is_not_streamed_has_a_limit(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(Answer(("x" * 1_000,) * 4))
        settings = {"sin": {"answer_bytes_max": 2_000}}
        async with (
            rig(tmp_path, sin=script, settings=settings) as fabric,
            fabric.wire("sin") as wire,
        ):
            answer = await wire.ask(bearer("asean"), chat())
            assert (answer.status, answer.error["code"]) == (503, "no_engine_available")
            assert "The answer exceeds 2000 bytes" in answer.error["message"]
            assert (await wire.ask(bearer("asean"), chat(stream=True))).status == 200

    run(main())


def test_an_engines_error_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        head = b"HTTP/1.1 500 no\r\ncontent-length: 100000000\r\n\r\n"
        script = Script(Raw(head + b"x" * 200_000, close=False))
        async with rig(tmp_path, sin=script) as fabric, fabric.wire("sin") as wire:
            answer = await wire.ask(bearer("asean"), chat())
            assert (answer.status, answer.error["code"]) == (503, "no_engine_available")

    run(main())


def test_deadlines_have_a_default_and_a_limit(tmp_path: Path) -> None:
    async def main() -> None:
        settings = {"sin": {"deadline_ms_default": 1, "deadline_ms_max": 30}}
        gate = Gate()
        async with (
            rig(tmp_path, sin=Script(Answer(gate=gate)), settings=settings) as fabric,
            fabric.wire("sin") as wire,
        ):
            for more in ("", "selvedge-deadline-ms: 3600000\r\n"):
                wire.send(post(bearer("asean"), chat(), more=more))
                answer = await wire.answer()
                assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")

    run(main())


def test_a_clients_own_id_is_kept_to_its_limit(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(Answer())) as fabric, fabric.wire("sin") as wire:
            more = f"x-client-request-id: {'i' * 5_000}\r\n"
            wire.send(post(bearer("asean"), chat(), more=more))
            assert (await wire.answer()).status == 200
            size = len(max(fabric.pop("sin").journal.lines, key=len))
            assert size < 3_000 + CLIENT_ID_CHARS_MAX * 4

    run(main())


def test_settings_reach_the_parts_they_limit() -> None:
    made = make_settings(
        idle_ms_max=1_000,
        head_ms_max=2_000,
        body_ms_max=3_000,
        write_ms_max=4_000,
        client_buffer_bytes_max=5,
        connections_max=6,
        connections_per_client_max=7,
        engine_connections_max=8,
        connect_ms_max=9,
    )
    server, client = server_settings(made), client_settings(made)
    assert (server.idle_s, server.head_s, server.body_s, server.write_s) == (1, 2, 3, 4)
    assert (server.write_high_water, server.connections_max) == (5, 6)
    assert server.connections_per_client_max == 7
    assert (client.connections_per_host_max, client.connect_ms_max) == (8, 9)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ((1_024, 1_048_576), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
        ((1_024, 4_096), "only 4096 files may be open.* lower connections_max to 2645"),
    ],
)
def test_files_are_taken_as_the_system_allows(
    limits: tuple[int, int], words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: given.append(pair))
    found = allow_files(make_settings())
    assert given == ([(limits[1], limits[1])] if limits[0] != limits[1] else [])
    assert (found is None) == (words is None)
    assert words is None or re.search(words, found or "")


def make_settings(**changes: int) -> Settings:
    names = [field.name for field in msgspec.structs.fields(Settings) if field.required]
    words: dict[str, Any] = dict.fromkeys(names, "a:1")  # Any: strings and numbers
    return Settings(**words | changes)


# The table.


def known(name: str) -> bool:
    """A setting, or a constant or field as ``module.NAME`` or ``module.Class.field``."""
    if name in {field.name for field in msgspec.structs.fields(Settings)}:
        return True
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: object = importlib.import_module("selvedge." + ".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            fields = getattr(found, "__annotations__", {})
            if not hasattr(found, part) and part not in fields:
                return False
            found = getattr(found, part, None)
        return True
    return False


def test_the_table_of_limits_names_what_exists() -> None:
    rows = ROW.findall(TABLE.read_text("utf-8"))
    assert len(rows) >= 30
    missing = [name for name, *_ in rows if not known(name)]
    assert not missing, f"neither settings nor constants: {missing}"
    for name, _, _, tests in rows:
        found = TEST.findall(tests)
        assert found, f"{name}: no test is named"
        for file, function in found:
            defined = {
                node.name
                for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8")))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert function in defined, f"{name}: {file} has no {function}"


def test_every_setting_that_limits_is_in_the_table() -> None:
    named = {name for name, *_ in ROW.findall(TABLE.read_text("utf-8"))}
    limits = {
        field.name
        for field in msgspec.structs.fields(Settings)
        if field.name.endswith(("_max", "_ms", "_default"))
    }
    assert limits <= named, f"not in docs/limits.md: {sorted(limits - named)}"
