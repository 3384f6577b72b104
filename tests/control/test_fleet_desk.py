"""The desk behind the PoPs' door: what the publisher tells it, and what its store keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import (
    open_release,
    operator_public_key,
    pop_public_key,
    seal_release,
    service_key,
    write_atomically,
)
from selvedge.control import ControlSettings
from selvedge.control.fleet_desk import FleetDesk
from selvedge.control.home_control import named_control
from selvedge.control.lease_store import SqlGrants
from selvedge.control.pops_door import LEASES, PopsDoor
from selvedge.control.process import open_desk
from selvedge.control.rows import KeyForm
from selvedge.exchange import lease_messages
from selvedge.fabric import Collector, Control, Limits, Release
from selvedge.ledger import Grant, Question, Wish
from tests.support.admin import Api, Told, ask_door, make_api
from tests.support.databases import running_postgres
from tests.support.fleets import make_release
from tests.support.stores import OWNER

POP_KEY = bytes(range(32))
BOUND_S = 30.0
WISH = Wish("key/free", 0, 0, 0, 0, 10)
COLLECTOR = Collector("eea", "http://127.0.0.1:1", pop_public_key(bytes(32)))


def settings_of(api: Api) -> ControlSettings:
    return ControlSettings(home=str(api.home.directory), pops_listen="127.0.0.1:7")


def publish(api: Api, **changes: Any) -> Release:
    """The next release as `up` would lay it down."""
    public = operator_public_key(api.home.operator_key())
    held = open_release(api.home.release_file.read_bytes(), public).release
    made = msgspec.structs.replace(held, version=held.version + 1, **changes)
    data = seal_release(made, api.home.operator_key())
    write_atomically(api.home.release_file, data)
    api.rooms.publisher.publish_delta()
    return made


def release_with_limit() -> Release:
    """Every PoP has the key that this test has; key ``free`` has thirty requests a minute."""
    release = make_release()
    limited = Limits(requests_per_minute=30)
    return msgspec.structs.replace(
        release,
        pops=tuple(
            msgspec.structs.replace(pop, public_key=pop_public_key(POP_KEY)) for pop in release.pops
        ),
        keys=tuple(
            msgspec.structs.replace(key, limits=limited) if key.id == "free" else key
            for key in release.keys
        ),
        collectors=(COLLECTOR,),
    )


class Bench:
    """A desk over a store, told by its publisher; questions come through the door."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.control = named_control(api.home, settings_of(api))
        self.begin()
        self.release = publish(api, control=self.control)

    def begin(self) -> None:
        self.desk = open_desk(settings_of(self.api), self.api.rooms.store, self.api.rooms.publisher)
        self.door = PopsDoor({LEASES: self.desk.answer_all})

    def ask(self, number: int, *rows: Wish, pop: int = 0, key: bytes = POP_KEY) -> Told:
        assert self.control is not None
        name = self.release.pops[pop].id
        there = lease_messages.CONTROL
        self.key = service_key(self.release.fleet, key, name, there, self.control.public_key)
        self.question = Question(name, 0, "epoch", number, b"n" * 16, list(rows or (WISH,)))
        body = lease_messages.ask(self.question, self.key)
        return ask_door(self.door, body)

    def grants(self, number: int, *rows: Wish, pop: int = 0) -> list[Grant]:
        told = self.ask(number, *rows, pop=pop)
        assert told.status == 200, told.body
        return lease_messages.read_answer(told.body, self.key, self.question).rows


@pytest.fixture
def bench(tmp_path: Path, database_url: str) -> Iterator[Bench]:
    api = make_api(tmp_path, database_url, release=release_with_limit())
    yield Bench(api)
    api.close()


def test_what_is_granted_together_is_no_more_than_the_limit(bench: Bench) -> None:
    wish = msgspec.structs.replace(WISH, wish=30)
    first = bench.grants(1, wish)
    second = bench.grants(1, wish, pop=1)
    assert first[0].amount + second[0].amount <= 30
    assert first[0].amount > 1
    kept = {page.holder: page.rows[0].amount for page in SqlGrants(bench.api.database).load()}
    assert kept == {
        f"{bench.release.pops[at].id}/0/epoch": rows[0].amount
        for at, rows in enumerate((first, second))
    }


def test_a_desk_that_begins_again_knows_what_it_granted(bench: Bench) -> None:
    held = bench.grants(1, msgspec.structs.replace(WISH, wish=30))[0].amount
    bench.begin()
    bench.api.rooms.publisher.publish_delta()
    assert bench.grants(1, msgspec.structs.replace(WISH, wish=30), pop=1)[0].amount <= 30 - held
    assert bench.ask(1).status == 403  # the number was answered before


def test_a_key_of_a_delta_has_its_lease(bench: Bench) -> None:
    limits = Limits(requests_per_minute=7)
    form = KeyForm(tenant="free", data_class="default", id="new", limits=limits)
    bench.api.rooms.tenancy.create_key(OWNER, form)
    wish = msgspec.structs.replace(WISH, level="key/new")
    assert bench.grants(1, wish) == []
    bench.api.rooms.publisher.publish_delta()
    assert 0 < bench.grants(2, wish)[0].amount <= 7


def test_who_is_answered(bench: Bench) -> None:
    assert bench.ask(1, key=bytes(32)).code == "forbidden"
    assert bench.ask(1).status == 200
    publish(bench.api, control=None)
    told = bench.ask(2)
    assert (told.status, "does not name this control process" in told.message) == (503, True)
    public = pop_public_key(bytes(31) + b"x")
    publish(bench.api, control=Control("http://127.0.0.1:7", public))
    assert bench.ask(3).status == 503
    publish(bench.api, control=bench.control)
    assert bench.ask(4).status == 200


def test_the_releases_it_makes_itself_keep_control_and_collectors(bench: Bench) -> None:
    bench.api.rooms.publisher.publish_release(OWNER)
    made = bench.api.rooms.publisher.release
    assert made is not None
    assert made.version > bench.release.version
    assert (made.control, made.collectors) == (bench.control, (COLLECTOR,))
    assert bench.ask(1).status == 200


def test_before_anything_was_told_nothing_is_granted(bench: Bench) -> None:
    desk = FleetDesk(bench.api.home.control_key(), SqlGrants(bench.api.database))
    bench.door = PopsDoor({LEASES: desk.answer_all})
    assert bench.ask(1).status == 503


def test_while_the_database_is_away_the_door_says_so_in_time(tmp_path: Path) -> None:
    with running_postgres() as server:
        url = server.make_database()
        bench = Bench(make_api(tmp_path, url, release=release_with_limit(), wait_ms=1_000))
        bench.grants(1)
        server.stop()
        for number in range(2, 6):
            started = time.monotonic()
            told = bench.ask(number)
            assert time.monotonic() - started < BOUND_S
            assert (told.status, told.code) == (503, "store_unavailable")
            assert int(told.headers["retry-after"]) >= 1
        # What the publisher tells meanwhile waits for nothing.
        bench.desk.hear(bench.release, ())
        bench.api.close()


def test_the_name_of_the_control_process(bench: Bench) -> None:
    public = pop_public_key(bench.api.home.control_key())
    assert bench.control == Control("http://127.0.0.1:7", public)
    assert named_control(bench.api.home, None) is None
    home = str(bench.api.home.directory)
    for listen, url in (("0.0.0.0:7", "http://127.0.0.1:7"), ("[::]:7", "http://[::1]:7")):
        found = named_control(bench.api.home, ControlSettings(home=home, pops_listen=listen))
        assert found == Control(url, public)
    assert (bench.api.home.directory / "control.key").stat().st_mode & 0o777 == 0o600
