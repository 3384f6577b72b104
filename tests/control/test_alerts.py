"""Customers' alerts: made and removed, told once, told again where that failed, dead at last."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import webhook_headers
from selvedge.control import ControlSettings
from selvedge.control.alert_courier import Accounts, AlertCourier, judge_alerts
from selvedge.control.alert_rows import AlertForm, AlertRow, EventRow
from selvedge.control.alerts import BACKOFF_S, TRIALS_MAX, Alerts
from selvedge.control.rows import ProjectForm
from selvedge.control.store import BadField, Conflict, Missing
from selvedge.fabric import StoreCorrupt
from selvedge.ledger import BurnRate, SpendHours, month_of, month_span
from tests.support.admin import Api, make_api
from tests.support.stores import OWNER, Bench, make_store

URL = "https://hooks.example/alerts"
FORM = AlertForm("acme", "budget", URL, None, (80, 50), 1_000_000, "a")
HOUR = 3_600_000_000


class Books(Accounts):
    """Accounts that a test writes."""

    def __init__(self) -> None:
        self.hours: SpendHours = {}
        self.rates: list[BurnRate] = []

    def spending(self, now_us: int) -> SpendHours:
        return self.hours

    def burning(self, now_us: int) -> list[BurnRate]:
        return self.rates


class Receiver:
    """Answers what a test says, and keeps what it got."""

    def __init__(self) -> None:
        self.answers: list[int | OSError | ValueError] = []
        self.got: list[tuple[str, dict[str, str], bytes]] = []

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        self.got.append((url, headers, body))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, (OSError, ValueError)):
            raise answer
        return answer


class Stage:
    """A store, its alerts, a courier, and a clock that moves only here."""

    def __init__(self, bench: Bench, home: Path) -> None:
        self.bench = bench
        self.alerts = Alerts(bench.store)
        self.books, self.receiver = Books(), Receiver()
        self.settings = ControlSettings(home=str(home))
        self.courier = self.start()

    def start(self) -> AlertCourier:
        """A courier, as after a restart."""
        return AlertCourier(
            self.settings, self.alerts, self.books, self.bench.clock, self.receiver.post
        )

    def spend(self, micro: int) -> None:
        begin_us, _ = month_span(month_of(self.bench.clock.now_us))
        self.books.hours = {("acme", "default"): {begin_us: micro}}

    def step(self, later_s: int = 0) -> list[EventRow]:
        self.bench.clock.now_us += later_s * 1_000_000
        asyncio.run(self.courier.step())
        return self.alerts.events("", 1_000)


@pytest.fixture
def stage(tmp_path: Path, database_url: str) -> Iterator[Stage]:
    bench = make_store(database_url)
    yield Stage(bench, tmp_path)
    bench.store.database.close()


def states(events: list[EventRow]) -> dict[str, str]:
    return {one.threshold: one.state for one in events}


def test_each_threshold_is_told_once_a_month(stage: Stage) -> None:
    made = stage.alerts.create(OWNER, FORM)
    assert made.alert.thresholds == (50, 80)
    assert stage.step() == []
    stage.spend(500_000)
    assert states(stage.step()) == {"50 %": "delivered"}
    stage.spend(900_000)
    stage.courier = stage.start()
    assert states(stage.step(60)) == {"50 %": "delivered", "80 %": "delivered"}
    stage.step(60)
    assert len(stage.receiver.got) == 2
    stage.bench.clock.now_us += 32 * 24 * HOUR
    stage.spend(500_000)
    assert len(stage.step()) == 3, "another month"
    (url, headers, body), *_ = stage.receiver.got
    secret = base64.b64decode(made.secret.removeprefix("whsec_"))
    at_s = int(headers["webhook-timestamp"])
    assert (url, headers) == (URL, webhook_headers(secret, headers["webhook-id"], at_s, body))
    told = msgspec.json.decode(body)
    assert told["type"] == "budget.threshold_reached"
    assert told["data"]["spent_micro_dollars"] == 500_000


def test_what_fails_is_tried_again_later_each_time_and_dies(stage: Stage) -> None:
    stage.alerts.create(OWNER, FORM)
    stage.spend(500_000)
    stage.receiver.answers = [500, OSError("refused"), TimeoutError(), *[503] * 9]
    (event,) = stage.step()
    assert (event.state, event.tries, event.told) == ("waiting", 1, "the receiver answered 500")
    (event,) = stage.step(BACKOFF_S[0] - 1)
    assert event.tries == 1, "not before its time"
    (event,) = stage.step(1)
    assert (event.tries, event.told) == (2, "refused")
    (event,) = stage.step(BACKOFF_S[1])
    assert (event.tries, event.told) == (3, "the receiver did not answer in time")
    for number, wait_s in enumerate(BACKOFF_S[2:], 4):
        (event,) = stage.step(wait_s)
        assert event.tries == number
    assert (event.state, event.tries) == ("dead", len(BACKOFF_S) + 1)
    ids = {headers["webhook-id"] for _, headers, _ in stage.receiver.got}
    assert ids == {event.id}, "one event, one id, however often it is told"
    stage.step(10**6)
    assert len(stage.receiver.got) == len(BACKOFF_S) + 1


def test_a_name_that_no_resolver_takes_does_not_end_the_courier(stage: Stage) -> None:
    stage.alerts.create(OWNER, FORM)
    stage.spend(500_000)
    stage.receiver.answers = [UnicodeError("label empty or too long")]
    (event,) = stage.step()
    assert (event.state, event.told) == ("waiting", "label empty or too long")
    assert [one.state for one in stage.step(BACKOFF_S[0])] == ["delivered"]


def test_what_was_put_down_is_told_though_receipts_cannot_be_read(stage: Stage) -> None:
    stage.alerts.create(OWNER, FORM)
    stage.spend(500_000)
    stage.courier.look()

    def spending(now_us: int) -> SpendHours:
        raise StoreCorrupt("a journal is damaged")

    stage.books.spending = spending  # type: ignore[method-assign]  # accounts that fail
    assert [one.state for one in stage.step()] == ["delivered"]


def test_a_receiver_that_is_gone_is_not_asked_again(stage: Stage) -> None:
    stage.alerts.create(OWNER, FORM)
    stage.spend(500_000)
    stage.receiver.answers = [410]
    assert [one.state for one in stage.step()] == ["dead"]


def test_what_was_put_down_is_told_by_the_next_process(stage: Stage) -> None:
    stage.alerts.create(OWNER, FORM)
    stage.spend(2_000_000)
    assert stage.courier.look() == 2
    assert stage.courier.look() == 0
    stage.courier = stage.start()
    assert set(states(stage.step()).values()) == {"delivered"}
    assert len(stage.receiver.got) == 2


def test_a_removed_alert_tells_nothing_more(stage: Stage) -> None:
    stage.alerts.create(OWNER, FORM)
    stage.spend(500_000)
    stage.courier.look()
    removed = stage.alerts.remove(OWNER, "a")
    assert stage.alerts.remove(OWNER, "a") == removed
    assert states(stage.step()) == {"50 %": "dead"}
    assert stage.receiver.got == []
    assert stage.alerts.alerts("", 10) == []
    with pytest.raises(Missing):
        stage.alerts.test("a")
    with pytest.raises(Conflict, match="is there already, or was"):
        stage.alerts.create(OWNER, FORM)


def test_a_trial_is_told_each_time(stage: Stage) -> None:
    stage.alerts.create(OWNER, FORM)
    first, second = stage.alerts.test("a"), stage.alerts.test("a")
    assert first.id != second.id
    assert {one.state for one in stage.step()} == {"delivered"}
    assert [msgspec.json.decode(body)["type"] for *_, body in stage.receiver.got] == [
        "alert.test"
    ] * 2


def test_trials_flood_nobody(stage: Stage) -> None:
    stage.alerts.create(OWNER, FORM)
    for _ in range(TRIALS_MAX):
        stage.alerts.test("a")
    with pytest.raises(Conflict, match="10 trials of alert 'a' wait to be told"):
        stage.alerts.test("a")
    stage.step()
    assert stage.alerts.test("a").state == "waiting"


def test_burning_and_forecasts_are_judged_as_well(stage: Stage) -> None:
    begin_us, _ = month_span(month_of(stage.bench.clock.now_us))
    now = begin_us + 10 * 24 * HOUR
    stage.books.hours = {("acme", "p"): {begin_us + at * HOUR: 1_000 for at in range(240)}}
    rate = BurnRate("acme", "m", "gold", "1h/5m", "page", 14_400, 20_000, 20_000, 99, True)
    stage.books.rates = [rate]
    stage.bench.tenancy.put_project(OWNER, ("acme", "p"), ProjectForm())
    forms = (
        AlertForm("acme", "forecast", URL, "p", (100,), 700_000, "f"),
        AlertForm("acme", "forecast", URL, None, (100,), 900_000, "far"),
        AlertForm("acme", "burn", URL, id="burn"),
    )
    rows: list[AlertRow] = [stage.alerts.create(OWNER, one).alert for one in forms]
    found = judge_alerts(rows, stage.books, now)
    assert [(one.alert, one.threshold) for one in found] == [("f", "100 %"), ("burn", "m 1h/5m")]
    assert found[0].data["forecast_micro_dollars"] >= 700_000


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": "http://hooks.example/"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"thresholds": ()}, "thresholds"),
        ({"thresholds": tuple(range(1, 12))}, "thresholds"),
        ({"thresholds": (0,)}, "thresholds"),
        ({"thresholds": (1_001,)}, "thresholds"),
        ({"budget_micro_dollars": None}, "budget_micro_dollars"),
        ({"budget_micro_dollars": 0}, "budget_micro_dollars"),
        ({"id": "Big One"}, "id"),
        ({"kind": "burn"}, "kind"),
    ],
)
def test_forms_that_cannot_be(tmp_path: Path, changes: dict[str, object], field: str) -> None:
    bench = make_store(f"sqlite:///{tmp_path / 'c.sqlite'}")
    with pytest.raises(BadField) as told:
        Alerts(bench.store).create(OWNER, msgspec.structs.replace(FORM, **changes))
    assert told.value.field == field
    for missing in ({"tenant": "nobody"}, {"project": "none"}):
        with pytest.raises(Missing):
            Alerts(bench.store).create(OWNER, msgspec.structs.replace(FORM, **missing))
    bench.store.database.close()


# By the admin API.


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = make_api(tmp_path, f"sqlite:///{tmp_path / 'control.sqlite'}")
    yield made
    made.close()


BODY = {
    "tenant": "free",
    "kind": "budget",
    "url": URL,
    "thresholds": [100],
    "budget_micro_dollars": 5_000_000,
    "id": "one",
}


def test_alerts_by_the_api(api: Api) -> None:
    made = api.ask("POST", "/alerts", BODY, role="billing@free")
    assert made.status == 201
    assert made.json["secret"].startswith("whsec_")
    (listed,) = api.ask("GET", "/alerts", role="developer@free").json["data"]
    assert listed == made.json["alert"]
    assert "secret" not in listed
    tried = api.ask("POST", "/alerts/one/test", role="billing@free")
    assert (tried.status, tried.json["state"]) == (202, "waiting")
    (event,) = api.ask("GET", "/alert-events", role="auditor@free").json["data"]
    assert event["id"] == tried.json["id"]
    assert api.ask("DELETE", "/alerts/one", role="owner").json["removed_us"] is not None
    acts = [row["act"] for row in api.ask("GET", "/audit", role="auditor").json["data"]]
    assert {"alert.create", "alert.remove"} <= set(acts)
    bad = api.ask("POST", "/alerts", {**BODY, "url": "https://127.0.0.1/"})
    assert (bad.status, bad.json["error"]["param"]) == (400, "url")


def test_an_alert_is_its_tenants_alone(api: Api) -> None:
    assert api.ask("POST", "/alerts", BODY).status == 201
    for method, path in (("DELETE", "/alerts/one"), ("POST", "/alerts/one/test")):
        told = api.ask(method, path, role="billing@eea")
        assert (told.status, told.code) == (404, "not_found")
    assert api.ask("GET", "/alerts", role="billing@eea").json["data"] == []
    assert api.ask("GET", "/alerts?tenant=free", role="billing@eea").code == "not_found"
    assert api.ask("POST", "/alerts", BODY, role="billing@eea").code == "not_found"
    assert api.ask("POST", "/alerts", BODY, role="developer").code == "forbidden"
