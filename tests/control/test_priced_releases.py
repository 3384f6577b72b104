"""A home that sells: which releases it makes, and which it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import FleetConfig, read_config
from selvedge.control import ControlSettings, Home, publish_prices
from selvedge.fabric import BadRelease, Price, Release
from selvedge.ledger import BadPriceBook, Contract, PriceBook, PriceRow
from tests.support.admin import Api, make_api
from tests.support.stores import EEA, OWNER

EXAMPLE = Path(__file__).parents[2] / "examples/three-pops/fleet.yaml"
CHAT = PriceRow(model="chat", input=100, output=200)
EMBED = PriceRow(model="embed", input=10, output=0)
BOOK = PriceBook(version=1, prices=(CHAT, EMBED))
DAY_US = 86_400_000_000


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    made = make_api(tmp_path, database_url)
    yield made
    made.close()


def prices_of(release: Release | None) -> dict[str, Price | None]:
    assert release is not None
    return {model.id: model.price for model in release.models}


def book(version: int, *rows: PriceRow, **fields: Any) -> PriceBook:  # Any: fields of a book
    return PriceBook(version=version, prices=rows, **fields)


def renamed(row: PriceRow, model: str, **changes: Any) -> PriceRow:  # Any: fields of a row
    return msgspec.structs.replace(row, model=model, **changes)


@pytest.fixture
def config() -> FleetConfig:
    return read_config(EXAMPLE)


OWN = book(1, renamed(CHAT, "smollm2-135m-instruct"), renamed(EMBED, "all-minilm-l6-v2", zone=None))


def publish(home: Home, config: FleetConfig, prices: PriceBook | None = None) -> Release:
    ports = {f"{pop}/{engine}": 9000 for pop, one in config.pops.items() for engine in one.engines}
    return home.publish(config, {}, ports, {}, prices=prices)


def test_a_fleet_file_is_published_at_the_books_prices(tmp_path: Path, config: FleetConfig) -> None:
    home = Home(tmp_path)
    assert publish(home, config).priced is None
    made = publish(home, config, OWN)
    assert made.priced is not None
    assert made.priced.version == 1
    assert prices_of(made)["smollm2-135m-instruct"] == Price(100, 200, 100, 100)
    # The book stays in force without being named again.
    assert prices_of(publish(home, config)) == prices_of(made)
    assert home.prices().versions() == [1]
    lacks = book(2, *OWN.prices[:1])
    with pytest.raises(BadRelease, match=r"models\.all-minilm-l6-v2\.price: the model is served"):
        publish(home, config, lacks)
    assert home.prices().versions() == [1]
    nobody = msgspec.structs.replace(OWN, version=2, contracts=(Contract(tenant="nobody"),))
    with pytest.raises(BadPriceBook, match=r"contracts\.nobody\.tenant"):
        publish(home, config, nobody)
    with pytest.raises(BadPriceBook, match="is published, with other prices"):
        publish(home, config, msgspec.structs.replace(nobody, version=1))
    assert prices_of(home.release()) == prices_of(made)


def test_books_that_are_gone_or_damaged_stop_the_publication(
    tmp_path: Path, config: FleetConfig
) -> None:
    home = Home(tmp_path)
    publish(home, config, OWN)
    kept = tmp_path / "prices" / "000001.json"
    sealed = kept.read_bytes()
    kept.write_bytes(sealed.replace(b'"input":100', b'"input":101'))
    with pytest.raises(BadRelease, match=r"prices: .*000001\.json: signature"):
        publish(home, config)
    kept.unlink()
    with pytest.raises(BadRelease, match="sold by book 1, which is not under"):
        publish(home, config)
    kept.write_bytes(sealed)
    assert publish(home, config).priced is not None


def test_prices_are_published_without_a_store(tmp_path: Path, config: FleetConfig) -> None:
    home = Home(tmp_path)
    assert publish_prices(home, None, OWN) is None
    first = publish(home, config)
    assert first.priced is not None
    dearer = book(2, *(msgspec.structs.replace(row, input=999) for row in OWN.prices))
    made = publish_prices(home, None, dearer)
    assert made is not None
    assert made.version == first.version + 1
    assert prices_of(made)["all-minilm-l6-v2"] == Price(999, 0, 999, 999)
    assert (made.keys, made.tenants) == (first.keys, first.tenants)


def test_the_store_publishes_at_the_newest_prices(api: Api) -> None:
    publisher = api.rooms.publisher
    told = publisher.publish_delta()
    assert told is not None
    assert not told.waits
    settings = ControlSettings(
        home=str(api.home.directory), database=str(api.rooms.store.database.url)
    )
    made = publish_prices(api.home, settings, BOOK)
    assert prices_of(made)["chat"] == Price(100, 200, 100, 100)
    told = publisher.publish_delta()
    assert told is not None
    assert not told.waits
    # An act of a tenant, and the next release keeps the prices.
    api.rooms.tenancy.put_tenant(OWNER, "newcomer", EEA)
    publisher.publish_release(OWNER)
    assert prices_of(publisher.release) == prices_of(made)


def test_a_change_of_prices_waits_for_a_release_on_its_day(api: Api) -> None:
    publisher = api.rooms.publisher
    cut = (
        msgspec.structs.replace(CHAT, until="2027-01-20"),
        msgspec.structs.replace(CHAT, since="2027-01-20", input=70),
    )
    publisher.publish_release(OWNER, book(1, *cut, EMBED))
    assert prices_of(publisher.release)["chat"] == Price(100, 200, 100, 100)
    told = publisher.publish_delta()
    assert told is not None
    assert not told.waits
    api.clock.now_us += 5 * DAY_US  # 2027-01-20
    told = publisher.publish_delta()
    assert told is not None
    assert told.waits
    assert not publisher.publish_release(OWNER).waits
    assert prices_of(publisher.release)["chat"] == Price(70, 200, 70, 70)


def test_what_runs_out_is_named_and_deltas_go_out_all_the_same(api: Api) -> None:
    publisher = api.rooms.publisher
    ends = msgspec.structs.replace(CHAT, until="2027-01-20")
    publisher.publish_release(OWNER, book(1, ends, EMBED))
    price = prices_of(publisher.release)["chat"]
    assert price is not None
    assert price.until_us == 1_800_403_200_000_000  # 2027-01-20T00:00:00Z
    api.clock.now_us += 6 * DAY_US
    with pytest.raises(BadRelease, match=r"models\.chat\.price: .* on 2027-01-21"):
        publisher.publish_release(OWNER)
    (api.home.directory / "prices" / "000001.json").write_bytes(b"torn")
    told = publisher.publish_delta()
    assert told is not None
    assert told.waits
    with pytest.raises(BadRelease, match="no signed book"):
        publisher.publish_release(OWNER)


def test_the_admin_api_says_which_model_stops_a_release(api: Api) -> None:
    publisher = api.rooms.publisher
    ends = msgspec.structs.replace(CHAT, until="2027-01-20")
    publisher.publish_release(OWNER, book(1, ends, EMBED))
    api.clock.now_us += 6 * DAY_US
    told = api.ask("POST", "/releases", {})
    assert (told.status, told.code) == (409, "release_refused")
    assert "models.chat.price" in told.message
