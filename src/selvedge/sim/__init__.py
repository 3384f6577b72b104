"""Floor 3: the exchange in virtual time. Modelled engines, links and traffic; pure and seeded."""

from selvedge.sim.batching import BatchingEngine, BatchingModel, Timing
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
from selvedge.sim.engines import EngineModel, Work
from selvedge.sim.fleet import example_flows, example_release, example_scenario
from selvedge.sim.hardware import HARDWARE, Hardware
from selvedge.sim.interpreter import simulate
from selvedge.sim.journal import WriteFault
from selvedge.sim.mooncake import BadTrace, read_mooncake
from selvedge.sim.pool import Pool, Timed, round_robin
from selvedge.sim.report import Figures, Quantiles, Report
from selvedge.sim.scenario import Outage, Scenario
from selvedge.sim.traffic import Arrival, Flow, Shares, chat_body
from selvedge.sim.validate import CHECKS, MOONCAKE, Check

__all__ = [
    "CHECKS",
    "HARDWARE",
    "MOONCAKE",
    "Arrival",
    "BadTrace",
    "BatchingEngine",
    "BatchingModel",
    "CannotFit",
    "Check",
    "EngineModel",
    "Figures",
    "Flow",
    "Hardware",
    "Held",
    "Observed",
    "Outage",
    "Pool",
    "Quantiles",
    "Report",
    "Scenario",
    "Shape",
    "Shares",
    "Timed",
    "Timing",
    "Together",
    "Work",
    "WriteFault",
    "chat_body",
    "example_flows",
    "example_release",
    "example_scenario",
    "fit_model",
    "judge",
    "pause_us",
    "read_mooncake",
    "round_robin",
    "simulate",
    "together",
]
