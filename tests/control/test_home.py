"""The home of a fabric: keys minted once, releases that only grow, one owner."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import (
    open_release,
    operator_public_key,
    read_config,
    rotate_peer_identity,
)
from selvedge.control import Home, Running, RunningPoP
from selvedge.fabric import Release, SelvedgeError
from selvedge.ledger import Admitted, Keyring
from tests.support.fabric import EXAMPLE

CONFIG = read_config(EXAMPLE)
PORTS = {f"{pop}/{engine}": 9000 for pop in CONFIG.pops for engine in CONFIG.pops[pop].engines}
RUNNING = Running(
    fleet="three-pops",
    pid=1,
    started_us=2,
    release=3,
    wan={"a-b": 1.5},
    pops={"sin": RunningPoP("http://127.0.0.1:1", "SG", "Singapore", 4, {"e": "http://a"})},
    processes={"pop sin": 4},
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def publish(home: Home) -> Release:
    return home.publish(CONFIG, {"smollm2-135m-instruct": "sha256:" + "11" * 32}, PORTS, {})


def test_a_release_is_signed_and_its_keys_open_the_door(home: Home) -> None:
    release = publish(home)
    found = open_release(home.release_file.read_bytes(), operator_public_key(home.operator_key()))
    assert found.release == release
    assert release.version == 1
    pepper = msgspec.json.decode(b'"' + home.pepper_file.read_bytes().strip() + b'"', type=bytes)
    keyring = Keyring(release.keys, pepper)
    for key_id, key in home.keys().items():
        admitted = keyring.admit(f"Bearer {key}", 0)
        assert isinstance(admitted, Admitted)
        assert admitted.key == key_id
    for secret in ("operator.key", "pepper.key", "keys.json", "pops/sin/identity.key"):
        assert (home.directory / secret).stat().st_mode & 0o777 == 0o600


def test_a_second_release_is_newer_and_keeps_every_key(home: Home) -> None:
    first, keys = publish(home), home.keys()
    second = publish(home)
    assert (first.version, second.version) == (1, 2)
    assert home.keys() == keys
    assert [pop.public_key for pop in second.pops] == [pop.public_key for pop in first.pops]
    assert [key.hash for key in second.keys] == [key.hash for key in first.keys]


def test_new_keys_are_minted_beside_old_ones(home: Home) -> None:
    old = home.mint_keys(["a"])
    assert home.mint_keys(["b", "a"]) == old | {"b": home.keys()["b"]}
    assert set(home.keys()) == {"a", "b"}


def test_a_damaged_release_is_not_overwritten(home: Home) -> None:
    publish(home)
    damaged = home.release_file.read_bytes()[:-7]
    home.release_file.write_bytes(damaged)
    with pytest.raises(SelvedgeError, match=r"does not hold .*; restore it or use another --home"):
        publish(home)
    assert home.release_file.read_bytes() == damaged


def test_damaged_keys_are_said(home: Home) -> None:
    home.directory.mkdir()
    (home.directory / "keys.json").write_bytes(b"{")
    with pytest.raises(SelvedgeError, match=r"keys\.json cannot be used .*; restore or delete it"):
        home.keys()


def test_what_runs_is_said_and_forgotten_by_its_owner(home: Home) -> None:
    with pytest.raises(
        SelvedgeError, match=r"no fabric runs from .*; start one with 'selvedge up'"
    ):
        home.running()
    home.lock()
    home.write_running(RUNNING)
    other = Home(home.directory)
    assert other.running() == RUNNING
    with pytest.raises(
        SelvedgeError, match=r"already runs from .*; ask it .*stop it, or give another --home"
    ):
        other.lock()
    other.forget_running()
    assert other.running() == RUNNING
    home.forget_running()
    with pytest.raises(SelvedgeError, match="no fabric runs from"):
        other.running()


def test_a_damaged_note_of_what_runs(home: Home) -> None:
    home.directory.mkdir()
    (home.directory / "run.json").write_bytes(b"{")
    with pytest.raises(SelvedgeError, match=r"run\.json is damaged .*; run 'selvedge up' again"):
        home.running()


def test_a_home_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SelvedgeError, match="cannot be used: Not a directory"):
        Home(tmp_path / "file" / "home").lock()


def test_a_certificate_is_rotated_in_three_releases(home: Home) -> None:
    (old,) = publish(home).pop("sin").certificates
    shown = []
    for step in (1, 2, 3):
        assert rotate_peer_identity(home.pop("sin"), "sin") == step
        shown.append(publish(home).pop("sin").certificates)
    new = shown[-1][0]
    assert new != old
    assert shown == [(old, new), (new, old), (new,)]
    assert rotate_peer_identity(home.pop("sin"), "sin") == 1
    assert publish(home).pop("sin").certificates[0] == new
