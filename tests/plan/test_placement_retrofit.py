"""A retrofit on a small fleet: rules, demand, residency, programme, and what fails by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from selvedge.cli.plan import plan
from selvedge.fabric import WanModel, great_circle_km
from selvedge.plan.history import BadPlan, PopSite, write_sites
from selvedge.plan.placement import (
    Actual,
    Effort,
    Order,
    Question,
    Retrofit,
    Verdict,
    Wishes,
    answer,
    broken_triangles,
    choice,
    demand_by_population,
    distances_km,
    find_server,
    make_programme,
    make_question,
    measure,
    model_ms,
    override,
    read_actual,
    read_demand,
    read_servers,
    retrofit,
    rules_of_thumb,
    say_nothing,
    track,
    verify,
)

PLACES = {"DE": (50, 8), "FR": (47, 2), "US": (40, -95), "SG": (1, 104), "BR": (-15, -48)}
EFFORT = Effort(seconds=120)


def make_fleet(count: int = 60, seed: int = 3) -> list[PopSite]:
    """PoPs around five places; the first two have GPUs, some have no room."""
    rng = Random(seed)
    sites = []
    for number in range(count):
        country = list(PLACES)[number % len(PLACES)]
        lat, lon = PLACES[country]
        sites.append(
            PopSite(
                pop=f"p{number}",
                country=country,
                lat=lat + rng.uniform(-3, 3),
                lon=lon + rng.uniform(-8, 8),
                timezone="Europe/Berlin",
                population=rng.randint(10_000, 5_000_000),
                power_limit_kw=rng.choice([2.0, 4.0]),
                power_kw=rng.choice([1.0, 1.9]),
                rack_units_free=4,
                cooling_kw=10.0,
                gpus=2 if number < 2 else 0,
            )
        )
    return sites


FLEET = make_fleet()
SERVER = find_server("l4-1u", read_servers())


def ask(resident: tuple[tuple[str, float], ...] = (), **wishes: object) -> Question:
    """A question about the small fleet."""
    demand = demand_by_population(
        FLEET, adoption=0.001, requests_per_day=10, resident=list(resident)
    )
    wanted = Wishes(**{"sites": 6, **wishes})  # type: ignore[arg-type]
    return make_question(FLEET, demand, model_ms(FLEET, WanModel()), SERVER, wanted)


def solve(question: Question) -> Retrofit:
    return retrofit(question, EFFORT, say_nothing)


def countries(found: Retrofit) -> list[str]:
    return [FLEET[at].country for at in np.flatnonzero(found.is_open)]


def test_distances_are_those_of_the_fabric() -> None:
    km = distances_km(FLEET)
    for a, b in ((0, 1), (3, 17), (5, 5)):
        one, other = FLEET[a], FLEET[b]
        exact = great_circle_km(one.lat or 0, one.lon or 0, other.lat or 0, other.lon or 0)
        assert km[a, b] == pytest.approx(exact, abs=1e-6)
    assert broken_triangles(model_ms(FLEET, WanModel())) == 0


def test_sites_that_are_there_stay_and_those_without_room_stay_shut() -> None:
    question = ask()
    found = solve(question)
    assert found.is_open[:2].all()
    assert not found.is_open[question.barred].any()
    assert question.kept_out == (("power", int(question.barred.sum())),)
    assert found.gap < 1e-8
    verdict = verify(found.median, np.flatnonzero(found.is_open), found.certificate)
    assert verdict.bound / question.demand.total == pytest.approx(found.bound, rel=1e-9)


def test_no_rule_of_thumb_is_better() -> None:
    question = ask()
    ours = choice("ours", question, solve(question).is_open)
    for one in rules_of_thumb(question, 6):
        assert one.cost >= ours.cost - 1e-9
        assert int(one.is_open.sum()) == 8


def test_a_minimum_and_a_budget_are_kept() -> None:
    found = solve(ask(minimums=(("BR", 3), ("DE", 2)), budget_usd=70_000.0))
    assert countries(found).count("BR") >= 3
    assert countries(found).count("DE") >= 2
    assert found.measures.usd <= 70_000
    assert found.gap < 0.02


def test_what_binds_is_named_with_a_remedy() -> None:
    with pytest.raises(
        BadPlan, match=r"binds: a budget of 20,000 USD \(it would have to be 40,500"
    ):
        solve(ask(minimums=(("BR", 3),), budget_usd=20_000.0))
    with pytest.raises(BadPlan, match=r"at most 3 sites .the other rules need 5"):
        solve(ask(sites=1, minimums=(("BR", 3),)))
    with pytest.raises(BadPlan, match="at least 99 sites in DE: it has"):
        solve(ask(minimums=(("DE", 99),)))
    with pytest.raises(BadPlan, match="'XX' is no country code"):
        solve(ask(minimums=(("XX", 1),)))


def test_resident_demand_is_served_at_home() -> None:
    question = ask((("SG", 0.5),))
    found = solve(question)
    assert "SG" in countries(found)
    rows = [at for at, zone in enumerate(question.demand.zones) if zone == "SG"]
    nearest = np.argmin(np.where(found.is_open, question.trips_ms[rows], np.inf), axis=1)
    assert {FLEET[at].country for at in nearest} == {"SG"}


def test_a_second_site_within_the_limit() -> None:
    question = ask(sites=12, survive_ms=40.0)
    found = solve(question)
    lone = set(question.unprotected)
    second = np.sort(np.where(found.is_open, question.trips_ms, np.inf), axis=1)[:, 1]
    rates = question.demand.requests_per_s
    kept = [
        rate
        for rate, ms, at in zip(rates, second, question.demand.ingress, strict=True)
        if ms <= 40.0 or FLEET[at].pop in lone
    ]
    assert sum(kept) >= 0.9 * rates.sum()


def load_of(question: Question, found: Retrofit) -> Verdict:
    """The checker's word on an answer."""
    return verify(found.median, np.flatnonzero(found.is_open), found.certificate)


