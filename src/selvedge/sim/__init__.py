"""Floor 3: the exchange in virtual time. Modelled engines, links and traffic; pure and seeded."""

from selvedge.sim.account import Account
from selvedge.sim.atlas import Atlas
from selvedge.sim.batching import BatchingEngine, BatchingModel, Timing
from selvedge.sim.border import Law, Permits
from selvedge.sim.calibrate import (
    CannotFit,
    Held,
    Observed,
    Shape,
    Together,
    fit_model,
    judge,
    pause_us,
    together,
)
from selvedge.sim.columns import Columns
from selvedge.sim.comparison import METRICS, Headline, Interval, Line, headline, interval, lines
from selvedge.sim.course import Course, Outcome, check_policies, policy_names, run
from selvedge.sim.description import Description, Site, TenantPart, ZonePart, check
from selvedge.sim.engines import EngineModel, Work
from selvedge.sim.fleet import example_flows, example_release, example_scenario
from selvedge.sim.hardware import HARDWARE, Hardware
from selvedge.sim.interpreter import (
    simulate,
    with_keys_of_simulation,
)
from selvedge.sim.journal import WriteFault
from selvedge.sim.mooncake import BadTrace, read_mooncake
from selvedge.sim.playing import play
from selvedge.sim.pool import Pool, Timed, round_robin
from selvedge.sim.report import Figures, Quantiles, Report
from selvedge.sim.rolling import Cut, Rollout, play_rollout
from selvedge.sim.scenario import Outage, Scenario
from selvedge.sim.sessions import Client, read_clients
from selvedge.sim.summary import Summary
from selvedge.sim.traces import TRACES, Trace
from selvedge.sim.traffic import Arrival, Flow, Shares, chat_body
from selvedge.sim.validate import CHECKS, MOONCAKE, Check
from selvedge.sim.world import World, build, read_cities, regions

__all__ = [
    "CHECKS",
    "HARDWARE",
    "METRICS",
    "MOONCAKE",
    "TRACES",
    "Account",
    "Arrival",
    "Atlas",
    "BadTrace",
    "BatchingEngine",
    "BatchingModel",
    "CannotFit",
    "Check",
    "Client",
    "Columns",
    "Course",
    "Cut",
    "Description",
    "EngineModel",
    "Figures",
    "Flow",
    "Hardware",
    "Headline",
    "Held",
    "Interval",
    "Law",
    "Line",
    "Observed",
    "Outage",
    "Outcome",
    "Permits",
    "Pool",
    "Quantiles",
    "Report",
    "Rollout",
    "Scenario",
    "Shape",
    "Shares",
    "Site",
    "Summary",
    "TenantPart",
    "Timed",
    "Timing",
    "Together",
    "Trace",
    "Work",
    "World",
    "WriteFault",
    "ZonePart",
    "build",
    "chat_body",
    "check",
    "check_policies",
    "example_flows",
    "example_release",
    "example_scenario",
    "fit_model",
    "headline",
    "interval",
    "judge",
    "lines",
    "pause_us",
    "play",
    "play_rollout",
    "policy_names",
    "read_cities",
    "read_clients",
    "read_mooncake",
    "regions",
    "round_robin",
    "run",
    "simulate",
    "together",
    "with_keys_of_simulation",
]
