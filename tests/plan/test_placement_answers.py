"""What an operator is told beside the sites: fronts, servers by load, what overflows, judgement."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from selvedge.cli.plan import plan
from selvedge.plan.history import BadPlan, write_sites
from selvedge.plan.placement import (
    Judged,
    Limit,
    Order,
    Report,
    Trial,
    answer,
    compare_pairs,
    judge,
    loads,
    measure,
    read_budgets,
    read_counts,
    retrofit,
    retrofit_staffed,
    say_nothing,
    share_out,
    staffed,
    trace,
)
from selvedge.plan.placement.reports import routing_words
from selvedge.sim import Interval
from tests.plan.test_placement_retrofit import EFFORT, FLEET, ask, solve


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.csv"
    write_sites(path, FLEET)
    return path


def answered(fleet: Path, **options: object) -> Report:
    asked = {"fleet": fleet, "sites": 6, "sim": False, "seconds": 120.0, **options}
    return answer(Order(**asked), lambda words: None)  # type: ignore[arg-type]


def test_more_money_buys_more_and_each_budget_is_kept(fleet: Path) -> None:
    found = answered(fleet, sites=20, front_budget="8e4,40000,2e5,1e6")
    points = found.front_budget
    assert [point.budget_usd for point in points] == [40_000, 80_000, 200_000, 1_000_000]
    for point in points:
        assert point.budget_usd is not None
        assert point.measures.usd <= point.budget_usd
        assert point.bound <= point.cost + 1e-9
        assert point.new_sites <= 20
    for less, more in pairwise(points):
        assert more.measures.rtt_ms_mean <= less.measures.rtt_ms_mean + 1e-9
    assert points[0].new_sites == 2, "2 servers of 13,500 USD are what 40,000 USD buy"
    assert points[-1].new_sites == 20, "--sites binds where money does not"


def test_what_buys_nothing_is_dominated() -> None:
    question = ask()
    few, many = (retrofit(question, EFFORT, say_nothing, new=new) for new in (2, 6))
    worse = msgspec.structs.replace(few.measures, new_sites=9, usd_per_year=1e12)
    answers = {2: few, 6: many, 9: replace(few, measures=worse), 3: few}
    limits = {new: Limit(words=f"{new} new sites", new=new) for new in answers}
    points = trace([limits[2], limits[6], limits[9]], lambda one: answers[one.new or 0], [])
    assert [point.is_dominated for point in points] == [False, False, True]
    twice = trace([limits[2], limits[3]], lambda one: answers[one.new or 0], [])
    assert not any(point.is_dominated for point in twice), "what is equal is not better"
    other = replace(
        question, server=msgspec.structs.replace(question.server, preset="mistral-7b-a100")
    )
    answers[9] = replace(answers[9], question=other)
    apart = trace([limits[2], limits[9]], lambda one: answers[one.new or 0], [])
    assert not any(point.is_dominated for point in apart), "other models do not compare"


def test_servers_are_compared_each_with_its_own_candidates(tmp_path: Path) -> None:
    wide = {"power_limit_kw": 9.0, "power_kw": 0.0, "cooling_kw": 9.0, "rack_units_free": 9}
    path = tmp_path / "wide.csv"
    write_sites(path, [msgspec.structs.replace(site, **wide) for site in FLEET])
    found = answered(path, sites=4, front_server="l4-1u, rtx-pro-6000-2u,l4-1u,h100-8u")
    small, large, none = found.front_server
    assert (small.server, large.server) == ("l4-1u", "rtx-pro-6000-2u")
    assert small.model == large.model == "Llama-3.1-8B-Instruct"
    assert small.cost == pytest.approx(found.cost), "what --server says is one of them"
    assert large.measures.usd == pytest.approx(4 * 52_500)
    assert large.measures.ttft_ms_mean < small.measures.ttft_ms_mean, "a prompt is quicker there"
    assert large.measures.busiest_load < small.measures.busiest_load
    assert (none.server, none.new_sites) == ("h100-8u", 0), "10.2 kW have room nowhere"


def test_a_server_that_is_unknown_is_named(fleet: Path) -> None:
    with pytest.raises(BadPlan, match=r"--front-server: 'b200' is not in the table; known are l4"):
        answered(fleet, front_server="l4-1u,b200")


def test_a_budget_that_cannot_be_kept_leaves_the_others(fleet: Path) -> None:
    found = answered(fleet, minimum=("BR=3",), front_budget="20000,200000")
    (point,) = found.front_budget
    assert point.budget_usd == 200_000
    assert any("a budget of 20,000 USD: no choice" in words for words in found.findings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1e6,many", r"--front-budget: 'many' is no budget; give dollars above 0"),
        ("1e6,-5", r"'-5' is no budget"),
        ("1e6,nan", r"'nan' is no budget"),
        ("1e6,,2e6", r"a value is empty"),
        ("0", r"'0' is no budget"),
        (",".join(["1"] * 25), r"25 values; give 24 at most"),
    ],
)
def test_a_bad_budget_is_named(text: str, words: str) -> None:
    with pytest.raises(BadPlan, match=words):
        read_budgets("--front-budget", text)
    assert read_budgets("--front-budget", " 2e6, 1e6,1000000 ") == [1e6, 2e6]
    with pytest.raises(BadPlan, match="--front: 'ten' is no number of new sites"):
        read_counts("--front", "5,ten")


def test_fronts_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="'many' is no budget"):
        answered(tmp_path / "missing.csv", front_budget="many")


def test_engines_stand_where_load_is() -> None:
    assert share_out(np.array([8.0, 1.0, 1.0]), 10).tolist() == [8, 1, 1]
    assert share_out(np.array([1.0, 0.0]), 2).tolist() == [1, 1]
    counts = share_out(np.array([5.0, 3.0, 2.0, 0.1]), 21)
    assert counts.sum() == 21
    fullest = (np.array([5.0, 3.0, 2.0, 0.1]) / counts).max()
    for at in range(4):
        for other in set(range(4)) - {at}:
            moved = counts.copy()
            moved[at] -= 1
            moved[other] += 1
            if moved[at] >= 1:
                assert (np.array([5.0, 3.0, 2.0, 0.1]) / moved).max() >= fullest - 1e-12


def test_auto_gives_each_site_what_it_needs_within_its_room() -> None:
    question = ask(sites=8)
    found = retrofit_staffed(question, EFFORT, say_nothing)
    filled = {one.pop: one for one in loads(found.question, found.is_open)}
    new = [one for one in filled.values() if one.is_new]
    assert max(one.servers for one in new) > 1
    for one in new:
        assert one.servers == min(one.servers_needed, one.servers_room)
        assert one.load <= 1 + 1e-9 or one.servers == one.servers_room
    each = question.server.price_usd
    assert found.measures.usd == sum(one.servers for one in new) * each
    plain = solve(question)
    assert found.bound == pytest.approx(plain.bound)
    assert measure(question, plain.is_open).usd < found.measures.usd


def test_auto_keeps_a_budget_with_fewer_sites() -> None:
    question = ask(sites=8)
    free = retrofit_staffed(question, EFFORT, say_nothing)
    budget = free.measures.usd * 0.6
    tight = replace(question, wishes=replace(question.wishes, budget_usd=budget))
    found = retrofit_staffed(tight, EFFORT, say_nothing)
    assert found.measures.usd <= budget
    assert 0 < found.measures.new_sites < free.measures.new_sites
    assert found.bound <= found.cost
    poor = replace(question, wishes=replace(question.wishes, budget_usd=14_000.0))
    with pytest.raises(BadPlan, match=r"even \d+ new sites need cost"):
        retrofit_staffed(poor, EFFORT, say_nothing)


def test_with_capacity_auto_pays_for_what_is_sent_there() -> None:
    question = ask(sites=30, capacity=True, servers=10_000)
    found = retrofit_staffed(question, EFFORT, say_nothing)
    filled = loads(found.question, found.is_open)
    assert max(one.load for one in filled) <= 1 + 1e-6
    assert sum(one.requests_per_s for one in filled) == pytest.approx(question.demand.total)


def test_too_few_servers_are_said_first_and_loudly(fleet: Path) -> None:
    found = answered(fleet)
    assert found.shortage is not None
    worst = found.loads[0]
    assert (found.shortage.worst, found.shortage.worst_load) == (worst.pop, worst.load)
    assert worst.load == pytest.approx(found.measures.busiest_load)
    assert found.findings[0].startswith("Not enough servers: ")
    for remedy in ("--servers auto", "--capacity", "--servers N"):
        assert remedy in found.findings[0]
    done = CliRunner().invoke(
        plan, ["retrofit", "--fleet", str(fleet), "--sites", "6", "--no-sim", "--seconds", "10"]
    )
    assert "Not enough servers" in done.output
    assert done.output.index("Not enough servers") < done.output.index("By the model")
    enough = answered(fleet, adoption=1e-6)
    assert enough.shortage is None
    assert not any("Not enough" in words for words in enough.findings)


def test_auto_and_what_it_cannot_be_had_with(fleet: Path) -> None:
    found = answered(fleet, servers="auto")
    assert found.servers == "auto"
    assert sum(step.usd for step in found.programme) == pytest.approx(found.measures.usd)
    for options in (
        {"objective": "cost", "capacity": True},
        {"capacity": True, "budget_usd": 1e6},
        {"capacity": True, "front_budget": "1e6"},
        {"capacity": True, "survive_ms": 40.0},
        {"survive_capacity": True},
    ):
        with pytest.raises(BadPlan, match="--servers auto cannot be had with --"):
            answered(fleet, servers="auto", **options)
    for text in ("0", "some", "1001", "1.5"):
        done = CliRunner().invoke(
            plan, ["retrofit", "--fleet", str(fleet), "--sites", "2", "--servers", text]
        )
        assert done.exit_code == 2
        assert f"'{text}' is neither a number of servers from 1 to 1,000 nor auto" in done.output


def test_staffing_leaves_what_is_there() -> None:
    question = ask()
    found = solve(question)
    after = staffed(question, found.is_open)
    assert (after.counts[question.existing] == question.counts[question.existing]).all()
    assert (after.counts[~found.is_open] == question.counts[~found.is_open]).all()


def test_pairs_say_what_seeds_can_show() -> None:
    clear = compare_pairs("ttft_ms_p95", [100.0, 120.0, 90.0], [130.0, 151.0, 121.0])
    assert clear.verdict == "ours better"
    assert clear.theirs_less_ours.mean == pytest.approx(30.6667, abs=1e-3)
    # Student's t for 2 degrees of freedom is 4.30; the deviation of 30, 31, 31 is 0.577.
    assert clear.theirs_less_ours.low == pytest.approx(30.6667 - 4.30 * 0.57735 / 3**0.5, abs=1e-3)
    assert compare_pairs("x", [130.0, 151.0], [100.0, 120.0]).verdict == "ours worse"
    unclear = compare_pairs("x", [100.0, 120.0, 90.0], [90.0, 150.0, 95.0])
    assert unclear.verdict == "no difference that 3 seeds can show"
    assert compare_pairs("x", [1.0], [2.0]).verdict == "no difference that 1 seed can show"
    assert compare_pairs("x", [1.0, 2.0], [1.0, 2.0]).verdict == "the same"


def judged(workers: int = 1, **knobs: float) -> list[Judged]:
    question = ask()
    found = solve(question)
    few = question.existing.copy()
    few[np.flatnonzero(found.is_open & ~question.existing)[:5]] = True
    trial = Trial(warmup_s=2.0, measured_s=3.0, load=0.3, seeds=3, workers=workers, knobs=knobs)
    choices = [("ours", found.is_open), ("few", few), ("same", found.is_open)]
    return judge(question, choices, trial, lambda words: None)


def test_the_simulator_judges_in_pairs() -> None:
    ours, few, same = judged()
    assert ours == msgspec.structs.replace(same, name="ours", against_ours=())
    assert {one.verdict for one in same.against_ours} == {"the same"}
    assert [one.figure for one in few.against_ours] == ["ttft_ms_p50", "ttft_ms_p95", "gpus_needed"]
    assert ours.requests == few.requests > 0, "the same clients ask, whatever is open"
    assert ours.engines == few.engines
    gap = few.against_ours[1].theirs_less_ours
    assert gap.mean == pytest.approx(few.ttft_ms_p95.mean - ours.ttft_ms_p95.mean)
    assert ours.ttft_ms_p95.low < ours.ttft_ms_p95.mean < ours.ttft_ms_p95.high
    assert ours.ttft_ms_p95.mean >= ours.ttft_ms_p50.mean > ask().service_ms / 2
    assert ours.rtt_ms.mean >= measure(ask(), solve(ask()).is_open).rtt_ms_mean - 5.0 - 1.0
    assert ours.gpus_needed.mean >= 8, "a GPU for each site at least"


def test_processes_judge_as_one_does() -> None:
    assert judged(workers=2) == judged()


def test_routing_may_be_told_that_queues_cost_nothing() -> None:
    """Then more are served near them: what the choice of sites saves can be seen."""
    plain, near = judged()[0], judged(crowd_us=0.0)[0]
    assert near.rtt_ms.mean < plain.rtt_ms.mean


def test_requests_that_wander_are_said() -> None:
    words = routing_words(46.2, 12.5)
    assert "travel 46 ms" in words
    assert "nearest open one is 12 ms" in words
    assert "--sim-knob crowd_us=0" in words
    assert routing_words(9.0, 2.0) == "", "ten milliseconds are not worth a word"
    assert routing_words(38.0, 20.0) == ""


def test_seeds_are_bounded(fleet: Path) -> None:
    with pytest.raises(BadPlan, match="--sim-seeds is 0; give 1 to 100"):
        answered(fleet, sim_seeds=0)
    with pytest.raises(BadPlan, match="routing has no 'crowd'; it has tau_us"):
        answered(fleet, sim_knob=("crowd=0",))
    with pytest.raises(BadPlan, match="'crowd_us=no': give a number"):
        answered(fleet, sim_knob=("crowd_us=no",))
    with pytest.raises(BadPlan, match="--sim-slo-ms is -1"):
        answered(fleet, sim_slo_ms=-1.0)


def test_the_command_says_it_all(fleet: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = [
        *("retrofit", "--fleet", str(fleet), "--sites", "3", "--sim-seeds", "1"),
        *("--output-tokens", "50", "--servers", "auto"),
        *("--front-budget", "5e4,2e5", "--seconds", "10", "--html", str(page)),
    ]
    done = CliRunner().invoke(plan, arguments)
    assert done.exit_code == 0, done.output
    assert "How much money" in done.output
    assert "1 seed," in done.output
    assert "greedy less ours: TTFT p50" in done.output
    assert page.read_text("utf-8").startswith("<!doctype html>")
    done = CliRunner().invoke(plan, [*arguments[:-2], "--no-sim", "--json"])
    found = json.loads(done.output)
    assert found["servers"] == "auto"
    assert {"existing", "chosen"} <= {place["state"] for place in found["places"]}
    assert all(place["quarter"] for place in found["places"] if place["state"] == "chosen")


def test_an_interval_holds_its_mean() -> None:
    found = compare_pairs("x", [1.0, 2.0, 3.0], [2.0, 2.5, 4.5]).theirs_less_ours
    assert isinstance(found, Interval)
    assert found.low <= found.mean <= found.high


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        (
            "demand",
            "ingress,zones,requests_per_s\np1,DE,3\n",
            r"'zones' is not one of ingress, zone",
        ),
        ("rtt", "from,to,rtt_ms\np1,p2,4\np1,p2,5\n", r"line 3: from p1 to p2 there are 4 ms"),
    ],
)
def test_what_would_pass_in_silence_is_refused(
    fleet: Path, option: str, text: str, words: str
) -> None:
    path = fleet.with_name("given.csv")
    path.write_text(text, "utf-8")
    with pytest.raises(BadPlan, match=words):
        answered(fleet, **{option: path})


def test_a_zone_has_one_share(fleet: Path) -> None:
    with pytest.raises(BadPlan, match="--resident DE is there 2 times"):
        answered(fleet, resident=("DE=0.3", "DE=0.4"))


def test_a_budget_below_one_site_is_said(fleet: Path) -> None:
    found = answered(fleet, budget_usd=100.0)
    assert found.sites == ()
    assert any("100 USD buys no site: the cheapest costs 13,500" in one for one in found.findings)


def test_a_plan_without_what_became_of_it_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="--plan without --actual"):
        answered(tmp_path / "none.csv", planned=tmp_path / "plan.json")
