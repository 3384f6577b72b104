"""Does it pay: the formulas against sums by hand, the seed's verdicts, and files that are wrong."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from selvedge.adapters import read_prices
from selvedge.cli.plan import plan
from selvedge.plan import read_market
from selvedge.plan.economics import (
    Asked,
    Economics,
    Inputs,
    Quantity,
    answer,
    draw_page,
    draw_svg,
    place,
    quantities_of,
    read_inputs,
    read_observed,
    seed_path,
    sheets_of,
)
from selvedge.plan.economics.margins import HOURS, SECONDS, annuity, unit_of
from selvedge.plan.economics.measures import Case, reckon, step_of, theirs_of
from selvedge.plan.economics.night import night_of
from selvedge.plan.economics.prices import Priced, price_of
from selvedge.plan.economics.promises import promise_cost
from selvedge.plan.economics.quantities import draw_all, middle
from selvedge.plan.economics.renewals import renewed
from selvedge.plan.economics.sensitivity import chances, turning_point
from selvedge.plan.economics.verdicts import rounds_to
from selvedge.plan.history import BadPlan

BOOK = """
version: 1
prices:
  - {model: meta-llama/Llama-3.1-8B-Instruct, input: $0.50, output: $0.60}
slas:
  - id: gold
    objectives: [{model: "*", availability_ppm: 99.9%}]
    credits: [{below_ppm: 99.9%, credit_ppm: 10%}, {below_ppm: 99%, credit_ppm: 25%}]