def test_each_site_serves_what_it_has_room_for_and_the_bound_counts_that() -> None:
    question = ask(sites=12, capacity=True, servers=4)
    found, loose = solve(question), solve(ask(sites=12, servers=4))
    assert loose.measures.busiest_load > 1.5, "room does not bind: take another question"
    assert found.proof == "certificate with capacity"
    assert found.measures.busiest_load <= 1 + 1e-9
    assert found.measures.unserved_share == pytest.approx(0, abs=1e-9)
    assert found.bound > loose.cost * 1.001, "the bound counts no more than one without room"
    assert found.gap < 0.02
    verdict = load_of(question, found)
    assert verdict.cost / question.demand.total == pytest.approx(found.cost, rel=1e-9)
    assert verdict.bound / question.demand.total == pytest.approx(found.bound, rel=1e-7)
    with pytest.raises(BadPlan, match="capacity"):
        solve(ask(sites=1, capacity=True))


def test_rules_of_thumb_are_held_to_the_same_room() -> None:
    question = ask(sites=12, capacity=True, servers=4)
    ours = choice("ours", question, solve(question).is_open)
    assert np.isfinite(ours.cost)
    for one in rules_of_thumb(question, 12):
        assert one.cost >= ours.cost * (1 - 1e-9)


def room_after_losses(found: Retrofit) -> float:
    """What the sites that are left can serve, after the loss of the largest, over all demand."""
    question = found.question
    room = question.capacity[found.is_open]
    return float(room.sum() - room.max()) / question.demand.total


def test_after_the_loss_of_any_one_site_there_is_room() -> None:
    without = solve(ask(sites=30, servers=4, objective="cost", capacity=True))
    assert room_after_losses(without) < 1, "there is room in any case: take another question"
    for question in (
        ask(sites=30, servers=4, objective="cost", survive_capacity=True),
        ask(sites=30, servers=4, objective="cost", capacity=True, survive_ms=60.0),
    ):
        found = solve(question)
        assert room_after_losses(found) >= 1 - 1e-9
        assert found.measures.worst_loss_unserved == pytest.approx(0, abs=1e-9)
        assert found.cost > without.cost


def test_a_loss_that_so_few_sites_cannot_outlast_is_what_binds() -> None:
    count = solve(ask(sites=30, servers=4, objective="cost", capacity=True)).measures.new_sites
    while True:  # Fewest new sites with room: as many of the largest as it takes.
        try:
            solve(ask(sites=count - 1, servers=4, objective="cost", capacity=True))
            count -= 1
        except BadPlan:
            break
    rule = r"what binds: capacity of .* in the world after the loss of any one site .*need"
    with pytest.raises(BadPlan, match=rule):
        solve(ask(sites=count, servers=4, objective="cost", survive_capacity=True))


def test_a_zone_that_cannot_lose_a_site_is_named() -> None:
    lone = next(site.country for site in FLEET if site.gpus == 0)
    question = ask(((lone, 0.3),), sites=30, servers=4, survive_capacity=True)
    inside = np.array([site.country == lone for site in FLEET]) & ~question.barred
    keep = int(np.flatnonzero(inside)[0])
    barred = question.barred | (inside & (np.arange(len(FLEET)) != keep))
    with pytest.raises(BadPlan, match=f"in {lone} after the loss of any one site: all candidates"):
        solve(replace(question, barred=barred))


