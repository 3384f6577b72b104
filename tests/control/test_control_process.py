"""The control process by itself: its start, its doors, its stop, and what stops its start."""

from __future__ import annotations

import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import seal_release, write_atomically
from selvedge.control import Home
from selvedge.control.pops_door import LEASES, MESSAGE_BYTES_MAX, PopsDoor
from selvedge.fabric import BadTicket, StoreFailed
from tests.support.admin import Told as Answered
from tests.support.admin import ask_door
from tests.support.fabric import DEADLINE_S, Site, Told
from tests.support.fleets import make_release


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A home with a release of the example's, made without a store."""
    home = Home(tmp_path / "home")
    write_atomically(home.release_file, seal_release(make_release(), home.operator_key()))
    return Site(home.directory)


@contextmanager
def running(site: Site, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A control process that listens; ended afterwards."""
    free = ("--admin-listen", "127.0.0.1:0", "--pops-listen", "127.0.0.1:0")
    process = site.start("control", "run", *free, *words, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if "serves on" in line:
                break
        else:
            raise AssertionError("".join(said))
        yield process
    finally:
        process.terminate()
        with process:
            process.wait(DEADLINE_S)


def post(url: str, body: bytes = b"") -> tuple[int, Any]:  # Any: JSON
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, msgspec.json.decode(error.read())


def test_it_starts_serves_and_stops(site: Site, database_url: str) -> None:
    if database_url.startswith("postgresql"):
        told = site.command("control", "run", "--database", database_url)
        assert (told.code, "run 'selvedge control upgrade'" in told.err) == (1, True)
    assert site.call("control", "upgrade", "--database", database_url).code == 0
    with running(site, "--database", database_url) as process:
        home = Home(site.home)
        found = home.control()
        assert found is not None
        assert found.pid == process.pid
        assert (site.home / "admin.key").stat().st_mode & 0o777 == 0o600
        # The release was made without the store, which takes over all that it has.
        tenants = [row["id"] for row in site.call("tenant", "list", "--json").json]
        assert tenants == ["asean", "eea", "free"]
        assert len(site.call("key", "list", "--json").json) == 5
        words = ("tenant", "create", "acme", "--class", "default=eea:in-zone")
        assert site.call(*words).code == 0
        assert site.call("key", "create", "--tenant", "acme", "--class", "default").code == 0
        assert len(site.call("key", "list", "--json").json) == 6
        status, body = post(f"{found.pops_url}{LEASES}")
        assert (status, body["error"]["code"]) == (503, "store_unavailable")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        assert home.control() is None
    told = site.call("tenant", "list")
    assert (told.code, "no control process runs" in told.err) == (1, True)
    with running(site, "--database", database_url):
        assert [row["id"] for row in site.call("tenant", "list", "--json").json] == [
            *("acme", "asean", "eea", "free")
        ]


def refusal(told: Told) -> str:
    assert (told.code, told.out) == (1, "")
    return told.err.splitlines()[-1]


def test_what_stops_its_start(site: Site, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = site.command("control", "run", "--admin-listen", address)
        assert f"cannot listen on {address}" in refusal(told)
        assert "change 'admin_listen'" in told.err
    free = ("--admin-listen", "127.0.0.1:0", "--pops-listen", "127.0.0.1:0")
    empty = Site(tmp_path / "empty")
    assert "'selvedge up' or 'selvedge fleet publish' makes the first" in refusal(
        empty.command("control", "run", *free)
    )
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://x@127.0.0.1:{closed.getsockname()[1]}/x"
        told = site.command("control", "run", *free, "--database", url)
    assert "the control plane's database failed" in refusal(told)
    told = site.command("control", "run", *free, "--database", "mysql://x/y")
    assert "neither sqlite nor postgresql" in refusal(told)


def asked(handler: Callable[[bytes], bytes] | None, body: bytes = b"question") -> Answered:
    def all_of(bodies: Sequence[bytes]) -> list[bytes | BadTicket]:
        assert handler is not None
        return [handler(body) for body in bodies]

    return ask_door(PopsDoor({} if handler is None else {LEASES: all_of}), body)


def test_the_door_of_the_pops() -> None:
    told = asked(lambda body: body[::-1])
    assert (told.status, told.body) == (200, b"noitseuq")
    assert asked(None).code == "store_unavailable"

    def forged(body: bytes) -> bytes:
        raise BadTicket("the MAC is not of this pair")

    def full(body: bytes) -> bytes:
        raise StoreFailed("the disk is full")

    assert (asked(forged).status, asked(forged).code) == (403, "forbidden")
    told = asked(full)
    assert (told.status, told.headers["retry-after"]) == (503, "2")
    assert asked(len, b"x" * (MESSAGE_BYTES_MAX + 1)).status == 413