"""


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return read_inputs(seed_path())


@pytest.fixture(scope="module")
def seed(inputs: Inputs) -> Economics:
    return answer(Asked(inputs=inputs, market=read_market(), draws=2000))


def case_of(inputs: Inputs) -> Case:
    market = read_market()
    prices = {one.id: price_of(one, inputs, None, market) for one in inputs.offers}
    return Case(inputs=inputs, prices=prices, theirs=theirs_of(inputs, market))


def changed(inputs: Inputs, **values: float) -> dict[str, float]:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return {**middle(quantities_of(inputs)), **named}


def report(folder: Path, *, pops: int = 300, night: float = 0.38) -> Path:
    """A table of PoPs as a report has it: traffic falls by rank, nights differ a little."""
    rank = np.arange(1, pops + 1)
    table = pa.table(
        {
            "pop": [f"pop-{number:04}" for number in rank],
            "country": ["DE" if number % 3 else "US" for number in rank],
            "mean_bps": 1e10 / rank**0.7,
            "night_use": night + 0.02 * np.cos(rank),
            "headroom_95": np.full(pops, 0.4),
            "gpus": [8 if number <= 10 else 0 for number in rank],
            "headroom_gpu_95": [0.7 if number <= 5 else None for number in rank],
        }
    )
    pq.write_table(table, folder / "pops.parquet")
    return folder


def test_a_loan_is_paid_off() -> None:
    paid = annuity(0.10, 5.0, 0.0)
    owed = 1.0
    for _ in range(5):
        owed = owed * 1.10 - paid
    assert owed == pytest.approx(0.0, abs=1e-12)
    left = 1.0
    for _ in range(5):
        left = left * 1.10 - annuity(0.10, 5.0, 0.25)
    assert left == pytest.approx(0.25)


def test_an_offer_by_hand(inputs: Inputs) -> None:
    offer = inputs.offer("gpt-oss-120b-a100")
    values = middle(quantities_of(inputs))
    unit = unit_of(offer, Priced(input=150_000, output=600_000, basis="hand"), values)
    output = 5056 / 4
    assert unit.speed.output == pytest.approx(output)
    assert unit.earned == pytest.approx(output * SECONDS / 1e6 * (0.60 + 3 * 0.15))
    capital = 11_500 * 1.45
    assert unit.capital == pytest.approx(capital)
    paid = capital * (annuity(0.10, 5.0, 0.10) + 0.05)
    kwh = 0.161 * 1.54 * HOURS / 1000
    room = (400 * 0.75 + 60) / 1000 * 217.30 * 12
    assert unit.fixed == pytest.approx(paid + room + (400 * 0.2 + 60) * kwh)
    assert unit.moving == pytest.approx(400 * 0.55 * kwh)
    assert unit.profit(unit.break_even) == pytest.approx(0.0, abs=1e-6)
    assert unit.margin(unit.break_even) == pytest.approx(0.0, abs=1e-9)
    assert unit.margin(0.6) == pytest.approx(unit.profit(0.6) / (unit.earned * 0.6))


def test_the_same_sums_for_numbers_and_for_chances(inputs: Inputs) -> None:
    case, quantities = case_of(inputs), quantities_of(inputs)
    drawn = draw_all(quantities, 3, 5)
    together = np.asarray(step_of(reckon(case, drawn)))
    for number in range(5):
        one = {name: float(column[number]) for name, column in drawn.items()}
        assert float(np.asarray(step_of(reckon(case, one)))) == pytest.approx(together[number])


def test_chances_lie_where_they_are_said_to() -> None:
    given = {
        "log": Quantity(10.0, 1.0, 100.0, "log"),
        "even": Quantity(0.5, 0.0, 1.0, "even"),
        "triangle": Quantity(2.0, 1.0, 4.0),
        "sure": Quantity(7.0),
    }
    drawn = draw_all(given, 1, 40_000)
    assert np.median(drawn["log"]) == pytest.approx(10, rel=0.05)
    assert np.quantile(drawn["log"], 0.05) == pytest.approx(1, rel=0.1)
    assert drawn["even"].mean() == pytest.approx(0.5, abs=0.01)
    assert drawn["triangle"].mean() == pytest.approx(7 / 3, rel=0.01)
    assert drawn["triangle"].min() >= 1
    assert set(drawn["sure"]) == {7.0}
    alone = draw_all({"log": given["log"]}, 1, 40_000)
    assert np.array_equal(alone["log"], drawn["log"]), "other inputs do not change a stream"


def test_an_uneven_doubt_has_its_ends_where_it_says() -> None:
    one = Quantity(10.0, low=1.0, high=20.0, spread="log")
    drawn = draw_all({"x": one}, 1, 200_000)["x"]
    assert np.quantile(drawn, [0.05, 0.5, 0.95]) == pytest.approx([1.0, 10.0, 20.0], rel=0.03)


def test_no_draw_is_beyond_its_limits(inputs: Inputs) -> None:
    quantities = quantities_of(inputs) | {
        "renewals.churn": Quantity(0.9, low=0.8, high=0.98, spread="log"),
        "power.busy_share": Quantity(0.3, low=0.2, high=0.9),
        "power.idle_share": Quantity(0.3, low=0.1, high=0.9),
        "power.usd_per_kwh": Quantity(0.0),
        "night.demand_of_mean": Quantity(0.0),
        "night.elasticity": Quantity(20.0),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn, found = chances(case_of(inputs), quantities, seed=1, draws=2000)
    assert drawn["renewals.churn"].max() == 0.99
    assert all(np.isfinite(column).all() for column in found.values())


def test_more_sites_do_not_make_more_demand(inputs: Inputs) -> None:
    case = case_of(inputs)
    few = reckon(case, changed(inputs, demand__local_share=0.0))
    assert few.next.sold_mtokens == pytest.approx(few.now.sold_mtokens)
    full = reckon(case, changed(inputs, demand__tokens_per_day=1e15))
    assert full.next.sold_mtokens == pytest.approx(full.now.sold_mtokens * 160 / 87)
    assert full.now.use == pytest.approx(0.65)
    assert full.now.sold_mtokens < 0.01 * full.now.asked_mtokens
    # Processors are asked for the same as GPUs, not for what few GPUs had room to sell.
    tiny = reckon(case, changed(inputs, fleet__units_per_site=0.01))
    usual = reckon(case, changed(inputs))
    assert tiny.now.sold_mtokens < usual.now.sold_mtokens
    assert tiny.cpu.sold_mtokens == pytest.approx(float(np.asarray(usual.cpu.sold_mtokens)))


def test_a_discount_at_night_pays_only_where_demand_answers(inputs: Inputs) -> None:
    case = case_of(inputs)

    def night(**values: float) -> dict[str, float]:
        drawn = changed(inputs, **values)
        found = reckon(case, drawn)
        one = night_of(found.now, found.units["llama-8b-l4"], drawn)
        return {name: float(np.asarray(getattr(one, name))) for name in one.__struct_fields__}

    stiff = night(night__elasticity=0.5)
    assert stiff["best"] == 1.0
    assert stiff["gain"] == 0.0
    keen = night(night__elasticity=3.0, night__shifted_share=0.0)
    assert keen["gain"] > 0
    assert keen["floor"] < keen["best"] < 1.0
    assert keen["use_at_best"] > keen["use_at_list"]
    assert keen["clearing"] == pytest.approx((keen["use_at_list"] / 0.65) ** (1 / 3))
    by_hand = keen["floor"] * 3 / 2  # a monopolist's markup: e / (e - 1) on cost
    assert keen["best"] == pytest.approx(max(by_hand, keen["clearing"]), abs=0.01)
    crowded = night(demand__tokens_per_day=1e15)
    assert crowded["clearing"] == crowded["best"] == 1.0


def test_credits_are_what_outages_make_of_them(inputs: Inputs) -> None:
    values = changed(inputs, promise__outage_sigma=0.0, promise__outage_minutes=100.0)
    values |= {"promise.outages_per_year": 1.2, "promise.masked_share": 0.0}
    found = promise_cost(inputs, values, seed=1)
    none, one = math.exp(-0.1), 0.1 * math.exp(-0.1)
    # An outage of 100 minutes is 0.9977 of a month, below 0.999; five in one month are below 0.99.
    assert found.months_missed == pytest.approx(1 - none, abs=0.003)
    assert found.credit_share == pytest.approx(0.10 * (1 - none), rel=0.05)
    assert found.mean_availability == pytest.approx(1 - 0.1 * 100 / 43_830, abs=1e-5)
    assert found.fee_needed_usd == pytest.approx(found.credit_share * 10_000)
    assert one > 0
    hidden = promise_cost(inputs, values | {"promise.masked_share": 0.9}, seed=1)
    assert hidden.fee_needed_usd < found.fee_needed_usd
    assert hidden.fee_needed_alone_usd == pytest.approx(found.fee_needed_usd)


def test_contracts_by_hand(inputs: Inputs) -> None:
    values = changed(
        inputs, renewals__churn=0.1, renewals__contraction=0.0, renewals__expansion=0.1
    )
    values |= {"renewals.attach_rate": 0.5, "renewals.attach_spend": 0.2}
    found = renewed(inputs, values)
    assert found.retention_without == pytest.approx(1.0)
    assert found.content == pytest.approx((1e8, 1e8, 1e8))
    # Half of a quarter of the contracts after a quarter, of two after two, ...: 12.5 to 50 %.
    assert found.inference[0] == pytest.approx(1e8 / 4 * 0.2 * 0.5 * (1 + 2 + 3 + 4) / 4)
    # The year after all were renewed: content as before, and a fifth of it from half of them.
    assert found.retention_with == pytest.approx((1e8 + 1e8 * 0.5 * 0.2) / 1e8)
    assert found.attach_needed == pytest.approx(0.05 / 0.2)


def test_retention_is_of_the_revenue_that_the_table_shows(inputs: Inputs) -> None:
    """What a quarter of the table adds at full rate is what retention adds."""
    spend = {"renewals.attach_rate": 1.0, "renewals.attach_spend": 0.3}
    values = changed(inputs) | spend
    found = renewed(inputs, values)
    base = found.retention_without
    first = sum(1e8 / 16 * 0.3 * base * quarter for quarter in (1, 2, 3, 4))
    assert found.inference[0] == pytest.approx(first)
    assert found.retention_with == pytest.approx(base * 1.3)


def test_the_point_at_which_it_turns() -> None:
    def measure(values: Mapping[str, object]) -> float:
        return float(values["x"]) ** 2 - 9  # type: ignore[arg-type]

    assert turning_point(measure, {"x": 1.0}, "x", 0.0, 100.0) == pytest.approx(3.0)
    assert turning_point(measure, {"x": 50.0}, "x", 0.0, 100.0) == pytest.approx(3.0)
    assert turning_point(measure, {"x": 1.0}, "x", 0.0, 2.0) is None


def test_the_seeds_verdicts(seed: Economics) -> None:
    words = {one.claim: one.verdict for one in seed.verdicts}
    assert words == {
        "4,100 PoPs, 38% average use at night": "cannot say",
        "GPUs lift the margin by 40%": "not supported",
        "Prices 7% to 12% below hyperscalers pay": "cannot say",
        "87 sites with GPUs, then 160": "not supported",
    }
    for one in seed.verdicts[1:]:
        assert one.figures
        assert one.turns
        assert one.by_offer
    below = seed.verdicts[2].by_offer
    assert below["llama-8b-pro6000"] > 0.8 > 0.5 > below["llama-8b-l4"]


def test_a_verdict_turns_where_it_says(seed: Economics, inputs: Inputs) -> None:
    case = case_of(inputs)
    turn = seed.verdicts[3].turns[0]
    assert turn.input == "demand.tokens_per_day"
    assert turn.needed is not None
    assert turn.needed > turn.now

    def step(tokens: float) -> float:
        return float(
            np.asarray(step_of(reckon(case, changed(inputs, demand__tokens_per_day=tokens))))
        )

    assert step(turn.needed * 0.999) < 0 < step(turn.needed * 1.001)


def test_a_report_goes_before_assumptions(tmp_path: Path, inputs: Inputs) -> None:
    seen = read_observed(report(tmp_path))
    assert seen.covered(300) == pytest.approx(1.0)
    assert (seen.gpus, seen.gpus_free_95) == (80, pytest.approx(0.7))
    claims = msgspec.structs.replace(inputs.claims, pops=300)
    asked = Asked(
        inputs=msgspec.structs.replace(inputs, claims=claims),
        market=read_market(),
        seen=seen,
        draws=200,
    )
    found = answer(asked)
    night = found.verdicts[0]
    assert night.verdict == "supported"
    near = msgspec.structs.replace(inputs, claims=msgspec.structs.replace(claims, pops=299))
    exact = answer(msgspec.structs.replace(asked, inputs=near))
    assert exact.verdicts[0].verdict == "not supported", "299 is said exactly, 300 is not"
    assert rounds_to(4099, 4100)
    assert not rounds_to(4049, 4100)
    assert night.figures["mean use at night"] == pytest.approx(0.38, abs=0.01)
    places = [row for row in found.places if row.offer == "llama-8b-l4"]
    assert len(places) == 200
    assert places[0].place == "pop-0001"
    assert places[0].use > places[-1].use
    assert {row.usd_per_kwh for row in places} == {0.25, 0.075}
    assert places[0].headroom_95 == pytest.approx(0.4)
    busy = read_observed(report(tmp_path, night=0.5))
    again = answer(msgspec.structs.replace(asked, seen=busy))
    assert again.verdicts[0].verdict == "not supported"
    other = answer(msgspec.structs.replace(asked, inputs=inputs, draws=100))
    assert other.verdicts[0].verdict == "not supported"
    assert "300 PoPs with traffic, and not 4,100." in other.verdicts[0].why


def test_a_price_book_goes_before_the_rule(tmp_path: Path, inputs: Inputs) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(BOOK, "utf-8")
    asked = Asked(inputs=inputs, market=read_market(), book=read_prices(path), draws=200)
    found = answer(asked)
    rows = {row.offer: row for row in found.offers}
    assert rows["llama-8b-l4"].price_basis == "price book"
    assert rows["llama-8b-l4"].input_micro_dollars == 500_000
    assert rows["llama-70b-4xh100"].price_basis.startswith("below bedrock")
    assert [step.credit for step in found.promise.steps] == [0.10, 0.25]


def test_every_number_of_the_seed_has_its_source(inputs: Inputs) -> None:
    for name, one in quantities_of(inputs).items():
        if not one.is_sure:
            assert one.source, name
            assert one.as_of >= "2024", name


def test_pages_and_charts_are_the_same_each_time(seed: Economics, inputs: Inputs) -> None:
    page = draw_page(seed)
    assert page == draw_page(answer(Asked(inputs=inputs, market=read_market(), draws=2000)))
    assert '<b class="not-supported">NOT SUPPORTED</b>' in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    svg = draw_svg(place(seed.tornado_of, seed.tornado_middle, seed.tornado))
    assert svg.startswith("<svg")
    assert "fleet.units_per_site" in svg
    assert all(len(row) == len(sheet.columns) for sheet in sheets_of(seed) for row in sheet.rows)


def test_the_command(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(
            plan, ["economics", "--draws", "200", *arguments], catch_exceptions=False
        )
        return result.output

    shown = run("--html", f"{tmp_path}/e.html", "--svg", f"{tmp_path}/t.svg")
    assert "NOT SUPPORTED" in shown
    assert "Price at night" in shown
    assert (tmp_path / "e.html").read_text("utf-8").startswith("<!doctype html>")
    assert (tmp_path / "t.svg").exists()
    told = json.loads(run("--json", "--png", f"{tmp_path}/t.png"))
    assert told["draws"] == 200
    assert len(told["verdicts"]) == 4
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    name = "net revenue retention with inference"
    other = json.loads(run("--json", "--tornado", name))
    assert {one["input"].partition(".")[0] for one in other["tornado"]} == {"renewals"}
    with pytest.raises(BadPlan, match="--tornado: 'luck' is no figure; they are: profit"):
        run("--tornado", "luck")
    assert run("--example") == seed_path().read_text("utf-8")
