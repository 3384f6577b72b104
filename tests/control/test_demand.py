"""Observed demand from journals, logs and partitions alike, and what may not be read twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import msgspec
import pytest

from selvedge.adapters import (
    connect,
    find_parts,
    hours_of_parts,
    read_config,
    stand_in_release,
    tallies_of_parts,
)
from selvedge.control import Home, ask_with, observe_demand
from selvedge.fabric import (
    Engine,
    Outcome,
    Receipt,
    SelvedgeError,
    Served,
    StoreCorrupt,
    StoreFailed,
    Tried,
)
from selvedge.ledger import HOUR_US, DemandAsked, HourWindow
from tests.support.fleets import make_provider, make_release
from tests.support.observed import (
    BEGIN_HOUR,
    BEGIN_US,
    asked_at,
    write_collectors,
    write_journals,
)

ASKED = DemandAsked(BEGIN_US + 30 * 24 * HOUR_US)
CODES = (None, "residency_model", "rate_limit_exceeded", "no_engine_available", "invalid_json")


def silent(_: str) -> None:
    """Nobody is told how far it is."""


def receipts_of_many(count: int = 1_500, seed: int = 3) -> list[Receipt]:
    """Of ten days, three ingresses and two zones, ended in every way that facts make."""
    rng = Random(seed)
    found = []
    for _ in range(count):
        outcome = rng.choice(list(Outcome))
        attempt = Tried("sin", "SG", "e", "gone", "", rng.choice([0, 2]), 1, 2)
        found.append(
            asked_at(
                rng.random() * 240,
                rng.choice(["sin", "fra", "cgk"]),
                rng.choice(["asean", "eea"]),
                tenant=rng.choice(["asean", "both"]),
                key=rng.choice(["one", "two"]),
                model=rng.choice(["small", "gpt", None]),
                outcome=outcome,
                code=rng.choice(CODES),
                purpose=rng.choice(["request", "request", "batch", "probe", "judge"]),
                cache=rng.choice(["off", "off", "hit"]),
                served_pop=rng.choice(["sin", "azure", None]),
                attempts=(attempt,) if rng.random() < 0.5 else (),
            )
        )
    return found


MANY = receipts_of_many()
RELEASE = ASKED._replace(
    providers=frozenset({"azure"}),
    provider_models=frozenset({"gpt"}),
    narrowed=frozenset({"both/standard", "asean:two"}),
)


@pytest.mark.parametrize(
    "asked",
    [
        ASKED,
        RELEASE,
        RELEASE._replace(tenant="both"),
        RELEASE._replace(model="small"),
        RELEASE._replace(since_us=BEGIN_US + 10**9, until_us=BEGIN_US + 9 * 10**11),
        RELEASE._replace(until_us=BEGIN_US + 200 * HOUR_US),
    ],
)
def test_journals_logs_and_partitions_tell_the_same(tmp_path: Path, asked: DemandAsked) -> None:
    home, none = Home(tmp_path / "home"), Home(tmp_path / "none")
    write_journals(home, MANY)
    of_log = write_collectors(tmp_path / "log", MANY)
    mixed = write_collectors(tmp_path / "mixed", MANY, partitioned=3)
    parts = write_collectors(tmp_path / "parts", MANY, partitioned=99)
    assert [bool(find_parts(one)) for one in of_log] == [False, False]
    assert all(find_parts(one) for one in parts)
    told = observe_demand(home, [], asked, silent)
    assert sum(one.requests for one in told.tallies.values()) > 500
    assert "yet to come" not in " ".join(told.window.notes)
    for directories in (of_log, mixed, parts):
        assert observe_demand(none, directories, asked, silent) == told


def test_parts_of_an_earlier_version(tmp_path: Path) -> None:
    """They have no column ``purpose``: ends say what is the operator's own, and what a batch's."""
    (place,) = write_collectors(
        tmp_path,
        [
            asked_at(1, outcome=Outcome.COMPLETE, purpose=purpose)
            for purpose in ("request", "batch", "probe", "judge")
        ],
        partitioned=1,
    )
    (part,) = find_parts(place)
    with connect() as database:
        older = part.with_name("older.parquet")
        columns = "EXCLUDE (purpose, ended_as, stream, first_token_us, made)"
        database.execute(f"COPY (SELECT * {columns} FROM '{part}') TO '{older}'")
    older.rename(part)
    found = tallies_of_parts([part], ASKED, HourWindow(BEGIN_HOUR, BEGIN_HOUR + 5))
    assert {one.kind: tally.requests for one, tally in found.items()} == {
        "answered": 1,
        "batch": 1,
        "own": 2,
    }


def test_a_clock_that_is_ahead(tmp_path: Path) -> None:
    (place,) = write_collectors(
        tmp_path, [asked_at(1), asked_at(24 * 365), asked_at(24 * 365, "fra")], partitioned=9
    )
    hours = hours_of_parts(find_parts(place), ASKED)
    assert (hours.seen, hours.future) == ({BEGIN_HOUR + 1: 1}, {"sin": 1, "fra": 1})


def test_a_directory_twice_counts_once_and_a_copy_is_refused(tmp_path: Path) -> None:
    places = write_collectors(tmp_path / "parts", MANY, partitioned=3)
    home = Home(tmp_path / "none")
    told = observe_demand(home, places, ASKED, silent)
    twice = [*places, places[0].parent / "." / places[0].name]
    assert observe_demand(home, twice, ASKED, silent) == told
    copy = shutil.copytree(places[0], tmp_path / "copy")
    with pytest.raises(SelvedgeError, match="both hold receipts of zone 'asean'"):
        observe_demand(home, [*places, copy], ASKED, silent)
    for path in copy.glob("collected-*.log"):
        path.unlink()
    with pytest.raises(SelvedgeError, match="both hold receipts of zone 'asean'"):
        observe_demand(home, [*places, copy], ASKED, silent)


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    path, *_ = write_journals(home, MANY)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="journals of PoP cgk"):
        observe_demand(home, [], ASKED, silent)
    places = write_collectors(tmp_path / "parts", MANY, partitioned=99)
    part = find_parts(places[0])[0]
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(StoreFailed, match=part.name):
        observe_demand(home, places, ASKED, silent)


def test_a_part_that_is_dropped_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = write_collectors(tmp_path, MANY, partitioned=99)
    part = find_parts(places[0])[-1]
    told: list[str] = []

    def drop(words: str) -> None:
        told.append(words)
        if words.startswith("partitions") and part.exists():
            part.unlink()

    found = observe_demand(Home(tmp_path / "none"), places, ASKED, drop)
    assert found == observe_demand(Home(tmp_path / "none"), places, ASKED, silent)
    assert len(told) > 4


def test_what_a_release_says() -> None:
    assert ask_with(ASKED, None) == ASKED
    release = make_release()
    keys = tuple(
        msgspec.structs.replace(one, zones=("asean",)) if one.id == "free" else one
        for one in release.keys
    )
    copies = [msgspec.structs.replace(release.models[0], id=one) for one in ("gpt", "waiting")]
    models = (*release.models, *copies)
    engine = Engine("api", "http://127.0.0.1:9009", "openai", (Served("gpt", "gpt"),))
    provider = make_provider("azure", "DE", engines=(engine,))
    told = ask_with(ASKED, make_release(keys=keys, models=models, providers=(provider,)))
    assert told.providers == {"azure"}
    assert told.provider_models == {"gpt"}, "who serves none yet waits for a GPU"
    assert told.narrowed == {"free:free"}


def test_classes_with_a_policy_are_narrowed() -> None:
    example = Path(__file__).parent.parent.parent / "examples/residency/fleet.yaml"
    release = stand_in_release(read_config(example), BEGIN_US)
    named = {
        f"{tenant.id}/{one.id}"
        for tenant in release.tenants
        for one in tenant.classes
        if one.policy is not None
    }
    assert named
    assert named <= ask_with(ASKED, release).narrowed
