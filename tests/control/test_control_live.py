"""A fabric with its control process, by its commands: minted, revoked, killed, started again."""

from __future__ import annotations

import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.fabric import Fabric, Site, edited_example, running_fabric, wait_gone

pytestmark = pytest.mark.fabric
REVOKED_S_MAX = 2.0
PATIENCE_S = 60.0  # of a machine that has other work to do


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example without its engines: no model is asked here."""
    path = tmp_path_factory.mktemp("config") / "fleet.yaml"
    edited_example(path)
    lines = path.read_text("utf-8").splitlines()
    kept: list[str] = []
    inside = False
    for line in lines:
        if line.strip() == "engines:":
            inside = True
        elif inside and line.startswith("      "):
            continue
        else:
            inside = False
            kept.append(line)
    path.write_text("\n".join(kept) + "\n")
    return path


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Fabric]:
    with running_fabric(tmp_path_factory.mktemp("control") / "home", config) as running:
        yield running


def code(fabric: Fabric, pop: str, key: str) -> str | None:
    """How a PoP refuses a key; None where it admits it."""
    url = f"{fabric.running['pops'][pop]['url']}/v1/models"
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return str(msgspec.json.decode(error.read())["error"]["code"])


def codes(fabric: Fabric, key: str) -> set[str | None]:
    return {code(fabric, pop, key) for pop in fabric.running["pops"]}


def until(fabric: Fabric, key: str, wanted: str | None, bound_s: float) -> float:
    """How long it took until every PoP said so."""
    started = time.monotonic()
    while codes(fabric, key) != {wanted}:
        assert time.monotonic() - started < bound_s, codes(fabric, key)
    return time.monotonic() - started


def mint(fabric: Fabric, *words: str) -> tuple[str, str]:
    """Id and secret of a new key of tenant ``free``."""
    told = fabric.call("key", "create", "--tenant", "free", "--class", "standard", "--json", *words)
    assert told.code == 0, told.err
    return told.json["key"]["id"], told.json["secret"]


def test_a_revoked_key_stops_at_every_pop_within_the_bound(fabric: Fabric) -> None:
    name, secret = mint(fabric)
    until(fabric, secret, None, PATIENCE_S)
    took: list[float] = []
    for _ in range(3):
        name, secret = mint(fabric)
        until(fabric, secret, None, PATIENCE_S)
        started = time.monotonic()
        assert fabric.call("key", "revoke", name).code == 0
        until(fabric, secret, "invalid_api_key", PATIENCE_S)
        took.append(time.monotonic() - started)
    # The best of them: a machine that does other work in between proves nothing. That no look is
    # missed is shown in virtual time, in `tests/pop/test_key_watch.py`.
    assert min(took) <= REVOKED_S_MAX, took
    print(f"revoked at every PoP after {sorted(took)[1]:.3f} s (median of {len(took)})")


def test_keys_that_do_not_hold_here(fabric: Fabric) -> None:
    name, secret = mint(fabric, "--expires", "1s")
    _, other = mint(fabric)
    until(fabric, secret, "key_expired", PATIENCE_S)
    until(fabric, other, None, PATIENCE_S)
    assert codes(fabric, f"sk-{name}-{'0' * 48}") == {"invalid_api_key"}
    assert codes(fabric, "sk-of-another-fleet-0123") == {"invalid_api_key"}
    assert codes(fabric, (fabric.home / "admin.key").read_text().strip()) == {"invalid_api_key"}


def test_a_new_tenant_is_served_by_the_next_release(fabric: Fabric) -> None:
    words = ("tenant", "create", "acme", "--class", "standard=anywhere:transit-allowed")
    assert fabric.call(*words, "--requests-per-minute", "60").json["limits"] == {
        "requests_per_minute": 60
    }
    refused = fabric.call(*words)
    assert (refused.code, "'set' changes it" in refused.err) == (1, True)
    told = fabric.call("tenant", "set", "acme", "--tokens-per-minute", "-1")
    assert "limits.tokens_per_minute is from 0 to 9007199254740991" in told.err
    told = fabric.call("tenant", "set", "acme", "--requests-per-minute", "none", "--json")
    assert told.json["limits"] == {}
    told = fabric.call("key", "create", "--tenant", "acme", "--class", "standard")
    until(fabric, told.out.strip(), None, PATIENCE_S)
    assert "acme" in fabric.call("tenant", "list").out
    assert fabric.call("project", "create", "acme", "web").json["id"] == "web"
    assert [row["id"] for row in fabric.call("project", "list", "--json").json] == ["web"]


def test_rotation_and_roles_by_commands(fabric: Fabric) -> None:
    name, first = mint(fabric)
    second = fabric.call("key", "rotate", name, "--overlap", "1h").out.strip()
    until(fabric, second, None, PATIENCE_S)
    assert codes(fabric, first) == {None}
    assert fabric.call("key", "show", name).json["expires_us"] is not None
    made = fabric.call("control", "grant", "ci", "--role", "developer", "--tenant", "free")
    assert made.out.startswith("sa-ci-")
    lines = fabric.call("control", "audit", "--what", f"key {name}").out.splitlines()
    assert [line.split()[2] for line in lines] == ["key.rotate", "key.create"]
    assert fabric.call("control", "status").json["release"] >= 1
    backup = fabric.home / "backup"
    assert "fleet three-pops, revision 0004" in fabric.call("control", "backup", str(backup)).out


def test_no_pop_has_a_driver_of_a_database(fabric: Fabric) -> None:
    for name, pid in fabric.running["processes"].items():
        mapped = Path(f"/proc/{pid}/maps").read_text()
        drivers = [word for word in ("psycopg", "_sqlite3", "sqlalchemy") if word in mapped]
        assert bool(drivers) == (name == "control"), (name, drivers)


def test_pops_serve_on_without_the_control_process_and_it_comes_back(
    tmp_path: Path, config: Path
) -> None:
    with running_fabric(tmp_path / "home", config) as fabric:
        name, secret = mint(fabric)
        gone, revoked = mint(fabric)
        until(fabric, secret, None, PATIENCE_S)
        fabric.call("key", "revoke", gone)
        until(fabric, revoked, "invalid_api_key", PATIENCE_S)
        pid = fabric.running["processes"]["control"]
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)
        assert codes(fabric, secret) == {None}
        told = fabric.call("key", "list")
        assert (told.code, "does not answer" in told.err) == (1, True)
    with running_fabric(tmp_path / "home", config) as fabric:
        assert codes(fabric, secret) == {None}
        assert codes(fabric, revoked) == {"invalid_api_key"}
        assert name in {row["id"] for row in fabric.call("key", "list", "--json").json}


def test_without_a_control_process_a_store_that_is_there_is_still_asked(
    tmp_path: Path, config: Path
) -> None:
    site = Site(tmp_path / "home")
    publish: list[Any] = []
    for _ in range(2):
        told = site.command("fleet", "publish", str(config), "--json")
        assert told.code == 0, told.err
        publish.append(told.json)
    assert publish[1]["release"] == publish[0]["release"] + 1
    told = site.call("control", "upgrade")
    assert told.out.strip() == "store: revision 0004 -> 0004"
    told = site.call("tenant", "list")
    assert (told.code, "selvedge control run" in told.err) == (1, True)
