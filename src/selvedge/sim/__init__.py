"""Floor 3: the exchange in virtual time. Modelled engines, links and traffic; pure and seeded."""

from selvedge.sim.account import Account
from selvedge.sim.atlas import Atlas
from selvedge.sim.batching import BatchingModel
from selvedge.sim.columns import Columns
from selvedge.sim.comparison import METRICS, Headline, Interval, Line, headline, lines
from selvedge.sim.course import Course, Outcome, policy_names, run
from selvedge.sim.description import Description, Site, check
from selvedge.sim.engines import EngineModel, Work
from selvedge.sim.fleet import example_flows, example_release, example_scenario
from selvedge.sim.hardware import HARDWARE
from selvedge.sim.interpreter import simulate
from selvedge.sim.journal import WriteFault
from selvedge.sim.report import Figures, Quantiles, Report
from selvedge.sim.scenario import Outage, Scenario
from selvedge.sim.sessions import Client, read_clients
from selvedge.sim.summary import Summary
from selvedge.sim.traffic import Arrival, Flow, Shares, chat_body
from selvedge.sim.validate import CHECKS, Check
from selvedge.sim.world import World, build, read_cities, regions

__all__ = [
    "CHECKS",
    "HARDWARE",
    "METRICS",
    "Account",
    "Arrival",
    "Atlas",
    "BatchingModel",
    "Check",
    "Client",
    "Columns",
    "Course",
    "Description",
    "EngineModel",
    "Figures",
    "Flow",
    "Headline",
    "Interval",
    "Line",
    "Outage",
    "Outcome",
    "Quantiles",
    "Report",
    "Scenario",
    "Shares",
    "Site",
    "Summary",
    "Work",
    "World",
    "WriteFault",
    "build",
    "chat_body",
    "check",
    "example_flows",
    "example_release",
    "example_scenario",
    "headline",
    "lines",
    "policy_names",
    "read_cities",
    "read_clients",
    "regions",
    "run",
    "simulate",
]
