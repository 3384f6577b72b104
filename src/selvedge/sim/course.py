"""One run of a world under one policy: traffic, publications, failures, and the figures of it.

The serving code is the exchange's own; this module only gives its PoPs what a release does not
hold: a policy, ears, engines that say what they do, and conversations that arrive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from selvedge.exchange import Compiled
from selvedge.fabric import BadScenario
from selvedge.routing import POLICIES, EngineStates, Policy, Signals, make_policy
from selvedge.sim.account import Account, Watching
from selvedge.sim.atlas import Atlas
from selvedge.sim.batching import BatchingEngine
from selvedge.sim.columns import Columns
from selvedge.sim.description import Description
from selvedge.sim.engines import SECOND_US
from selvedge.sim.interpreter import Interpreter
from selvedge.sim.links import Distances
from selvedge.sim.pool import Timed
from selvedge.sim.publications import Board, Engines, Heard, Present, Publisher, Reporting
from selvedge.sim.regional import RegionLocal
from selvedge.sim.replayed import replayed
from selvedge.sim.report import Report
from selvedge.sim.scenario import Outage, Scenario
from selvedge.sim.sessions import Client, Sessions
from selvedge.sim.summary import Fold, Summary, Window
from selvedge.sim.traffic import Arrival
from selvedge.sim.world import World, engine_id, engine_of

LOCAL: Final = "region-local"
"""Each region serves only itself, with our policy within it; see `regional`."""
OURS: Final = "predictive"


def policy_names() -> list[str]:
    """Every policy that a scenario may be run under."""
    return [*POLICIES, LOCAL]


def policy_at(pop: str, course: Course) -> Policy:
    """The policy of one ingress; its draws are seeded with the PoP and the run."""
    name = OURS if course.policy == LOCAL else course.policy
    knobs = {**course.world.description.knobs.get(name, {}), **course.knobs}
    policy = make_policy(name, f"{course.seed}/{pop}", knobs)
    return RegionLocal(policy, pop, course.atlas.regions) if course.policy == LOCAL else policy


class Course(msgspec.Struct, frozen=True):
    """What is to be run: a world, a policy, a seed.

    With ``requests_max`` the run is that long and not as long as the window.
    """

    atlas: Atlas
    clients: Sequence[Client]
    policy: str
    seed: int
    knobs: Mapping[str, float] = {}
    """Instead of the scenario's."""
    trace: Sequence[Timed] = ()
    """What is replayed, where the scenario says that a trace is."""
    requests_max: int | None = None
    explains: int | None = None
    """The number of a request, counted from 1, of which an account is given."""

    @property
    def world(self) -> World:
        """The fleet."""
        return self.atlas.world


class Outcome(msgspec.Struct, frozen=True):
    """How a run went."""

    summary: Summary
    rows: Columns
    report: Report
    account: Account | None = None


def check_policies(description: Description) -> None:
    """Raises `BadScenario` for a policy or a knob that does not exist."""
    if description.policy not in policy_names():
        words = f"{description.policy!r} is not one of {', '.join(policy_names())}"
        raise BadScenario("policy", words)
    for name, knobs in description.knobs.items():
        field = f"knobs.{name}"
        if name not in POLICIES:
            raise BadScenario(field, f"is no policy; those are {', '.join(POLICIES)}")
        known = POLICIES[name].knobs.__struct_fields__
        for knob in knobs:
            if knob not in known:
                words = f"is no knob of it; those are {', '.join(known) or 'none'}"
                raise BadScenario(f"{field}.{knob}", words)


def run(course: Course) -> Outcome:
    """Run to the end of the last request, and assert every law."""
    fleet = _Wired(course)
    report = fleet.interpreter.run()
    assert report.columns is not None
    window = fleet.window
    fold = Fold(report.columns, window, course.atlas.regions)
    account = fleet.account
    if account is not None:
        account.receipt = report.columns.watched
    return Outcome(_summary(course, fleet, fold, report), report.columns, report, account)


