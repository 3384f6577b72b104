"""Whole runs of a small world: laws, seeds, failures, policies."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from selvedge.cli.scenario_files import make_atlas, read_client_table, read_scenario
from selvedge.fabric import Ask
from selvedge.routing import Attempt, Candidate, Load, Signals
from selvedge.sim import Atlas, Course, Description, Outcome, policy_names, run
from selvedge.sim import course as course_module
from selvedge.sim.description import Failure, Window

SMALL = read_scenario("fleet-4100")
SMALL = msgspec.structs.replace(
    SMALL,
    fleet=msgspec.structs.replace(
        SMALL.fleet,
        cities=msgspec.structs.replace(SMALL.fleet.cities, count=60, gpu_sites=12, gpus=12),
    ),
    tenants={name: SMALL.tenants[name] for name in ("assistant", "agents")},
    traffic=msgspec.structs.replace(SMALL.traffic, knee_requests_per_s=14.0),
    window=Window(warmup_s=20, measured_s=30),
    sealed_every=7,
)


def atlas_of(description: Description) -> Atlas:
    return make_atlas("small", description)


SHARED = atlas_of(SMALL)


def play(policy: str = "predictive", seed: int = 1, description: Description = SMALL) -> Outcome:
    atlas = SHARED.with_description(description)
    return run(Course(atlas=atlas, clients=read_client_table(), policy=policy, seed=seed))


@pytest.mark.parametrize("policy", policy_names())
def test_every_policy_keeps_the_laws(policy: str) -> None:
    outcome = play(policy)
    figures = outcome.report.figures
    assert figures.arrived == sum(figures.outcomes.values()) > 100
    assert (figures.running, figures.out_of_zone, outcome.summary.out_of_zone) == (0, 0, 0)
    assert outcome.summary.goodput > 0.5


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    first, again, other = play(), play(), play(seed=2)
    assert first.report.canonical() == again.report.canonical()
    assert msgspec.json.encode(first.summary) == msgspec.json.encode(again.summary)
    assert first.summary.digest != other.summary.digest


def test_a_run_is_the_same_whatever_the_fleet_was_used_for_before() -> None:
    cities = msgspec.structs.replace(SMALL.fleet.cities, count=80, gpu_sites=40, gpus=40)
    wider = msgspec.structs.replace(
        SMALL,
        fleet=msgspec.structs.replace(SMALL.fleet, cities=cities),
        traffic=msgspec.structs.replace(SMALL.traffic, knee_requests_per_s=30.0),
    )
    course = Course(
        atlas=atlas_of(wider),
        clients=read_client_table(),
        policy="predictive",
        seed=1,
        knobs={"nearest": 4},
    )
    alone = run(course)
    run(msgspec.structs.replace(course, seed=2))
    assert run(course).report.canonical() == alone.report.canonical()


def test_arrivals_are_the_same_for_every_policy() -> None:
    ours, theirs = play("predictive").rows, play("random").rows
    assert sorted(ours.arrived_us) == sorted(theirs.arrived_us)


def test_engines_and_links_that_fail_lose_nobody() -> None:
    busy = [place.id for place in SHARED.world.places if place.engines]
    failures = (
        Failure(pop=busy[0], from_s=25, until_s=35),
        Failure(pop=busy[1], from_s=22, until_s=40, links=True),
        Failure(pop=busy[2], from_s=22, until_s=40, engine=0),
    )
    outcome = play(description=msgspec.structs.replace(SMALL, failures=failures))
    figures = outcome.report.figures
    assert figures.arrived == sum(figures.outcomes.values())
    assert outcome.summary.digest != play().summary.digest


class Rogue:
    """Names a PoP that it was not given."""

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        return [Attempt("moscow.ru", "RU", None, 0, "rogue")]


@pytest.mark.interpreted
def test_a_policy_that_names_a_pop_outside_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "asean-super-app"
    tenants = {name: read_scenario("fleet-4100").tenants[name]}
    bound = msgspec.structs.replace(SMALL, tenants=tenants)
    monkeypatch.setattr(course_module, "policy_at", lambda pop, course: Rogue())
    course = Course(atlas=atlas_of(bound), clients=read_client_table(), policy="random", seed=1)
    with pytest.raises(AssertionError, match="outside their zone"):
        run(course)


def test_an_account_says_why() -> None:
    atlas = SHARED.with_description(SMALL)
    course = Course(
        atlas=atlas, clients=read_client_table(), policy="predictive", seed=1, explains=90
    )
    account = run(course).account
    assert account is not None
    assert account.ask is not None
    assert account.receipt is not None
    assert account.receipt.id == "rcpt-00000090"
    assert account.plan[0].pop == account.receipt.planned[0]
    assert {one.pop for one in account.plan} <= {one.pop for one in account.candidates}


def test_a_region_serves_only_itself() -> None:
    summary = play("region-local").summary
    assert summary.abroad <= play("random").summary.abroad
