"""Floor 3: the exchange in virtual time. Modelled engines, links and traffic; pure and seeded."""

from selvedge.sim.engines import EngineModel, Work
from selvedge.sim.fleet import example_flows, example_release, example_scenario
from selvedge.sim.interpreter import simulate
from selvedge.sim.journal import WriteFault
from selvedge.sim.report import Figures, Quantiles, Report
from selvedge.sim.scenario import Outage, Scenario
from selvedge.sim.traffic import Arrival, Flow, Shares, chat_body

__all__ = [
    "Arrival",
    "EngineModel",
    "Figures",
    "Flow",
    "Outage",
    "Quantiles",
    "Report",
    "Scenario",
    "Shares",
    "Work",
    "WriteFault",
    "chat_body",
    "example_flows",
    "example_release",
    "example_scenario",
    "simulate",
]