def test_the_cheapest_sites_that_keep_the_rules_are_proved() -> None:
    found = solve(ask(sites=30, servers=2, objective="cost", capacity=True, minimums=(("FR", 2),)))
    assert found.proof == "certificate"
    assert countries(found).count("FR") >= 2
    assert found.gap < 1e-4
    verdict = load_of(found.question, found)
    there = float(found.question.usd_per_year[found.question.existing].sum())
    assert verdict.cost / 100 + there == pytest.approx(found.cost)
    assert verdict.bound / 100 + there == pytest.approx(found.bound)
    forged = found.certificate
    forged.multipliers[:] = np.random.default_rng(1).uniform(0, 3000, forged.multipliers.shape)
    assert load_of(found.question, found).bound <= verdict.cost


def test_share_nearby_is_an_objective() -> None:
    near, mean = solve(ask(objective="near")), solve(ask())
    assert near.measures.near_share >= mean.measures.near_share - 1e-12
    assert near.gap < 1e-6 or near.bound <= near.cost


def test_a_programme_installs_everything_and_every_step_helps() -> None:
    question = ask()
    found = solve(question)
    steps = make_programme(question, found.is_open, start="2027Q3", per_quarter=4)
    assert [step.quarter for step in steps] == ["2027Q3", "2027Q4"]
    assert sorted(pop for step in steps for pop in step.sites) == sorted(
        FLEET[at].pop for at in np.flatnonzero(found.is_open)[2:]
    )
    assert all(step.saved_ms >= -1e-9 for step in steps)
    last = steps[-1].measures
    assert last is not None
    assert last.rtt_ms_mean == pytest.approx(measure(question, found.is_open).rtt_ms_mean)


def test_delays_are_tracked_and_planned_around() -> None:
    question = ask()
    found = solve(question)
    steps = make_programme(question, found.is_open, start="2027Q1", per_quarter=3)
    first, other = steps[0].sites[0], steps[0].sites[1]
    actual = {first: Actual(installed="2027Q1"), other: Actual(not_before="2028Q1")}
    (row,) = track(question, [(one.quarter, one.sites) for one in steps], actual)
    assert (row.planned, row.installed) == (3, 1)
    assert other in row.late
    assert row.planned_ms is not None
    assert row.actual_ms is not None
    assert row.actual_ms >= row.planned_ms
    again = make_programme(question, found.is_open, start="2027Q1", per_quarter=3, actual=actual)
    assert again[0].sites == (first,)
    assert next(step.quarter for step in again if other in step.sites) == "2028Q1"


def test_files_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("ingress,requests_per_s,zone\np0,2.5,DE\np0,1,\nelsewhere,3,\n")
    demand, unknown = read_demand(path, FLEET)
    assert (demand.zones, demand.total, unknown) == (("DE", "world"), 3.5, 3.0)
    path.write_text("ingress,requests_per_s\np0,-1\n")
    with pytest.raises(BadPlan, match="line 2: requests_per_s '-1'"):
        read_demand(path, FLEET)
    path.write_text("from,to,rtt_ms\np0,p1,500\nnobody,p1,3\n")
    trips = model_ms(FLEET, WanModel())
    assert override(trips, FLEET, path).unknown == 1
    assert trips[0, 1] == trips[1, 0] == 500
    assert broken_triangles(trips) > 0
    path.write_text("pop,installed\np0,spring\n")
    with pytest.raises(BadPlan, match="line 2: 'spring' is no quarter"):
        read_actual(path, [site.pop for site in FLEET])
    with pytest.raises(BadPlan, match=r"no-such\.csv"):
        read_demand(tmp_path / "no-such.csv", FLEET)


def test_the_command_answers_in_words_and_json(tmp_path: Path) -> None:
    fleet, proof = tmp_path / "fleet.csv", tmp_path / "proof.npz"
    write_sites(fleet, FLEET)
    arguments = ["retrofit", "--fleet", str(fleet), "--sites", "5", "--no-sim", "--front", "2,5"]
    done = CliRunner().invoke(plan, [*arguments, "--certificate", str(proof)])
    assert done.exit_code == 0, done.output
    assert "5 new sites beside 2" in done.output
    assert "Programme" in done.output
    assert proof.exists()
    done = CliRunner().invoke(plan, [*arguments, "--json"])
    assert len(json.loads(done.output)["sites"]) == 5


def test_an_earlier_plan_is_held_against_what_was_built(tmp_path: Path) -> None:
    fleet, earlier, actual = (tmp_path / name for name in ("f.csv", "plan.json", "actual.csv"))
    write_sites(fleet, FLEET)
    first = answer(Order(fleet=fleet, sites=5, sim=False, per_quarter=2), lambda words: None)
    earlier.write_bytes(msgspec.json.encode(first))
    built = first.programme[0].sites
    actual.write_text(f"pop,installed,not_before\n{built[0]},2027Q1,\n{built[1]},,never\n")
    order = Order(fleet=fleet, sites=5, sim=False, planned=earlier, actual=actual, per_quarter=2)
    again = answer(order, lambda words: None)
    assert built[0] in again.sites
    assert built[1] not in again.sites
    assert again.tracked[0].late == (built[1],)