class _Wired:
    """The fleet of a run: `interpreter.Wiring`."""

    def __init__(self, course: Course) -> None:
        description = course.world.description
        self.course = course
        self._is_counted = course.requests_max is not None and course.explains is None
        self.account = None if course.explains is None else Account(course.explains)
        self._fresh = course.policy != LOCAL and POLICIES[course.policy].fresh
        self.sessions = Sessions(course.world, course.clients, course.seed)
        start_us = self.sessions.start_us
        measured = description.window
        from_us = start_us + int(measured.warmup_s * SECOND_US)
        self.window = Window(
            from_us=from_us,
            until_us=from_us + int(measured.measured_s * SECOND_US),
            slo_us=int(description.slo.ttft_ms * 1000),
            deadline_us=int(description.traffic.deadline_s * SECOND_US),
        )
        engine = engine_of(description)
        self._models = {
            f"{place.id}/{engine_id(number)}": engine
            for place in course.world.places
            for number in range(place.engines)
        }
        scenario = Scenario(
            start_us=start_us,
            engines=self._models,
            jitter_us=int(description.fleet.jitter_ms * 1000),
            outages=tuple(_outages(course.world, start_us)),
            keeps=False,
            watches=None if course.explains is None else f"rcpt-{course.explains:08d}",
            sealed_every=description.sealed_every,
        )
        # Policies of the last run noted on candidates what they made of them.
        course.atlas.compiled.catalogue.forget_candidates()
        self.interpreter = Interpreter(course.world.release, scenario, course.seed, self)
        self._engines = self._start_engines()
        self.board = self._start_board()
        self._cut_links(start_us)

    def policy(self, pop: str) -> Policy | None:
        """The policy of an ingress."""
        policy = policy_at(pop, self.course)
        return policy if self.account is None else Watching(policy, self.account)

    def signals(self, pop: str) -> Signals | None:
        """What an ingress hears."""
        if self._fresh:
            return Present(self.board)
        return Heard(self.board, pop, self.course.atlas.ways_us(pop), self.course.atlas.near(pop))

    def states(self, pop: str) -> EngineStates | None:
        """What the engines of a PoP say to it."""
        return Engines(self._engines[pop]) if pop in self._engines else None

    def arrivals(self) -> Iterator[Arrival]:
        """Conversations, until the window is over or enough have come."""
        course = self.course
        most = course.requests_max
        found = self.sessions.arrivals()
        if course.world.description.traffic.trace is not None:
            found = replayed(course.world, course.trace, course.seed)
        for number, arrival in enumerate(found):
            if arrival.at_us >= self.window.until_us and not self._is_counted:
                self.board.stop()
                return
            if most is not None and number >= most:
                self.board.stop()
                return
            if self.account is not None and number + 1 == self.account.number:
                self.account.ask = arrival.ask
            yield arrival

    def compiled(self) -> tuple[Compiled, Distances]:
        """The release and its distances, shared by all runs."""
        return self.course.atlas.compiled, self.course.atlas.distances

    def _start_engines(self) -> dict[str, Mapping[str, Reporting]]:
        found: dict[str, Mapping[str, Reporting]] = {}
        for place in self.course.world.places:
            engines: dict[str, Reporting] = {}
            for number in range(place.engines):
                engine = self.interpreter.engine(place.id, engine_id(number))
                assert isinstance(engine, BatchingEngine)
                engines[engine_id(number)] = engine
            if engines:
                found[place.id] = engines
        return found

    def _start_board(self) -> Board:
        description = self.course.world.description
        model = description.hardware.model
        publishers = [
            Publisher(
                place.id, model, list(self._engines[place.id].values()), place.site.utc_minutes
            )
            for place in self.course.world.places
            if place.engines
        ]
        board = Board(
            self.interpreter.clock,
            publishers,
            max(1, int(description.signals.period_ms * 1000)),
            int(description.signals.delay_ms * 1000),
            description.content,
        )
        most = self.course.requests_max
        board.start(self.window.until_us if most is None else None)
        return board

    def _cut_links(self, start_us: int) -> None:
        links, clock = self.interpreter.links, self.interpreter.clock
        for failure in self.course.world.description.failures:
            if not failure.links:
                continue

            def cut(pop: str = failure.pop) -> None:
                links.cut(pop, True)
                self.board.silence(pop, True)

            def mend(pop: str = failure.pop) -> None:
                links.cut(pop, False)
                self.board.silence(pop, False)

            clock.at(start_us + int(failure.from_s * SECOND_US), cut)
            clock.at(start_us + int(failure.until_s * SECOND_US), mend)

    def control_bytes_per_s(self) -> float:
        """What an ingress hears of others in a second, on average over those that were asked."""
        pops = [pop for pop in self.interpreter.pops if pop not in self._engines][:64]
        if not pops or self._fresh:
            return 0.0
        digests = sum(len(self.course.atlas.near(pop)) for pop in pops) / len(pops)
        return self.board.bytes_per_s(len(self._engines), round(digests))


def _outages(world: World, start_us: int) -> Iterator[Outage]:
    engines = {place.id: place.engines for place in world.places}
    for failure in world.description.failures:
        if failure.links:
            continue
        chosen = range(engines[failure.pop]) if failure.engine is None else (failure.engine,)
        for number in chosen:
            yield Outage(
                pop=failure.pop,
                engine=engine_id(number),
                from_us=start_us + int(failure.from_s * SECOND_US),
                until_us=start_us + int(failure.until_s * SECOND_US),
            )


def _summary(course: Course, fleet: _Wired, fold: Fold, report: Report) -> Summary:
    seconds = (fleet.window.until_us - fleet.window.from_us) / SECOND_US
    arrived = max(fold.arrived, 1)
    shed = fold.codes["no_engine_available"]
    gpus = sum(place.engines for place in course.world.places)
    return Summary(
        policy=course.policy,
        seed=course.seed,
        arrived=fold.arrived,
        served=fold.served,
        ttft_ms_p50=fold.ms(0.5),
        ttft_ms_p95=fold.ms(0.95),
        ttft_ms_p99=fold.ms(0.99),
        ttft_ms_mean=round(fold.mean_ms, 3),
        goodput=fold.good / arrived,
        shed=shed / arrived,
        failed=(fold.arrived - fold.served - shed) / arrived,
        prefix_reuse=fold.cached_tokens / max(fold.prompt_tokens, 1),
        abroad=fold.abroad / max(fold.served, 1),
        gpus=gpus,
        gpu_hours=round(gpus * seconds / 3600, 3),
        out_of_zone=report.figures.out_of_zone,
        control_bytes_per_s=round(fleet.control_bytes_per_s(), 1),
        requests_per_s=round(fold.arrived / seconds, 3),
        codes=dict(sorted(fold.codes.items())),
        digest=report.figures.receipts_sha256,
    )
