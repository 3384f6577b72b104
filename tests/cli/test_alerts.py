"""``selvedge alert`` and ``forecast`` as they are typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from selvedge.adapters import PARTITIONS, part_name, seal_release, write_parquet
from selvedge.cli import alerts as command
from selvedge.cli.admin_client import AdminClient
from selvedge.cli.alerts import dollars, micro_dollars
from selvedge.cli.main import commands
from selvedge.fabric import Outcome, Price, SelvedgeError, Usage
from selvedge.ledger import HOUR_US
from tests.adapters.test_service_parts import TYPES
from tests.ledger.test_service_levels import row
from tests.support.admin import Api, make_api
from tests.support.months import BEGIN_US


class InProcess(AdminClient):
    """The admin API, asked without a socket."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def ask(
        self, method: str, path: str, body: object = None, *, match: int | None = None
    ) -> object:
        told = self._api.ask(method, path, body)
        if told.status >= 400:
            raise SelvedgeError(told.message)
        return told.json


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    made = make_api(tmp_path, f"sqlite:///{tmp_path / 'control.sqlite'}")
    monkeypatch.setattr(command, "open_client", lambda *_: InProcess(made))
    yield made
    made.close()


def call(*words: str) -> Result:
    return CliRunner().invoke(commands, list(words))


def test_an_alert_from_its_making_to_its_end(api: Api) -> None:
    words = ["--url", "https://hooks.example/a", "--budget", "99.50", "--id", "one"]
    made = call("alert", "add", "free", *words)
    assert made.exit_code == 0, made.output
    assert made.output.startswith("whsec_")
    assert call("alert", "test", "one").exit_code == 0
    shown = call("alert", "list", "--tenant", "free").output
    for cell in ("one", "budget", "50 %, 80 %, 100 %", "$99.50", "https://hooks.example/a"):
        assert cell in shown
    (listed,) = json.loads(call("alert", "list", "--json").output)
    assert (listed["waiting"], listed["delivered"], listed["dead"]) == (1, 0, 0)
    assert "alert.test" in call("alert", "list", "--events").output
    assert call("alert", "remove", "one", "--json").exit_code == 0
    assert json.loads(call("alert", "list", "--json").output) == []
    (event,) = json.loads(call("alert", "list", "--events", "--json").output)
    assert event["state"] == "dead"


def test_what_cannot_be_is_named(api: Api) -> None:
    for words, why in (
        (["--url", "https://10.0.0.1/", "--budget", "1"], "url may not be sent to"),
        (["--url", "https://a.example", "--budget", "ten"], "is no amount"),
        (["--url", "https://a.example"], "--budget: kind budget needs one"),
    ):
        told = call("alert", "add", "free", *words)
        assert why in str(told.exception)


def test_amounts() -> None:
    assert [micro_dollars(one) for one in ("250", "$99.50", "0.000001")] == [
        250_000_000,
        99_500_000,
        1,
    ]
    for bad in ("", ".", "1.0000001", "1e3", "-1", "٣"):
        with pytest.raises(SelvedgeError):
            micro_dollars(bad)
    assert [dollars(one) for one in (1_234_567_890, 9_999, None)] == ["$1,234.56", "$0.009999", "-"]


def publish_prices(api: Api, price: Price) -> str:
    """A release in which the first model has a price; its name."""
    release = api.rooms.publisher.release
    assert release is not None
    first, *others = release.models
    models = (msgspec.structs.replace(first, price=price), *others)
    sealed = seal_release(msgspec.structs.replace(release, models=models), api.home.operator_key())
    api.home.release_file.write_bytes(sealed)
    return first.id


def test_a_forecast(api: Api, tmp_path: Path) -> None:
    model = publish_prices(api, Price(input=20_000, output=80_000))
    usage = Usage(input_uncached=10**6, output=10**6, provenance="reported")
    facts = {"outcome": Outcome.COMPLETE, "usage": usage, "status": 200, "model": model}
    rows = [
        row(at, **facts, received_us=BEGIN_US + at * HOUR_US, tenant="free") for at in range(72)
    ]
    rows.append(row(99, **{**facts, "model": "gone"}, tenant="free"))
    place = tmp_path / "collected" / PARTITIONS / "zone=asean" / "day=2026-11-01"
    place.mkdir(parents=True)
    write_parquet(place / part_name(1), TYPES, rows)
    where = ["--home", str(api.home.directory), "--collected", str(tmp_path / "collected")]
    found = call("forecast", "free", "--at", "2026-11-04", *where, "--json")
    assert found.exit_code == 0, found.exception
    told = json.loads(found.output)
    assert told["unpriced"] == ["gone"]
    assert [one["project"] for one in told["forecasts"]] == [None, "default"]
    for one in told["forecasts"]:
        assert (one["spent"], one["expected"], one["high"]) == (7_200_000, 72_000_000, 72_000_000)
    shown = call("forecast", "--at", "2026-11-04", *where).output
    assert "$7.20" in shown
    assert "$72.00" in shown
    assert "model gone has no price" in shown
    nowhere = call("forecast", "--home", str(tmp_path / "none"), *where[2:])
    assert "there is no release" in str(nowhere.exception)
